"""A small engine to install: a real uv, real environments, real wheels of some hundred files, in a second and without a network.

Run as a script, it installs: ``python tiny_engine.py HOME EXTENSION WHEELS``.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TORCH = '''"""Just enough of torch for engine/check.py to compute."""
from types import SimpleNamespace

backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False))
cuda = SimpleNamespace(is_available=lambda: False)


class Matrix(list):
    def __matmul__(self, other):
        return Matrix([sum(a * b for a, b in zip(row, column)) for column in zip(*other)] for row in self)

    def __eq__(self, value):
        return SimpleNamespace(all=lambda: all(x == value for row in self for x in row))

    def cpu(self):
        return self


def full(shape, value, device):
    return Matrix([value] * shape[1] for _ in range(shape[0]))
'''
WARM_UP = """import pathlib, sys
(pathlib.Path(sys.prefix) / "warmed-up").write_text(" ".join(sys.argv[1:]))
"""
"""What stands for the engine's own command."""


def load_environment():
    """closeup_addon/environment without Blender."""
    if "environment" not in sys.modules:
        path = ROOT / "closeup_addon" / "environment" / "__init__.py"
        spec = importlib.util.spec_from_file_location("environment", path)
        module = sys.modules["environment"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules["environment"]


@dataclass
class Tiny:
    """An extension's folder with its lock files, and the folder of wheels that they name."""

    extension: Path
    wheels: Path

    def lock(self, name: str, *wheels: Path) -> None:
        """Write a lock file that names these wheels."""
        lines = []
        for wheel in wheels:
            package, version = wheel.name.split("-")[:2]
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            lines.append(f"{package.replace('_', '-')}=={version} --hash=sha256:{digest}  # {wheel.stat().st_size} bytes\n")
        (self.extension / "engine" / "locks" / name).write_text("".join(lines))

    def wheel(self, name: str, version: str = "1.0", files: int = 120, code: str = "") -> Path:
        """Build a package with one module and some more files."""
        contents = {f"{name}/__init__.py": code or f"__version__ = {version!r}\n"}
        contents.update({f"{name}/data/{index:04d}.txt": f"{name} {version} {index}\n" * 50 for index in range(files)})
        info = f"{name}-{version}.dist-info"
        contents[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        contents[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: closeup\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        return _pack(self.wheels / f"{name}-{version}-py3-none-any.whl", info, {k: v.encode() for k, v in contents.items()})


def make(folder: Path) -> Tiny:
    """The tiny engine, below a folder."""
    tiny = Tiny(folder / "extension", folder / "wheels")
    tiny.wheels.mkdir(parents=True)
    (tiny.extension / "engine" / "locks").mkdir(parents=True)
    shutil.copy(ROOT / "engine" / "check.py", tiny.extension / "engine" / "check.py")
    (tiny.extension / "engine" / "__main__.py").write_text(WARM_UP)
    (tiny.extension / "engine" / "requirements.txt").write_text("alpha==1.0\nbeta==1.0\ntorch==1.0\n")
    tiny.lock("uv.txt", _uv_wheel(tiny.wheels))
    plan = load_environment().plan
    system = plan.system()
    tiny.lock(f"{system}.txt", tiny.wheel("alpha"), tiny.wheel("beta"), tiny.wheel("gamma"))
    public = f"{system}-{plan.PUBLIC_BUILDS[system]}.txt"
    tiny.lock(public, tiny.wheel("torch", code=TORCH), tiny.wheel("nvidia_tiny"))
    return tiny


def _uv_wheel(folder: Path) -> Path:
    """The uv that installed the environment of this very test, as a wheel again."""
    environment = load_environment()
    package = next(item for item in environment.packages.installed(Path(sys.prefix).parent / "uv") if item.name == "uv")
    contents = {}
    for path, _, _ in environment.packages._record(package):
        is_script = "/bin/" in path or "/Scripts/" in path
        name = f"uv-{package.version}.data/scripts/{path.rpartition('/')[2]}" if is_script else path
        if "__pycache__" not in name and not name.endswith(("/RECORD", "/INSTALLER", "/REQUESTED", "/direct_url.json")):
            contents[name] = (package.info.parent / path).read_bytes()
    return _pack(folder / f"uv-{package.version}-py3-none-any.whl", package.info.name, contents)


def _pack(target: Path, info: str, contents: dict[str, bytes]) -> Path:
    """A wheel: the files, and the list of them with hashes and sizes."""
    record = ""
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in contents.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(data)}\n"
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16  # a regular file that may be run
            archive.writestr(entry, data)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return target


def main(home: str, extension: str, wheels: str) -> None:
    """Install, as Blender would."""
    environment = load_environment()
    try:
        environment.install(Path(home), Path(extension), environment.Reporter(), environment.Options(wheels=Path(wheels)))
    except environment.InstallError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
