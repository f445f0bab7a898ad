"""The sidebar's tab "Close-up": draws what closeup_addon knows, from top to bottom as the work goes; readable at 240 pixels."""

from __future__ import annotations

import bpy

from . import engine, generate, move, photos

CLASSES = (
    *photos.CLASSES,
    *move.CLASSES,
    *generate.CLASSES,
    *engine.CLASSES,
)
"""In the order in which they stand."""

register, unregister = bpy.utils.register_classes_factory(CLASSES)
