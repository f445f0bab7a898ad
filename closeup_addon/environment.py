"""The engine's own Python environment: made, checked and removed. Standard library only, no bpy.

Layout of an environment's home::

    uv/            a pinned uv, from the package index through pip
    engine/        the environment
    engine.json    {"state": "incomplete" | "ready", "requirements": hash}

The marker says "incomplete" from the first change to the last check, so an installation that
was interrupted is seen as one and is continued by the next :func:`install`.

build.py uses this module too, and may be started by Python 3.9.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

UV_VERSION = "0.13.8"
PYTHON_VERSION = "3.11"
NEEDED_BYTES = 4 << 30
"""Free space that an installation asks for."""

Report = Callable[[str], None]


class InstallError(Exception):
    """The environment could not be made; the message is one sentence for the user."""


def default_folder() -> Path:
    """Where the engine lives when the user chose no folder: outside Blender's own, so that upgrades do not touch it."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "CloseUp"


def python_of(home: Path) -> Path:
    """The environment's interpreter, whether it exists or not."""
    return venv_python(Path(home) / "engine")


def venv_python(venv: Path) -> Path:
    """The interpreter of a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_ready(home: Path, requirements: list[Path] | None = None) -> bool:
    """Whether an installation finished here; with ``requirements``, from these very files."""
    state = _read_state(Path(home))
    if state.get("state") != "ready" or not python_of(home).exists():
        return False
    return requirements is None or state.get("requirements") == _hash(requirements)


def install(home: Path, extension_root: Path, report: Report, extra: list[Path] | None = None) -> None:
    """Make the environment, or repair and update it; does nothing when it is ready.

    home: the folder to install into. extension_root: the folder that holds engine/requirements.txt.
    report: called with one line of progress at a time. extra: further requirements files.
    Raises InstallError.
    """
    home = Path(home)
    requirements = [Path(extension_root) / "engine" / "requirements.txt", *(extra or [])]
    if is_ready(home, requirements):
        return
    _check_space(home)
    _write_state(home, "incomplete", requirements)
    uv = install_uv(home, report)
    make_venv(uv, home / "engine", requirements, report)
    report("Checking the engine")
    _call([str(python_of(home)), "-I", "-c", "import torch, cv2, pycolmap, OpenEXR"], report, "The engine does not start")
    _write_state(home, "ready", requirements)
    report("The engine is ready")


def remove(home: Path) -> None:
    """Delete the environment and its uv; nothing else in ``home`` is touched."""
    home = Path(home)
    (home / "engine.json").unlink(missing_ok=True)
    for name in ("engine", "uv"):
        shutil.rmtree(home / name, ignore_errors=True)


def install_uv(home: Path, report: Report) -> Path:
    """uv of the pinned version, in a small environment of its own."""
    venv = Path(home) / "uv"
    uv = venv_python(venv).with_name("uv.exe" if os.name == "nt" else "uv")
    if uv.exists():
        found = subprocess.run([str(uv), "--version"], capture_output=True, text=True, check=False)
        if found.stdout.split()[1:2] == [UV_VERSION]:
            return uv
    report(f"Installing uv {UV_VERSION}")
    shutil.rmtree(venv, ignore_errors=True)
    _call([_interpreter(), "-m", "venv", str(venv)], report, "A Python environment could not be made")
    pip = [str(venv_python(venv)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _call([*pip, f"uv=={UV_VERSION}"], report, "uv could not be installed")
    return uv


def make_venv(uv: Path, venv: Path, requirements: list[Path], report: Report) -> None:
    """An environment with ``requirements`` installed; an existing one is brought up to date."""
    env = {**os.environ, **uv_settings(uv)}
    if not venv_python(venv).exists():
        report(f"Making a Python {PYTHON_VERSION} environment")
        shutil.rmtree(venv, ignore_errors=True)
        _call([str(uv), "venv", "--quiet", "--python", PYTHON_VERSION, str(venv)], report, "Python could not be installed", env)
    report("Downloading and installing packages")
    command = [str(uv), "pip", "install", "--python", str(venv_python(venv))]
    for path in requirements:
        command += ["-r", str(path)]
    _call([*command, *_torch_backend(env)], report, "The packages could not be installed", env)


def uv_settings(uv: Path) -> dict[str, str]:
    """pip's settings (mirrors, local folders of wheels, offline, certificates) as uv's; what is set for uv itself wins."""
    pip = _pip_settings(venv_python(uv.parent.parent))
    result = {}
    if "index-url" in pip:
        result["UV_DEFAULT_INDEX"] = pip["index-url"]
    if "extra-index-url" in pip:
        result["UV_INDEX"] = " ".join(pip["extra-index-url"].split())
        result["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip's own: all indexes are equal
    if "find-links" in pip:
        result["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        result["UV_OFFLINE"] = "1"
        result["UV_NO_INDEX"] = "1"
    if "cert" in pip:
        result["SSL_CERT_FILE"] = pip["cert"]
    return {key: value for key, value in result.items() if key not in os.environ}


def _pip_settings(python: Path) -> dict[str, str]:
    """pip's settings from its files and environment; later lines of ``pip config list`` are stronger."""
    command = [str(python), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings = {}
    for line in sorted(listed.splitlines(), key=lambda item: (item.startswith(":env:"), item.startswith("install."))):
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"").replace("\\n", " ")
    return settings


