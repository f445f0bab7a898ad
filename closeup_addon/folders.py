"""Where jobs live on the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import bpy

from . import record
from .errors import CloseUpError
from .extension import PACKAGE

MAX_NAME = 48
_GEOMETRY = ("photos/*.png", "geometry/*.*", "cameras.json", "cloud.ply")
"""What the stages before the frames leave."""
_MARKS = tuple(f".closeup/{stage}{suffix}" for stage in ("cameras", "depth", "cloud") for suffix in (".started", ".json"))
"""What says that it is there, and from which inputs."""


def new_job_folder(name: str) -> Path:
    """A new, empty folder NAME-NNN: beside the .blend, or in the extension's own when that is unsaved or read-only.

    Raises CloseUpError when neither can be written.
    """
    stem = "".join(c if c.isalnum() or c in "-_ ." else "_" for c in name).strip(" .")[:MAX_NAME] or "close-up"
    reason = ""
    for base in bases():
        try:
            return _numbered(base, stem)
        except OSError as error:
            reason = f"{base}: {error.strerror}"
    raise CloseUpError(f"No folder for the job can be made ({reason}); save the .blend where you may write.")


def bases() -> list[Path]:
    """The folders that hold job folders: that beside a saved .blend, then the extension's own."""
    own = Path(bpy.utils.extension_path_user(PACKAGE, path="jobs"))
    beside = [Path(bpy.data.filepath).parent / "closeup"] if bpy.data.filepath else []
    return [*beside, own]


def beside(folder: Path) -> Path:
    """A new folder beside another job's, with the photos that were written into that one; so all its paths hold here.

    Raises CloseUpError.
    """
    stem, _, number = folder.name.rpartition("-")
    try:
        new = _numbered(folder.parent, stem if stem and number.isdigit() else folder.name)
        if (folder / "photos-in").is_dir():
            shutil.copytree(folder / "photos-in", new / "photos-in")
    except OSError as error:
        raise CloseUpError(
            f"No folder can be made in {folder.parent} ({error.strerror}); check that you may write there."
        ) from None
    return new


def preview_folder() -> Path:
    """The one folder of Preview Frame: used again, so that depth is measured once. Raises CloseUpError."""
    reason = ""
    for base in bases():
        folder = base / record.PREVIEW
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
        except OSError as error:
            reason = f" ({error.strerror})"
    raise CloseUpError(f"No folder for the preview can be made{reason}; save the .blend where you may write.")


def inherit(folder: Path, parent: Path) -> None:
    """Give a new job what another one beside it has measured: cameras, depth and cloud.

    The engine compares the inputs' hashes and makes anew what differs. The files are linked, not copied, and the engine
    replaces files but never changes them; where the disk knows no links nothing is given.
    """
    with contextlib.suppress(OSError):
        if parent.parent != folder.parent or not _is_older(folder, parent):
            return
        for mark in _MARKS:  # before what they vouch for is exchanged
            (folder / mark).unlink(missing_ok=True)
        for name in (*_GEOMETRY, *_MARKS):
            for path in sorted(parent.glob(name)):
                target = folder / path.relative_to(parent)
                if path.is_file() and not path.is_symlink():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.unlink(missing_ok=True)
                    os.link(path, target)


def _is_older(folder: Path, parent: Path) -> bool:
    """Whether a folder has measured nothing yet, or it is the preview's and the other one has measured something since."""
    own, other = (item / ".closeup" / "depth.json" for item in (folder, parent))
    if folder.name != record.PREVIEW:
        return not own.parent.exists()
    return not own.exists() or own.stat().st_mtime < other.stat().st_mtime


def _numbered(base: Path, stem: str) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    if not os.access(base, os.W_OK):
        raise PermissionError(13, "Permission denied")
    taken = [path.name.rpartition("-")[2] for path in base.glob("*") if path.name.startswith(f"{stem}-")]
    number = max((int(item) for item in taken if item.isdigit()), default=0) + 1
    while True:
        folder = base / f"{stem}-{number:03d}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
