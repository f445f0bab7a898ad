"""Registers everything, in order, and takes it back in the opposite one."""

from __future__ import annotations

from .. import operators, panels
from . import (
    command_line,
    extension,
    history,
    languages,
    overlay,
    photo_paths,
    preferences,
    presets,
    preview_draw,
    properties,
    pump,
    thumbnails,
)

_PARTS = (
    languages,
    presets,
    preferences,
    properties,
    history,
    photo_paths,
    thumbnails,
    operators,
    panels,
    overlay,
    preview_draw,
    pump,
    command_line,
)


def register() -> None:
    """Called by Blender when the extension is enabled. No file is written and nothing is fetched here."""
    extension.open_log()
    for part in _PARTS:
        part.register()


def unregister() -> None:
    """Called by Blender when the extension is disabled and when Blender quits."""
    for part in reversed(_PARTS):
        part.unregister()
    extension.close_log()
