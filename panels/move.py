"""Camera Move: the camera to follow."""

from __future__ import annotations

import bpy

from ..closeup_addon import coverage, preview
from ..closeup_addon.languages import iface
from .panel import Panel
from .text import wrapped


class CLOSEUP_PT_move(Panel, bpy.types.Panel):
    """The camera to follow, a button that makes one, and what the photos know of its move."""

    bl_label = "Camera Move"

    def draw(self, context: bpy.types.Context) -> None:
        """Camera, the settings of a new move, the readout."""
        layout, settings = self.layout, context.scene.closeup
        column = layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(settings, "camera")
        column = column.column(align=True)
        row = column.row(align=True)
        row.prop(settings, "move_target")
        row.operator("closeup.pick_target", text="", icon="EYEDROPPER")
        zoom = column.row(align=True)
        zoom.active = settings.move_distance == 0.0
        zoom.prop(settings, "move_zoom")
        for name in ("move_distance", "move_arc", "move_frames", "move_ease"):
            column.prop(settings, name)
        layout.operator("closeup.add_move", icon="CON_FOLLOWPATH")
        _draw_preview(layout, context)
        layout.operator("closeup.check_move", icon="VIEWZOOM")
        check = coverage.latest
        if check and coverage.belongs_to(context.scene):
            for line in (iface("Looking at the move"),) if check.running else coverage.summary(check.rows):
                layout.label(text=line, translate=False)
            if check.error:
                wrapped(layout, context, check.error, icon="ERROR", alert=True)


def _draw_preview(layout, context: bpy.types.Context) -> None:
    """The live preview's button; its settings and how it stands while it is on."""
    live, settings = preview.live, context.scene.closeup
    column = layout.column(align=True)
    column.operator("closeup.live_preview", icon="HIDE_OFF" if live.on else "HIDE_ON", depress=live.on)
    if live.on:
        column.prop(settings, "preview_opacity", slider=True)
        column.prop(settings, "preview_free", toggle=True)
    if live.status:
        wrapped(layout, context, live.status, icon="INFO" if live.on else "ERROR", alert=not live.on)


CLASSES = (CLOSEUP_PT_move,)
