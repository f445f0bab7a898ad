"""The buttons: check, call closeup_addon, report."""

from __future__ import annotations

import bpy

from . import engine, generate, move, photos, shots

CLASSES = (
    *generate.CLASSES,
    *photos.CLASSES,
    *move.CLASSES,
    *shots.CLASSES,
    *engine.CLASSES,
)


def register() -> None:
    """Register every operator."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Unregister every operator."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
