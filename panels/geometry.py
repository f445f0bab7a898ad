"""Geometry: where the photos were taken, and how that lies in the scene."""

from __future__ import annotations

import bpy

from ..closeup_addon import align, gather
from .panel import Panel
from .photos import draw_notice


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
        row = layout.row(align=True)
        row.operator("closeup.solve_cameras", icon="CON_CAMERASOLVER")
        row.operator("closeup.forget_solve", text="", icon="TRASH")
        layout.operator("closeup.build_cloud", icon="OUTLINER_OB_POINTCLOUD")
        layout.operator("closeup.depth_from_scene", icon="MESH_DATA")


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


CLASSES = (CLOSEUP_PT_geometry, CLOSEUP_PT_align, CLOSEUP_PT_exchange)
