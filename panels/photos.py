"""Photos: what the close-up is made from."""

from __future__ import annotations

import bpy

from ..closeup_addon import gather
from .panel import Panel


class CLOSEUP_UL_photos(bpy.types.UIList):
    """A row per photo: used or not, its name, and whether its camera is known."""

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, index=0, flt_flag=0) -> None:
        """One row."""
        row = layout.row(align=True)
        row.prop(item, "use", text="")
        row.label(text=item.name or bpy.path.basename(item.filepath))
        row.label(text="", icon="ERROR" if item.problem else "CAMERA_DATA" if item.camera else "QUESTION")


class CLOSEUP_PT_photos(Panel, bpy.types.Panel):
    """What the close-up is made from."""

    bl_label = "Photos"

    def draw(self, context: bpy.types.Context) -> None:
        """List, buttons, and how many cameras are known."""
        layout, scene = self.layout, context.scene
        settings = scene.closeup
        row = layout.row()
        row.template_list("CLOSEUP_UL_photos", "", settings, "photos", settings, "active_photo", rows=4)
        column = row.column(align=True)
        column.operator("closeup.add_photos", text="", icon="ADD")
        column.operator("closeup.remove_photo", text="", icon="REMOVE")
        besides = len(gather.cameras_with_photos(scene))
        row = layout.row()
        row.active = besides > 0
        row.prop(settings, "use_camera_photos", text=f"Cameras With Photos ({besides})")
        photos, known = gather.count_photos(scene)
        if photos > known:
            column = layout.column()
            column.use_property_split, column.use_property_decorate = True, False
            column.prop(settings, "focal_35mm", text="Focal 35 mm")
        layout.operator("closeup.solve_cameras", icon="CON_CAMERASOLVER")
        if photos:
            layout.label(text=f"{known} of {photos} cameras known", icon="CHECKMARK" if known == photos else "INFO")


CLASSES = (CLOSEUP_UL_photos, CLOSEUP_PT_photos)
