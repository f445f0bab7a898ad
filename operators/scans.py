"""The list of scans."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import CollectionProperty, StringProperty

from ..closeup_addon import scans
from ..closeup_addon.languages import iface
from .common import grey

_FRESH = {"SKIP_SAVE"}
_HIDDEN = {"HIDDEN", "SKIP_SAVE"}


class CLOSEUP_OT_add_scans(bpy.types.Operator):
    """Add point clouds of a laser scanner or another program; the photos' depth is then taken from them where they reach"""

    bl_idname = "closeup.add_scans"
    bl_label = "Add Scans"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    directory: StringProperty(name="Folder", description="Folder of the files", subtype="DIR_PATH", options=_FRESH)
    files: CollectionProperty(name="Files", description="Their names", type=bpy.types.OperatorFileListElement, options=_FRESH)
    filter_glob: StringProperty(default=";".join(f"*{suffix}" for suffix in scans.SUFFIXES), options=_HIDDEN)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let the user choose."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add what was chosen, each file once."""
        folder = Path(bpy.path.abspath(self.directory))
        added = scans.add(context.scene, [folder / item.name for item in self.files if item.name])
        if not added:
            self.report({"WARNING"}, "No new scan was found; choose .ply, .las, .laz or .e57 files that are not on the list yet")
            return {"CANCELLED"}
        self.report({"INFO"}, iface("Scans added: {}", added))
        return {"FINISHED"}


class CLOSEUP_OT_remove_scan(bpy.types.Operator):
    """Take the selected scan off the list; its file stays"""

    bl_idname = "closeup.remove_scan"
    bl_label = "Remove Scan"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only when the list has one."""
        return len(context.scene.closeup.scans) > 0 or grey(cls, "The list is empty")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove it."""
        scans.remove(context.scene, context.scene.closeup.active_scan)
        return {"FINISHED"}


CLASSES = (CLOSEUP_OT_add_scans, CLOSEUP_OT_remove_scan)
