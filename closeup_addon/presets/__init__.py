"""Ready-made presets of the Generate panel, beside the user's own: one file each in ``closeup/``, as Blender writes them."""

from __future__ import annotations

import bpy

from ..extension import ROOT

FOLDER = str(ROOT / "closeup_addon")


def register() -> None:
    """Let Blender find them."""
    bpy.utils.register_preset_path(FOLDER)


def unregister() -> None:
    """Let it forget them."""
    bpy.utils.unregister_preset_path(FOLDER)
