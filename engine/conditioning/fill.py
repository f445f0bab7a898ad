"""Smooth filling (push-pull) and the small filters on depth images."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def push_pull(values: Tensor, weight: Tensor) -> Tensor:
    """Fill what has little weight from coarser and coarser averages (Gortler et al., The Lumigraph, 1996).

    values: (C, H, W); weight: (H, W), 0..1, 0 where unknown. Returns (C, H, W): values of weight 1 as they were, those of less
    weight mixed with their surroundings; 0 when nothing is known.
    """
    levels = [(values[None] * weight[None, None], weight[None, None])]
    while max(levels[-1][1].shape[-2:]) > 1:
        v, w = levels[-1]
        pad = (0, w.shape[-1] % 2, 0, w.shape[-2] % 2)
        v, w = (4 * F.avg_pool2d(F.pad(x, pad), 2) for x in (v, w))
        # A cell's weight saturates, so that many faint pixels still count less than one sure one.
        scale = 1 / w.clamp(min=1)
        levels.append((v * scale, w * scale))
    filled = None
    for v, w in reversed(levels):
        if filled is None:
            filled = v / w.clamp(min=1e-20)
            continue
        up = F.interpolate(filled, scale_factor=2, mode="bilinear", align_corners=False)
        filled = v + (1 - w) * up[..., : w.shape[-2], : w.shape[-1]]
    return filled[0]


def dilate_min(depth: Tensor) -> Tensor:
    """3×3 minimum of a depth image (H, W)."""
    return -F.max_pool2d(-depth[None, None], 3, 1, 1)[0, 0]


def dilate_max(depth: Tensor, radius: int) -> Tensor:
    """(2 radius + 1)² maximum of a depth image (H, W)."""
    size = 2 * radius + 1
    rows = F.max_pool2d(depth[None, None], (size, 1), 1, (radius, 0))
    return F.max_pool2d(rows, (1, size), 1, (0, radius))[0, 0]


def background_weight(depth: Tensor, known: Tensor, sky: Tensor | None = None) -> Tensor:
    """(H, W) weights for push-pull that let a gap be filled from what lies behind: the more a pixel stands in front of something
    known nearby, the less it weighs; near ones beside sky hardly count. depth: (H, W); known, sky: (H, W) bool."""
    depth = torch.where(known, depth, torch.zeros_like(depth))
    behind = _around(depth)
    weight = (depth / behind.clamp(min=1e-20)) ** 6
    if sky is not None and bool(sky.any()) and bool(known.any()):
        weight = torch.where(_around(sky.float()) > 0, weight * (depth / depth.max()) ** 2, weight)
    return torch.where(known, weight.clamp(1e-4, 1), torch.zeros_like(weight))


def open_to(holes: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """(H, W) bool: the holes (H, W) that open onto the ``sky`` (H, W); one that surfaces enclose shows a surface."""
    count, labels = cv2.connectedComponents(holes.astype(np.uint8), connectivity=4)
    beside = cv2.dilate(sky.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    reached = np.zeros(count, bool)
    reached[labels[beside & holes]] = True
    return reached[labels]


def _around(image: Tensor) -> Tensor:
    """(H, W) the maximum within about a sixth of the frame, on a coarse grid."""
    height, width = image.shape
    cell = max(1, max(height, width) // 64)
    coarse = F.max_pool2d(image[None, None], cell, ceil_mode=True)[0, 0]
    wide = dilate_max(coarse, 10).repeat_interleave(cell, 0)[:height].repeat_interleave(cell, 1)[:, :width]
    return wide


def fill_depth(depth: Tensor, known: Tensor) -> Tensor:
    """(H, W) depth with its gaps filled smoothly, from the farther side: a gap beside an object shows what is behind it."""
    values = torch.where(known, depth, torch.zeros_like(depth))
    return torch.where(known, depth, push_pull(values[None], background_weight(depth, known))[0])