def _torch_backend(env: dict[str, str]) -> list[str]:
    """Let uv choose torch's build for this machine's accelerator, unless a mirror or a local wheel decides."""
    folders = [Path(place) for place in env.get("UV_FIND_LINKS", "").split(",") if place and "://" not in place]
    local = any(list(folder.glob("torch-*.whl")) for folder in folders)
    if local or "UV_TORCH_BACKEND" in env or "UV_DEFAULT_INDEX" in env or "UV_NO_INDEX" in env:
        return []
    return ["--torch-backend=auto"]


def _interpreter() -> str:
    """A Python that can make environments: Blender's own, or the one that runs this."""
    base = Path(sys.executable)
    if base.name.lower().startswith("blender"):  # an embedded interpreter: sys.executable is Blender itself
        candidates = sorted(Path(sys.prefix).glob("bin/python*"))
        base = candidates[0] if candidates else Path(shutil.which("python3") or base)
    return str(base)


def _call(command: list[str], report: Report, failure: str, env: dict[str, str] | None = None) -> None:
    """Run a command, hand its lines to ``report``; its last line explains a failure."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        process = subprocess.Popen(command, env=env, text=True, errors="replace", **pipes)
    except OSError as error:
        raise InstallError(f"{failure}: {error.strerror}: {command[0]}.") from None
    said = []
    for line in process.stdout:
        if line.strip():
            said.append(line.strip())
            report(line.rstrip())
    if process.wait():
        reasons = [line for line in said if line.lower().startswith(("error", "× "))] + said[-1:] + ["no reason given"]
        raise InstallError(f"{failure} ({reasons[0][:300]}); check the network and the mirrors' settings, then install again.")


def _check_space(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise InstallError(f"{home} cannot be used ({error.strerror}); choose another folder for the engine.") from None
    if free < NEEDED_BYTES:
        needed = f"{free / 2**30:.1f} GB free and the engine needs {NEEDED_BYTES >> 30} GB"
        raise InstallError(f"{home} has {needed}; free some space or choose another folder.")


def _read_state(home: Path) -> dict:
    try:
        state = json.loads((home / "engine.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _write_state(home: Path, state: str, requirements: list[Path]) -> None:
    temporary = home / ".engine.json.tmp"
    temporary.write_text(json.dumps({"state": state, "requirements": _hash(requirements)}), encoding="utf-8")
    os.replace(str(temporary), str(home / "engine.json"))


def _hash(requirements: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in requirements:
        digest.update(path.read_bytes())
    return digest.hexdigest()
