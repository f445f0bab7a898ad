"""The clouds' colours in Solid and Wireframe shading, where Blender itself shows points grey."""

from __future__ import annotations

from collections.abc import Iterator

import bpy
import gpu
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Matrix

from . import cloud
from .cloud import COLLECTION_KEY
from .extension import log
from .gather import SHOT_KEY

MAX_POINTS = 1_500_000
"""What is painted of a larger cloud is every n-th point."""
SAMPLE = 2_000
SPARSE = 20_000
"""Fewer points than this are no surface."""
_batches: dict[int, tuple] = {}
"""session_uid of the data: (what it was made from, batch, some of the points)."""
_handle = None


def _draw() -> None:
    """Runs at every redraw of every 3D view, so what is not to be drawn must be told quickly."""
    context = bpy.context
    space = context.space_data
    if space is None or space.type != "VIEW_3D" or space.shading.type not in {"SOLID", "WIREFRAME"}:
        return
    shown = [obj for obj in _clouds() if obj.visible_get(view_layer=context.view_layer, viewport=space)]
    if not shown:
        return
    covered = _frames_cover(space, context.scene.camera)
    for rectangle in _around_frame(context) if covered else [None]:
        if rectangle:
            gpu.state.scissor_test_set(True)
            gpu.state.scissor_set(*rectangle)
        for obj in shown:
            _draw_cloud(obj, context)
    if covered:
        gpu.state.scissor_test_set(False)


def _around_frame(context: bpy.types.Context) -> list[tuple[int, int, int, int]]:
    """The parts of the region outside the camera's frame: (x, y, width, height) in pixels."""
    region, camera = context.region, context.scene.camera
    corners = [camera.matrix_world.normalized() @ corner for corner in camera.data.view_frame(scene=context.scene)]
    points = [location_3d_to_region_2d(region, context.region_data, corner) for corner in corners]
    if None in points:
        return []
    left, right = (round(pick(point.x for point in points)) for pick in (min, max))
    bottom, top = (round(pick(point.y for point in points)) for pick in (min, max))
    left, right = max(left, 0), min(right, region.width)
    bottom, top = max(bottom, 0), min(top, region.height)
    parts = [
        (0, 0, left, region.height),
        (right, 0, region.width - right, region.height),
        (left, 0, right - left, bottom),
        (left, top, right - left, region.height - top),
    ]
    return [part for part in parts if part[2] > 0 and part[3] > 0]


def _frames_cover(space, camera) -> bool:
    """Whether the view shows a close-up's frames in front of everything."""
    if space.region_3d.view_perspective != "CAMERA" or camera is None or camera.type != "CAMERA":
        return False
    if not (space.overlay.show_overlays and camera.data.show_background_images):
        return False
    shown = [item for item in camera.data.background_images if item.show_background_image and item.display_depth == "FRONT"]
    return any(item.image and SHOT_KEY in item.image for item in shown)


def _clouds() -> list:
    """Cloud objects stand in our own collections; a scene's other objects are never looked at."""
    found = [item for item in bpy.data.collections if item.get(COLLECTION_KEY)]
    return [obj for collection in found for obj in collection.all_objects if cloud.CLOUD_KEY in obj]


def _draw_cloud(obj, context: bpy.types.Context) -> None:
    entry = _batch(obj)
    if entry is None:
        return
    (count, *_), batch, sample = entry
    view = context.region_data
    world_radius = obj[cloud.CLOUD_KEY] * max(obj.matrix_world.to_scale())
    gpu.state.depth_test_set("LESS_EQUAL")
    gpu.state.depth_mask_set(True)
    distance = _distance(view, obj.matrix_world, sample)
    gpu.state.point_size_set(_point_size(view, context.region, world_radius, distance, count))
    gpu.matrix.push()
    try:
        # moved toward the eye by what Blender's own grey points stick out
        nearer = view.view_matrix.inverted() @ Matrix.Translation((0, 0, 2.0 * world_radius)) @ view.view_matrix
        gpu.matrix.multiply_matrix(nearer @ obj.matrix_world)
        batch.draw(gpu.shader.from_builtin("POINT_FLAT_COLOR"))
    finally:
        gpu.matrix.pop()
        gpu.state.depth_mask_set(False)
        gpu.state.depth_test_set("NONE")
        gpu.state.point_size_set(1.0)


def _point_size(view, region, radius: float, distance: float, count: int) -> float:
    """Pixels of a point at a distance, so that the surface closes; few points stay visible by themselves."""
    scale = view.window_matrix[0][0] * region.width / 2
    pixels = 2 * radius * scale / (max(distance, 1e-6) if view.is_perspective else 1.0)
    return min(24.0, max(2.0 if count > SPARSE else 4.0, 1.2 * pixels))


def _distance(view, matrix_world: Matrix, sample) -> float:
    """The middle distance of those points that the view shows."""
    import numpy as np

    clip = np.c_[sample, np.ones(len(sample))] @ np.array(view.perspective_matrix @ matrix_world).T
    w = clip[:, 3]
    inside = (w > 0) & (np.abs(clip[:, 0]) < w) & (np.abs(clip[:, 1]) < w)
    return float(np.median(w[inside])) if inside.any() else view.view_distance


def prepare(obj, position, coded) -> Iterator[None]:
    """Steps that get a new cloud ready to be painted, from arrays as :func:`cloud.arrays` returns them.

    The first redraw would do the same, from Blender's own arrays and all at once.
    """
    if _handle is not None and len(position):
        yield from _make(obj.data.session_uid, (len(position), 0.0, 0), position, coded)


def _batch(obj) -> tuple | None:
    key = obj.data.session_uid
    made_of = (len(obj.data.attributes["position"].data), *cloud.filters(obj))
    if key in _batches and _batches[key][0] == made_of:
        return _batches[key]
    if not made_of[0]:
        return None
    position, coded = cloud.arrays(obj)
    keep = cloud.shown(obj)
    if keep is not None:
        position, coded = position[keep], coded[keep]
    if not len(position):
        return None
    for _ in _make(key, made_of, position, coded):
        pass
    return _batches[key]


def _make(key: int, made_of: tuple, position, coded) -> Iterator[None]:
    if len(_batches) > 16:
        _batches.clear()
    step = -(-len(position) // MAX_POINTS)
    sample = position[:: -(-len(position) // SAMPLE)]
    position, coded = position[::step], coded[::step]
    layout = gpu.types.GPUVertFormat()
    layout.attr_add(id="pos", comp_type="F32", len=3, fetch_mode="FLOAT")
    layout.attr_add(id="color", comp_type="U8", len=4, fetch_mode="INT_TO_FLOAT_UNIT")
    vertices = gpu.types.GPUVertBuf(layout, len(position))
    vertices.attr_fill("pos", position)
    yield
    vertices.attr_fill("color", coded)
    yield
    _batches[key] = (made_of, gpu.types.GPUBatch(type="POINTS", buf=vertices), sample)


def _draw_safely() -> None:
    """An error in a draw handler would be printed at every redraw; ours takes the overlay away instead."""
    try:
        _draw()
    except Exception:  # noqa: BLE001
        log.exception("The clouds' colours cannot be painted in Solid shading")
        unregister()


def register() -> None:
    """Begin to paint; nothing in background mode."""
    global _handle
    if _handle is None and not bpy.app.background:
        _handle = bpy.types.SpaceView3D.draw_handler_add(_draw_safely, (), "WINDOW", "POST_VIEW")


def unregister() -> None:
    """Stop painting."""
    global _handle
    if _handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
        _handle = None
    _batches.clear()
