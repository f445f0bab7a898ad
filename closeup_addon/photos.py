"""The scene's list of photos."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import bpy

from .gather import photo_background

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")


def in_folder(folder: Path) -> list[Path]:
    """The photos of a folder, by name."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def add(scene, paths: Iterable[Path]) -> int:
    """Put files on the list, each once; returns how many are new. Paths become relative to a saved .blend."""
    settings = scene.closeup
    known = {item.absolute() for item in settings.photos}
    added = 0
    for path in paths:
        if path in known or path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        item = settings.photos.add()
        item.name = path.name
        item.filepath = _relative(path)
        known.add(path)
        added += 1
    if added:
        settings.active_photo = len(settings.photos) - 1
    return added


def remove(scene, index: int) -> None:
    """Take one off the list; where it is a camera's background it is switched off, so that it is used no more."""
    settings = scene.closeup
    camera = settings.photos[index].camera
    background = photo_background(camera) if camera else None
    if background:
        background.show_background_image = False
    settings.photos.remove(index)
    settings.active_photo = max(0, min(index, len(settings.photos) - 1))


def _relative(path: Path) -> str:
    base = Path(bpy.data.filepath).parent if bpy.data.filepath else None
    return bpy.path.relpath(str(path)) if base and path.is_relative_to(base) else str(path)
