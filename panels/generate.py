"""Generate: the main button, and how far it is."""

from __future__ import annotations

import bpy
from bl_ui.utils import PresetPanel

from ..closeup_addon import jobs, notice, preferences
from ..closeup_addon.jobs import Shot, queue
from ..closeup_addon.languages import iface
from .engine import draw_install
from .panel import Panel
from .photos import draw_notice
from .text import wrapped


class CLOSEUP_PT_presets(PresetPanel, bpy.types.Panel):
    """Resolution, photo size, generator and format under one name."""

    bl_label = "Close-up Presets"
    bl_space_type = Panel.bl_space_type
    preset_subdir = "closeup"
    preset_operator = "script.execute_preset"
    preset_add_operator = "closeup.add_preset"


class CLOSEUP_PT_generate(Panel, bpy.types.Panel):
    """The main button, and how far it is."""

    bl_label = "Generate"

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        """Presets, as in Blender's own panels."""
        CLOSEUP_PT_presets.draw_panel_header(self.layout)

    def draw(self, context: bpy.types.Context) -> None:
        """Settings, button, progress."""
        layout, settings = self.layout, context.scene.closeup
        layout.use_property_split, layout.use_property_decorate = True, False
        column = layout.column(align=True)
        column.prop(settings, "percentage")
        _draw_sizes(column)
        column.prop(settings, "use_range")
        if settings.use_range:
            column.prop(settings, "frame_start")
            column.prop(settings, "frame_end")
            column.prop(settings, "frame_step")
        shot = queue.shown
        column = layout.column(align=True)
        column.operator("closeup.preview_frame", icon="RENDER_STILL")
        row = column.row(align=True)
        row.scale_y = 1.5
        row.operator("closeup.generate", icon="RENDER_ANIMATION")
        if not preferences.has_engine():
            wrapped(layout, context, preferences.engine_status(), icon="INFO")
            draw_install(layout, context)
        if notice.of("generate"):
            draw_notice(layout, context, "generate")
            layout.operator("closeup.copy_diagnostics", icon="COPYDOWN")
        if shot:
            _draw_shot(layout, shot, context)


def _draw_sizes(layout) -> None:
    """The sizes that are wanted most: a look, a draft, the render's own, twice that."""
    row = layout.row(align=True)
    for percentage in (25, 50, 100, 200):
        button = row.operator("wm.context_set_int", text=f"{percentage}%")
        button.data_path, button.value = "scene.closeup.percentage", percentage


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
        _draw_fix(layout, shot)
    elif shot.ended:
        wrapped(layout, context, shot.message, icon="CHECKMARK" if shot.state == "done" else "INFO")
    else:
        _draw_progress(layout, shot, context)
    for warning in shot.warnings[-3:]:
        wrapped(layout, context, warning, icon="INFO")
    if shot.state == "done" and not shot.solve_only and not shot.preview:
        layout.operator("closeup.show_shot", icon="VIEW_CAMERA").folder = str(shot.folder)


def _draw_fix(layout, shot: Shot) -> None:
    """The button that helps after an error, where there is one (engine/protocol.py names them)."""
    if shot.fix == "continue" and not shot.preview:
        layout.operator("closeup.continue_shot", icon="PLAY").folder = str(shot.folder)
    elif shot.fix == "install":
        layout.operator("closeup.install_engine", icon="IMPORT")
    elif shot.fix == "report":
        layout.operator("closeup.copy_diagnostics", icon="COPYDOWN")


def _draw_progress(layout, shot: Shot, context: bpy.types.Context) -> None:
    column = layout.column(align=True)
    column.label(text=shot.name, icon="RENDER_ANIMATION")
    column.progress(factor=shot.factor, type="BAR", text=shot.step_text)
    row = column.row()
    row.label(text="" if shot.seconds_left is None else iface("{} left", jobs.duration(shot.seconds_left)), translate=False)
    row.operator("closeup.cancel", text="Cancel", icon="X")
    if shot.stalled:
        wrapped(layout, context, shot.stalled, icon="ERROR", alert=True)
    waiting = sum(item.state == "queued" for item in queue.shots)
    if waiting and shot.state != "queued":
        column.label(text=iface("{} more in the queue", waiting), translate=False)


CLASSES = (CLOSEUP_PT_presets, CLOSEUP_PT_generate, CLOSEUP_PT_generate_options)
