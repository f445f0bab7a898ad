"""Blender's side of the queue's life: a timer that works it off, and handlers for files."""

from __future__ import annotations

import bpy
from bpy.app.handlers import persistent

from . import installation
from .extension import log
from .jobs import queue

BUSY_SECONDS = 0.05
"""Between two ticks while there is work; without work there is no timer."""
_installation_line = ""


def start() -> None:
    """Make sure the timer runs."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.01, persistent=True)


def _tick() -> float | None:
    """A timer that raises is taken away silently, so nothing may leave this function."""
    try:
        busy = queue.pump()
        if queue.changed or _installation_changed():
            queue.changed = False
            _redraw()
    except Exception:  # noqa: BLE001
        log.exception("The queue of close-ups stumbled")
        busy = queue.active is not None
    return BUSY_SECONDS if busy or installation.state.running else None


def _installation_changed() -> bool:
    global _installation_line
    line = f"{installation.state.running} {installation.state.line}"
    changed, _installation_line = line != _installation_line, line
    return changed


def _redraw() -> None:
    """The sidebars of all 3D views, and nothing else unless something is finished."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


@persistent
def _loaded(*_) -> None:
    queue.file_loaded()
    start()


@persistent
def _saved(*_) -> None:
    queue.file_saved()


_HANDLERS = ((bpy.app.handlers.load_post, _loaded), (bpy.app.handlers.save_post, _saved))


def register() -> None:
    """Add the handlers."""
    for handlers, function in _HANDLERS:
        handlers.append(function)


def unregister() -> None:
    """Remove handlers and timer, end the engine."""
    for handlers, function in _HANDLERS:
        if function in handlers:
            handlers.remove(function)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    queue.shut_down()
