"""Blender's side of the queue's life: a timer that works it off, and handlers for files and undo."""

from __future__ import annotations

import bpy
from bpy.app.handlers import persistent

from . import coverage, history, installation, movies, notice, preview, sequences
from .extension import log
from .jobs import queue

BUSY_SECONDS = 0.05
"""Between two ticks while there is work; without work there is no timer."""
QUICK_SECONDS = 0.01
"""The same while results come into the scene step by step, or a live preview is awaited."""
_lines = ""
"""What was last shown of what runs beside the queue."""


def start() -> None:
    """Make sure the timer runs."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.01, persistent=True)


def _look() -> None:
    """The open file's shots, once: no file is loaded when the extension is enabled."""
    history.history.refresh()
    start()


def _tick() -> float | None:
    """A timer that raises is taken away silently, so nothing may leave this function."""
    try:
        busy = queue.pump()
        preview.live.pump()
        found = history.history.pump()
        if found:
            queue.bring_arrivals()
        if queue.changed or found or _lines_changed():
            queue.changed = False
            _redraw()
    except Exception as error:  # noqa: BLE001
        _stumbled(error)
        busy = queue.active is not None
    if not (busy or queue.active or history.history.busy or installation.state.running or _others_busy()):
        return None
    return QUICK_SECONDS if queue.placing or preview.live.awaited else BUSY_SECONDS


def _stumbled(error: Exception) -> None:
    """Say so, once: the timer comes again at once, and with it perhaps the same error."""
    sentence = f"CloseUp stumbled ({type(error).__name__}: {error}); copy the diagnostics and report it."
    if notice.of("generate") != (sentence, True):
        log.exception("The queue of close-ups stumbled")
        notice.show("generate", sentence, wrong=True)


def _others_busy() -> bool:
    return movies.busy() or coverage.busy() or preview.live.awaited


def _lines_changed() -> bool:
    """Whether the panels have something new to say of the installation, or of a movie that is being written."""
    global _lines
    lines = f"{installation.state.running} {installation.state.line} {movies.busy() or coverage.busy()} {preview.live.status}"
    changed, _lines = lines != _lines, lines
    return changed


def _redraw() -> None:
    """The sidebars of all 3D views and the status bar, and nothing else unless something is finished."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()
    _redraw_status_bar()


def _redraw_status_bar() -> None:
    """It is no area of the screen, so it can be reached only through its text, which a running tool may have set.

    Blender looks for the bar in the context's window and crashes where there is none, as in timers after a file was loaded.
    """
    for window in bpy.context.window_manager.windows:
        if not len(window.modal_operators):
            with bpy.context.temp_override(window=window):
                window.workspace.status_text_set_internal(None)


def _draw_status(header, _context: bpy.types.Context) -> None:
    """In the status bar, while something runs: what, how far, how much longer."""
    shot = queue.active
    if shot:
        row = header.layout.row()
        row.ui_units_x = 16
        row.progress(factor=shot.factor, type="BAR", text=f"{shot.name}: {shot.progress_text}")


@persistent
def _loaded(*_) -> None:
    preview.live.stop()
    queue.file_loaded()
    history.file_loaded()
    start()


@persistent
def _saving(*_) -> None:
    history.before_saving()


@persistent
def _saved(*_) -> None:
    queue.file_saved()
    history.history.refresh()
    start()


@persistent
def _undone(scene, *_) -> None:
    queue.scene_changed()
    sequences.refresh_users(scene)


_HANDLERS = (
    (bpy.app.handlers.load_post, _loaded),
    (bpy.app.handlers.save_pre, _saving),
    (bpy.app.handlers.save_post, _saved),
    (bpy.app.handlers.undo_post, _undone),
    (bpy.app.handlers.redo_post, _undone),
)


def register() -> None:
    """Add the handlers and the line in the status bar."""
    for handlers, function in _HANDLERS:
        handlers.append(function)
    bpy.types.STATUSBAR_HT_header.append(_draw_status)
    if not bpy.app.background:
        bpy.app.timers.register(_look, first_interval=0.5)


def unregister() -> None:
    """Remove them and the timer, end the engine."""
    bpy.types.STATUSBAR_HT_header.remove(_draw_status)
    for handlers, function in _HANDLERS:
        if function in handlers:
            handlers.remove(function)
    for timer in (_look, _tick):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    queue.shut_down()
