"""What will be installed on this machine, and from where: the lock files, and which build of torch.

engine/locks/ holds, made by ``python build.py lock``::

    uv.txt                        the installer
    linux-x86_64.txt              everything but torch, one hash per package
    linux-x86_64-cu130.txt        torch with what its CUDA build needs, where the public index has both
    linux-x86_64-cu126.txt        a build that only PyTorch's index has,
    linux-x86_64-cu126-needs.txt  and what it needs of the public index
    windows-x86_64…, macos-arm64…

A build's lock file may have another version of torch than requirements.txt, which the engine runs with too. A build that has
no lock file comes from PyTorch's index, by version.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from . import settings
from .accelerator import Accelerator
from .errors import InstallError
from .packages import normalised

PYTHON_VERSION = "3.11"
PUBLIC_BUILDS = {"linux-x86_64": "cu130", "windows-x86_64": "cpu", "macos-arm64": "mps"}
"""Which build of torch the public package index has, for each system the engine runs on."""
_KINDS = {
    "linux-x86_64": ("cpu", "cuda", "rocm", "xpu"),
    "windows-x86_64": ("cpu", "cuda", "xpu"),
    "macos-arm64": ("cpu", "mps"),
}
"""The accelerators that torch has builds for; macOS has one for both."""
_WHEELS = {"linux-x86_64": r"manylinux.*x86_64", "windows-x86_64": "win_amd64", "macos-arm64": r"macosx_.*(arm64|universal2)"}
_GUESSES = {"cpu": 200, "cu126": 900, "cu130": 2000, "rocm7.2": 6600, "xpu": 1300}
"""Megabytes of torch, where no lock file tells; OTHER_GUESS for a build that only UV_TORCH_BACKEND names."""
OTHER_GUESS = 2000
UNPACKED = 4
"""How many times larger packages are on the disk than on the way to it."""
SPARE_BYTES = 300 << 20


@dataclass(frozen=True)
class Options:
    """The user's choices. accelerator: a kind, or nothing for what is found. wheels: a folder that replaces the network.
    extra: more requirements files (developers' tools)."""

    accelerator: str = ""
    wheels: Path | None = None
    extra: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Pin:
    """One package of a lock file; bytes: its download, a guess for torch where that is not known."""

    name: str
    version: str
    bytes: int


@dataclass(frozen=True)
class Step:
    """One call of ``uv pip install``."""

    title: str
    arguments: tuple[str, ...]
    pins: tuple[Pin, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All of it. build: of torch. fingerprint: changes when anything of it does."""

    accelerator: Accelerator
    build: str
    steps: tuple[Step, ...]
    fingerprint: str

    @property
    def pins(self) -> tuple[Pin, ...]:
        """Everything whose version is known."""
        return tuple(pin for step in self.steps for pin in step.pins)

    def note(self, device: str) -> str:
        """Why ``device``, as torch calls what it found, is not the accelerator of this machine; empty when it is."""
        wanted = {"rocm": "cuda"}.get(self.accelerator.kind, self.accelerator.kind)
        if device == wanted:
            return self.accelerator.note
        if self.build == "cpu":
            return f"The PyTorch that the mirror or the folder of wheels has is for the CPU; {self.accelerator.name} is not used."
        return f"PyTorch does not see the {self.accelerator.name}; the {device.upper()} is used. Its driver may be too old."

    @property
    def needed_bytes(self) -> int:
        """Free space that it asks for."""
        return UNPACKED * sum(pin.bytes for pin in self.pins) + SPARE_BYTES


def system() -> str:
    """This machine, as lock files call it. Raises InstallError where there are no packages for it."""
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    name = f"{ {'win32': 'windows', 'darwin': 'macos'}.get(sys.platform, sys.platform) }-{machine}"
    if name not in PUBLIC_BUILDS:
        raise InstallError(
            f"There are no packages of the engine for {name}: it runs on Linux and Windows with x86-64 and on macOS with "
            "Apple silicon. An environment of your own can be chosen in the preferences (Existing Python)."
        )
    if sys.platform == "darwin" and int(platform.mac_ver()[0].split(".")[0] or 0) < 14:
        raise InstallError(f"The engine needs macOS 14 or newer; this is {platform.mac_ver()[0]}.")
    return name


def make(root: Path, accelerator: Accelerator, env: Mapping[str, str], options: Options) -> Plan:
    """The plan for this machine. root: the extension's folder. env: as uv will see it. Raises InstallError."""
    locks, name = Path(root) / "engine" / "locks", system()
    if accelerator.kind not in _KINDS[name]:
        raise InstallError(f"There is no PyTorch for {accelerator.name} on {name}; choose another under Install for.")
    common = locks / f"{name}.txt"
    build, torch = _torch(Path(root), name, accelerator, env)
    steps = [_locked("Packages", common), *(_sized(step, build) for step in torch)]
    steps += [Step(path.name, ("-r", str(path)), read_lock(path)) for path in options.extra]
    return Plan(accelerator, build, tuple(steps), _fingerprint(steps))


def locks_fingerprint(root: Path) -> str:
    """Of this system's lock files: another one than an installation's says that the extension was upgraded since."""
    digest = hashlib.sha256()
    for path in sorted((Path(root) / "engine" / "locks").glob("*.txt")):
        if path.stem == "uv" or path.stem.startswith(system()):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def requirements(root: Path, name: str = "", build: str = "") -> dict[str, str]:
    """The packages that the engine itself asks for, with their versions; torch's as the lock file of a system's build has it."""
    folder = Path(root) / "engine"
    asked = {pin.name: pin.version for pin in read_lock(folder / "requirements.txt")}
    lock = folder / "locks" / f"{name}-{build}.txt"
    torch = [pin.version.partition("+")[0] for pin in read_lock(lock) if pin.name == "torch"] if lock.exists() else []
    return {**asked, "torch": torch[0]} if torch else asked


def read_lock(path: Path) -> tuple[Pin, ...]:
    """The packages of a lock file, or of a requirements file."""
    pins = []
    for line in path.read_text(encoding="utf-8").splitlines():
        found = re.match(r"([\w.-]+)==([^\s;]+)(?:.*# (\d+) bytes)?", line)
        if found:
            pins.append(Pin(normalised(found[1]), found[2], int(found[3] or 0)))
    return tuple(pins)


def _torch(root: Path, name: str, accelerator: Accelerator, env: Mapping[str, str]) -> tuple[str, list[Step]]:
    """Which build of torch, and the calls that install it: a wheel in a local folder decides, then a mirror, then we."""
    wheel = _local_torch(root, name, accelerator.build, env)
    asked = env.get("UV_TORCH_BACKEND", "auto")
    public = PUBLIC_BUILDS[name]
    if wheel is not None:
        build = _label(wheel) or public
    elif asked != "auto":
        build = asked
    elif name.startswith("macos"):
        build = public
    else:
        build = public if settings.has_mirror(env) or not settings.has_index(env) else accelerator.build
    lock, needs = (root / "engine" / "locks" / f"{name}-{build}{part}.txt" for part in ("", "-needs"))
    backend = () if wheel is not None or build == public else ("--torch-backend", build)
    if lock.exists() and (wheel is None or _is_locked(wheel, lock)):
        # the second without the backend, which would take Triton from PyTorch's index: another file there
        more = [_locked("PyTorch's libraries", needs)] if needs.exists() else []
        return build, [_locked("PyTorch", lock, *backend), *more]
    if wheel is not None:
        return build, [Step("PyTorch", (str(wheel),), (Pin("torch", wheel.name.split("-")[1], wheel.stat().st_size),))]
    version = requirements(root)["torch"]
    return build, [Step("PyTorch", (f"torch=={version}", *backend), (Pin("torch", f"{version}+{build}", 0),))]


def _sized(step: Step, build: str) -> Step:
    """The step with a guess for torch where its size is not known."""
    guess = _GUESSES.get(build, OTHER_GUESS) * 10**6
    return replace(step, pins=tuple(pin if pin.bytes else replace(pin, bytes=guess) for pin in step.pins))


def _locked(title: str, lock: Path, *more: str) -> Step:
    """The call that installs a lock file."""
    return Step(title, ("--require-hashes", "--no-deps", "-r", str(lock), *more), read_lock(lock))


def _is_locked(wheel: Path, lock: Path) -> bool:
    """Whether a local wheel claims to be the locked one, which its hash will tell. Of another size, it is a studio's own build,
    and is taken as it is."""
    return any(pin.name == "torch" and pin.bytes == wheel.stat().st_size for pin in read_lock(lock))


def _local_torch(root: Path, name: str, build: str, env: Mapping[str, str]) -> Path | None:
    """A wheel of torch in a local folder, of its build's version: rather that of the wanted build, else any."""
    python = f"cp{PYTHON_VERSION.replace('.', '')}"
    fits = re.compile(rf"torch-([\d.]+)(\+[\w.]+)?-{python}-{python}-{_WHEELS[name]}\.whl")

    def is_ours(path: Path) -> bool:
        hit = fits.fullmatch(path.name)
        return bool(hit) and hit[1] == requirements(root, name, _label(path) or PUBLIC_BUILDS[name])["torch"]

    found = [path for folder in settings.local_folders(env) for path in sorted(folder.glob("torch-*.whl"))]
    wheels = [path.absolute() for path in found if is_ours(path)]
    return min(wheels, key=lambda path: (_label(path) or PUBLIC_BUILDS[name]) != build, default=None)


def _label(wheel: Path) -> str:
    """The build in a wheel's name, empty for the public one."""
    found = re.match(r"torch-[^-+]+\+([^-]+)-", wheel.name)
    return found[1] if found else ""


def _fingerprint(steps: list[Step]) -> str:
    """Of the contents, not of where they stand: the extension's folder moves when Blender is upgraded."""
    digest = hashlib.sha256()
    for step in steps:
        for argument in step.arguments:
            path = Path(argument)
            known = path.read_bytes() if path.suffix == ".txt" else path.name.encode()
            digest.update(len(known).to_bytes(8, "big") + known)
    return digest.hexdigest()
