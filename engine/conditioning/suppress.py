"""Occlusion-aware suppression: background that shines through the gaps of a nearer, sparsely sampled surface is dropped."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NEARER = 0.08
"""How much nearer (relative) a point must be to count as an occluder."""
REACH = 1.6
"""How far a point's occluders are looked for, in footprints."""
RADII = (1, 2, 3, 4, 6, 8, 12, 16)
"""Search radii that occur, cells."""


def _window_min(depth: Tensor, size: int, axis: int, forward: bool) -> Tensor:
    """Minimum over ``size`` cells beginning at each cell and running forward (or backward) along an axis."""
    result, reach = depth, 1
    while reach < size:
        step = min(reach, size - reach)
        result = torch.minimum(result, _shift(result, step if forward else -step, axis))
        reach += step
    return result


def _shift(depth: Tensor, step: int, axis: int) -> Tensor:
    """The cell ``step`` ahead along an axis; +inf beyond the border."""
    size = depth.shape[axis]
    if abs(step) >= size:
        return torch.full_like(depth, torch.inf)
    kept = depth.narrow(axis, max(step, 0), size - abs(step))
    ahead, behind = max(step, 0), max(-step, 0)
    pad = (0, 0, behind, ahead) if axis == 0 else (behind, ahead, 0, 0)
    return F.pad(kept, pad, value=torch.inf)


def quadrant_minima(depth: Tensor, radius: int) -> Tensor:
    """(4, H, W) nearest depth in each cell's four quadrants, ``radius`` cells wide.

    The quadrants are half-open (each takes one of the axes that bound it), so together they hold every neighbour once.
    depth: (H, W), +inf where empty.
    """
    right = _shift(_window_min(depth, radius, 1, True), 1, 1)
    left = _shift(_window_min(depth, radius, 1, False), -1, 1)
    down = _shift(_window_min(depth, radius, 0, True), 1, 0)
    up = _shift(_window_min(depth, radius, 0, False), -1, 0)
    return torch.stack(
        [
            _window_min(right, radius + 1, 0, True),
            _window_min(down, radius + 1, 1, False),
            _window_min(left, radius + 1, 0, False),
            _window_min(up, radius + 1, 1, True),
        ]
    )


def leaked(depth: Tensor, reach: Tensor) -> Tensor:
    """(H, W) bool: samples that nearer points surround.

    A sample is rejected when points nearer by NEARER stand in at least 3 of its 4 quadrants within ``reach`` (cells): a surface's
    own slant puts nearer points on one side only. depth: (H, W), +inf where empty.
    """
    found = torch.zeros_like(depth, dtype=torch.bool)
    filled = torch.isfinite(depth)
    last = 0.0
    for radius in RADII:
        at = filled & (reach > last) & ((reach <= radius + 0.5) if radius != RADII[-1] else filled)
        last = radius + 0.5
        if not bool(at.any()):
            continue
        nearer = (quadrant_minima(depth, radius) < depth * (1 - NEARER)).sum(0)
        found |= at & (nearer >= 3)
    return found
