"""Who may import whom (see the README's architecture): read from the source, so nothing needs to be installed."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "diffusers", "transformers", "numba", "cv2", "scipy", "pycolmap", "PIL", "OpenEXR", "safetensors", "skimage"}
HEAVY |= {"av", "plyfile", "laspy", "pye57"}
SHARED = ("engine/job.py", "engine/protocol.py")


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> set[tuple[int, str]]:
    """(level, dotted name) of every import of a file, wherever it stands; level 0 is absolute."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(0, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {(node.level, name) for name in names}
    return found


def top_level(path: Path) -> set[str]:
    return {name.split(".")[0] for level, name in imports(path) if level == 0}


def package_of(path: Path, level: int, name: str) -> str:
    """The folder of the extension's root that a relative import reaches."""
    base = path.parent
    for _ in range(level - 1):
        base = base.parent
    return (base / name.replace(".", "/")).relative_to(ROOT).parts[0]


def relative_packages(path: Path) -> set[str]:
    return {package_of(path, level, name) for level, name in imports(path) if level}


@pytest.mark.parametrize("path", files("engine"), ids=str)
def test_engine_knows_nothing_of_blender(path):
    assert not top_level(path) & {"bpy", "bmesh", "mathutils", "gpu", "bpy_extras"}
    assert relative_packages(path) <= {"engine"}


@pytest.mark.parametrize("name", SHARED)
def test_what_both_sides_share_needs_the_standard_library_only(name):
    assert top_level(ROOT / name) <= set(sys.stdlib_module_names)
    assert all(level == 0 for level, _ in imports(ROOT / name))


@pytest.mark.parametrize("path", files("closeup_addon"), ids=str)
def test_blenders_side_never_imports_the_engines_libraries(path):
    assert not top_level(path) & HEAVY
    engine = {name for level, name in imports(path) if level and package_of(path, level, name) == "engine"}
    assert engine <= {"engine", "engine.job", "engine.protocol", "job", "protocol"}


@pytest.mark.parametrize("path", files("operators") + files("panels"), ids=str)
def test_buttons_import_only_the_addon(path):
    assert top_level(path) <= set(sys.stdlib_module_names) | {"bpy", "bpy_extras", "bl_ui", "bl_operators"}  # Blender's own
    assert relative_packages(path) <= {"closeup_addon", path.relative_to(ROOT).parts[0]}


@pytest.mark.parametrize("path", [p for f in ("engine", "closeup_addon", "operators", "panels") for p in files(f)], ids=str)
def test_no_file_imports_the_extension_by_an_absolute_name(path):
    assert not top_level(path) & {"engine", "closeup_addon", "operators", "panels", "closeup"}


@pytest.mark.parametrize("path", files("closeup_addon/environment"), ids=str)
def test_environment_is_read_by_build_py_and_needs_the_standard_library_only(path):
    assert top_level(path) <= set(sys.stdlib_module_names)
    assert all(level < 2 for level, _ in imports(path))


def test_a_wrong_import_would_be_seen(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    from torch import nn\n    import bpy.types\n")
    assert top_level(wrong) == {"torch", "bpy"}
