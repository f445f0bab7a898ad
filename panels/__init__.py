"""The sidebar's tab "Close-up": draws what closeup_addon knows."""

from __future__ import annotations

import bpy

from . import sidebar

CLASSES = sidebar.CLASSES

register, unregister = bpy.utils.register_classes_factory(CLASSES)
