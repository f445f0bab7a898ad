"""The live preview's button."""

from __future__ import annotations

import bpy

from ..closeup_addon import preview
from ..closeup_addon.errors import CloseUpError
from .common import grey, needs_engine, reported


class CLOSEUP_OT_live_preview(bpy.types.Operator):
    """Show what the photos know where the camera looks, while you move it or scrub the timeline; press again to stop"""

    bl_idname = "closeup.live_preview"
    bl_label = "Live Preview"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Grey, with the reason, until depth was measured; what is on can always be switched off."""
        if preview.live.on:
            return True
        if bpy.app.background:
            return grey(cls, "It is drawn in Blender's window, and there is none in background mode")
        try:
            preview.source(context.scene)
        except CloseUpError as error:
            return grey(cls, str(error))
        return needs_engine(cls)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Switch it on and look through the camera, or off."""
        if preview.live.on:
            preview.live.stop()
            return {"FINISHED"}
        preview.live.start(context.scene)
        scene, space = context.scene, context.space_data
        scene.camera = scene.closeup.camera or scene.camera
        if space and space.type == "VIEW_3D":
            if scene.camera and not scene.closeup.preview_free:
                space.region_3d.view_perspective = "CAMERA"
            context.area.tag_redraw()
        return {"FINISHED"}


CLASSES = (CLOSEUP_OT_live_preview,)
