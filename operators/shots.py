"""What to do with results."""

from __future__ import annotations

import bpy
from bpy.props import StringProperty

from ..closeup_addon import api
from ..closeup_addon.jobs import queue
from .common import reported


class CLOSEUP_OT_import_result(bpy.types.Operator):
    """Bring the frames, the cloud and the cameras of a job's folder into the scene"""

    bl_idname = "closeup.import_result"
    bl_label = "Import Result"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    directory: StringProperty(name="Folder", description="Folder of the job", subtype="DIR_PATH")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let the user choose the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Read and place."""
        api.import_result(bpy.path.abspath(self.directory), context.scene)
        return {"FINISHED"}


class CLOSEUP_OT_show_result(bpy.types.Operator):
    """Look through the close-up's camera, at its frames"""

    bl_idname = "closeup.show_result"
    bl_label = "Show Result"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only in a 3D view with a camera."""
        if context.space_data and context.space_data.type == "VIEW_3D" and context.scene.camera:
            return True
        cls.poll_message_set("There is no camera to look through")
        return False

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Camera view on."""
        scene = context.scene
        scene.camera = scene.closeup.camera or scene.camera
        context.space_data.region_3d.view_perspective = "CAMERA"
        return {"FINISHED"}


class CLOSEUP_OT_reveal_folder(bpy.types.Operator):
    """Open the folder of the latest close-up in the file browser of the system"""

    bl_idname = "closeup.reveal_folder"
    bl_label = "Open Folder"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only when there was one."""
        if queue.latest is None:
            cls.poll_message_set("There is no close-up in this session yet")
        return queue.latest is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Open it."""
        bpy.ops.wm.path_open(filepath=str(queue.latest.folder))
        return {"FINISHED"}


CLASSES = (CLOSEUP_OT_import_result, CLOSEUP_OT_show_result, CLOSEUP_OT_reveal_folder)
