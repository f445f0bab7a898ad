"""Neighbouring frames agree: what a frame shows is held to what the frames before and after it show there.

The generator makes each frame by itself, so its detail is drawn anew in every one. Here finished frames are carried along the
surface into their neighbours and mixed in. Two running means, one along the path and one back, meet in every frame
(a forward-backward smoother): its mean then is of many frames, which errs less than each of them, and a frame that saw the
surface from nearer by tells one that saw it from farther away, whichever comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..camera import camera_from_world, pixel_rays, world_from_camera
from ..job import Camera
from ..records import Condition

KEPT = 0.9
"""What a running mean counts of itself in the next frame."""
SETTLED = 1 / (1 - KEPT)
"""How many frames' mean it becomes where the surface stays in sight."""
ALIKE = 0.1
"""Colours, blurred over 3×3 pixels, that differ by this much are taken for different things."""
SAME_DEPTH = 0.02
"""Relative difference of depth within which both frames show the same surface."""
GROWN, SHRUNK = 0.1, 0.5
"""A surface that has grown, or shrunk, by this ratio (its logarithm) since another frame was seen too coarsely there, or too
finely, to be mixed. Coarser pictures blur; finer ones know better."""


@dataclass
class Shown:
    """A frame (H, W, 3), sRGB-coded, with its z-depth (H, W) and camera. weight: of how many frames' mean it is, or (H, W)."""

    camera: Camera
    frame: np.ndarray
    depth: np.ndarray
    weight: np.ndarray | float = 1.0


def seen_again(shown: Shown, camera: Camera, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``shown`` from another camera with z-depth (H, W): its colours (H, W, C), bicubic, and how far to rely on them (H, W) 0..1.

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
    return colours, np.where(known, np.exp(-((growth / np.where(growth > 0, GROWN, SHRUNK)) ** 2)), 0).astype(np.float32)


def steadied(frames: Sequence[np.ndarray], conditions: Sequence[Condition], before: Shown | None) -> list[np.ndarray]:
    """The frames (H, W, 3) of consecutive ``conditions``, tied to each other and to the one ``before`` them; float32, 0..1.

    What a photo saw at full resolution is left alone in the measure of its confidence.
    """
    back = list(_carried(frames[::-1], conditions[::-1], None))[::-1]
    tied = []
    for frame, sides in zip(frames, zip(_carried(frames, conditions, before), back)):
        total = 1 + sum(weight for _, weight in sides)
        tied.append(np.clip((frame + sum(weight * colours for colours, weight in sides)) / total, 0, 1))
    return tied


def _carried(
    frames: Sequence[np.ndarray], conditions: Sequence[Condition], before: Shown | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each frame the mean of those before it, as it shows them: colours (H, W, 3), and how many they are worth (H, W, 1)."""
    for frame, condition in zip(frames, conditions):
        colours, weight = frame, np.zeros((*frame.shape[:2], 1), np.float32)
        if before is not None:
            colours, weight = _told(frame, condition, before)
        yield colours, weight
        mean = (frame + weight * colours) / (1 + weight)
        before = Shown(condition.camera, mean, condition.depth, 1 + weight[..., 0])


def _told(frame: np.ndarray, condition: Condition, before: Shown) -> tuple[np.ndarray, np.ndarray]:
    """What ``before`` says of a frame: see :func:`_carried`."""
    counted = np.dstack([before.frame, np.broadcast_to(np.float32(before.weight), before.frame.shape[:2])])
    seen, share = seen_again(Shown(before.camera, counted, before.depth), condition.camera, condition.depth)
    colours, count = seen[..., :3], seen[..., 3]
    unlike = np.abs(cv2.blur(colours - frame, (3, 3))).max(-1)
    sure = np.where(condition.level == 1, np.clip(condition.confidence, 0, 1), 0)
    weight = KEPT * count.clip(0) * share * np.exp(-((unlike / ALIKE) ** 2)) * (1 - sure)
    return colours, weight.astype(np.float32)[..., None]
