"""What became of work that ended when its button had long been let go: a line in the panel it was started from."""

from __future__ import annotations

import bpy

SECONDS = 20.0
"""How long good news is shown; bad news stays until something else happens."""

_shown: dict[str, tuple[str, bool]] = {}


def show(place: str, text: str, wrong: bool = False, passing: bool = True) -> None:
    """Show a sentence in the panel ``place``; wrong: it is an error. passing: good news that goes by itself."""
    _shown[place] = (text, wrong)
    _redraw()
    if passing and not wrong and not bpy.app.background:
        bpy.app.timers.register(lambda: _hide(place, text), first_interval=SECONDS, persistent=True)


def of(place: str) -> tuple[str, bool] | None:
    """(sentence, whether it is an error) of a panel, or None."""
    return _shown.get(place)


def withdraw(place: str) -> None:
    """A panel's sentence no longer holds."""
    if _shown.pop(place, None):
        _redraw()


def clear() -> None:
    """Forget everything."""
    _shown.clear()


def _hide(place: str, text: str) -> None:
    if _shown.get(place) == (text, False):
        del _shown[place]
        _redraw()


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()
