"""The sidebar's tab "Close-up": draws what closeup_addon knows."""

from __future__ import annotations

import bpy

from . import sidebar

CLASSES = sidebar.CLASSES


def register() -> None:
    """Register every panel."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Unregister every panel."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
