"""The list of photos."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import CollectionProperty, StringProperty

from ..closeup_addon import photos


class CLOSEUP_OT_add_photos(bpy.types.Operator):
    """Add photo files to the list"""

    bl_idname = "closeup.add_photos"
    bl_label = "Add Photos"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    directory: StringProperty(name="Folder", description="Folder of the files", subtype="DIR_PATH")
    files: CollectionProperty(
        name="Files",
        description="Their names; empty for all photos of the folder",
        type=bpy.types.OperatorFileListElement,
    )
    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let the user choose."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add what was chosen, each file once."""
        folder = Path(bpy.path.abspath(self.directory))
        names = [item.name for item in self.files if item.name]
        added = photos.add(context.scene, [folder / name for name in names] if names else photos.in_folder(folder))
        if not added:
            self.report({"WARNING"}, "No new photo was found; choose image files that are not in the list yet")
            return {"CANCELLED"}
        self.report({"INFO"}, f"{added} photo{'s' if added > 1 else ''} added")
        return {"FINISHED"}


class CLOSEUP_OT_remove_photo(bpy.types.Operator):
    """Take the selected photo off the list; its file and its camera stay"""

    bl_idname = "closeup.remove_photo"
    bl_label = "Remove Photo"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only when the list has one."""
        return len(context.scene.closeup.photos) > 0

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove it."""
        photos.remove(context.scene, context.scene.closeup.active_photo)
        return {"FINISHED"}


CLASSES = (CLOSEUP_OT_add_photos, CLOSEUP_OT_remove_photo)
