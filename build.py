#!/usr/bin/env python3
"""The one developer command: demo, test, zip, bench, lint, lock, docs. Standard library only, Python 3.9 or newer.

Everything it makes goes to .build/ (environments) and dist/ (results). pip's and uv's settings for
mirrors and local folders of wheels are honoured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
BUILD = ROOT / ".build"
DIST = ROOT / "dist"
MANIFEST = ROOT / "blender_manifest.toml"
SHIPPED = ("closeup_addon", "engine", "operators", "panels")
BPY = {"4.2": "4.2.23", "4.5": "4.5.15", "5.0": "5.0.1"}
"""Blender as a Python module, in the versions that the extension is tested with."""
TORCH_SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""As engine/__main__.py sets and explains them; tests that use torch in their own process need them too."""
ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def load(name: str, path: Path):
    """A module by its path: what stands inside the extension cannot be imported as a package without Blender."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


environment = load("environment", ROOT / "closeup_addon" / "environment" / "__init__.py")


def say(message: str) -> None:
    """One line for the developer, at once."""
    print(message, flush=True)


def run(*command: object, **extra_env: object) -> int:
    """A command in the repository's root; returns its exit code."""
    env = {**os.environ, **{key: str(value) for key, value in extra_env.items()}}
    return subprocess.call([str(part) for part in command], cwd=str(ROOT), env=env)


def check(*command: object, **extra_env: object) -> None:
    """As :func:`run`; a failure ends build.py with the same exit code."""
    code = run(*command, **extra_env)
    if code:
        raise SystemExit(code)


# --- environments --------------------------------------------------------------


def engine_python() -> Path:
    """The engine's environment, with what the tests need; made when it is missing or outdated."""
    tools = environment.Options(extra=(ROOT / "tests" / "requirements.txt",))
    environment.install(BUILD, ROOT, environment.Reporter(), tools)
    return environment.python_of(BUILD)


def bpy_python(version: str) -> Path:
    """An environment with Blender as a module and pytest."""
    return tool_python(f"bpy-{version}", f"Blender {BPY[version]} as a module", f"bpy=={BPY[version]}\npytest==9.2.0\n")


def tool_python(name: str, what: str, wanted: str) -> Path:
    """The environment .build/NAME with the requirements ``wanted``; made when it is missing or outdated."""
    venv = BUILD / name
    python, marker = environment.venv_python(venv), venv / "closeup-requirements.txt"
    if not (python.exists() and marker.exists() and marker.read_text() == wanted):
        say(what)
        BUILD.mkdir(exist_ok=True)
        requirements = BUILD / f"{name}.txt"
        requirements.write_text(wanted)
        environment.make_venv(BUILD, ROOT, venv, requirements, environment.Reporter())
        marker.write_text(wanted)
    return python


# --- zip -----------------------------------------------------------------------


def shipped_files() -> list[str]:
    """The extension's files, sorted, without the manifest (Blender's builder adds it)."""
    files = [ROOT / "__init__.py", ROOT / "LICENSE"]
    for folder in SHIPPED:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    names = (path.relative_to(ROOT).as_posix() for path in files)
    return sorted(name for name in names if not Path(name).name.startswith("."))


def manifest_paths(text: str) -> tuple[list[str], re.Match]:
    """The allow-list of [build] paths and where it stands in the manifest."""
    found = re.search(r"^paths = (\[.*?^\])", text, re.M | re.S)
    if not found:
        raise SystemExit("blender_manifest.toml has no [build] paths.")
    return json.loads(re.sub(r",\s*\]", "]", found.group(1))), found


def manifest_command(arguments: argparse.Namespace) -> None:
    """Bring the manifest's allow-list up to date with the files that stand."""
    text = MANIFEST.read_text(encoding="utf-8")
    _, found = manifest_paths(text)
    lines = "".join(f'  "{name}",\n' for name in shipped_files())
    MANIFEST.write_text(f"{text[: found.start(1)]}[\n{lines}]{text[found.end(1) :]}", encoding="utf-8")


def build_zip() -> Path:
    """The validated extension in dist/; the same files always give the same bytes."""
    listed = manifest_paths(MANIFEST.read_text(encoding="utf-8"))[0]
    differing = sorted(set(listed) ^ set(shipped_files()))
    if differing:
        raise SystemExit(
            f"blender_manifest.toml's [build] paths differ from the files: {differing}; run: python build.py manifest"
        )
    python = bpy_python("4.2")
    tool = next((BUILD / "bpy-4.2").rglob("bl_pkg/cli/blender_ext.py"))
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "closeup.zip"
        check(python, tool, "build", "--source-dir", ROOT, "--output-filepath", built)
        version = re.search(r'^version = "(.+?)"', MANIFEST.read_text(encoding="utf-8"), re.M).group(1)
        DIST.mkdir(exist_ok=True)
        target = DIST / f"closeup-{version}.zip"
        _repack(built, target)
    check(python, tool, "validate", target)
    say(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e6:.1f} MB")
    return target


