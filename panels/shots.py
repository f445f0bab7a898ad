"""Shots: what was made, what is being made, and what to do with it."""

from __future__ import annotations

import time

import bpy

from ..closeup_addon import cloud, jobs, movies, results, thumbnails
from ..closeup_addon.history import history
from ..closeup_addon.jobs import queue
from ..closeup_addon.languages import iface, marked
from ..closeup_addon.record import Record
from .panel import Panel
from .text import wrapped

_ICONS = {"done": "CHECKMARK", "failed": "ERROR", "running": "RENDER_ANIMATION", "queued": "TIME", "unfinished": "PAUSE"}
_WORDS = {
    "done": marked("Done"),
    "failed": marked("Failed"),
    "running": marked("Running"),
    "queued": marked("Waiting"),
    "unfinished": marked("Unfinished"),
}


def state_of(record: Record) -> str:
    """done, failed, running, queued or unfinished."""
    shot = queue.running(record.folder)
    if shot:
        return "queued" if shot.state == "queued" else "running"
    return record.state if record.state in {"done", "failed"} else "unfinished"


class CLOSEUP_UL_shots(bpy.types.UIList):
    """A row per shot: a frame of it, its name, whether it is done."""

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, index=0, flt_flag=0) -> None:
        """One row."""
        record = history.records.get(item.folder)
        if record is None:
            return
        row = layout.row(align=True)
        picture = thumbnails.icon_of(str(record.picture)) if record.picture else 0
        name = record.folder.name
        if picture:
            row.label(text=name, icon_value=picture)
        else:
            row.label(text=name, icon="IMAGE_DATA" if record.frames else "CAMERA_DATA")
        state = state_of(record)
        right = row.row(align=True)
        right.alignment = "RIGHT"
        right.alert = state == "failed"
        right.label(text="", icon=_ICONS[state])


class CLOSEUP_MT_shot(bpy.types.Menu):
    """What else to do with the shot."""

    bl_label = "Shot"

    def draw(self, context: bpy.types.Context) -> None:
        """The list's own entries, then those of the shot."""
        layout = self.layout
        layout.operator("closeup.redo_shot", text="Redo With a New Seed", icon="FILE_REFRESH").seed = "NEW"
        layout.operator("closeup.redo_shot", text="Redo With the Same Seed", icon="LOOP_BACK").seed = "SAME"
        layout.separator()
        layout.operator("closeup.import_result", text="Import From a Folder", icon="IMPORT")
        layout.operator("closeup.refresh_shots", icon="FILE_REFRESH")


class CLOSEUP_MT_use_frames(bpy.types.Menu):
    """Where the shot's frames can be used."""

    bl_label = "Use Frames"

    def draw(self, context: bpy.types.Context) -> None:
        """One entry per place."""
        layout = self.layout
        layout.operator_menu_enum("closeup.show_in_editor", "kind", text="Show in Image Editor", icon="IMAGE_DATA")
        layout.operator("closeup.add_strip", icon="SEQUENCE")
        layout.operator("closeup.add_passes", icon="NODE_COMPOSITING")
        layout.operator("closeup.add_plane", icon="MESH_PLANE")
        layout.operator("closeup.write_movie", icon="FILE_MOVIE")


class CLOSEUP_PT_shots(Panel, bpy.types.Panel):
    """The history."""

    bl_label = "Shots"

    def draw(self, context: bpy.types.Context) -> None:
        """List, then the chosen shot."""
        layout, manager = self.layout, context.window_manager
        row = layout.row()
        row.template_list("CLOSEUP_UL_shots", "", manager, "closeup_shots", manager, "closeup_shot_index", rows=4)
        column = row.column(align=True)
        column.operator("closeup.reveal_folder", text="", icon="FILE_FOLDER")
        column.operator("closeup.delete_shot", text="", icon="TRASH")
        column.separator()
        column.menu("CLOSEUP_MT_shot", text="", icon="DOWNARROW_HLT")
        if history.problem:
            wrapped(layout, context, history.problem, icon="ERROR", alert=True)
        record = history.chosen(context)
        if record is None:
            wrapped(layout, context, "Close-ups that you generate are listed here.", icon="INFO")
        else:
            _draw_chosen(layout, context, record)
            _draw_movie(layout, context, record)


def _draw_chosen(layout, context: bpy.types.Context, record: Record) -> None:
    picture = thumbnails.icon_of(str(record.picture)) if record.picture else 0
    if picture:
        layout.template_icon(picture, scale=6.0)
    state = state_of(record)
    wrapped(layout, context, describe(record, state), icon=_ICONS[state])
    if record.message and state == "failed":
        wrapped(layout, context, record.message, icon="ERROR", alert=True)
    row = layout.row(align=True)
    if state in {"unfinished", "failed"}:
        row.operator("closeup.continue_shot", icon="PLAY")
    if record.made or state == "done":
        row.operator("closeup.show_shot", icon="VIEW_CAMERA" if record.frames else "OUTLINER_OB_CAMERA")
    if record.made:
        row.menu("CLOSEUP_MT_use_frames")
    if state in {"running", "queued"}:
        row.operator("closeup.cancel", icon="X").folder = str(record.folder)


def _draw_movie(layout, context: bpy.types.Context, record: Record) -> None:
    movie = movies.latest
    if movie is None or movie.folder != record.folder:
        return
    if movie.error:
        wrapped(layout, context, movie.error, icon="ERROR", alert=True)
    else:
        text = iface("Writing {}", movie.target.name) if movie.running else iface("Movie written: {}", movie.target)
        wrapped(layout, context, text, icon="FILE_MOVIE")


class CLOSEUP_PT_cloud(Panel, bpy.types.Panel):
    """What is seen of the shot's cloud."""

    bl_label = "Point Cloud"
    bl_parent_id = "CLOSEUP_PT_shots"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only when the chosen shot has one in the scene."""
        record = history.chosen(context)
        return bool(record and results.cloud_of(context.scene, record.folder.name))

    def draw(self, context: bpy.types.Context) -> None:
        """Visibility and the filters."""
        layout = self.layout
        layout.use_property_split, layout.use_property_decorate = True, False
        obj = results.cloud_of(context.scene, history.chosen(context).folder.name)
        layout.prop(obj, "hide_viewport", text="Hide")
        modifier = cloud.modifier_of(obj)
        column = layout.column(align=True)
        for data, path, label in cloud.filter_controls(modifier) if modifier else ():
            column.prop(data, path, text=label)


def describe(record: Record, state: str) -> str:
    """State, frames, seed, date and time taken, in one line."""
    shot = queue.running(record.folder)
    count = max(record.made, len(shot.frames)) if shot else record.made  # the record is written when the shot ends
    made = iface("{} frames", record.frames) if count == record.frames else iface("{} of {} frames", count, record.frames)
    parts = [iface(_WORDS[state]), made if record.frames else iface("cameras only")]
    if record.frames:
        parts.append(iface("seed {}", record.seed))
    if state == "done" and record.seconds:
        parts.append(jobs.duration(record.seconds))
    parts.append(time.strftime("%d %b %Y %H:%M", time.localtime(record.created)))
    return " · ".join(parts)


CLASSES = (CLOSEUP_UL_shots, CLOSEUP_MT_shot, CLOSEUP_MT_use_frames, CLOSEUP_PT_shots, CLOSEUP_PT_cloud)
