"""Where the environment's files are, on every system."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from .errors import InstallError

ENGINE, UV, PYTHON, CACHE = "engine", "uv", "python", "cache"
LOG = "install.log"
OURS = (ENGINE, UV, PYTHON, CACHE)
"""The folders of a home that an installation makes, and the only ones that removing it deletes."""
LONGEST_INSIDE = 200
"""Letters of the longest path below a home: a licence text inside torch's own."""


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
    return venv_python(Path(home) / ENGINE)


def venv_python(venv: Path) -> Path:
    """The interpreter of a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_tool(venv: Path, name: str) -> Path:
    """A program of a virtual environment."""
    return venv_python(venv).with_name(f"{name}.exe" if os.name == "nt" else name)


def site_packages(venv: Path) -> Path | None:
    """The folder of a virtual environment's packages, None when there is none."""
    found = [venv / "Lib" / "site-packages", *sorted((venv / "lib").glob("python3*/site-packages"))]
    return next((path for path in found if path.is_dir()), None)


def extended(path: Path) -> str:
    r"""A path that Windows takes at any length (``\\?\``); as it is elsewhere."""
    text = os.path.abspath(path)
    if os.name != "nt" or text.startswith("\\\\?\\"):
        return text
    return "\\\\?\\UNC\\" + text[2:] if text.startswith("\\\\") else "\\\\?\\" + text


def check_length(home: Path) -> None:
    """Raise InstallError when Python could not open the deepest files on this Windows."""
    if sys.platform != "win32" or len(os.path.abspath(home)) + LONGEST_INSIDE < 260 or _long_paths_enabled():
        return
    raise InstallError(
        f"{home} is too long a path for this Windows; choose a folder with at most {260 - LONGEST_INSIDE} letters, "
        "or let the administrator switch on long paths (LongPathsEnabled)."
    )


def _long_paths_enabled() -> bool:
    import winreg  # only Windows has it

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            return winreg.QueryValueEx(key, "LongPathsEnabled")[0] == 1
    except OSError:
        return False


def files_below(folder: Path) -> Iterator[os.DirEntry]:
    """All files below a folder, links not followed; what vanishes meanwhile is left out."""
    waiting = [extended(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        yield entry
        except OSError:
            continue


def size(*folders: Path) -> int:
    """Bytes on the disk; a file that stands in two places as a hard link counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder in folders:
        for entry in files_below(folder):
            try:
                found = os.stat(entry.path, follow_symlinks=False)  # DirEntry.stat() has no inode on Windows
            except OSError:
                continue
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_size
    return total


def delete(folder: Path) -> None:
    """Delete a folder, or a link to one but not what it points to. Raises OSError when a file is in use."""
    path = extended(folder)
    if os.path.islink(path):
        os.unlink(path)
    elif os.path.isdir(path):
        shutil.rmtree(path, **{"onexc" if sys.version_info >= (3, 12) else "onerror": _writable_then_again})


def _writable_then_again(function, path: str, error) -> None:
    """Windows refuses to delete what is read-only."""
    error = error[1] if isinstance(error, tuple) else error
    if isinstance(error, FileNotFoundError):
        return
    if os.name != "nt":
        raise error
    os.chmod(path, stat.S_IWRITE)
    function(path)
