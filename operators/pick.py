"""Operators that wait for a click in the 3D view."""

from __future__ import annotations

import bpy
from bpy.props import FloatVectorProperty

from ..closeup_addon import picking
from ..closeup_addon.languages import iface, marked

_NAVIGATION = {"MIDDLEMOUSE", "WHEELUPMOUSE", "WHEELDOWNMOUSE", "MOUSEMOVE", "TRACKPADPAN", "TRACKPADZOOM", "NDOF_MOTION"}
_HELP = marked("Click the point; Enter takes the 3D cursor, Esc cancels")


class PicksPoint:
    """A click on a cloud or a surface becomes ``location``, then ``execute`` runs."""

    location: FloatVectorProperty(name="Location", description="Where it is, in the world", subtype="XYZ", size=3)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Wait for the click."""
        if context.area is None or context.area.type != "VIEW_3D":
            self.report({"ERROR"}, "Points are picked in a 3D view; press the button there")
            return {"CANCELLED"}
        context.workspace.status_text_set(iface(_HELP))
        context.window.cursor_modal_set("EYEDROPPER")
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """A click picks; the view can be turned meanwhile."""
        if event.type in _NAVIGATION:
            return {"PASS_THROUGH"}
        if event.type in {"ESC", "RIGHTMOUSE"}:
            self._leave(context)
            return {"CANCELLED"}
        if event.type == "LEFTMOUSE" and event.value == "PRESS" and self._on_a_panel(context, event):
            self._leave(context)  # another button was pressed: that is what is meant now
            return {"CANCELLED", "PASS_THROUGH"}
        if event.value != "PRESS":
            return {"RUNNING_MODAL"}
        found = None
        if event.type in {"RET", "NUMPAD_ENTER"}:
            found = context.scene.cursor.location
        elif event.type == "LEFTMOUSE":
            found = self._under(context, event)
            if found is None:
                self.report({"WARNING"}, "There is nothing under the mouse; click a point of the cloud or a surface")
        if found is None:
            return {"RUNNING_MODAL"}
        self.location = found
        self._leave(context)
        return self.execute(context)

    def _on_a_panel(self, context: bpy.types.Context, event: bpy.types.Event) -> bool:
        others = [item for item in context.area.regions if item.type != "WINDOW"]
        return any(_inside(item, event) for item in others) or not _inside(context.area, event)

    def _under(self, context: bpy.types.Context, event: bpy.types.Event):
        space = context.space_data
        windows = [item for item in context.area.regions if item.type == "WINDOW"]
        views = space.region_quadviews if len(windows) > 1 else [space.region_3d]
        for region, view in zip(windows, views):
            if _inside(region, event):
                return picking.pick(context, region, view, event.mouse_x - region.x, event.mouse_y - region.y)
        return None

    def _leave(self, context: bpy.types.Context) -> None:
        context.workspace.status_text_set(None)
        context.window.cursor_modal_restore()


def _inside(place, event: bpy.types.Event) -> bool:
    """Whether the mouse is in a region or an area; regions that are hidden are one pixel large."""
    return 0 <= event.mouse_x - place.x < place.width and 0 <= event.mouse_y - place.y < place.height and place.width > 1
