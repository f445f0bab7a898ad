"""Refinement of a depth map by slanted-plane PatchMatch, seeded by a coarse solution and by the other photos' depth.

After Bleyer et al. 2011 and Xu & Tao 2019/2020 (ACMH, ACMP): neighbours propose their planes, a planar prior holds where
texture says nothing. All pixels are updated at once (no scan order), so the result is the same on every device's threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..compiled import on_cpu
from .kernels import maps, slanted
from .kernels.limits import ALIKE
from .matching import Planes, SlantedMatcher, pixel_grid, together

NEIGHBOURS = ((1, 0), (-1, 0), (0, 1), (0, -1), (3, 1), (-1, 3), (-3, -1), (1, -3), (7, 0), (-7, 0), (0, 7), (0, -7))
"""(dx, dy) of the pixels that propose their plane, in three rings taken in turn."""
RING = 4
BAND = 96
"""Rows that are done at a time where memory is short and a cancel should be heard soon."""


@on_cpu(maps.slopes)
def slopes(w: torch.Tensor, radius: int = 2, tolerance: float = 0.03) -> tuple[torch.Tensor, torch.Tensor]:
    """Robust slopes (du, dv) of a map of inverse depth (H, W): least squares over neighbours of like depth."""
    h, width = w.shape
    padded = F.pad(w[None, None], [radius] * 4, mode="replicate")[0, 0]
    sums = [torch.zeros_like(w) for _ in range(5)]
    for y in range(-radius, radius + 1):
        for x in range(-radius, radius + 1):
            difference = padded[radius + y : radius + y + h, radius + x : radius + x + width] - w
            near = (difference.abs() < tolerance * w * max(1, max(abs(x), abs(y)))).float()
            terms = (x * x * near, y * y * near, x * y * near, x * near * difference, y * near * difference)
            for total, term in zip(sums, terms):
                total += term
    xx, yy, xy, xd, yd = sums
    xx, yy = xx + 1.0, yy + 1.0
    determinant = xx * yy - xy * xy
    return (xd * yy - yd * xy) / determinant, (yd * xx - xd * xy) / determinant


def resize_planes(planes: Planes, size: tuple[int, int]) -> Planes:
    """The planes at another size of the image; each new pixel takes the plane of its nearest old one, slope included."""
    h, w = planes.w.shape
    device = planes.w.device
    y = ((torch.arange(size[0], device=device) + 0.5) * h / size[0]).long().clamp(0, h - 1)
    x = ((torch.arange(size[1], device=device) + 0.5) * w / size[1]).long().clamp(0, w - 1)
    dy = ((torch.arange(size[0], device=device) + 0.5) * h / size[0] - (y + 0.5))[:, None]
    dx = ((torch.arange(size[1], device=device) + 0.5) * w / size[1] - (x + 0.5))[None]
    value, du, dv = (part[y][:, x] for part in (planes.w, planes.du, planes.dv))
    return Planes(value + du * dx + dv * dy, du * (w / size[1]), dv * (h / size[0]))


def from_neighbour(planes: torch.Tensor, dx: int, dy: int) -> torch.Tensor:
    """What the pixel at (+dx, +dy) proposes for here: its plane (3, H, W), extended."""
    _, h, w = planes.shape
    reach = max(abs(dx), abs(dy))
    padded = F.pad(planes[None], [reach] * 4, mode="replicate")[0]
    value, du, dv = padded[:, reach + dy : reach + dy + h, reach + dx : reach + dx + w]
    return torch.stack([value - dx * du - dy * dv, du, dv])


@dataclass(frozen=True)
class Objective:
    """What a plane of inverse depth is judged by. step: inverse depth that moves a matching point by one pixel of this level.

    prior: (H, W) inverse depth to stay near, as far as ``strength`` says. weights: (P, H, W) in 0..1, how far each partner is
    believed to see each pixel. limits: least and largest inverse depth.
    """

    step: float
    prior: torch.Tensor
    strength: float
    weights: torch.Tensor
    limits: tuple[float, float]


def _cost(matcher: SlantedMatcher, window, planes: Planes, rows: range, aim: Objective) -> torch.Tensor:
    """Objective (n·W,) of planes (flattened) on a band of rows: photometric, plus the distance to the prior."""
    band = slice(rows.start, rows.stop)
    pixels = pixel_grid(*matcher.reference.size, matcher.device)[:, band].reshape(3, -1)
    score, inside = matcher.zncc(window, planes, pixels)
    cost = torch.where(inside, (1 - score) * 0.5, torch.full_like(score, 0.5)).clamp(0, 1)
    cost = 0.5 + (cost - 0.5) * aim.weights[:, band].reshape(len(score), -1)
    away = ((planes.w - aim.prior[band].reshape(-1)) / (4.0 * aim.step)).abs()
    return together(cost) + aim.strength * away / (1 + away)


@on_cpu(slanted.best_planes)
def best_planes(
    matcher: SlantedMatcher, rows: range, candidates: torch.Tensor, aim: Objective
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best plane (3, n, W) of every pixel on n rows, and its cost (n, W). candidates: (C, 3, H, W) planes w, du, dv.

    One that moves no corner of the window by more than ALIKE pixels from the best so far is not tried.
    """
    window = matcher.window(slice(rows.start, rows.stop))
    best = chosen = None
    for candidate in candidates[:, :, rows.start : rows.stop]:
        flat = candidate.reshape(3, -1)
        cost = _cost(matcher, window, Planes(*flat), rows, aim)
        allowed = (flat[0] >= aim.limits[0]) & (flat[0] <= aim.limits[1])
        if best is None:
            best, chosen = torch.where(allowed, cost, torch.full_like(cost, 2.0)), flat
            continue
        change = (flat - chosen).abs()
        allowed &= change[0] + matcher.pad * (change[1] + change[2]) > ALIKE * aim.step
        better = allowed & (cost < best)
        best, chosen = torch.where(better, cost, best), torch.where(better, flat, chosen)
    return chosen.reshape(candidates[0, :, rows.start : rows.stop].shape), best.reshape(len(rows), -1)


