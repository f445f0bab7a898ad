"""Engine: its state and its installation."""

from __future__ import annotations

import bpy

from ..closeup_addon import installation, preferences
from .panel import Panel
from .text import wrapped


class CLOSEUP_PT_engine(Panel, bpy.types.Panel):
    """The engine's state."""

    bl_label = "Engine"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """State and the button that installs."""
        layout = self.layout
        ready = preferences.has_engine()
        wrapped(layout, context, preferences.engine_status(), icon="CHECKMARK" if ready else "INFO")
        if installation.state.error:
            wrapped(layout, context, installation.state.error, icon="ERROR", alert=True)
        draw_install(layout, context)
        found = preferences.get()
        if found:
            column = layout.column()
            column.use_property_split, column.use_property_decorate = True, False
            column.prop(found, "device")


def draw_install(layout, context: bpy.types.Context) -> None:
    """The button, and Blender's own switch where that is what keeps it grey."""
    if not bpy.app.online_access:
        layout.prop(context.preferences.system, "use_online_access", text="Allow Online Access")
    layout.operator("closeup.install_engine", icon="IMPORT")


CLASSES = (CLOSEUP_PT_engine,)
