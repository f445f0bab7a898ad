"""Soft silhouettes: where surfaces end, a pixel's colour is the mean over its quarters.

The warp finds one surface for each pixel, so that silhouettes are as jagged as the pixels are large. A camera covers parts of
both surfaces. Seen at twice the resolution every quarter finds its own. Only pixels beside a step of depth, at both
resolutions, take the mean; all others keep their detail, but for surfaces seen at a grazing angle.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from .. import camera as cams
from ..job import Camera
from ..records import Condition
from .warp import Warper, condition_tensors

STEP = 1.03
"""Ratio of the depths of neighbours from which on two surfaces meet."""
BAND = 500_000
"""Pixels of the frame that are seen at once; at twice the resolution they are four times as many."""
MARGIN = 16
"""Rows beside a band that are seen with it: holes and leaks are judged by their surroundings."""


def softened(condition: Condition, warper: Warper) -> np.ndarray:
    """(H, W, 3) colour of the condition that ``warper`` made, its silhouettes softened; float32, sRGB-coded."""
    camera, colour, step = condition.camera, condition.rgb.copy(), _steps(condition.depth)
    rows = max(1, BAND // camera.width)
    for top in range(0, camera.height, rows):
        bottom = min(top + rows, camera.height)
        if not step[top:bottom].any():
            continue
        first, last = max(0, top - MARGIN), min(camera.height, bottom + MARGIN)
        mean, finer = (x[top - first : bottom - first] for x in _quarters(warper, cams.rows(camera, first, last)))
        soft = step[top:bottom] & finer
        colour[top:bottom][soft] = mean[soft]
    return colour


@torch.no_grad()
def _quarters(warper: Warper, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) mean colour of every pixel's quarters, and (H, W) bool, whether one of them lies beside a step of depth."""
    size = camera.width, camera.height
    fine = condition_tensors(warper.sources, cams.resized(camera, 2 * camera.width, 2 * camera.height), None, warper.levels)
    mean = cv2.resize(fine["rgb"].cpu().numpy(), size, interpolation=cv2.INTER_AREA)
    share = cv2.resize(_steps(fine["depth"].cpu().numpy()).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return mean, share > 0


def _steps(depth: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels whose neighbourhood of 3×3 has surfaces of unlike depth. depth: (H, W), +inf where there is sky."""
    disparity = np.where(depth > 0, 1 / np.maximum(depth, 1e-12), 0).astype(np.float32)
    around = np.ones((3, 3), np.uint8)
    return cv2.dilate(disparity, around) > STEP * cv2.erode(disparity, around)
