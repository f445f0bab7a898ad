"""Sentences in panels: Blender's labels do not wrap by themselves."""

from __future__ import annotations

import textwrap

import bpy

from ..closeup_addon.languages import iface

LETTER = 6.6
"""Width of an average letter in pixels at a UI scale of 1."""


def wrapped(layout, context: bpy.types.Context, text: str, icon: str = "NONE", alert: bool = False) -> None:
    """Draw a text, in the user's language where it is a fixed one, over as many lines as the region's width asks for."""
    scale = context.preferences.system.ui_scale
    letters = max(16, int((context.region.width / scale - 64) / LETTER))
    column = layout.column(align=True)
    column.alert = alert
    column.scale_y = 0.8
    for index, line in enumerate(textwrap.wrap(iface(text), letters, break_long_words=True)):
        column.label(text=line, icon=icon if index == 0 else "BLANK1" if icon != "NONE" else "NONE", translate=False)
