"""What the conditioning benchmark asks of a warp whose truth is known: does anything leak, and is its confidence honest?"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from engine.conditioning import surface
from engine.conditioning.source import Source
from engine.conditioning.splat import join, project_source
from engine.job import Camera
from engine.records import Condition

LEAK = 0.05
"""What is farther than the true surface around it (3×3) by more than this (relative) shows what lies behind."""
BINS = 10
"""Of confidence, equally wide."""
ALIKE = 8 / 255
"""A colour is right when no channel differs by more from the truth."""
_FAR = np.float32(1e30)


def _around(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest and farthest of the true z-depth in the 3×3 around each pixel; sky is very far."""
    depth = np.where(np.isfinite(depth), depth, _FAR).astype(np.float32)
    return cv2.erode(depth, np.ones((3, 3))), cv2.dilate(depth, np.ones((3, 3)))


def leaked(condition: Condition, depth: np.ndarray) -> float:
    """Share of the pixels of a true surface (depth: (H, W), inf for sky) at which the condition shows a photo's colour of
    something farther away."""
    far = _around(depth)[1]
    solid = far < _FAR
    shown = (condition.level > 0) & (condition.depth > far * (1 + LEAK)) & solid
    return float(shown.sum() / max(1, solid.sum()))


def suppression(sources: Sequence[Source], camera: Camera, depth: np.ndarray) -> np.ndarray:
    """(4,) samples of all levels of the splat: how many leak, how many of these are removed; how many are good, how many of
    these are removed. What lies in front of the true surface (depth: (H, W)) by more than LEAK is neither."""
    steps, footprint = surface.density(surface.sampled(sources, camera))
    points = join([project_source(source, camera, step=step).coarser(step) for source, step in zip(sources, steps)])
    near, far = _around(depth)
    counts = np.zeros(4)
    for level in surface.samples(points, camera, 0, footprint)[0]:
        used = torch.isfinite(level.depth)
        index, removed = level.index[used], level.leaked[used].numpy()
        z, u, v = (values[index].numpy() for values in (points.z, points.u, points.v))
        inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
        pixel = np.where(inside, v, 0).astype(int), np.where(inside, u, 0).astype(int)
        behind = inside & (z > far[pixel] * (1 + LEAK))
        good = inside & ~behind & (z >= near[pixel] * (1 - LEAK))
        counts += [behind.sum(), (behind & removed).sum(), good.sum(), (good & removed).sum()]
    return counts


def calibration(condition: Condition, truth: np.ndarray) -> np.ndarray:
    """(BINS, 2) per bin of confidence: how many pixels are no hole, and at how many of these the colour is right."""
    shown = condition.level > 0
    bins = np.minimum((condition.confidence[shown] * BINS).astype(int), BINS - 1)
    right = (np.abs(condition.rgb - truth)[shown] <= ALIKE).all(1)
    return np.stack([np.bincount(bins, weights, BINS) for weights in (np.ones(len(bins)), right)], 1)
