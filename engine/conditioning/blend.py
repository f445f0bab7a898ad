"""Reading the photos at a known surface: which photo, at which sharpness, how sure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..job import Camera
from .lookup import Line, Rays, line_of, look, plane, sample
from .source import BESIDE_EDGE, GENERATED, SKY, SOLID, USABLE, Source

TOLERANCE = 0.012
"""Relative difference between a photo's depth and the surface's at which the photo's sight of it is in doubt."""
SHARPNESS = 4
"""Photos are blended by their score to this power: the best one wins, near ties melt into each other."""
UNSEEN_DEPTH = 0.03
"""Score of a photo that has no depth there: its colour is a guess, taken when no photo knows better."""
PARALLAX = 8
"""How much photos taken from the target's own direction are preferred: the power of cos² of half the angle between."""
ASKEW = 60
"""How soon a doubtful depth spoils a photo's colours: by sin² of half the angle between photo and target, times this, up to 1.
From its own place its colours are right whatever the depth; what was generated is in doubt from everywhere."""
BORDER = 0.03
"""Width of the fade at a photo's border, share of its shorter side."""
DOUBT = 0.3
"""Colours of less confidence than this are mixed with their surroundings: beside depth edges they are speckles."""


@dataclass
class Reading:
    """Colours read for N rays. rgb: (N, 3). total: (N,) sum of weights, 0 where no photo could be read. score: (N,) of the best
    photo, 0..1. source: (N,) int16 best photo, -1. magnification: (N,) target pixels per source pixel of the best. measured: (N,)
    bool, read where the photo's own depth agrees. spread: (N,) how far the photos differ (standard deviation of colour).
    visible: per source, (N,) bool."""

    rgb: Tensor
    total: Tensor
    score: Tensor
    source: Tensor
    magnification: Tensor
    measured: Tensor
    spread: Tensor
    visible: list[Tensor]


@dataclass
class Sight:
    """One source's sight of points, (N,) each: score, visible (bool), magnification (target pixels per source pixel, along the
    axis where it is worse), lod (log2 of source pixels per target pixel, mean of both axes), u, v (pixel-index coordinates)."""

    score: Tensor
    visible: Tensor
    magnification: Tensor
    lod: Tensor
    u: Tensor
    v: Tensor


def sight(source: Source, target: Camera, rays: Rays, t: Tensor) -> Sight:
    """How well a source sees the surface at depth t: 0 where it is hidden, higher the finer, more frontal and surer it is."""
    camera = source.camera
    line = line_of(source, target, rays)
    cell = look(source, line.at(t), 0.03)
    nx, ny, nz = plane(source, cell)
    facing = 1 - (nx * line.a[0] + ny * line.a[1] + nz * line.a[2])
    slope = (cell.slope_x.abs() + cell.slope_y.abs()) / cell.disparity.clamp(min=1e-30)
    error = (cell.disparity * cell.z - 1).abs() / (TOLERANCE + 0.5 * slope.clamp(max=0.2))
    fits = ((2 - error).clamp(0, 1)) * ((cell.matched - 0.3) / 0.4).clamp(0, 1)
    # Area of a target pixel on the surface over that of a source pixel: both follow from the plane n·X = 1.
    known = (cell.matched > 0) & (facing > 1e-6)
    zoom = (camera.fx * camera.fy) / (target.fx * target.fy)
    density = zoom * (t / cell.z) ** 3 / torch.where(known, facing, torch.ones_like(facing))
    frontal = (zoom * (t / cell.z) ** 2).clamp(1e-8, 1e8)
    density = torch.where(known, density.clamp(1e-8, 1e8), frontal)
    # A surface that the target sees at a grazing angle is compressed along one axis only.
    sharpness = torch.minimum(density, frontal)
    width, height = camera.width, camera.height
    edge = torch.minimum(torch.minimum(cell.u + 0.5, width - 0.5 - cell.u), torch.minimum(cell.v + 0.5, height - 0.5 - cell.v))
    fade = (edge / (BORDER * min(width, height))).clamp(0.02, 1)
    confidence = source.confidence[cell.nearest].float()
    state = source.state[cell.nearest]
    solid = torch.where(state & SOLID != 0, 1.0, BESIDE_EDGE)
    along = _along(line, t)
    askew = torch.where(state & GENERATED != 0, 1.0, ((1 - along) * ASKEW).clamp(max=1))
    doubt = (1 - confidence) * askew
    score = torch.where(known, fits * (1 - doubt) * solid, torch.zeros_like(t))
    visible = score > 0.05
    guess = (cell.known == 0) & (state & (USABLE | SKY) == USABLE)
    score = torch.where(guess, torch.full_like(score, UNSEEN_DEPTH), score)
    score = score * fade * sharpness.clamp(max=1).sqrt() * along**PARALLAX
    score = torch.where(cell.inside, score, torch.zeros_like(score))
    return Sight(score, visible & cell.inside, sharpness.rsqrt(), 0.5 * torch.log2(density), cell.u, cell.v)


def _along(line: Line, t: Tensor) -> Tensor:
    """(N,) cos² of half the angle between a source's and the target's rays: 1 where they look along the same line. The wider the
    angle, the more do errors of depth and glossy surfaces show."""
    point = line.at(t)
    dot = sum(p * b for p, b in zip(point, line.b))
    length = sum(p * p for p in point) * sum(b * b for b in line.b)
    return (0.5 + 0.5 * dot * torch.rsqrt(length.clamp(min=1e-30))).clamp(0, 1)


def read(sources: list[Source], target: Camera, rays: Rays, t: Tensor) -> Reading:
    """Blend the photos' colours at the surface points of depth t (N,), positive and finite."""
    n, device = len(t), t.device
    rgb, square = torch.zeros(n, 3, device=device), torch.zeros(n, device=device)
    total, score = torch.zeros(n, device=device), torch.zeros(n, device=device)
    which = torch.full((n,), -1, dtype=torch.int16, device=device)
    magnification, measured, visible = torch.ones(n, device=device), torch.zeros(n, dtype=torch.bool, device=device), []
    for number, source in enumerate(sources):
        seen = sight(source, target, rays, t)
        visible.append(seen.visible)
        index = (seen.score > 1e-5).nonzero()[:, 0]
        if not len(index):
            continue
        s, m = seen.score[index], seen.magnification[index]
        colour = sample(source, seen.u[index], seen.v[index], seen.lod[index])
        weight = s**SHARPNESS
        rgb.index_add_(0, index, colour * weight[:, None])
        square.index_add_(0, index, (colour * colour).mean(1) * weight)
        total.index_add_(0, index, weight)
        better = s > score[index]
        at = index[better]
        score[at], which[at], magnification[at] = s[better], number, m[better]
        measured[at] = seen.visible[at]
    rgb = rgb / total.clamp(min=1e-30)[:, None]
    spread = (square / total.clamp(min=1e-30) - (rgb * rgb).mean(1)).clamp(min=0).sqrt()
    return Reading(rgb, total, score, which, magnification, measured, spread, visible)


def level_of(magnification: Tensor) -> Tensor:
    """uint8 level of a magnification: 1 up to about one target pixel per source pixel, one more for each doubling."""
    return (1 + torch.log2(magnification.clamp(min=1)).round()).clamp(1, 16).to(torch.uint8)
