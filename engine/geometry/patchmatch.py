"""Refinement of a depth map by slanted-plane PatchMatch, seeded by a coarse solution and by the other photos' depth.

After Bleyer et al. 2011 and Xu & Tao 2019/2020 (ACMH, ACMP): neighbours propose their planes, a planar prior holds where
texture says nothing. All pixels are updated at once (no scan order), so the result is the same on every device's threads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from .matching import Planes, SlantedMatcher, pixel_grid, together

NEIGHBOURS = ((1, 0), (-1, 0), (0, 1), (0, -1), (3, 1), (-1, 3), (-3, -1), (1, -3), (7, 0), (-7, 0), (0, 7), (0, -7))
"""(dx, dy) of the pixels that propose their plane, in three rings taken in turn."""
RING = 4


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


def _from_neighbour(planes: Planes, dx: int, dy: int) -> Planes:
    """What the pixel at (+dx, +dy) proposes for here: its plane, extended."""
    h, w = planes.w.shape
    reach = max(abs(dx), abs(dy))
    stacked = torch.stack([planes.w, planes.du, planes.dv])
    padded = F.pad(stacked[None], [reach] * 4, mode="replicate")[0]
    value, du, dv = padded[:, reach + dy : reach + dy + h, reach + dx : reach + dx + w]
    return Planes(value - dx * du - dy * dv, du, dv)


class Refiner:
    """State and objective of one photo's refinement.

    step: inverse depth that moves a matching point by one pixel of this level.
    weights: (P, H, W) in 0..1, how far each partner is believed to see each pixel.
    """

    def __init__(self, matcher: SlantedMatcher, step: float, limits: tuple[float, float], weights: torch.Tensor):
        self.matcher, self.step, self.limits = matcher, step, limits
        self.weights = weights
        self.size = matcher.reference.size
        self.pixels = pixel_grid(*self.size, matcher.reference.gray.device)

    def cost(self, window, planes: Planes, prior: torch.Tensor, rows: slice, strength: float) -> torch.Tensor:
        """Objective (n·W,) of planes (flattened) on a band of rows: photometric, plus the distance to the prior."""
        pixels = self.pixels[:, rows].reshape(3, -1)
        score, inside = self.matcher.zncc(window, planes, pixels)
        cost = torch.where(inside, (1 - score) * 0.5, torch.full_like(score, 0.5)).clamp(0, 1)
        cost = 0.5 + (cost - 0.5) * self.weights[:, rows].reshape(len(score), -1)
        away = ((planes.w - prior[rows].reshape(-1)) / (4.0 * self.step)).abs()
        return together(cost) + strength * away / (1 + away)

    def run(
        self,
        planes: Planes,
        proposals: list[torch.Tensor],
        iterations: int,
        strength: float,
        tick: Callable[[float], None],
        band: int = 48,
    ) -> tuple[Planes, torch.Tensor]:
        """Planes and their cost (H, W) after ``iterations``. proposals: maps (H, W) of inverse depth to try as well."""
        h, _ = self.size
        prior = planes.w
        if prior.is_cuda:
            band = h
        cost = None
        for iteration in range(iterations):
            candidates = self._candidates(planes, iteration, proposals if iteration == 0 else [])
            new = Planes(planes.w.clone(), planes.du.clone(), planes.dv.clone())
            found = torch.empty(self.size, device=prior.device)
            for top in range(0, h, band):
                rows = slice(top, min(h, top + band))
                found[rows] = self._band(rows, new, candidates, prior, strength)
                tick((iteration + rows.stop / h) / iterations)
            planes, cost = new, found
        return planes, cost

    def _band(self, rows, new: Planes, candidates: list[Planes], prior, strength) -> torch.Tensor:
        """The best of the state and all candidates on a band of rows, written into ``new``."""
        shape = new.w[rows].shape
        window = self.matcher.window(rows)
        best = None
        for candidate in [new, *candidates]:
            plane = Planes(*(part[rows].reshape(-1) for part in (candidate.w, candidate.du, candidate.dv)))
            cost = self.cost(window, plane, prior, rows, strength)
            allowed = (plane.w >= self.limits[0]) & (plane.w <= self.limits[1])
            cost = torch.where(allowed, cost, torch.full_like(cost, 2.0))
            if best is None:
                best, chosen = cost, plane
                continue
            better = cost < best
            best = torch.where(better, cost, best)
            chosen = Planes(*(torch.where(better, a, b) for a, b in zip(vars(plane).values(), vars(chosen).values())))
        new.w[rows], new.du[rows], new.dv[rows] = (part.reshape(shape) for part in (chosen.w, chosen.du, chosen.dv))
        return best.reshape(shape)

    def _candidates(self, planes: Planes, iteration: int, proposals: list[torch.Tensor]) -> list[Planes]:
        """Neighbours' planes, the other photos' depth, small changes of depth, and slopes read off the depth map."""
        rings = len(NEIGHBOURS) // RING
        ring = (rings - 1 - iteration) % rings
        found = [_from_neighbour(planes, dx, dy) for dx, dy in NEIGHBOURS[ring * RING : (ring + 1) * RING]]
        du, dv = slopes(planes.w)
        found.append(Planes(planes.w, du, dv))
        size = self.step * (1.0, 0.5, 0.25, 0.12)[min(iteration, 3)]
        found += [Planes(planes.w + s * size, planes.du, planes.dv) for s in (1, -1)]
        for w in proposals:
            found.append(Planes(w, *slopes(w)))
        return found