def _repack(built: Path, target: Path) -> None:
    """The builder stores the files' times; without them the bytes depend on the files alone."""
    with zipfile.ZipFile(built) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name in sorted(source.namelist()):
            entry = zipfile.ZipInfo(name, ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, source.read(name))


# --- commands ------------------------------------------------------------------


def zip_command(arguments: argparse.Namespace) -> None:
    """Build and validate the extension."""
    build_zip()


def lint_command(arguments: argparse.Namespace) -> None:
    """Style of the Python files."""
    python = engine_python()
    check(python, "-m", "ruff", "check", ".")
    check(python, "-m", "ruff", "format", "--check", ".")


def test_command(arguments: argparse.Namespace) -> None:
    """Every test; ends with exit code 1 when any part failed, after all parts have run."""
    started, failed = time.monotonic(), []
    python = engine_python()

    def part(name: str, *command: object, **env: object) -> bool:
        say(f"\n== {name}")
        if run(*command, **env):
            failed.append(name)
        return name not in failed

    pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    part("lint", sys.executable, ROOT / "build.py", "lint")
    part("engine", python, *pytest, "tests/engine")
    part("lab", python, *pytest, "tests/lab")
    extension = build_zip()
    if extension.read_bytes() != build_zip().read_bytes():
        failed.append("zip: two builds differ")
    shared = {"CLOSEUP_ZIP": extension, "CLOSEUP_ENGINE_PYTHON": python}
    for version in BPY:
        part(f"extension on Blender {version}", bpy_python(version), *pytest, "tests/addon", **shared)
    if arguments.app and part("Blender 5.2, the application", python, "tests/app/install_blender.py"):
        part("the application's plays", python, *pytest, "tests/app", **shared)
    say(
        f"\n{(time.monotonic() - started) / 60:.1f} minutes; "
        + (f"failed: {', '.join(failed)}" if failed else "all parts passed")
    )
    raise SystemExit(1 if failed else 0)


def bench_command(arguments: argparse.Namespace) -> None:
    """Time and quality of the engine's parts on scenes of its own."""
    tsdf = ["--tsdf-python", arguments.tsdf_python] if arguments.tsdf_python else []
    check(engine_python(), "tests/bench", arguments.what, "--out", DIST / "bench", *tsdf, "--scenes", *arguments.scenes)


def docs_command(arguments: argparse.Namespace) -> None:
    """The manual as a site in dist/docs; a broken link is an error."""
    python = tool_python("docs", "MkDocs", (ROOT / "docs" / "requirements.txt").read_text())
    check(python, "-m", "mkdocs", "build", "--strict", "--clean", NO_MKDOCS_2_WARNING="1")


def lock_command(arguments: argparse.Namespace) -> None:
    """Resolve engine/requirements.txt again and write engine/locks, for every system (needs the package index)."""
    uv = environment.uv_of(BUILD, ROOT, environment.Reporter())
    check(uv, "run", "--no-project", "--python", environment.PYTHON_VERSION, "tools/lock.py", uv)


def demo_command(arguments: argparse.Namespace) -> None:
    """The main job, from the photos to demo.blend, as a user of the installed extension would run it."""
    out = Path(arguments.out or DIST / "demo").resolve()
    extension, engine = build_zip(), engine_python()
    blender = Path(arguments.blender).absolute() if arguments.blender else bpy_python("4.2")
    demo = load("closeup_demo", ROOT / "demo" / "pipeline.py")
    photos = Path(arguments.photos).resolve() if arguments.photos else None
    demo.run(engine, blender, extension, out, photos=photos, focal_35mm=arguments.focal_35mm)


def main() -> None:
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=function.__doc__.splitlines()[0])
        sub.set_defaults(function=function)
        return sub

    demo = command("demo", demo_command)
    demo.add_argument("--photos", help="a folder of photos; left out: a still life is built and rendered")
    demo.add_argument("--focal-35mm", type=float, help="focal length of the photos (35 mm equivalent) when EXIF has none")
    demo.add_argument("--blender", help="a Blender to use instead of the module from the package index")
    demo.add_argument("--out", help="folder for the results (default: dist/demo)")
    test = command("test", test_command)
    test.add_argument("--app", action="store_true", help="also drive the real application in a window (Linux, root)")
    command("zip", zip_command)
    command("manifest", manifest_command)
    bench = command("bench", bench_command)
    bench.add_argument("what", nargs="?", default="all", choices=("all", "conditioning", "generator", "geometry"))
    bench.add_argument("--scenes", nargs="*", default=[], help="folders that demo/still_life.py wrote, to measure on as well")
    bench.add_argument("--tsdf-python", help="a Python with open3d, to compare the warp with a TSDF mesh")
    command("lint", lint_command)
    command("lock", lock_command)
    command("docs", docs_command)
    arguments = parser.parse_args()
    try:
        arguments.function(arguments)
    except environment.InstallError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    # pip and uv must see the caller's settings, but not a virtual environment that happens to be active
    os.environ.pop("VIRTUAL_ENV", None)
    for setting, value in TORCH_SETTINGS.items():
        os.environ.setdefault(setting, value)
    main()
