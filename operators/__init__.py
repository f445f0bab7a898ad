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

register, unregister = bpy.utils.register_classes_factory(CLASSES)
