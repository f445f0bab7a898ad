"""Engine: its state, its device, and what can be done about it."""

from __future__ import annotations

import bpy

from ..closeup_addon import installation, preferences
from ..closeup_addon.languages import iface, marked
from .panel import Panel
from .text import wrapped

SHOWN_LINES = 4


class CLOSEUP_PT_engine(Panel, bpy.types.Panel):
    """The engine's state."""

    bl_label = "Engine"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """State, progress, buttons, settings."""
        layout = self.layout
        if installation.state.running:
            _draw_progress(layout, context)
            return
        ready = preferences.has_engine()
        wrapped(layout, context, preferences.engine_status(), icon="CHECKMARK" if ready else "INFO")
        if installation.state.error:
            wrapped(layout, context, installation.state.error, icon="ERROR", alert=True)
        _draw_found(layout, context)
        draw_install(layout, context)
        row = layout.row(align=True)
        row.operator("closeup.verify_engine")
        row.operator("closeup.repair_engine")
        row.operator("closeup.remove_engine", text="Remove")
        layout.operator("closeup.copy_diagnostics", icon="COPYDOWN")
        found = preferences.get()
        if found:
            column = layout.column()
            column.use_property_split, column.use_property_decorate = True, False
            column.prop(found, "device")
            if not preferences.existing_python():
                column.prop(found, "accelerator")


class CLOSEUP_PT_engine_log(Panel, bpy.types.Panel):
    """What was done to the engine last."""

    bl_label = "Log"
    bl_parent_id = "CLOSEUP_PT_engine"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only when something was done in this session."""
        return bool(installation.state.lines)

    def draw(self, context: bpy.types.Context) -> None:
        """The last lines."""
        _draw_lines(self.layout, context, 3 * SHOWN_LINES)


def draw_install(layout, context: bpy.types.Context) -> None:
    """The button, named by what it will do, and Blender's own switch where that is what keeps it grey."""
    if installation.state.running:
        return
    if not bpy.app.online_access and not (preferences.get() and preferences.get().wheels_folder):
        layout.prop(context.preferences.system, "use_online_access", text="Allow Online Access")
    state = preferences.installed().state
    text = {"absent": marked("Install Engine"), "broken": marked("Repair Engine"), "ready": marked("Install Again")}
    if preferences.is_outdated():
        text["ready"] = marked("Update")
    layout.operator("closeup.install_engine", icon="IMPORT", text=text.get(state, "Continue Installing"))


def _draw_progress(layout, context: bpy.types.Context) -> None:
    state = installation.state
    layout.progress(factor=state.factor, text=f"{100 * state.factor:.0f}%")
    wrapped(layout, context, state.line)
    layout.operator("closeup.cancel_engine", icon="X")
    _draw_lines(layout, context, SHOWN_LINES)


def _draw_lines(layout, context: bpy.types.Context, count: int) -> None:
    column = layout.box().column(align=True)
    column.active = False
    for line in list(installation.state.lines)[-count:]:
        wrapped(column, context, line)


def _draw_found(layout, context: bpy.types.Context) -> None:
    """What the last check found, and what there is on this computer."""
    chosen = preferences.existing_python()
    if chosen:
        known = installation.state.existing
        if known and known[0] == chosen:
            _draw_finding(layout, context, known[1].found, known[1].notes)
        return
    state = preferences.installed()
    _draw_finding(layout, context, state.found, [*state.found.get("notes", []), *filter(None, [state.note])])
    found = installation.accelerator()
    wanted = preferences.chosen_accelerator() or (found.kind if found else state.accelerator)
    if state.state == "ready" and state.accelerator != wanted:
        kinds = state.accelerator.upper(), wanted.upper()
        text = iface("Installed for {}, not {}; install again to change it", *kinds)
        wrapped(layout, context, text, icon="INFO")
    elif found and state.state == "absent":
        wrapped(layout, context, iface("Found: {}", found.name), icon="MEMORY")
        if found.note:
            wrapped(layout, context, found.note, icon="INFO")
    if preferences.is_outdated():
        wrapped(layout, context, "It is from another version of CloseUp; press Update", icon="INFO")


def _draw_finding(layout, context: bpy.types.Context, found: dict, notes: object) -> None:
    if found.get("device"):
        version = found.get("packages", {}).get("torch", "")
        wrapped(layout, context, f"{found['device_name']}, PyTorch {version}", icon="MEMORY")
    for note in notes:
        wrapped(layout, context, str(note), icon="INFO")


CLASSES = (CLOSEUP_PT_engine, CLOSEUP_PT_engine_log)
