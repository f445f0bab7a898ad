"""Paths of photos and scans, relative where they belong to the .blend.

Save As in another folder: the lists' relative paths go on naming the same files, as Blender sees to for its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import bpy
from bpy.app.handlers import persistent

_before: list[tuple] = []
"""(item, name of the property, its text) as they were before the file that is being saved."""


def relative(path: Path) -> str:
    """As the .blend stores it: relative where the file lies beside or below it."""
    base = Path(bpy.data.filepath).parent if bpy.data.filepath else None
    return bpy.path.relpath(str(path)) if base and path.is_relative_to(base) else str(path)


def portable(path: Path, folder: Path) -> str:
    """As a job stores it: relative to the job's folder where both belong to the .blend, so that they move together."""
    base = Path(bpy.data.filepath).parent if bpy.data.filepath else folder
    if path.is_relative_to(base) and folder.is_relative_to(base):
        return Path(os.path.relpath(path, folder)).as_posix()
    return str(path)


def _relative_ones() -> Iterator[tuple]:
    for scene in bpy.data.scenes:
        if scene.library is None:
            photos = [(item, name) for item in scene.closeup.photos for name in ("filepath", "depth")]
            for item, name in photos + [(item, "filepath") for item in scene.closeup.scans]:
                text = getattr(item, name)
                if text.startswith("//"):
                    yield item, name, text


@persistent
def _saving(path: str, *_) -> None:
    _before.clear()
    if not (path and bpy.data.filepath) or Path(path).parent == Path(bpy.data.filepath).parent:
        return
    _before.extend(_relative_ones())
    for item, name, text in _before:
        setattr(item, name, _from(Path(path).parent, bpy.path.abspath(text)))


@persistent
def _saved(path: str, *_) -> None:
    if bpy.data.filepath != path:  # a copy was saved; the open file is where it was
        for item, name, text in _before:
            setattr(item, name, text)
    _before.clear()


def _from(folder: Path, path: str) -> str:
    """Seen from another folder; absolute where no way leads there, as between drives."""
    try:
        return bpy.path.relpath(path, start=str(folder))
    except ValueError:
        return path


def register() -> None:
    """Watch files being saved."""
    bpy.app.handlers.save_pre.append(_saving)
    bpy.app.handlers.save_post.append(_saved)


def unregister() -> None:
    """Watch no more."""
    bpy.app.handlers.save_pre.remove(_saving)
    bpy.app.handlers.save_post.remove(_saved)
