"""The tab "Close-up" of a 3D view's sidebar, brought before the user who has just dropped photos there."""

from __future__ import annotations

import time
from collections.abc import Iterator

from . import later
from .extension import log

CATEGORY = "Close-up"
SECONDS = 5.0
"""What a sidebar may take to appear on a busy machine; it has no tabs before."""


def show_tab(area) -> None:
    """Open the sidebar of a 3D view at our tab, in the moments that follow."""
    area.spaces.active.show_region_ui = True
    later.run(_show(area), lambda error: error and log.warning("The tab cannot be shown: %s", error))


def _show(area) -> Iterator[None]:
    region = next(item for item in area.regions if item.type == "UI")
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        yield
        try:
            region.active_panel_category = CATEGORY
        except TypeError:  # it has no such tab yet
            area.tag_redraw()
        else:
            area.tag_redraw()
            return
