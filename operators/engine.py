"""The engine's installation."""

from __future__ import annotations

import bpy

from ..closeup_addon import installation, preferences, pump
from .common import reported


class CLOSEUP_OT_install_engine(bpy.types.Operator):
    """Download and install the engine, with a Python of its own, outside Blender; also repairs and updates it"""

    bl_idname = "closeup.install_engine"
    bl_label = "Install Engine"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with the user's leave to go online, and once at a time."""
        if not bpy.app.online_access:
            cls.poll_message_set("Blender may not go online; allow it in Preferences > System > Network")
            return False
        if installation.state.running:
            cls.poll_message_set("The engine is being installed")
            return False
        return True

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; the panel shows how far it is."""
        installation.start(preferences.engine_folder())
        pump.start()
        return {"FINISHED"}


CLASSES = (CLOSEUP_OT_install_engine,)
