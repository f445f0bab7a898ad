"""Geometry: where the photos were taken, and how that lies in the scene."""

from __future__ import annotations

import bpy

from ..closeup_addon import align, gather, preferences
from ..closeup_addon.errors import CloseUpError
from ..closeup_addon.languages import marked
from .panel import Panel
from .photos import draw_notice
from .text import wrapped


class CLOSEUP_PT_geometry(Panel, bpy.types.Panel):
    """Where the photos were taken."""

    bl_label = "Geometry"

    def draw(self, context: bpy.types.Context) -> None:
        """What decides the solve, and its button."""
        layout, settings = self.layout, context.scene.closeup
        total, known = gather.count_photos(context.scene)
        column = layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(settings, "photo_size")
        if total > known:
            column.prop(settings, "focal_35mm", text="Focal 35 mm")
            column.prop(settings, "matcher")
        column.prop(settings, "depth_method")
        _draw_missing_model(layout, context)
        row = layout.row(align=True)
        row.operator("closeup.solve_cameras", icon="CON_CAMERASOLVER")
        row.operator("closeup.forget_solve", text="", icon="TRASH")
        layout.operator("closeup.build_cloud", icon="OUTLINER_OB_POINTCLOUD")
        layout.operator("closeup.depth_from_scene", icon="MESH_DATA")


def _draw_missing_model(layout, context: bpy.types.Context) -> None:
    """Why a learned model cannot be used, and the place to say where it is."""
    try:
        preferences.check_models(context.scene.closeup.models())
    except CloseUpError as error:
        wrapped(layout, context, str(error), icon="ERROR", alert=True)
        if preferences.get():
            layout.prop(preferences.get(), "models_folder", text="")


class CLOSEUP_PT_align(Panel, bpy.types.Panel):
    """How a solve lies in the scene."""

    bl_label = "Align to Scene"
    bl_parent_id = "CLOSEUP_PT_geometry"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """Three points, their targets, and two ways to use them."""
        layout, scene = self.layout, context.scene
        column = layout.column(align=True)
        for point, target in zip(align.POINTS, align.TARGETS):
            row = column.row(align=True)
            for key in (point, target):
                icon = "CHECKMARK" if align.marker(scene, key) else "EYEDROPPER"
                row.operator("closeup.place_marker", text=key.replace("-", " ").capitalize(), icon=icon).marker = key
        layout.operator("closeup.align_points", icon="ORIENTATION_GLOBAL")
        column = layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(scene.closeup, "align_distance", text="Distance 1–2")
        layout.operator("closeup.align_ground", icon="GRID")


class CLOSEUP_UL_scans(bpy.types.UIList):
    """A row per scan: used or not, and its name."""

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, index=0, flt_flag=0) -> None:
        """One row."""
        row = layout.row(align=True)
        row.prop(item, "use", text="")
        name = row.row(align=True)
        name.active = item.use
        name.label(text=item.name or bpy.path.basename(item.filepath), icon="OUTLINER_OB_POINTCLOUD", translate=False)


class CLOSEUP_PT_scans(Panel, bpy.types.Panel):
    """Point clouds that tell the photos' depth."""

    bl_label = "Scans"
    bl_parent_id = "CLOSEUP_PT_geometry"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """The list, and what places the active one."""
        layout, settings = self.layout, context.scene.closeup
        row = layout.row()
        row.template_list("CLOSEUP_UL_scans", "", settings, "scans", settings, "active_scan", rows=2)
        column = row.column(align=True)
        column.operator("closeup.add_scans", text="", icon="ADD")
        column.operator("closeup.remove_scan", text="", icon="REMOVE")
        if not settings.scans:
            text = marked("Scans of the same scene (.ply, .las, .laz, .e57) tell the depth where photos cannot.")
            wrapped(layout, context, text, icon="INFO")
        elif 0 <= settings.active_scan < len(settings.scans):
            column = layout.column()
            column.use_property_split, column.use_property_decorate = True, False
            column.prop(settings.scans[settings.active_scan], "placement")


class CLOSEUP_PT_exchange(Panel, bpy.types.Panel):
    """Other programs' solves."""

    bl_label = "Import and Export"
    bl_parent_id = "CLOSEUP_PT_geometry"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """One button per format and direction."""
        column = self.layout.column(align=True)
        column.operator("closeup.import_colmap", icon="IMPORT")
        column.operator("closeup.import_transforms", icon="IMPORT")
        column = self.layout.column(align=True)
        column.operator("closeup.export_colmap", icon="EXPORT")
        column.operator("closeup.export_transforms", icon="EXPORT")
        draw_notice(self.layout, context, "exchange")


CLASSES = (CLOSEUP_PT_geometry, CLOSEUP_PT_align, CLOSEUP_UL_scans, CLOSEUP_PT_scans, CLOSEUP_PT_exchange)
