"""Pinhole cameras as arrays: projection, rays, resizing.

All functions take :class:`engine.job.Camera`. Pixel coordinates have the centre of the
top-left pixel at (0.5, 0.5). Depth is z-depth: the camera-space z of a point.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .job import Camera


def from_arrays(width: int, height: int, intrinsics: np.ndarray, world_from_camera: np.ndarray) -> Camera:
    """A Camera from a 3×3 matrix of intrinsics (pixels) and a 4×4 rigid matrix."""
    k = np.asarray(intrinsics, float)
    rows = tuple(tuple(float(x) for x in row) for row in np.asarray(world_from_camera, float))
    return Camera(int(width), int(height), float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]), rows)


def intrinsics(camera: Camera) -> np.ndarray:
    """(3, 3) float64 matrix of intrinsics, in pixels."""
    return np.array([[camera.fx, 0.0, camera.cx], [0.0, camera.fy, camera.cy], [0.0, 0.0, 1.0]])


def world_from_camera(camera: Camera) -> np.ndarray:
    """(4, 4) float64."""
    return np.asarray(camera.world_from_camera, dtype=np.float64)


def camera_from_world(camera: Camera) -> np.ndarray:
    """(4, 4) float64, the exact inverse of a rigid transform."""
    m = world_from_camera(camera)
    inverse = np.eye(4)
    inverse[:3, :3] = m[:3, :3].T
    inverse[:3, 3] = -m[:3, :3].T @ m[:3, 3]
    return inverse


def position(camera: Camera) -> np.ndarray:
    """(3,) the camera's centre in the world."""
    return world_from_camera(camera)[:3, 3]


def direction(camera: Camera) -> np.ndarray:
    """(3,) unit vector the camera looks along."""
    return world_from_camera(camera)[:3, 2]


def resized(camera: Camera, width: int, height: int) -> Camera:
    """The same view at another resolution (pixels may become non-square)."""
    sx, sy = width / camera.width, height / camera.height
    return replace(
        camera, width=int(width), height=int(height), fx=camera.fx * sx, fy=camera.fy * sy, cx=camera.cx * sx, cy=camera.cy * sy
    )


def rows(camera: Camera, low: int, high: int) -> Camera:
    """The same view's rows ``low`` to ``high`` only."""
    return replace(camera, height=high - low, cy=camera.cy - low)


def project(camera: Camera, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points (..., 3) to pixels (..., 2) and z-depth (...). Where z is 0 the pixels are not finite."""
    m = camera_from_world(camera)
    local = np.asarray(points, np.float64) @ m[:3, :3].T + m[:3, 3]
    z = local[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        u = camera.fx * local[..., 0] / z + camera.cx
        v = camera.fy * local[..., 1] / z + camera.cy
    return np.stack([u, v], axis=-1), z


def pixel_rays(camera: Camera) -> np.ndarray:
    """(H, W, 3) camera-space rays through the pixel centres, with z = 1: times z-depth they are points."""
    x = (np.arange(camera.width) + 0.5 - camera.cx) / camera.fx
    y = (np.arange(camera.height) + 0.5 - camera.cy) / camera.fy
    rays = np.ones((camera.height, camera.width, 3))
    rays[..., 0] = x[None, :]
    rays[..., 1] = y[:, None]
    return rays


def unproject(camera: Camera, depth: np.ndarray) -> np.ndarray:
    """z-depth (H, W) to world points (H, W, 3)."""
    m = world_from_camera(camera)
    return (pixel_rays(camera) * np.asarray(depth)[..., None]) @ m[:3, :3].T + m[:3, 3]
