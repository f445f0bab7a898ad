"""Where all panels stand."""

from __future__ import annotations

from ..closeup_addon.sidebar import CATEGORY


class Panel:
    """The sidebar of the 3D view, tab "Close-up"."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = CATEGORY
