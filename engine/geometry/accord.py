"""Photos see the same surfaces: the depth of each is the mean of what all of them say of the surface there.

Where a surface turns away from a photo its depth is worst, and another photo may see it from in front. And what several photos
show of one place blends sharply only if their depths put it in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..job import Camera
from ..records import View
from .consistency import inverse
from .edges import beside_edges
from .matching import crossing, landing, sample, within

SAME = 0.03
"""Relative difference of inverse depth up to which two photos mean one surface."""
MET = 1e-3
"""Relative difference of inverse depth at which a ray is taken to meet another photo's surface."""
STEPS, STRIDE = 4, 0.02
"""Steps along each ray, to where it meets that surface; and the farthest that one goes, a share of the inverse depth."""
FLAT = 0.1
"""The distance to the surface must fall by this share of a step, or the next step is as if it had fallen by all of it."""
EDGE = 0.004
"""A relative step of inverse depth beside which a photo tells the others nothing: between both sides there is no surface."""
ROUNDS = 2
"""Means of means: what two photos share reaches a third that agrees with one of them only."""


@dataclass(frozen=True)
class DepthMap:
    """A photo's. w: (H, W) inverse depth, 0 where there is none. confidence: (H, W) 0..1. given: it is known, and stays."""

    camera: Camera
    w: torch.Tensor
    confidence: torch.Tensor
    given: bool = False


def reconciled(
    maps: Sequence[DepthMap], partners: Sequence[Sequence[int]] = (), check: Callable[[], None] = lambda: None
) -> list[torch.Tensor]:
    """(H, W) inverse depth of each of ``maps``: means over all of them, by their confidence. Where there was none is none.

    partners: of each, the numbers of those that have a say; all others without. check: called before each photo; what it raises
    ends the work.
    """
    asked = partners or [[j for j in range(len(maps)) if j != i] for i in range(len(maps))]
    found = [one.w for one in maps]
    for _ in range(ROUNDS):
        now = [replace(one, w=w) for one, w in zip(maps, found)]
        told = [replace(one, confidence=one.confidence * ~beside_edges(one.w, EDGE)) for one in now]
        found = [one.w if one.given else _mean(one, [told[j] for j in some], check) for one, some in zip(now, asked)]
    return found


def reconciled_views(views: Sequence[View]) -> list[View]:
    """Views whose finite depths are so :func:`reconciled`."""
    cpu = torch.device("cpu")
    maps = [DepthMap(view.camera, inverse(view.depth, cpu), torch.from_numpy(view.confidence)) for view in views]
    found = [w.numpy() for w in reconciled(maps)]
    return [replace(view, depth=np.divide(1, w, where=w > 0, out=view.depth.copy())) for view, w in zip(views, found)]


def _mean(one: DepthMap, others: Sequence[DepthMap], check: Callable[[], None]) -> torch.Tensor:
    check()
    moved, total = torch.zeros_like(one.w), one.confidence.clone()
    for other in others:
        met, sure = meeting(one, other)
        moved += sure * (met - one.w)
        total += sure
    return one.w + moved / total.clamp_min(1e-12)


def meeting(one: DepthMap, other: DepthMap) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each pixel of a photo: the inverse depth (H, W) at which its ray meets another's surface near its own, and how sure that
    other is there (H, W); 0 where its ray meets none.

    By the secant method. The point of inverse depth x on a ray lies at depth q / x in the other photo, q linear in x. Where it
    lands, the surface has some inverse depth s: they meet where s q = x.
    """
    w = one.w
    sight = crossing(one.camera, other.camera, w.shape, w.device)

    def look(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, u, v = landing(*sight, x)
        away = sample(other.w[None], u, v)[0] * q - x
        return torch.where(within(q, u, v, other.w.shape), away, torch.full_like(x, torch.inf)), u, v

    x = w
    away, u, v = look(x)
    step = away
    for _ in range(STEPS):
        step = step.clamp(-STRIDE * w, STRIDE * w)
        left, next_u, next_v = look(x + step)
        fell = away - left
        onwards = torch.where(fell.abs() > FLAT * step.abs(), left * step / fell, left)
        nearer = left.abs() < away.abs()
        x, u, v = torch.where(nearer, x + step, x), torch.where(nearer, next_u, u), torch.where(nearer, next_v, v)
        away, step = torch.where(nearer, left, away), torch.where(nearer, onwards, 0.5 * step)
    met = (w > 0) & (away.abs() < MET * w) & ((x - w).abs() < SAME * w)
    sure = sample(other.confidence[None], u, v, mode="nearest")[0]
    return torch.where(met, x, w), torch.where(met, sure, torch.zeros_like(sure))
