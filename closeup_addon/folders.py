"""Where jobs live on the disk."""

from __future__ import annotations

import os
from pathlib import Path

import bpy

from .errors import CloseUpError
from .extension import PACKAGE

MAX_NAME = 48


def new_job_folder(name: str) -> Path:
    """A new, empty folder NAME-NNN: beside the .blend, or in the extension's own when that is unsaved or read-only.

    Raises CloseUpError when neither can be written.
    """
    stem = "".join(c if c.isalnum() or c in "-_ ." else "_" for c in name).strip(" .")[:MAX_NAME] or "close-up"
    own = Path(bpy.utils.extension_path_user(PACKAGE, path="jobs", create=True))
    beside = [Path(bpy.data.filepath).parent / "closeup"] if bpy.data.filepath else []
    reason = ""
    for base in (*beside, own):
        try:
            return _numbered(base, stem)
        except OSError as error:
            reason = f"{base}: {error.strerror}"
    raise CloseUpError(f"No folder for the job can be made ({reason}); save the .blend where you may write.")


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
