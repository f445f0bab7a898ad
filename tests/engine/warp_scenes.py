"""Views of the ray-cast scene for the tests of the warp."""

from __future__ import annotations

from functools import cache

import numpy as np
import synthetic

from engine.job import Camera
from engine.records import PointCloud, View


@cache
def scene(sky: bool = False, noisy: bool = False, width: int = 240, height: int = 180, count: int = 4) -> tuple[View, ...]:
    """Views of the ray-cast scene with exact depth, or with depth wrong the way stereo's is."""
    photos, depths = synthetic.photos(count, width, height, sky)
    rng = np.random.default_rng(3)
    return tuple(view_of(p, corrupted(d, rng) if noisy else d) for p, d in zip(photos, depths))


def view_of(photo, depth: np.ndarray) -> View:
    """A photo with its depth, sure where it has any."""
    return View(photo.name, photo.image, photo.camera, photo.mask, depth, (depth > 0).astype(np.float32))


def corrupted(depth: np.ndarray, rng) -> np.ndarray:
    """Noise, foreground that bleeds over edges, flying pixels, outliers and gaps."""
    shape = depth.shape
    bad = depth * (1 + 0.003 * rng.normal(size=shape))
    padded = np.pad(depth, 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    nearest = windows.min((2, 3))
    bleeding = (nearest < 0.95 * depth) & (rng.random(shape) < 0.5) & np.isfinite(depth)
    bad[bleeding] = nearest[bleeding]
    flying = (nearest < 0.95 * depth) & (rng.random(shape) < 0.3) & np.isfinite(depth)
    bad[flying] = (0.5 * nearest + 0.5 * depth)[flying]
    bad[rng.random(shape) < 0.01] *= 0.7
    bad[rng.random(shape) < 0.05] = 0
    return bad.astype(np.float32)


def push_in(amount: float, width: int = 256, height: int = 144) -> Camera:
    """A camera on the way from the photos (0) to a close-up (1)."""
    position = np.array([0.3, -3.0, 1.2]) * (1 - amount) + np.array([0.15, -1.0, 0.55]) * amount
    return synthetic.look_at(position, (0.05 * amount, 0.1, 0.4), width, height, 50)


def cloud_of(points: np.ndarray, colors: np.ndarray | None = None) -> PointCloud:
    """A cloud of these points, grey when no colours are given."""
    n = len(points)
    colors = np.full((n, 3), 128, np.uint8) if colors is None else colors
    normals = np.tile(np.float32([0, 0, 1]), (n, 1))
    return PointCloud(points.astype(np.float32), colors, normals, np.ones(n, np.float32), np.zeros(n, np.int16))
