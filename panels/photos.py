"""Photos: what the close-up is made from."""

from __future__ import annotations

import bpy

from ..closeup_addon import gather, notice, photos, thumbnails
from ..closeup_addon.languages import iface
from .panel import Panel
from .text import wrapped

_ICONS = {photos.UNKNOWN: "QUESTION", photos.KNOWN: "CAMERA_DATA", photos.SOLVED: "CON_CAMERASOLVER", photos.FAILED: "ERROR"}


def draw_notice(layout, context: bpy.types.Context, place: str) -> None:
    """What became of work that was started from this panel."""
    said = notice.of(place)
    if said:
        wrapped(layout, context, said[0], icon="ERROR" if said[1] else "INFO", alert=said[1])


class CLOSEUP_UL_photos(bpy.types.UIList):
    """A row per photo: used or not, a thumbnail, its name, and whether its camera is known."""

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, index=0, flt_flag=0) -> None:
        """One row."""
        row = layout.row(align=True)
        row.prop(item, "use", text="")
        name = row.row(align=True)
        name.active = item.use
        text, thumbnail = item.name or bpy.path.basename(item.filepath), thumbnails.icon(item)
        if thumbnail:
            name.label(text=text, icon_value=thumbnail)
        else:
            name.label(text=text, icon="IMAGE_DATA")
        state = photos.FAILED if thumbnails.is_missing(item) else photos.state(item)
        button = row.row(align=True)
        button.alert = state == photos.FAILED
        button.operator("closeup.photo_camera", text="", icon=_ICONS[state], emboss=False).index = index


class CLOSEUP_MT_add_photos(bpy.types.Menu):
    """Where photos come from."""

    bl_label = "Add Photos"

    def draw(self, context: bpy.types.Context) -> None:
        """One entry per source."""
        layout = self.layout
        layout.operator("closeup.add_photos", text="From Files", icon="FILE_FOLDER")
        layout.operator("closeup.add_camera_photos", icon="CAMERA_DATA")
        layout.operator("closeup.add_image_photo", icon="IMAGE_DATA")
        layout.operator("closeup.add_movie_frames", icon="FILE_MOVIE")
        layout.operator("closeup.render_photos", icon="RENDER_STILL")


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
        column.separator()
        column.menu("CLOSEUP_MT_add_photos", text="", icon="DOWNARROW_HLT")
        besides = gather.count_camera_photos(scene)
        row = layout.row()
        row.active = besides > 0
        row.prop(settings, "use_camera_photos", text=iface("Cameras With Photos ({})", besides), translate=False)
        total, known = gather.count_photos(scene)
        if total:
            text = iface("{} of {} cameras known", known, total)
            layout.label(text=text, icon="CHECKMARK" if known == total else "INFO", translate=False)
        else:
            wrapped(layout, context, "Add photos with +, or drop them into the 3D view.", icon="INFO")
        draw_notice(layout, context, "photos")


class CLOSEUP_PT_photo(Panel, bpy.types.Panel):
    """The active photo."""

    bl_label = "Photo"
    bl_parent_id = "CLOSEUP_PT_photos"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only when the list has one."""
        settings = context.scene.closeup
        return 0 <= settings.active_photo < len(settings.photos)

    def draw(self, context: bpy.types.Context) -> None:
        """Its picture, its state, its camera, depth, exposure and mask."""
        layout, settings = self.layout, context.scene.closeup
        item = settings.photos[settings.active_photo]
        thumbnail = thumbnails.icon(item)
        if thumbnail:
            layout.template_icon(thumbnail, scale=6.0)
        missing = thumbnails.is_missing(item)
        state = photos.FAILED if missing else photos.state(item)
        said = iface("The file is missing: {}", item.absolute()) if missing else photos.sentence(item)
        wrapped(layout, context, said, icon=_ICONS[state], alert=state == photos.FAILED)
        column = layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(item, "camera")
        column.prop(item, "depth")
        column.prop(item, "exposure")
        layout.label(text="Mask (white: use)")
        layout.template_ID(item, "mask", new="image.new", open="image.open")


CLASSES = (CLOSEUP_UL_photos, CLOSEUP_MT_add_photos, CLOSEUP_PT_photos, CLOSEUP_PT_photo)
