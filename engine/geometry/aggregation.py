"""Semi-global aggregation of a cost volume (Hirschmüller 2008), whole scanlines at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..compiled import on_cpu
from .kernels import sweep as kernels


def _step(previous: torch.Tensor, cost: torch.Tensor, small: float | None, large: torch.Tensor) -> torch.Tensor:
    """One step of the recursion for lines of pixels: previous, cost (..., L, D); large (..., L, 1)."""
    least = previous.amin(-1, keepdim=True)
    stay = torch.minimum(previous, least + large)
    if small is not None:
        near = F.pad(previous, (1, 1), value=float("inf"))
        stay = torch.minimum(stay, torch.minimum(near[..., 2:], near[..., :-2]) + small)
    return cost + stay - least


@on_cpu(kernels.semi_global)
def semi_global(
    cost: torch.Tensor, image: torch.Tensor, small: float | None, large: float, contrast: float = 0.06
) -> torch.Tensor:
    """Sum of the eight directional aggregations of ``cost`` (H, W, D), divided by 8.

    image: (3, H, W). small: penalty of a change by one label, None where labels have no order. large: of any greater change,
    less where neighbouring colours differ by more than ``contrast``.
    """
    total = torch.zeros_like(cost)
    for dy in (1, -1):
        total += _lines(cost, image, dy, (0, 1, -1), small, large, contrast)
    turned, turned_image = cost.transpose(0, 1).contiguous(), image.transpose(1, 2)
    across = torch.zeros_like(turned)
    for dx in (1, -1):
        across += _lines(turned, turned_image, dx, (0,), small, large, contrast)
    return (total + across.transpose(0, 1)) / 8


def _lines(cost, image, dy, shifts, small, large, contrast):
    """Paths that step one row by ``dy`` and ``shifts`` columns, row after row."""
    h, w, depth = cost.shape
    total = torch.zeros_like(cost)
    rows = range(h) if dy > 0 else range(h - 1, -1, -1)
    state = None
    for row in rows:
        here = cost[row]
        if state is None:
            state = here[None].expand(len(shifts), w, depth).contiguous()
        else:
            before = torch.stack([_shifted(state[i], shift) for i, shift in enumerate(shifts)])
            colours = torch.stack([_shifted(image[:, row - dy].T, shift) for shift in shifts])
            unlike = (colours - image[:, row].T[None]).abs().amax(-1, keepdim=True)
            jump = (large * contrast / unlike.clamp_min(contrast)).clamp_min((small or 0.0) * 1.5)
            state = _step(before, here[None], small, jump)
        total[row] = state.sum(0)
    return total


def _shifted(line: torch.Tensor, shift: int) -> torch.Tensor:
    """(W, C) moved by ``shift`` pixels; at the border its own value stays."""
    if shift == 0:
        return line
    if shift > 0:
        return torch.cat([line[:1], line[:-1]])
    return torch.cat([line[1:], line[-1:]])


def winners(cost: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sub-label position (H, W) float of each pixel's least cost (a parabola through three), and the cost there."""
    depth = cost.shape[-1]
    least, index = cost.min(-1)
    inner = index.clamp(1, depth - 2)
    left, mid, right = (cost.gather(-1, (inner + k)[..., None])[..., 0] for k in (-1, 0, 1))
    curve = left - 2 * mid + right
    offset = torch.where(curve > 1e-9, 0.5 * (left - right) / curve.clamp_min(1e-9), torch.zeros_like(curve)).clamp(-0.5, 0.5)
    return torch.where(inner == index, index + offset, index.to(offset.dtype)), least