def refine(
    matcher: SlantedMatcher,
    planes: Planes,
    proposals: list[torch.Tensor],
    iterations: int,
    aim: Objective,
    tick: Callable[[float], None],
) -> tuple[Planes, torch.Tensor]:
    """Planes and their cost (H, W) after ``iterations``. proposals: maps (H, W) of inverse depth to try as well."""
    h, _ = matcher.reference.size
    band = h if planes.w.is_cuda else BAND
    now, cost = torch.stack([planes.w, planes.du, planes.dv]), None
    for iteration in range(iterations):
        candidates = _candidates(now, aim.step, iteration, proposals if iteration == 0 else [])
        new, cost = torch.empty_like(now), torch.empty_like(now[0])
        for top in range(0, h, band):
            rows = range(top, min(h, top + band))
            new[:, top : rows.stop], cost[top : rows.stop] = best_planes(matcher, rows, candidates, aim)
            tick((iteration + rows.stop / h) / iterations)
        now = new
    return Planes(*now), cost


def _candidates(now: torch.Tensor, step: float, iteration: int, proposals: list[torch.Tensor]) -> torch.Tensor:
    """(C, 3, H, W): the present planes (3, H, W), neighbours' planes, the other photos' depth, small changes of depth, and slopes
    read off the depth map.
    """
    rings = len(NEIGHBOURS) // RING
    ring = (rings - 1 - iteration) % rings
    found = [now, *(from_neighbour(now, dx, dy) for dx, dy in NEIGHBOURS[ring * RING : (ring + 1) * RING])]
    found.append(torch.stack([now[0], *slopes(now[0])]))
    size = step * (1.0, 0.5, 0.25, 0.12)[min(iteration, 3)]
    found += [torch.stack([now[0] + s * size, now[1], now[2]]) for s in (1, -1)]
    found += [torch.stack([w, *slopes(w)]) for w in proposals]
    return torch.stack(found)
