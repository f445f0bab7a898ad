"""The buttons: check, call closeup_addon, report."""

from __future__ import annotations

import bpy

from . import align, diagnostics, engine, exchange, generate, move, outputs, photos, presets, preview, scans, shots

CLASSES = (
    *generate.CLASSES,
    *photos.CLASSES,
    *align.CLASSES,
    *exchange.CLASSES,
    *scans.CLASSES,
    *move.CLASSES,
    *preview.CLASSES,
    *shots.CLASSES,
    *outputs.CLASSES,
    *presets.CLASSES,
    *engine.CLASSES,
    *diagnostics.CLASSES,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
