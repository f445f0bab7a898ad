"""What to do with shots and their results."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty

from ..closeup_addon import api
from ..closeup_addon.errors import CloseUpError
from ..closeup_addon.history import history
from ..closeup_addon.jobs import queue
from ..closeup_addon.languages import iface
from .common import grey, needs_engine, reported

_FRESH = {"SKIP_SAVE"}
_SEEDS = (
    ("SAME", "Same Seed", "The same frames again, such as after an update of the engine"),
    ("NEW", "New Seed", "Other details where no photo shows any"),
)


class OfShot:
    """What the operators on one shot share: the folder, else the chosen row of the list."""

    folder: StringProperty(
        options=_FRESH, name="Folder", description="Folder of the job; the list's when empty", subtype="DIR_PATH"
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a shot chosen; called with a folder by scripts, which need none."""
        if bpy.app.background or history.chosen(context):
            return True
        return grey(cls, "There is no shot yet; generate a close-up")

    def place(self, context: bpy.types.Context) -> Path:
        """The folder."""
        if self.folder:
            return Path(bpy.path.abspath(self.folder))
        chosen = history.chosen(context)
        if chosen is None:
            raise CloseUpError("There is no shot; give its folder.")
        return chosen.folder

    def followed(self, context: bpy.types.Context) -> list:
        """The cameras that the shot was made for."""
        return api.followed_by(self.place(context), context.scene)

    def told(self, shot: api.Shot) -> set[str]:
        """Report how it stands."""
        self.report({"INFO"}, f"{shot.message}: {shot.folder}" if shot.ended else iface("“{}” has begun", shot.name))
        return {"FINISHED"}


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
        """Read and place; in the interface, in a thread and in steps."""
        folder = bpy.path.abspath(self.directory)
        if bpy.app.background:
            api.import_result(folder, context.scene)
        else:
            api.bring(folder, context.scene, block=False)
        return {"FINISHED"}


class CLOSEUP_OT_show_shot(OfShot, bpy.types.Operator):
    """Look through the shot's camera, at its frames and its cloud; what is not in this file any more is brought in again"""

    bl_idname = "closeup.show_shot"
    bl_label = "Show"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Switch, and look through the camera."""
        scene, folder = context.scene, self.place(context)
        api.show(folder, scene, block=bpy.app.background)
        followed = self.followed(context)
        if followed and scene.camera not in followed:
            scene.camera = followed[0]
        if context.space_data and context.space_data.type == "VIEW_3D" and scene.camera:
            context.space_data.region_3d.view_perspective = "CAMERA"
        return {"FINISHED"}


class CLOSEUP_OT_redo_shot(OfShot, bpy.types.Operator):
    """Make the shot again with the photos, cameras and settings it was made with; the old one stays"""

    bl_idname = "closeup.redo_shot"
    bl_label = "Redo"

    seed: EnumProperty(options=_FRESH, name="Seed", description="What the new frames may differ in", items=_SEEDS)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """It needs a shot and the engine."""
        return super().poll(context) and needs_engine(cls)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Queue the job; in background mode, run it."""
        seed = -1 if self.seed == "NEW" else None
        return self.told(api.redo(self.place(context), context.scene, seed=seed, block=bpy.app.background))


class CLOSEUP_OT_continue_shot(OfShot, bpy.types.Operator):
    """Go on with a shot that was cancelled, failed or was interrupted; the frames it has are kept"""

    bl_idname = "closeup.continue_shot"
    bl_label = "Continue"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """It needs a shot and the engine."""
        return super().poll(context) and needs_engine(cls)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Queue the folder; in background mode, run it."""
        return self.told(api.resume(self.place(context), context.scene, block=bpy.app.background))


class CLOSEUP_OT_delete_shot(OfShot, bpy.types.Operator):
    """Delete the shot's folder from the disk, with its frames; this cannot be undone. The cloud and the cameras stay"""

    bl_idname = "closeup.delete_shot"
    bl_label = "Delete Shot"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first."""
        chosen = history.chosen(context)
        name = chosen.folder.name if chosen else self.folder
        return context.window_manager.invoke_confirm(
            self,
            event,
            title=iface("Delete Shot"),
            message=iface("Delete the folder {} and all frames in it? This cannot be undone.", name),
            confirm_text=iface("Delete"),
            icon="WARNING",
        )

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Delete."""
        api.delete(self.place(context))
        if not bpy.app.background:
            bpy.ops.ed.undo_push(message="Delete Shot")
        return {"FINISHED"}


class CLOSEUP_OT_refresh_shots(bpy.types.Operator):
    """Look through the shots' folders again, such as after a render farm has worked"""

    bl_idname = "closeup.refresh_shots"
    bl_label = "Refresh"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """In a thread; the list changes when it has ended."""
        history.refresh()
        api.pump.start()
        return {"FINISHED"}


class CLOSEUP_OT_reveal_folder(OfShot, bpy.types.Operator):
    """Open the shot's folder in the file browser of the system"""

    bl_idname = "closeup.reveal_folder"
    bl_label = "Open Folder"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only when there is one."""
        if queue.latest is None:
            return super().poll(context)
        return True

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Open it."""
        place = self.place(context)
        if not place.is_dir():  # a file would be opened by its program
            raise CloseUpError(f"The folder {place} is gone; it was moved or deleted.")
        bpy.ops.wm.path_open(filepath=str(place))
        return {"FINISHED"}


CLASSES = (
    CLOSEUP_OT_import_result,
    CLOSEUP_OT_show_shot,
    CLOSEUP_OT_redo_shot,
    CLOSEUP_OT_continue_shot,
    CLOSEUP_OT_delete_shot,
    CLOSEUP_OT_refresh_shots,
    CLOSEUP_OT_reveal_folder,
)
