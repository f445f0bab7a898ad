"""Writes engine/locks: what uv resolves for every system and build of torch, one hash and size per package.

Run by ``python build.py lock``. Only the public index, without anybody's own settings, decides. Builds of torch
that only PyTorch's index has are locked by what it says; where it cannot be reached, by tools/torch_wheels.toml. A build
that neither knows has no lock file, and is installed by version.
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
KNOWN = ROOT / "tools" / "torch_wheels.toml"
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
    length = max(wheel["size"] if "size" in wheel else size(wheel["url"]) for wheel in package["wheels"])
    return f"{package['name']}=={package['version']} {hashes}{f'  # {length} bytes' if length else ''}\n"


def write(name: str, what: str, packages: list[dict]) -> None:
    """One lock file."""
    text = f"# {what}. Made by: python build.py lock\n" + "".join(line(package) for package in packages)
    (LOCKS / name).write_text(text, encoding="utf-8")
    print(f"engine/locks/{name}: {len(packages)} packages", flush=True)


def known(name: str, version: str) -> dict:
    """What tools/torch_wheels.toml has of a build where torch of a version is asked for, which need not be the wheel's own."""
    table = tomllib.loads(KNOWN.read_text(encoding="utf-8"))
    wheel = {"version": table["version"], **table["wheels"].get(name, {})}
    stale = wheel["version"] == table["version"] != version
    return wheel if "sha256" in wheel and not stale else {}


def of_build(uv: str, name: str, build: str, asked: str, pins: str, version: str, python: str) -> list[dict]:
    """The packages of a build that only PyTorch's index has: by that index, or as they are known; none when neither tells."""
    system = name[: -len(build) - 1]
    try:
        found = resolve(uv, asked + pins, system, python, "--torch-backend", build)
        check_known(name, next(package for package in found if package["name"] == "torch"))
        return found
    except subprocess.CalledProcessError:
        wheel = known(name, version)
    if not wheel:
        return []
    file = {"hashes": {"sha256": wheel["sha256"]}, "size": wheel.get("bytes", 0)}
    torch = {"name": "torch", "version": f"{wheel['version']}+{build}", "wheels": [file]}
    return [torch, *resolve(uv, "\n".join([pins, *wheel["needs"]]), system, python)]


def check_known(name: str, torch: dict) -> None:
    """End when PyTorch's index has another wheel than tools/torch_wheels.toml says."""
    hashes = {wheel["hashes"]["sha256"] for wheel in torch["wheels"]}
    version = torch["version"].partition("+")[0]
    wheel = known(name, version)
    if wheel and wheel["version"] == version and wheel["sha256"] not in hashes:
        raise SystemExit(f"tools/torch_wheels.toml: PyTorch's index has another torch for {name}; find out why, then correct it.")


def from_pytorch(package: dict) -> bool:
    """Whether only ``--torch-backend`` finds it: its file is on PyTorch's index."""
    return any("pytorch.org/" in wheel.get("url", "") for wheel in package["wheels"])


def write_build(name: str, packages: list[dict]) -> None:
    """A build's own wheels, and beside them what it needs of the public index: Triton, which is on both, is not the same file."""
    theirs = [package for package in packages if from_pytorch(package) or package["name"] == "torch"]
    needs = [package for package in packages if package not in theirs]
    write(f"{name}.txt", f"PyTorch for {name}: from PyTorch's index", theirs)
    if needs:
        write(f"{name}-needs.txt", f"What PyTorch for {name} needs of the public index", needs)
    else:
        (LOCKS / f"{name}-needs.txt").unlink(missing_ok=True)


def keep_or_drop(name: str, version: str) -> None:
    """What happens to a build's lock files when nobody knows it: they stay while they are of the same version."""
    lock = LOCKS / f"{name}.txt"
    kept = lock.exists() and f"torch=={version}+" in lock.read_text(encoding="utf-8")
    if not kept:
        for path in (lock, LOCKS / f"{name}-needs.txt"):
            path.unlink(missing_ok=True)
    state = "stays as it is" if kept else "is not locked, and is installed by version"
    print(f"PyTorch's index does not have it or cannot be reached: {name} {state}", flush=True)


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
        version = next(package["version"] for package in torch if package["name"] == "torch")
        pins = "".join(f"{package['name']}=={package['version']}\n" for package in common)
        names = {package["name"] for package in common}
        for build in BUILDS[system]:
            name = f"{system}-{build}"
            found = of_build(uv, name, build, asked, pins, version, plan.PYTHON_VERSION)
            others = [package for package in found if package["name"] not in names]
            write_build(name, others) if others else keep_or_drop(name, version)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
