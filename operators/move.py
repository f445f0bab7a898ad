"""The push-in."""

from __future__ import annotations

import math

import bpy
from bpy.props import EnumProperty, FloatProperty, IntProperty, StringProperty

from ..closeup_addon import coverage, gather, moves, properties, pump
from ..closeup_addon.errors import CloseUpError
from .common import grey, reported
from .pick import PicksPoint


class CLOSEUP_OT_add_move(bpy.types.Operator):
    """Add a camera that moves from the best photo's place toward a surface, and make it the close-up's camera"""

    bl_idname = "closeup.add_move"
    bl_label = "Add Close-up Move"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    target: EnumProperty(name="Toward", description="What the move goes to", items=properties.TARGETS)
    zoom: FloatProperty(name="Zoom", description="How many times closer the move ends", default=4.0, min=1.0, max=64.0)
    distance: FloatProperty(
        name="Distance",
        description="From the target at the end, instead of the zoom; 0: by the zoom",
        min=0.0,
        subtype="DISTANCE",
    )
    arc: FloatProperty(
        name="Arc",
        description="How far the move goes around its target, to the right; to the left when negative",
        min=-math.pi,
        max=math.pi,
        subtype="ANGLE",
    )
    frames: IntProperty(name="Frames", description="Length of the move", default=48, min=2, max=100_000)
    ease: EnumProperty(name="Ease", description="How the move speeds up and slows down", items=properties.EASES)
    camera: StringProperty(name="Camera", description="Name of a camera to animate; a new one when empty")

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Grey until a photo has a camera."""
        if gather.count_photos(context.scene)[1]:
            return True
        return grey(cls, "No photo has a camera yet; solve the cameras first")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """From the panel: with its settings."""
        settings = context.scene.closeup
        self.target, self.zoom, self.distance = settings.move_target, settings.move_zoom, settings.move_distance
        self.arc, self.frames, self.ease = settings.move_arc, settings.move_frames, settings.move_ease
        return self.execute(context)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add the camera and its keys, and look at what the photos know of the move."""
        scene = context.scene
        target = moves.target_point(scene, self.target, context.active_object)
        given = scene.objects.get(self.camera) if self.camera else None
        if self.camera and (given is None or given.type != "CAMERA"):
            raise CloseUpError(f"The scene has no camera named {self.camera}; choose another.")
        settings = {"zoom": self.zoom, "distance": self.distance, "arc": self.arc, "frames": self.frames, "ease": self.ease}
        camera = moves.add_move(scene, target, camera=given, **settings)
        scene.closeup.camera = scene.camera = camera
        scene.frame_end = max(scene.frame_start + self.frames - 1, scene.frame_start)
        if coverage.newest_cloud(scene) and not bpy.app.background:
            coverage.begin(scene)
            pump.start()
        return {"FINISHED"}


class CLOSEUP_OT_pick_target(PicksPoint, bpy.types.Operator):
    """Click a point of the cloud or of a surface: the 3D cursor goes there, and the move toward it"""

    bl_idname = "closeup.pick_target"
    bl_label = "Pick Target"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set both."""
        context.scene.cursor.location = self.location
        context.scene.closeup.move_target = "CURSOR"
        return {"FINISHED"}


class CLOSEUP_OT_check_move(bpy.types.Operator):
    """Tell how far the move zooms beyond the photos and how much of its frames they have seen"""

    bl_idname = "closeup.check_move"
    bl_label = "Check Move"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """It needs a camera's move and a cloud."""
        if not (context.scene.closeup.camera or context.scene.camera):
            return grey(cls, "The scene has no camera")
        if coverage.newest_cloud(context.scene) is None:
            return grey(cls, "There is no point cloud yet; solve the cameras, or generate a close-up")
        return True

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """In a thread; the panel shows what it finds."""
        check = coverage.begin(context.scene)
        if bpy.app.background:
            check.wait()
            if check.error:
                raise CloseUpError(check.error)
            self.report({"INFO"}, "; ".join(coverage.summary(check.rows)))
        pump.start()
        return {"FINISHED"}


CLASSES = (CLOSEUP_OT_add_move, CLOSEUP_OT_pick_target, CLOSEUP_OT_check_move)
