"""A point under the mouse: of a cloud, or of what else the view shows."""

from __future__ import annotations

from mathutils import Vector

from . import cloud

RADIUS = 14.0
"""Pixels around the mouse in which a cloud's point counts as hit."""
_DEPTH_TOLERANCE = 0.03
"""Of the points around the mouse, those this much further than the nearest still belong to the surface that is seen."""


def pick(context, region, view, x: float, y: float) -> Vector | None:
    """The world point at a region's pixel (origin bottom left), or None: clouds first, then surfaces.

    view: the region's ``bpy.types.RegionView3D``.
    """
    found = _nearest_point(context, region, view, x, y)
    return found if found is not None else _surface(context, region, view, x, y)


def _nearest_point(context, region, view, x: float, y: float) -> Vector | None:
    best = None
    for obj in context.visible_objects:
        if cloud.CLOUD_KEY in obj:
            hit = nearest_of(cloud.arrays(obj)[0], view.perspective_matrix @ obj.matrix_world, region.width, region.height, x, y)
            if hit is not None and (best is None or hit[0] < best[0]):
                best = hit[0], obj.matrix_world @ Vector(hit[1])
    return best[1] if best else None


def nearest_of(points, matrix, width: int, height: int, x: float, y: float):
    """(depth, point) of the nearest of ``points`` (N, 3) that a pixel shows, or None.

    matrix: from their space to clip space. Of what lies around the pixel at the depth of the front surface, the point
    closest to the pixel is taken.
    """
    import numpy as np

    m = np.array(matrix)
    clip = points.astype(np.float64) @ m[:, :3].T + m[:, 3]
    w = clip[:, 3]
    front = np.flatnonzero((w > 1e-9) & (clip[:, 2] >= -w))  # before the view's near plane nothing is seen
    ndc = clip[front, :2] / w[front, None]
    away = np.hypot((ndc[:, 0] + 1) / 2 * width - x, (ndc[:, 1] + 1) / 2 * height - y)
    near = np.flatnonzero(away <= RADIUS)
    if not len(near):
        return None
    flat = np.allclose(m[3, :3], 0)  # an orthographic view: its depth is clip space's z
    depth = clip[front, 2] if flat else w[front]
    reach = np.ptp(depth) if flat else depth[near].min()
    seen = near[depth[near] <= depth[near].min() + _DEPTH_TOLERANCE * reach]
    chosen = seen[np.argmin(away[seen])]
    return float(depth[chosen]), points[front[chosen]]


def _surface(context, region, view, x: float, y: float) -> Vector | None:
    from bpy_extras.view3d_utils import region_2d_to_origin_3d, region_2d_to_vector_3d

    origin = region_2d_to_origin_3d(region, view, (x, y))
    direction = region_2d_to_vector_3d(region, view, (x, y))
    hit, location, *_ = context.scene.ray_cast(context.view_layer.depsgraph, origin, direction)
    return location if hit else None
