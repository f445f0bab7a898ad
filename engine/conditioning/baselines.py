"""What a warp without the hierarchy gives: the baselines of the evaluation."""

from __future__ import annotations

import cv2
import numpy as np

from .. import camera as cams
from ..job import Camera
from ..records import View


def naive(views: list[View], camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel with depth drawn as one target pixel, nearest wins.

    Returns rgb (H, W, 3) float32, 0 where empty, and mask (H, W) bool, where anything was drawn.
    """
    size = camera.width * camera.height
    depth, rgb = np.full(size, np.inf), np.zeros((size, 3), np.float32)
    for view in views:
        good = np.isfinite(view.depth) & (view.depth > 0) & view.mask
        points = cams.unproject(view.camera, np.where(good, view.depth, 1.0))[good]
        uv, z = cams.project(camera, points)
        front = z > 1e-9
        uv, z, colour = uv[front], z[front], view.image[good][front]
        with np.errstate(invalid="ignore"):
            inside = (uv[:, 0] >= 0) & (uv[:, 0] < camera.width) & (uv[:, 1] >= 0) & (uv[:, 1] < camera.height)
        cell = uv[inside].astype(np.int64) @ np.array([1, camera.width])
        z, colour = z[inside], colour[inside]
        order = np.argsort(-z, kind="stable")
        cell, z, colour = cell[order], z[order], colour[order]
        # Later assignments win, so the nearest point of a cell stays; then only where it beats the views before.
        best = np.full(size, np.inf)
        best[cell] = z
        painted = np.zeros((size, 3), np.float32)
        painted[cell] = colour
        nearer = best < depth
        depth[nearer], rgb[nearer] = best[nearer], painted[nearer]
    shape = (camera.height, camera.width)
    return rgb.reshape(*shape, 3), np.isfinite(depth).reshape(shape)


def telea(rgb: np.ndarray, mask: np.ndarray, radius: float = 4.0) -> np.ndarray:
    """Fill where ``mask`` is False by Telea's fast marching inpainting (8 bit); (H, W, 3) float32."""
    if not mask.any():
        return np.full_like(rgb, 0.5)
    image = np.round(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    return cv2.inpaint(image, (~mask).astype(np.uint8), radius, cv2.INPAINT_TELEA).astype(np.float32) / 255
