"""Neighbouring frames agree: what a frame shows again is held to what the frame before it showed there.

The generator makes each frame by itself, so its detail is drawn anew in every one. Here the finished frame before is carried
along the surface into the new one and mixed in: a running mean, which also errs less than each of the frames it is made of.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..camera import camera_from_world, pixel_rays, world_from_camera
from ..job import Camera
from ..records import Condition

SHARE = 0.7
"""What the frame before contributes at most: about three frames are averaged. More steadies more, and blurs what comes nearer."""
ALIKE = 0.1
"""Colours, blurred over 3×3 pixels, that differ by this much are taken for different things."""
SAME_DEPTH = 0.02
"""Relative difference of depth within which both frames show the same surface."""
SAME_SCALE = 0.15
"""A surface that has grown or shrunk by this ratio between two frames was seen too coarsely, or too finely, to be mixed."""


@dataclass
class Shown:
    """A finished frame (H, W, 3), sRGB-coded, with its z-depth (H, W) and camera."""

    camera: Camera
    frame: np.ndarray
    depth: np.ndarray


def seen_again(shown: Shown, camera: Camera, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``shown`` from another camera with z-depth (H, W): its colours (H, W, 3), bicubic, and how far to rely on them (H, W) 0..1.

    That is 0 where it shows another surface, none or the sky, and less the more the surface's scale changes.
    """
    known = np.isfinite(depth) & (depth > 0)
    pose = (camera_from_world(shown.camera) @ world_from_camera(camera)).astype(np.float32)
    points = pixel_rays(camera).astype(np.float32) * np.where(known, depth, 1).astype(np.float32)[..., None]
    x, y, z = np.moveaxis(points @ pose[:3, :3].T + pose[:3, 3], -1, 0)
    known &= z > 0
    z = np.where(known, z, 1)
    u = x / z * shown.camera.fx + (shown.camera.cx - 0.5)
    v = y / z * shown.camera.fy + (shown.camera.cy - 0.5)
    known &= (u > -0.5) & (u < shown.camera.width - 0.5) & (v > -0.5) & (v < shown.camera.height - 0.5)
    u, v = (np.where(known, x, 0).astype(np.float32) for x in (u, v))
    colours = cv2.remap(shown.frame.astype(np.float32), u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    met = cv2.remap(np.where(np.isfinite(shown.depth), shown.depth, 0).astype(np.float32), u, v, cv2.INTER_NEAREST)
    known &= np.abs(met - z) < SAME_DEPTH * z
    growth = np.log((camera.fx / np.where(known, depth, 1)) / (shown.camera.fx / z))
    return colours, np.where(known, np.exp(-((growth / SAME_SCALE) ** 2)), 0).astype(np.float32)


def steadied(frame: np.ndarray, condition: Condition, before: Shown | None) -> np.ndarray:
    """The frame (H, W, 3) of ``condition`` tied to the one shown ``before`` it; float32, 0..1. As it is where there is none.

    What a photo saw at full resolution is left alone in the measure of its confidence.
    """
    if before is None:
        return frame
    colours, share = seen_again(before, condition.camera, condition.depth)
    away = colours - frame
    unlike = np.abs(cv2.blur(away, (3, 3))).max(-1)
    sure = np.where(condition.level == 1, np.clip(condition.confidence, 0, 1), 0)
    share = SHARE * share * np.exp(-((unlike / ALIKE) ** 2)) * (1 - sure)
    return np.clip(frame + share[..., None] * away, 0, 1).astype(np.float32)
