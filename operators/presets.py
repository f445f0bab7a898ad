"""Presets of the Generate panel's settings, kept where Blender keeps its own."""

from __future__ import annotations

import bpy
from bl_operators.presets import AddPresetBase

FOLDER = "closeup"


class CLOSEUP_OT_add_preset(AddPresetBase, bpy.types.Operator):
    """Add or remove a preset of the settings of close-ups"""

    bl_idname = "closeup.add_preset"
    bl_label = "Add Close-up Preset"
    preset_menu = "CLOSEUP_PT_presets"
    preset_subdir = FOLDER
    preset_defines = ("settings = bpy.context.scene.closeup",)
    preset_values = tuple(f"settings.{name}" for name in ("percentage", "backend", "steps", "output", "photo_size"))


CLASSES = (CLOSEUP_OT_add_preset,)
