"""A shot's frames where they are wanted: strip, movie, plane, compositor, Image Editor."""

from __future__ import annotations

import time
from pathlib import Path

import bpy
from bpy.props import EnumProperty, FloatProperty, StringProperty

from ..closeup_addon import movies, outputs, pump
from ..closeup_addon.errors import CloseUpError
from ..closeup_addon.languages import iface
from .common import needs_engine, reported
from .shots import OfShot

_UNDO = {"REGISTER", "UNDO"}


class CLOSEUP_OT_add_strip(OfShot, bpy.types.Operator):
    """Add the shot's frames to the video sequencer, each at its own frame"""

    bl_idname = "closeup.add_strip"
    bl_label = "Add Video Strip"
    bl_options = _UNDO

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add it."""
        strip = outputs.add_strip(context.scene, self.place(context))
        self.report({"INFO"}, iface("“{}” is in the sequencer, channel {}", strip.name, strip.channel))
        return {"FINISHED"}


class CLOSEUP_OT_add_plane(OfShot, bpy.types.Operator):
    """Add a plane before the camera that shows the shot's frames without light"""

    bl_idname = "closeup.add_plane"
    bl_label = "Add Image Plane"
    bl_options = _UNDO

    distance: FloatProperty(
        name="Distance", description="From the camera; 0: near the camera", default=0.0, min=0.0, subtype="DISTANCE"
    )

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add it to the first camera that the shot was made for."""
        followed = self.followed(context)
        outputs.add_plane(context.scene, self.place(context), followed[0] if followed else None, self.distance)
        return {"FINISHED"}


class CLOSEUP_OT_add_passes(OfShot, bpy.types.Operator):
    """Add the shot's colour, depth and provenance to the scene's compositor"""

    bl_idname = "closeup.add_passes"
    bl_label = "Add to Compositor"
    bl_options = _UNDO

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add the nodes."""
        nodes = outputs.add_passes(context.scene, self.place(context))
        self.report({"INFO"}, iface("{} image nodes added to the compositor", len(nodes)))
        return {"FINISHED"}


class CLOSEUP_OT_show_in_editor(OfShot, bpy.types.Operator):
    """Show the shot's frames, or how each pixel is known, in an Image Editor"""

    bl_idname = "closeup.show_in_editor"
    bl_label = "Show in Image Editor"

    kind: EnumProperty(
        name="What",
        description="Which of the shot's pictures",
        items=(
            ("frames", "Frames", "The close-up"),
            ("depth", "Depth", "Distance along the view, in scene units"),
            ("provenance", "Provenance", "Green: seen in full resolution; yellow to red: ever coarser; magenta: generated"),
            ("condition", "Condition", "What the photos alone show; holes are transparent"),
        ),
    )

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Show it."""
        outputs.show_in_editor(context.scene, self.place(context), self.kind)
        return {"FINISHED"}


class CLOSEUP_OT_write_movie(OfShot, bpy.types.Operator):
    """Write the shot's frames as a movie file (H.264); Blender stays free meanwhile"""

    bl_idname = "closeup.write_movie"
    bl_label = "Write Movie"

    filepath: StringProperty(name="File", description="An .mp4, .mov or .mkv file", subtype="FILE_PATH", options={"SKIP_SAVE"})
    fps: FloatProperty(name="Frame Rate", description="Frames per second; 0: the scene's", default=0.0, min=0.0, max=1000.0)
    check_existing: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    filter_glob: StringProperty(default="*.mp4;*.mov;*.mkv", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """It needs a shot and the engine, which encodes."""
        return super().poll(context) and needs_engine(cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let the user choose the file."""
        folder = self.place(context)
        self.filepath = str(folder / f"{folder.name}.mp4")
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in background mode, wait."""
        folder, render = self.place(context), context.scene.render
        target = Path(bpy.path.abspath(self.filepath)) if self.filepath else folder / f"{folder.name}.mp4"
        movie = movies.write(folder, target, self.fps or render.fps / render.fps_base)
        if not bpy.app.background:
            pump.start()
            self.report({"INFO"}, iface("Writing {}", target.name))
            return {"FINISHED"}
        while movie.running:
            time.sleep(0.02)
        if movie.error:
            raise CloseUpError(movie.error)
        self.report({"INFO"}, iface("Movie written: {}", target))
        return {"FINISHED"}


CLASSES = (
    CLOSEUP_OT_add_strip,
    CLOSEUP_OT_add_plane,
    CLOSEUP_OT_add_passes,
    CLOSEUP_OT_show_in_editor,
    CLOSEUP_OT_write_movie,
)
