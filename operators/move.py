"""The push-in."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty, FloatProperty, IntProperty, StringProperty

from ..closeup_addon import gather, moves, properties
from .common import reported


class CLOSEUP_OT_add_move(bpy.types.Operator):
    """Add a camera that moves from the best photo's place toward a surface, and make it the close-up's camera"""

    bl_idname = "closeup.add_move"
    bl_label = "Add Close-up Move"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    target: EnumProperty(name="Toward", description="What the move goes to", items=properties.TARGETS)
    zoom: FloatProperty(name="Zoom", description="How many times closer the move ends", default=4.0, min=1.0, max=64.0)
    frames: IntProperty(name="Frames", description="Length of the move", default=48, min=2, max=100_000)
    ease: EnumProperty(name="Ease", description="How the move speeds up and slows down", items=properties.EASES)
    camera: StringProperty(name="Camera", description="Name of a camera to animate; a new one when empty")

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Grey until a photo has a camera."""
        if gather.count_photos(context.scene)[1]:
            return True
        cls.poll_message_set("No photo has a camera yet; solve the cameras first")
        return False

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """From the panel: with its settings."""
        settings = context.scene.closeup
        self.target, self.zoom = settings.move_target, settings.move_zoom
        self.frames, self.ease = settings.move_frames, settings.move_ease
        return self.execute(context)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add the camera and its keys."""
        scene = context.scene
        target = moves.target_point(scene, self.target, context.active_object)
        given = scene.objects.get(self.camera) if self.camera else None
        camera = moves.add_move(scene, target, zoom=self.zoom, frames=self.frames, ease=self.ease, camera=given)
        scene.closeup.camera = scene.camera = camera
        scene.frame_end = max(scene.frame_start + self.frames - 1, scene.frame_start)
        return {"FINISHED"}


CLASSES = (CLOSEUP_OT_add_move,)
