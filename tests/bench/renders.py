"""What others would render from the same photos with depth: the baselines of the conditioning benchmark.

Each gives rgb (H, W, 3) float32 and mask (H, W) bool, where anything was drawn.
"""

from __future__ import annotations

import math
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numba import njit

from engine import camera as cams
from engine.job import Camera
from engine.records import View

RADIUS_NDC = 0.01
"""ViewCrafter's radius of a point; the shorter side of the frame is 2."""
POINTS_PER_PIXEL = 10


def points_of(views: list[View]) -> tuple[np.ndarray, np.ndarray]:
    """All points of all photos: (N, 3) float64 world and (N, 3) float32 colours."""
    points, colours = [], []
    for view in views:
        good = np.isfinite(view.depth) & (view.depth > 0) & view.mask
        points.append(cams.unproject(view.camera, np.where(good, view.depth, 1.0))[good])
        colours.append(view.image[good].astype(np.float32))
    return np.concatenate(points), np.concatenate(colours)


def point_render(views: list[View], camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """As ViewCrafter renders its cloud (arXiv 2409.02048): discs of a fixed radius, the nearest 10 of a pixel, alpha-composited
    with 1 - (distance / radius)²."""
    points, colours = points_of(views)
    uv, z = cams.project(camera, points)
    front = z > 1e-9
    uv, z, colours = uv[front], z[front], colours[front]
    order = np.argsort(z, kind="stable")
    radius = RADIUS_NDC * min(camera.width, camera.height) / 2
    rgb, through, count = _discs(uv[order], colours[order], radius, camera.width, camera.height)
    return rgb / np.maximum(1 - through, 1e-6)[..., None], count > 0


@njit(cache=True)
def _discs(uv, colours, radius, width, height):
    """Front to back: uv and colours come sorted by depth."""
    rgb = np.zeros((height, width, 3), np.float32)
    through = np.ones((height, width), np.float32)
    count = np.zeros((height, width), np.int32)
    for index in range(len(uv)):
        u, v = uv[index]
        if not (-radius <= u <= width + radius and -radius <= v <= height + radius):
            continue
        for y in range(max(0, math.ceil(v - radius - 0.5)), min(height, math.floor(v + radius - 0.5) + 1)):
            for x in range(max(0, math.ceil(u - radius - 0.5)), min(width, math.floor(u + radius - 0.5) + 1)):
                far = ((x + 0.5 - u) ** 2 + (y + 0.5 - v) ** 2) / radius**2
                if far < 1 and count[y, x] < POINTS_PER_PIXEL:
                    weight = np.float32((1 - far) * through[y, x])
                    for channel in range(3):
                        rgb[y, x, channel] += weight * colours[index, channel]
                    through[y, x] -= weight
                    count[y, x] += 1
    return rgb, through, count


def bilinear_splat(views: list[View], camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """As GEN3C warps its cache (arXiv 2503.03751): each photo splatted bilinearly, near points weighted exponentially more;
    where several photos reach, the nearest is taken."""
    best = np.full((camera.height, camera.width), np.inf)
    rgb = np.zeros((camera.height, camera.width, 3), np.float32)
    for view in views:
        points, colours = points_of([view])
        uv, z = cams.project(camera, points)
        front = z > 1e-9
        if not front.any():
            continue
        log = np.log1p(z[front])
        weight = np.exp(-50 * log / log.max())
        sums = _bilinear(uv[front] - 0.5, colours[front], weight, z[front], camera.width, camera.height)
        drawn = sums[..., 4] > 0
        mean = sums / np.where(drawn, sums[..., 4], 1)[..., None]
        nearer = drawn & (mean[..., 3] < best)
        best[nearer], rgb[nearer] = mean[..., 3][nearer], mean[..., :3][nearer]
    return rgb, np.isfinite(best)


@njit(cache=True)
def _bilinear(uv, colours, weight, z, width, height):
    sums = np.zeros((height, width, 5))
    for index in range(len(uv)):
        u, v = uv[index]
        if not (-1 < u < width and -1 < v < height):
            continue
        x0, y0 = math.floor(u), math.floor(v)
        for y in (y0, y0 + 1):
            for x in (x0, x0 + 1):
                if 0 <= x < width and 0 <= y < height:
                    share = weight[index] * (1 - abs(u - x)) * (1 - abs(v - y))
                    for channel in range(3):
                        sums[y, x, channel] += share * colours[index, channel]
                    sums[y, x, 3] += share * z[index]
                    sums[y, x, 4] += share
    return sums


def tsdf(views: list[View], path: list[Camera], python: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """A coloured TSDF mesh by Open3D, its sky from the photo that saw sky in a direction; in a process and an environment of its
    own (tsdf.py)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(
            folder / "views.npz",
            images=np.stack([(view.image * 255).round().astype(np.uint8) for view in views]),
            depths=np.stack([np.where(view.mask, view.depth, 0).astype(np.float32) for view in views]),
            intrinsics=np.stack([_intrinsics(view.camera) for view in views]),
            poses=np.stack([cams.camera_from_world(view.camera) for view in views]),
            target_intrinsics=np.stack([_intrinsics(camera) for camera in path]),
            target_poses=np.stack([cams.camera_from_world(camera) for camera in path]),
            size=np.array([path[0].width, path[0].height]),
        )
        subprocess.run([python, Path(__file__).with_name("tsdf.py"), folder], check=True)
        found = np.load(folder / "frames.npz")
    frames = []
    for camera, rgb, mask in zip(path, found["rgb"], found["mask"]):
        rgb = rgb.astype(np.float32)
        colour, seen = sky_of(views, camera)
        rgb[~mask & seen] = colour[~mask & seen]
        frames.append((rgb, mask | seen))
    return frames


def _intrinsics(camera: Camera) -> np.ndarray:
    return np.array([[camera.fx, 0, camera.cx - 0.5], [0, camera.fy, camera.cy - 0.5], [0, 0, 1]])


def sky_of(views: list[View], camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The colours of the first photo that saw sky along each pixel's direction, and where one did."""
    rays = cams.pixel_rays(camera) @ np.asarray(camera.world_from_camera)[:3, :3].T
    rgb, seen = np.zeros((camera.height, camera.width, 3), np.float32), np.zeros((camera.height, camera.width), bool)
    for view in views:
        uv, z = cams.project(view.camera, rays.reshape(-1, 3) + np.asarray(view.camera.world_from_camera)[:3, 3])
        x, y = (np.clip(np.nan_to_num(uv[:, i]), -1, 1e6).astype(np.int64).reshape(seen.shape) for i in (0, 1))
        inside = (z.reshape(seen.shape) > 0) & (x >= 0) & (y >= 0) & (x < view.camera.width) & (y < view.camera.height)
        x, y = np.where(inside, x, 0), np.where(inside, y, 0)
        new = inside & np.isposinf(view.depth[y, x]) & ~seen
        rgb[new] = view.image[y[new], x[new]]
        seen |= new
    return rgb, seen
