"""Generate: the main button, and how far it is."""

from __future__ import annotations

import bpy

from ..closeup_addon import jobs, preferences
from ..closeup_addon.jobs import Shot, queue
from .engine import draw_install
from .panel import Panel
from .text import wrapped


class CLOSEUP_PT_generate(Panel, bpy.types.Panel):
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
            draw_install(layout, context)
        if shot:
            _draw_shot(layout, shot, context)


class CLOSEUP_PT_generate_options(Panel, bpy.types.Panel):
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


CLASSES = (CLOSEUP_PT_generate, CLOSEUP_PT_generate_options)
