"""Small pictures of photos and frames. Blender reads them in its own thread; drawing a panel never touches a file."""

from __future__ import annotations

import time
from pathlib import Path

import bpy
import bpy.utils.previews

MISSING_SECONDS = 5.0
"""How long a file that was not there is not looked for again."""

_collection = None
_wanted: set[str] = set()
_missing: dict[str, float] = {}


def icon(item) -> int:
    """The icon of a photo on the list; 0 until it is there. Cheap enough for every redraw."""
    if item.image:
        preview = item.image.preview_ensure()
        return preview.icon_id if preview else 0
    return icon_of(str(item.absolute())) if item.filepath else 0


def icon_of(path: str) -> int:
    """The icon of a picture file; 0 until it is there."""
    if _collection is None:
        return 0
    if path in _collection:
        return _collection[path].icon_id
    if path not in _wanted and time.monotonic() > _missing.get(path, 0.0):
        _wanted.add(path)
        if not bpy.app.background and not bpy.app.timers.is_registered(_load_wanted):
            bpy.app.timers.register(_load_wanted, first_interval=0.05)
    return 0


def is_missing(item) -> bool:
    """Whether the photo's file was not there when its picture was wanted."""
    return not item.image and bool(item.filepath) and str(item.absolute()) in _missing


def _load_wanted() -> None:
    """Announce the pictures that panels asked for; Blender reads each when it is first drawn, in its own thread."""
    for path in sorted(_wanted):
        _missing.pop(path, None)
        if not Path(path).is_file():
            _missing[path] = time.monotonic() + MISSING_SECONDS
        elif path not in _collection:
            _collection.load(path, path, "IMAGE")
    _wanted.clear()
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def register() -> None:
    """An empty collection."""
    global _collection
    _collection = bpy.utils.previews.new()


def unregister() -> None:
    """Free the pictures."""
    global _collection
    if bpy.app.timers.is_registered(_load_wanted):
        bpy.app.timers.unregister(_load_wanted)
    _wanted.clear()
    _missing.clear()
    bpy.utils.previews.remove(_collection)
    _collection = None
