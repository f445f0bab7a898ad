"""Cameras, photos and points from and to other programs."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ..closeup_addon import exchange, later, notice
from ..closeup_addon.errors import CloseUpError
from ..closeup_addon.languages import iface
from .common import grey, reported

_FRESH = {"SKIP_SAVE"}
_HIDDEN = {"HIDDEN", "SKIP_SAVE"}


def _run(operator, steps) -> set[str]:
    """Go through the steps: report in background mode; an undo step and a line in the panel when they end otherwise."""
    label, told = operator.bl_label, []

    def kept():
        told.append((yield from steps))

    def done(error: str) -> None:
        if bpy.app.background:
            operator.report({"INFO"}, told[0])
            return
        if not error:
            bpy.ops.ed.undo_push(message=label)
        notice.show("exchange", error or f"{told[0]}.", wrong=bool(error))

    if not bpy.app.background:
        notice.show("exchange", f"{iface(label)}…", passing=False)
    later.run(kept(), done)
    return {"FINISHED"}


class _Folder:
    """What is chosen as a folder."""

    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    directory: StringProperty(name="Folder", description="The folder", subtype="DIR_PATH", options=_FRESH)
    filter_folder: BoolProperty(default=True, options=_HIDDEN)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let the user choose."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def folder(self) -> Path:
        """The one that was chosen."""
        if not self.directory:
            raise CloseUpError("No folder was given; choose one.")
        return Path(bpy.path.abspath(self.directory))


_Y_DOWN = "COLMAP's worlds have y pointing down: turned, they stand upright in Blender"


class CLOSEUP_OT_import_colmap(_Folder, bpy.types.Operator):
    """Bring a COLMAP model into the scene: its photos with their cameras, and its points; bent lenses are straightened"""

    bl_idname = "closeup.import_colmap"
    bl_label = "Import COLMAP"

    images: StringProperty(
        name="Photos",
        description="Folder of the photos; looked for beside the model when empty",
        subtype="DIR_PATH",
        options=_FRESH,
    )
    y_down: BoolProperty(name="Turn Upright", description=_Y_DOWN, default=True)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in background mode, wait."""
        images = Path(bpy.path.abspath(self.images)) if self.images else None
        return _run(self, exchange.import_colmap(context.scene, self.folder(), images, self.y_down))


class CLOSEUP_OT_import_transforms(bpy.types.Operator):
    """Bring a transforms.json of nerfstudio or instant-ngp into the scene: its photos with their cameras, and its points"""

    bl_idname = "closeup.import_transforms"
    bl_label = "Import transforms.json"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    filepath: StringProperty(name="File", description="The transforms.json", subtype="FILE_PATH", options=_FRESH)
    filter_glob: StringProperty(default="*.json", options=_HIDDEN)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let the user choose."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in background mode, wait."""
        return _run(self, exchange.import_transforms(context.scene, Path(bpy.path.abspath(self.filepath))))


class _Export(_Folder):
    """Grey until a photo has a camera."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with known cameras."""
        if exchange.can_export(context.scene):
            return True
        return grey(cls, "No photo has a camera yet; solve the cameras first")


class CLOSEUP_OT_export_colmap(_Export, bpy.types.Operator):
    """Write photos, masks, cameras and the visible clouds as a COLMAP project: images, masks and sparse/0"""

    bl_idname = "closeup.export_colmap"
    bl_label = "Export COLMAP"

    binary: BoolProperty(name="Binary", description="Smaller and faster to read than text", default=True)
    y_down: BoolProperty(name="Y Down", description=f"{_Y_DOWN}; exported, they are turned back", default=True)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in background mode, wait."""
        return _run(self, exchange.export_colmap(context.scene, self.folder(), self.binary, self.y_down))


class CLOSEUP_OT_export_transforms(_Export, bpy.types.Operator):
    """Write photos, masks, cameras and the visible clouds as a transforms.json for nerfstudio and instant-ngp"""

    bl_idname = "closeup.export_transforms"
    bl_label = "Export transforms.json"

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in background mode, wait."""
        return _run(self, exchange.export_transforms(context.scene, self.folder()))


CLASSES = (
    CLOSEUP_OT_import_colmap,
    CLOSEUP_OT_import_transforms,
    CLOSEUP_OT_export_colmap,
    CLOSEUP_OT_export_transforms,
)
