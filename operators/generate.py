"""The main button, the one before it, and the one that stops them."""

from __future__ import annotations

import bpy
from bpy.props import FloatProperty, IntProperty, StringProperty

from ..closeup_addon import api, gather, preferences
from ..closeup_addon.errors import CloseUpError
from ..closeup_addon.jobs import queue
from ..closeup_addon.languages import iface
from .common import grey, needs_engine, reported

_FRESH = {"SKIP_SAVE"}
"""A button means the panel's settings, not what a script asked for before."""


def _can_begin(cls, context: bpy.types.Context) -> bool:
    if not gather.count_photos(context.scene)[0]:
        return grey(cls, "There are no photos; add some, or give cameras photos as background images")
    return needs_engine(cls) and _has_models(cls, context)


def _has_models(cls, context: bpy.types.Context) -> bool:
    """Scripts may name other models than the panel."""
    if bpy.app.background:
        return True
    try:
        preferences.check_models(context.scene.closeup.models())
    except CloseUpError as error:
        return grey(cls, str(error))
    return True


def _can_make_frames(cls, context: bpy.types.Context) -> bool:
    """Scripts in background mode may give a camera and photos that the scene does not hold."""
    if bpy.app.background:
        return True
    if not any(data.users for data in bpy.data.cameras):  # deleted ones stay for a while
        return grey(cls, "There is no camera yet; Solve Cameras and Add Close-up Move make one")
    # without a known one, the photos' world has nothing to do with the scene's, nor with its camera
    return gather.count_photos(context.scene)[1] > 0 or grey(cls, "No photo has a camera yet; solve the cameras first")


def camera_named(scene, name: str):
    """The camera object of that name, None for an empty one. Raises CloseUpError."""
    found = scene.objects.get(name) if name else None
    if name and (found is None or found.type != "CAMERA"):
        raise CloseUpError(f"The scene has no camera named {name}; choose another.")
    return found


class _Job:
    """What the two operators that run a job share. In background mode they wait; in the interface they never do."""

    bl_options = {"REGISTER"}  # noqa: RUF012 - Blender's way

    name: StringProperty(options=_FRESH, name="Name", description="Name of the shot and its folder; the camera's when empty")
    folder: StringProperty(
        options=_FRESH,
        name="Folder",
        description="Folder for the job; a new one beside the .blend when empty",
        subtype="DIR_PATH",
    )
    focal_35mm: FloatProperty(
        options=_FRESH,
        name="Focal Length",
        description="35 mm equivalent of photos that do not tell; 0: the panel's setting",
        min=0.0,
    )
    max_size: IntProperty(
        options=_FRESH,
        name="Photo Size",
        description="Photos are shrunk to this many pixels on the long side; 0: the engine's choice",
        min=0,
    )

    geometry: StringProperty(
        options=_FRESH,
        name="Depth",
        description="auto, stereo (measure it, also where it is given), given, or a learned model; empty: the panel's",
    )
    matcher: StringProperty(options=_FRESH, name="Matching", description="sift or a learned model; empty: the panel's")

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Grey, with the reason, until there are photos and an engine."""
        return _can_begin(cls, context)

    def given(self) -> dict:
        """What both jobs take."""
        folder = bpy.path.abspath(self.folder) if self.folder else None
        return {
            "name": self.name,
            "folder": folder,
            "focal_35mm": self.focal_35mm or None,
            "max_size": self.max_size or None,
            "geometry": self.geometry or None,
            "matcher": self.matcher or None,
            "block": bpy.app.background,
        }

    def told(self, shot: api.Shot) -> set[str]:
        """Report how it stands."""
        if shot.ended:
            for warning in shot.warnings:
                self.report({"WARNING"}, warning)
            self.report({"INFO"}, f"{shot.message}: {shot.folder}")
        else:
            self.report({"INFO"}, iface("“{}” has begun; the Close-up tab shows how far it is", shot.name))
        return {"FINISHED"}


class CLOSEUP_OT_generate(_Job, bpy.types.Operator):
    """Make the frames that the camera would have seen, from the photos; a process of its own does the work"""

    bl_idname = "closeup.generate"
    bl_label = "Generate Close-up"

    camera: StringProperty(
        options=_FRESH, name="Camera", description="Name of the camera object; the panel's, else the scene's, when empty"
    )
    frame_start: IntProperty(options=_FRESH, name="Start", description="First frame; -1: the panel's range", default=-1)
    frame_end: IntProperty(options=_FRESH, name="End", description="Last frame; -1: the panel's range", default=-1)
    frame_step: IntProperty(
        options=_FRESH, name="Step", description="Every how many frames; 0: the panel's step", default=0, min=0
    )
    width: IntProperty(options=_FRESH, name="Width", description="Pixels; 0: the render's", default=0, min=0)
    height: IntProperty(options=_FRESH, name="Height", description="Pixels; 0: the render's", default=0, min=0)
    seed: IntProperty(options=_FRESH, name="Seed", description="-1: the panel's", default=-1, min=-1)
    steps: IntProperty(options=_FRESH, name="Steps", description="Passes of the generator; 0: the panel's", default=0, min=0)
    backend: StringProperty(options=_FRESH, name="Generator", description="embedded or none; empty: the panel's")
    output: StringProperty(options=_FRESH, name="Format", description="png or exr; empty: the panel's")

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """As for a solve, and with a camera to follow among the photos."""
        return super().poll(context) and _can_make_frames(cls, context)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Queue the job; in background mode, run it."""
        scene = context.scene
        shot = api.generate(
            scene,
            camera_named(scene, self.camera),
            frames=self._frames(scene),
            width=self.width,
            height=self.height,
            seed=None if self.seed < 0 else self.seed,
            steps=self.steps or None,
            backend=self.backend or None,
            output=self.output or None,
            **self.given(),
        )
        return self.told(shot)

    def _frames(self, scene) -> range:
        start, end, step = scene.closeup.frame_range()
        start = start if self.frame_start < 0 else self.frame_start
        end = end if self.frame_end < 0 else self.frame_end
        return range(start, end + 1, self.frame_step or step)


