"""Occlusion-aware suppression: background that shines through the gaps of a nearer, sparsely sampled surface is dropped."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NEARER = 0.05
"""How much nearer (relative) a point must be to count as an occluder."""
REACH = 1.0
"""How far a point's occluders are looked for, in footprints."""
RADII = (1, 2, 3, 4, 6, 8, 12, 16)
"""Search radii that occur, cells."""
EMPTY = 3
"""Octants beside each other without an occluder that show a sample to stand free."""
Direction = tuple[int, int]
AXES: tuple[Direction, ...] = ((1, 1), (0, 1), (1, -1), (0, -1))
"""Right, down, left, up: the axis, and the step along it."""


def _window_min(depth: Tensor, size: int, axis: int, sign: int) -> Tensor:
    """Minimum over ``size`` cells beginning at each cell and running forward (or backward, ``sign``) along an axis."""
    result, reach = depth, 1
    while reach < size:
        step = min(reach, size - reach)
        result = torch.minimum(result, _shift(result, sign * step, axis))
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


def _triangle_min(depth: Tensor, radius: int, ahead: Direction, aside: Direction) -> Tensor:
    """Minimum over the cells i steps ahead and j steps aside, 0 <= j < i <= radius."""
    if radius == 1:
        return _shift(depth, ahead[1], ahead[0])
    half = (radius + 1) // 2
    rest = radius - half
    block = _window_min(_window_min(depth, rest, *ahead), half, *aside)
    corner = _shift(_shift(_triangle_min(depth, rest, ahead, aside), half * ahead[1], ahead[0]), half * aside[1], aside[0])
    near = torch.minimum(_triangle_min(depth, half, ahead, aside), corner)
    return torch.minimum(near, _shift(block, (half + 1) * ahead[1], ahead[0]))


def octant_minima(depth: Tensor, radius: int) -> Tensor:
    """(8, H, W) nearest depth in each cell's eight octants of 45 degrees, in turn, ``radius`` cells wide.

    The octants are half-open (each takes the first of the two lines that bound it), so together they hold every neighbour once.
    depth: (H, W), +inf where empty.
    """
    minima = []
    for ahead, aside in zip(AXES, (*AXES[1:], AXES[0])):
        minima.append(_triangle_min(depth, radius, ahead, aside))
        minima.append(_shift(_triangle_min(depth, radius, aside, ahead), ahead[1], ahead[0]))
    return torch.stack(minima)


def surrounded(nearer: Tensor) -> Tensor:
    """(H, W) bool: no EMPTY octants beside each other are without occluders. nearer: (8, H, W) bool, the octants with some."""
    gap = torch.ones_like(nearer)
    for turn in range(EMPTY):
        gap &= ~nearer.roll(turn, 0)
    return ~gap.any(0)


def leaked(depth: Tensor, reach: Tensor) -> Tensor:
    """(H, W) bool: samples that nearer points surround.

    A sample is rejected when among the octants around it, ``reach`` (cells) wide, no three beside each other are without points
    nearer by NEARER. What lies beside a straight silhouette, and a surface's own slant, leave as many free at any angle.
    depth: (H, W), +inf where empty.
    """
    found = torch.zeros_like(depth, dtype=torch.bool)
    filled = torch.isfinite(depth)
    last = 0.0
    for radius in RADII:
        at = filled & (reach > last) & ((reach <= radius + 0.5) if radius != RADII[-1] else filled)
        last = radius + 0.5
        if bool(at.any()):
            found |= at & surrounded(octant_minima(depth, radius) < depth * (1 - NEARER))
    return found
