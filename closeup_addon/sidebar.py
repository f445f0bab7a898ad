"""The tab "Close-up" of a 3D view's sidebar, brought before the user who has just dropped photos there."""

from __future__ import annotations

from collections.abc import Iterator

from . import later
from .extension import log

CATEGORY = "Close-up"
TRIES = 25
"""Redraws that a sidebar may take to appear; it has no tabs before."""


def show_tab(area) -> None:
    """Open the sidebar of a 3D view at our tab, in the moments that follow."""
    area.spaces.active.show_region_ui = True
    later.run(_show(area), lambda error: error and log.warning("The tab cannot be shown: %s", error))


def _show(area) -> Iterator[None]:
    region = next(item for item in area.regions if item.type == "UI")
    for _ in range(TRIES):
        yield
        try:
            region.active_panel_category = CATEGORY
        except TypeError:  # it has no such tab yet
            area.tag_redraw()
        else:
            area.tag_redraw()
            return
