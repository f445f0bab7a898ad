"""Photos, Camera Move, Generate, Engine: read from top to bottom as the work goes; readable at 240 pixels."""

from __future__ import annotations

import bpy

from ..closeup_addon import gather, installation, jobs, preferences
from ..closeup_addon.jobs import Shot, queue
from .text import wrapped


class CLOSEUP_UL_photos(bpy.types.UIList):
    """A row per photo: used or not, its name, and whether its camera is known."""

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, index=0, flt_flag=0) -> None:
        """One row."""
        row = layout.row(align=True)
        row.prop(item, "use", text="")
        row.label(text=item.name or bpy.path.basename(item.filepath))
        row.label(text="", icon="ERROR" if item.problem else "CAMERA_DATA" if item.camera else "QUESTION")


class _Panel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Close-up"


class CLOSEUP_PT_photos(_Panel, bpy.types.Panel):
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


class CLOSEUP_PT_move(_Panel, bpy.types.Panel):
    """The camera to follow, and a button that makes one."""

    bl_label = "Camera Move"

    def draw(self, context: bpy.types.Context) -> None:
        """Camera, then the settings of a new move."""
        layout, settings = self.layout, context.scene.closeup
        layout.use_property_split, layout.use_property_decorate = True, False
        layout.prop(settings, "camera")
        column = layout.column(align=True)
        column.prop(settings, "move_target")
        column.prop(settings, "move_zoom")
        column.prop(settings, "move_frames")
        column.prop(settings, "move_ease")
        layout.operator("closeup.add_move", icon="CON_FOLLOWPATH")


class CLOSEUP_PT_generate(_Panel, bpy.types.Panel):
    """The main button, and how far it is."""

    bl_label = "Generate"

    def draw(self, context: bpy.types.Context) -> None:
        """Settings, button, progress."""
        layout, settings = self.layout, context.scene.closeup
        layout.use_property_split, layout.use_property_decorate = True, False
        column = layout.column(align=True)
        column.prop(settings, "percentage")
        column.prop(settings, "use_range")
        if settings.use_range:
            column.prop(settings, "frame_start")
            column.prop(settings, "frame_end")
            column.prop(settings, "frame_step")
        shot = queue.latest
        row = layout.row()
        row.scale_y = 1.5
        row.operator("closeup.generate", icon="RENDER_ANIMATION")
        if not preferences.has_engine():
            wrapped(layout, context, preferences.engine_status(), icon="INFO")
            _draw_install(layout, context)
        if shot:
            _draw_shot(layout, shot, context)


class CLOSEUP_PT_generate_options(_Panel, bpy.types.Panel):
    """What is seldom changed."""

    bl_label = "Options"
    bl_parent_id = "CLOSEUP_PT_generate"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """Generator and file format."""
        layout, settings = self.layout, context.scene.closeup
        layout.use_property_split, layout.use_property_decorate = True, False
        for name in ("backend", "steps", "seed", "output"):
            layout.prop(settings, name)


class CLOSEUP_PT_engine(_Panel, bpy.types.Panel):
    """The engine's state."""

    bl_label = "Engine"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """State and the button that installs."""
        layout = self.layout
        ready = preferences.has_engine()
        wrapped(layout, context, preferences.engine_status(), icon="CHECKMARK" if ready else "INFO")
        if installation.state.error:
            wrapped(layout, context, installation.state.error, icon="ERROR", alert=True)
        _draw_install(layout, context)
        found = preferences.get()
        if found:
            column = layout.column()
            column.use_property_split, column.use_property_decorate = True, False
            column.prop(found, "device")


def _draw_install(layout, context: bpy.types.Context) -> None:
    """The button, and Blender's own switch where that is what keeps it grey."""
    if not bpy.app.online_access:
        layout.prop(context.preferences.system, "use_online_access", text="Allow Online Access")
    layout.operator("closeup.install_engine", icon="IMPORT")


def _draw_shot(layout, shot: Shot, context: bpy.types.Context) -> None:
    if shot.state == "failed":
        wrapped(layout, context, shot.error, icon="ERROR", alert=True)
    elif shot.ended:
        icon = "CHECKMARK" if shot.state == "done" else "INFO"
        wrapped(layout, context, shot.message, icon=icon)
    else:
        _draw_progress(layout, shot)
    for warning in shot.warnings[-3:]:
        wrapped(layout, context, warning, icon="INFO")
    if shot.ended and shot.state != "failed":
        row = layout.row(align=True)
        if shot.state == "done" and not shot.solve_only:
            row.operator("closeup.show_result", icon="VIEW_CAMERA")
        row.operator("closeup.reveal_folder", icon="FILE_FOLDER")
    elif shot.state == "failed":
        layout.operator("closeup.reveal_folder", icon="FILE_FOLDER")


def _draw_progress(layout, shot: Shot) -> None:
    column = layout.column(align=True)
    column.label(text=shot.name, icon="RENDER_ANIMATION")
    text = shot.message
    if shot.frame_total and shot.stage == "frames" and shot.state == "running" and not shot.cancelling:
        text = f"Frame {min(len(shot.frames) + 1, shot.frame_total)} of {shot.frame_total}"
    column.progress(factor=shot.factor, type="BAR", text=text)
    row = column.row()
    row.label(text="" if shot.seconds_left is None else f"{jobs.duration(shot.seconds_left)} left")
    row.operator("closeup.cancel", text="Cancel", icon="X")
    waiting = sum(item.state == "queued" for item in queue.shots)
    if waiting and shot.state != "queued":
        column.label(text=f"{waiting} more in the queue")


CLASSES = (
    CLOSEUP_UL_photos,
    CLOSEUP_PT_photos,
    CLOSEUP_PT_move,
    CLOSEUP_PT_generate,
    CLOSEUP_PT_generate_options,
    CLOSEUP_PT_engine,
)
