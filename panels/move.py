"""Camera Move: the camera to follow."""

from __future__ import annotations

import bpy

from .panel import Panel


class CLOSEUP_PT_move(Panel, bpy.types.Panel):
    """The camera to follow, and a button that makes one."""

    bl_label = "Camera Move"

    def draw(self, context: bpy.types.Context) -> None:
        """Camera, then the settings of a new move."""
        layout, settings = self.layout, context.scene.closeup
        layout.use_property_split, layout.use_property_decorate = True, False
        layout.prop(settings, "camera")
        column = layout.column(align=True)
        column.prop(settings, "move_target")
        column.prop(settings, "move_zoom")
        column.prop(settings, "move_frames")
        column.prop(settings, "move_ease")
        layout.operator("closeup.add_move", icon="CON_FOLLOWPATH")


CLASSES = (CLOSEUP_PT_move,)
