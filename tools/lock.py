"""Writes engine/locks: what uv resolves for every system and build of torch, one hash and size per package.

Run by ``python build.py lock``. Only the public index, without anybody's own settings, decides. Builds of torch
that only PyTorch's index has are locked when that index can be reached; without a lock file they are installed by version.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "engine" / "locks"
UV_VERSION = "0.13.8"
PLATFORMS = {
    "linux-x86_64": "x86_64-manylinux_2_28",
    "windows-x86_64": "x86_64-pc-windows-msvc",
    "macos-arm64": "aarch64-apple-darwin",
}
"""As uv names them. On Linux with another processor there is no lock: pycolmap has no wheels there."""
MACOS = "14.0"
"""The oldest macOS that pycolmap's and torch's wheels run on."""
BUILDS = {"linux-x86_64": ("cpu", "cu126", "rocm7.2", "xpu"), "windows-x86_64": ("cu126", "cu130", "xpu"), "macos-arm64": ()}
"""Builds that only PyTorch's own index has."""


def environment():
    """The installer's package, by its path: its names are used for the files."""
    path = ROOT / "closeup_addon" / "environment" / "__init__.py"
    spec = importlib.util.spec_from_file_location("environment", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["environment"] = module
    spec.loader.exec_module(module)
    return module


def resolve(uv: str, asked: str, system: str, python: str, *options: str) -> list[dict]:
    """The packages that ``asked`` (lines of requirements) resolves to for one system, as a pylock.toml has them."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "requirements.in", Path(folder) / "pylock.toml"
        source.write_text(asked, encoding="utf-8")
        command = [uv, "pip", "compile", source, "--format", "pylock.toml", "-o", target, "--quiet", "--no-config"]
        command += ["--python-version", python, "--python-platform", PLATFORMS[system], "--only-binary", ":all:", *options]
        env = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_"))}
        subprocess.run(command, check=True, cwd=folder, env={**env, "MACOSX_DEPLOYMENT_TARGET": MACOS})
        return tomllib.loads(target.read_text(encoding="utf-8"))["packages"]


def size(url: str) -> int:
    """Bytes of a download."""
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=60) as answer:
        return int(answer.headers["Content-Length"])


def line(package: dict) -> str:
    """One line of a lock file: version, hashes of the wheels that fit the system (uv lists no others), the largest's size."""
    hashes = " ".join(f"--hash=sha256:{wheel['hashes']['sha256']}" for wheel in package["wheels"])
    length = max(wheel.get("size") or size(wheel["url"]) for wheel in package["wheels"])
    return f"{package['name']}=={package['version']} {hashes}  # {length} bytes\n"


def write(name: str, what: str, packages: list[dict]) -> None:
    """One lock file."""
    text = f"# {what}. Made by: python build.py lock\n" + "".join(line(package) for package in packages)
    (LOCKS / name).write_text(text, encoding="utf-8")
    print(f"engine/locks/{name}: {len(packages)} packages", flush=True)


def keep_or_drop(lock: Path, torch: list[dict]) -> None:
    """What happens to a build's lock file when PyTorch's index does not answer: it stays while it is of the same version."""
    version = next(package["version"] for package in torch if package["name"] == "torch")
    kept = lock.exists() and f"torch=={version}+" in lock.read_text(encoding="utf-8")
    if not kept:
        lock.unlink(missing_ok=True)
    state = "stays as it is" if kept else "is not locked, and is installed by version"
    print(f"PyTorch's index does not have it or cannot be reached: {lock.stem} {state}", flush=True)


def write_uv(uv: str, python: str) -> None:
    """The installer itself, with a hash for every system."""
    wheels = [resolve(uv, f"uv=={UV_VERSION}", system, python)[0]["wheels"][0] for system in PLATFORMS]
    hashes = " ".join(f"--hash=sha256:{wheel['hashes']['sha256']}" for wheel in wheels)
    text = f"# The installer. Made by: python build.py lock\nuv=={UV_VERSION} {hashes}\n"
    (LOCKS / "uv.txt").write_text(text, encoding="utf-8")


def main(uv: str) -> None:
    """All lock files."""
    module = environment()
    plan, packages = module.plan, module.packages
    LOCKS.mkdir(exist_ok=True)
    write_uv(uv, plan.PYTHON_VERSION)
    asked = (ROOT / "engine" / "requirements.txt").read_text(encoding="utf-8")
    for system, public in plan.PUBLIC_BUILDS.items():
        found = resolve(uv, asked, system, plan.PYTHON_VERSION)
        torch = [package for package in found if packages.ACCELERATED.fullmatch(package["name"])]
        common = [package for package in found if package not in torch]
        write(f"{system}.txt", f"Everything but PyTorch for {system}", common)
        write(f"{system}-{public}.txt", f"PyTorch for {system}, {public}: the public index's build", torch)
        pins = "".join(f"{package['name']}=={package['version']}\n" for package in common)
        for build in BUILDS[system]:
            try:
                found = resolve(uv, asked + pins, system, plan.PYTHON_VERSION, "--torch-backend", build)
            except subprocess.CalledProcessError:
                keep_or_drop(LOCKS / f"{system}-{build}.txt", torch)
                continue
            names = {package["name"] for package in common}
            others = [package for package in found if package["name"] not in names]
            write(f"{system}-{build}.txt", f"PyTorch for {system}, {build}: from PyTorch's index", others)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
