"""The sidebar's tab "Close-up": draws what closeup_addon knows, from top to bottom as the work goes; readable at 240 pixels."""

from __future__ import annotations

import bpy

from . import engine, generate, geometry, move, photos, shots

CLASSES = (
    *photos.CLASSES,
    *geometry.CLASSES,
    *move.CLASSES,
    *generate.CLASSES,
    *shots.CLASSES,
    *engine.CLASSES,
)
"""In the order in which they stand."""

register, unregister = bpy.utils.register_classes_factory(CLASSES)