class CLOSEUP_OT_preview_frame(bpy.types.Operator):
    """Make the current frame only, small, and show it over the camera's view; depth that it measures is used again"""

    bl_idname = "closeup.preview_frame"
    bl_label = "Preview Frame"

    camera: StringProperty(
        options=_FRESH, name="Camera", description="Name of the camera object; the panel's, else the scene's, when empty"
    )
    size: IntProperty(
        options=_FRESH, name="Size", description="Pixels of the long side", default=api.PREVIEW_SIDE, min=16, max=16384
    )
    max_size: IntProperty(
        options=_FRESH, name="Photo Size", description="As for a close-up; 0: the panel's setting", default=0, min=0
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """As for a close-up."""
        return _can_begin(cls, context) and _can_make_frames(cls, context)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Queue the job and look through the camera; in background mode, run it."""
        scene, background = context.scene, bpy.app.background
        camera = camera_named(scene, self.camera)
        shot = api.preview_frame(scene, camera, size=self.size, max_size=self.max_size or None, block=background)
        if not background and context.space_data and context.space_data.type == "VIEW_3D":
            scene.camera = camera or scene.closeup.camera or scene.camera
            context.space_data.region_3d.view_perspective = "CAMERA"
        self.report({"INFO"}, shot.message if shot.ended else iface("The preview appears over the camera's view"))
        return {"FINISHED"}


class CLOSEUP_OT_solve_cameras(_Job, bpy.types.Operator):
    """Find out where the photos were taken; every photo becomes a camera, and the points found a sparse cloud"""

    bl_idname = "closeup.solve_cameras"
    bl_label = "Solve Cameras"

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Queue the job; in background mode, run it."""
        return self.told(api.solve_cameras(context.scene, **self.given()))


class CLOSEUP_OT_build_cloud(_Job, bpy.types.Operator):
    """Measure the photos' depth and fuse it into one coloured point cloud, without making any frames"""

    bl_idname = "closeup.build_cloud"
    bl_label = "Build Cloud"

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Queue the job; in background mode, run it."""
        return self.told(api.solve_cameras(context.scene, dense=True, **self.given()))


class CLOSEUP_OT_cancel(bpy.types.Operator):
    """Stop the running close-up; finished frames stay, and Continue goes on with it"""

    bl_idname = "closeup.cancel"
    bl_label = "Cancel"

    folder: StringProperty(
        options=_FRESH, name="Folder", description="Folder of the shot; the running one's when empty", subtype="DIR_PATH"
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only while something runs."""
        return queue.active is not None or grey(cls, "Nothing is running")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Cancel the shot that was asked for, else the one that is being worked on."""
        shot = queue.running(bpy.path.abspath(self.folder)) if self.folder else queue.active
        if shot:
            queue.cancel(shot)
        return {"FINISHED"}


CLASSES = (CLOSEUP_OT_generate, CLOSEUP_OT_preview_frame, CLOSEUP_OT_solve_cameras, CLOSEUP_OT_build_cloud, CLOSEUP_OT_cancel)
