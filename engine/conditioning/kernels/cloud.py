"""The fused cloud in the target's frame (see ``conditioning.cloud``)."""

from __future__ import annotations

import numpy as np

from ... import camera as cams
from ...compiled import kernel, share
from ...job import Camera
from .. import cloud as reference
from .. import surface
from .lookup import ZERO, F
from .splat import ROWS, frame_of, splat_points, splat_shared
from .surface import composed

PIECE = 1 << 15
"""Points that one thread takes at a time."""
SCRATCH = 1024


@kernel
def _spacings(payload, depth, spacing, scale, first, last, out):
    """Rows of the footprints of the points in cells, px; 0 where empty."""
    for row in range(first, last):
        for x in range(payload.shape[1]):
            z = depth[row, x]
            out[row, x] = ZERO if np.isinf(z) else scale * spacing[payload[row, x]] / z


@kernel
def _paint(payload, depth, colors, first, last, rgb, out):
    """Colour and depth of the cells that hold a point; 0 elsewhere."""
    for row in range(first, last):
        for x in range(payload.shape[1]):
            empty = np.isinf(depth[row, x])
            out[row, x] = ZERO if empty else depth[row, x]
            for channel in range(3):
                rgb[row, x, channel] = ZERO if empty else colors[payload[row, x], channel]


def project_cloud(cloud: reference.Cloud, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Colour (H, W, 3) and z-depth (H, W) of the cloud, 0 where it says nothing."""
    rgb, out = np.zeros((camera.height, camera.width, 3), F), np.zeros((camera.height, camera.width), F)
    footprint = reference.typical(cloud, camera)
    points, colors, spacing = cloud.points.numpy(), cloud.colors.numpy(), cloud.spacing.numpy()
    m = cams.camera_from_world(camera)
    pose = np.concatenate([m[:3, :3].reshape(-1), m[:3, :3] @ cloud.origin + m[:3, 3]]).astype(F)
    count, guard = surface.extent(footprint, camera, 0)
    frame = frame_of(camera, guard, reference.MARGIN)
    shape = (camera.height + 2 * guard, camera.width + 2 * guard)

    def task(piece, cell, z, _, keys):
        first = piece * PIECE
        splat_points(points, spacing, pose, frame, first, min(first + PIECE, len(points)), cell, z, keys)

    keys = splat_shared(task, -(-len(points) // PIECE), shape[0] * shape[1], SCRATCH).reshape(shape)
    scale = F(max(camera.fx, camera.fy))

    def spacing_of(payload, depth):
        found = np.empty(depth.shape, F)
        share(lambda a, b: _spacings(payload, depth, spacing, scale, a, b, found), len(depth), ROWS)
        return found

    depth, payload, _ = composed(keys, count, spacing_of)
    crop = (slice(guard, guard + camera.height), slice(guard, guard + camera.width))
    depth, payload = np.ascontiguousarray(depth[crop]), np.ascontiguousarray(payload[crop])
    share(lambda a, b: _paint(payload, depth, colors, a, b, rgb, out), len(depth), ROWS)
    return rgb, out
