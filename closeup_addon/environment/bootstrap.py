"""uv, the installer, in a small environment of its own; and what only developers need of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

from . import places, plan, settings
from .errors import InstallError
from .home_folder import opened
from .process import Programs
from .reporter import Reporter


def install_uv(home: Path, root: Path, reporter: Reporter, programs: Programs, wheels: Path | None = None) -> Path:
    """uv of the locked version, in a small environment of its own, from the package index through pip."""
    lock = Path(root) / "engine" / "locks" / "uv.txt"
    version = plan.read_lock(lock)[0].version
    venv, env = Path(home) / places.UV, settings.clean_environment()
    uv = places.venv_tool(venv, "uv")
    with contextlib.suppress(InstallError):  # one that was written half, or whose Python went with an old Blender
        programs.run([places.venv_python(venv), "-c", "import pip"], "pip does not work", env, quiet=True)
        if f"uv {version}" in programs.run([uv, "--version"], "uv does not work", env, quiet=True)[0]:
            return uv
    reporter.progress(0.0, f"Installing uv {version}")
    reporter.line(f"Installing uv {version}")
    places.delete(venv)
    programs.run([interpreter(), "-m", "venv", venv], "A Python environment could not be made", env)
    source = ["--no-index", "--find-links", wheels] if wheels else []
    pip = [places.venv_python(venv), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    programs.run([*pip, *source, "--require-hashes", "--no-deps", "-r", lock], "uv could not be installed", env)
    return uv


def uv_of(home: Path, root: Path, reporter: Reporter) -> Path:
    """uv alone, for developers."""
    with opened(home, reporter) as (home, reporter, lock):
        return install_uv(home, root, reporter, Programs(home, reporter, lock))


def make_venv(home: Path, root: Path, venv: Path, requirements: Path, reporter: Reporter) -> None:
    """A virtual environment for developers, beside the engine's: no lock file, uv's own cache."""
    with opened(home, reporter) as (home, reporter, lock):
        programs = Programs(home, reporter, lock)
        uv = install_uv(home, root, reporter, programs)
        env = settings.uv_environment(home, places.venv_python(home / places.UV))
        if "UV_CACHE_DIR" not in os.environ:
            del env["UV_CACHE_DIR"]
        if not places.venv_python(venv).exists():
            places.delete(venv)
            programs.run([uv, "venv", "--quiet", "--python", plan.PYTHON_VERSION, venv], "Python could not be installed", env)
        command = [uv, "pip", "install", "--python", places.venv_python(venv), "-r", requirements]
        programs.run(command, "The packages could not be installed", env)


def interpreter() -> str:
    """A Python that can make environments: Blender's own, or the one that runs this."""
    base = Path(sys.executable)
    if base.name.lower().startswith("blender"):  # an embedded interpreter: sys.executable is Blender itself
        candidates = sorted(Path(sys.prefix).glob("bin/python*"))
        base = candidates[0] if candidates else Path(shutil.which("python3") or base)
    return str(base)
