"""Bringing a solve to the scene's place, turn and size."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty, FloatProperty

from ..closeup_addon import align
from ..closeup_addon.languages import iface
from .common import grey, reported
from .pick import PicksPoint

_MARKERS = tuple(
    (key, key.replace("-", " ").capitalize(), "On the solve" if key in align.POINTS else "Where the point of that number belongs")
    for key in (*align.POINTS, *align.TARGETS)
)


class CLOSEUP_OT_place_marker(PicksPoint, bpy.types.Operator):
    """Set one of the points for aligning: click it in the view, on a cloud or on any surface"""

    bl_idname = "closeup.place_marker"
    bl_label = "Pick Point"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    marker: EnumProperty(name="Point", description="Which of the points", items=_MARKERS)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Put the marker there."""
        align.place_marker(context.scene, self.marker, self.location)
        return {"FINISHED"}


class _Align:
    """What both ways of aligning share."""

    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    needed = align.POINTS

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Grey, with the reason, until the points are set and there is something to move."""
        missing = [key for key in cls.needed if align.marker(context.scene, key) is None]
        if missing:
            return grey(cls, "{} is not set yet", iface(missing[0].replace("-", " ").capitalize()))
        if not align.solved_objects(context.scene):
            return grey(cls, "Nothing was solved or imported yet")
        return True

    def told(self, count: int) -> set[str]:
        """Report how much moved."""
        self.report({"INFO"}, iface("{} cameras and clouds aligned", count))
        return {"FINISHED"}


class CLOSEUP_OT_align_points(_Align, bpy.types.Operator):
    """Move, turn and scale everything solved so that points 1, 2 and 3 come to their targets"""

    bl_idname = "closeup.align_points"
    bl_label = "Align to Targets"
    needed = (*align.POINTS, *align.TARGETS)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Align."""
        return self.told(align.by_points(context.scene))


class CLOSEUP_OT_align_ground(_Align, bpy.types.Operator):
    """Lay everything solved so that points 1, 2 and 3 are on the ground, and give it its true size"""

    bl_idname = "closeup.align_ground"
    bl_label = "Lay on Ground"

    distance: FloatProperty(
        name="Distance 1 to 2",
        description="The true distance between points 1 and 2, in scene units; 0 keeps the size",
        min=0.0,
        subtype="DISTANCE",
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """From the panel: with its distance."""
        self.distance = context.scene.closeup.align_distance
        return self.execute(context)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Align."""
        return self.told(align.by_ground(context.scene, self.distance))


CLASSES = (CLOSEUP_OT_place_marker, CLOSEUP_OT_align_points, CLOSEUP_OT_align_ground)
