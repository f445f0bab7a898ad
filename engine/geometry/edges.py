"""Depth edges where the photos have theirs.

A matching window that reaches over an object's border gives the border's surroundings the object's depth, or the other way
round. So every pixel near a depth edge chooses anew among the planes of its neighbourhood: by windows that count only what
looks like the pixel itself, by what the other photos know of the place, and so that neighbours of like colour stand together.
(Windows: Yoon and Kweon 2006. Planes handed on: Bleyer et al. 2011, with neighbours' agreement as Besse et al. 2014.)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ..compiled import on_cpu
from .completion import Judge
from .kernels import edges as kernel
from .kernels import limits
from .matching import Frame, Planes, largest, sample
from .patchmatch import from_neighbour, slopes

SIGMA = 0.05
"""How unlike (RGB) a pixel of the window may be to count: far less than where surfaces are matched."""
REACH = 18
"""Pixels from a depth edge within which depth is chosen anew."""
STEP, STEEPER = 0.015, 3.0
"""A depth edge: a relative step of inverse depth of that size, and so many times the steps beside it."""
RINGS = (3, 7, 13)
"""Distances in pixels from which planes are proposed, by eight pixels each; the adjacent ones propose theirs as well."""
PASSES = 2
SPREAD = 4
"""Passes after which the directions come round again."""
BEHIND, BEHIND_SURE = (12, 40), 0.5
"""Pixels: what goes on behind things up to twice as wide is proposed as well, as far as depth is so sure."""
BAND = 64
"""Rows that the reference does at a time."""
ADJACENT = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))
"""(dx, dy) of a pixel's neighbours."""


def near_edges(w: torch.Tensor) -> torch.Tensor:
    """(H, W) bool: pixels within REACH of a depth edge. w: (H, W) inverse depth."""
    return largest(beside_edges(w, STEP).float(), REACH) > 0


def beside_edges(w: torch.Tensor, least: float) -> torch.Tensor:
    """(H, W) bool: pixels on both sides of a relative step of ``least`` and more. w: (H, W) inverse depth."""
    edge = torch.zeros_like(w, dtype=torch.bool)
    for axis in (0, 1):
        step = w.diff(dim=axis).abs()
        size = w.shape[axis]
        larger = torch.maximum(w.narrow(axis, 0, size - 1), w.narrow(axis, 1, size - 1))
        before, after = torch.full_like(step, torch.inf), torch.full_like(step, torch.inf)
        before.narrow(axis, 1, size - 2).copy_(step.narrow(axis, 0, size - 2))
        after.narrow(axis, 0, size - 2).copy_(step.narrow(axis, 1, size - 2))
        broken = step > least * larger + STEEPER * torch.minimum(before, after)
        edge.narrow(axis, 0, size - 1).logical_or_(broken)
        edge.narrow(axis, 1, size - 1).logical_or_(broken)
    return edge


def sharpen(
    frame: Frame,
    partners: list[tuple[Frame, torch.Tensor, torch.Tensor]],
    w: torch.Tensor,
    sure: torch.Tensor,
    turn: int = 0,
    tick: Callable[[float], None] = lambda part: None,
) -> torch.Tensor:
    """Inverse depth (H, W) with its edges moved to where the photo has them.

    partners: (frame, inverse depth (h, w), confidence (h, w)) of each other photo. w, sure: the photo's own, (H, W); where w is 0
    is sky, which stays. turn: how often it was done before. tick: told now and then what part of it is done, 0..1.
    """
    if not partners:
        return w
    judge = Judge(frame, partners, sigma=SIGMA)
    where = near_edges(w) & (w > 0)
    planes = Planes(w, *slopes(w, 3, limits.EXTENDED / 4))
    behind = [behind_things(w, sure, radius) for radius in BEHIND]
    behind = [Planes(other, *slopes(other, 3, limits.EXTENDED / 4)) for other in behind]
    row, column = (torch.arange(size, device=w.device) for size in w.shape)
    for sweep in range(PASSES):
        for parity in (0, 1):
            only = where & ((row[:, None] + column) % 2 == parity)
            planes = choose(judge, planes, _around(PASSES * turn + sweep), behind, only, w, sure)
            tick((2 * sweep + parity + 1) / (2 * PASSES))
    return planes.w


def behind_things(w: torch.Tensor, sure: torch.Tensor, radius: int) -> torch.Tensor:
    """(H, W) inverse depth of what goes on behind things narrower than twice ``radius`` pixels: a morphological opening of w
    (H, W), where it is ``sure`` (H, W); 0 where nothing is."""
    far = float(2 * w.max())
    least = -largest(-torch.where((sure > BEHIND_SURE) & (w > 0), w, torch.full_like(w, far)), radius)
    found = largest(torch.where(least < far, least, torch.zeros_like(w)), radius)
    return torch.where(found > 0, torch.minimum(found, w), found)


def _around(turn: int) -> list[tuple[int, int]]:
    """(dx, dy) of those whose planes are proposed, farther and in other directions every turn."""
    found = list(ADJACENT)
    for radius in RINGS:
        angles = [(number + 0.37 * turn) * math.pi / 4 for number in range(8)]
        found += [(round((radius + turn % SPREAD) * math.cos(a)), round((radius + turn % SPREAD) * math.sin(a))) for a in angles]
    return found


@on_cpu(kernel.choose)
def choose(
    judge: Judge,
    now: Planes,
    offsets: list[tuple[int, int]],
    others: list[Planes],
    only: torch.Tensor,
    first: torch.Tensor,
    sure: torch.Tensor,
) -> Planes:
    """The best of each pixel's plane, those of the pixels (dx, dy) away, and its ``others``, at the pixels ``only`` (H, W).

    first, sure: (H, W) the inverse depth that was matched, and its confidence.
    """
    out = [part.clone() for part in (now.w, now.du, now.dv)]
    proposals = _proposals(now, offsets)
    for plane in others:
        new = (plane.w - now.w).abs() > limits.EDGE_ALIKE * plane.w
        proposals.append(Planes(plane.w * new, plane.du, plane.dv))
    for top in range(0, len(only), BAND):
        rows = slice(top, top + BAND)
        there = only[rows].reshape(-1).nonzero()[:, 0]
        if not len(there):
            continue
        index = there + top * only.shape[1]
        window = tuple(part[there] for part in judge.matcher.window(slice(top, min(top + BAND, len(only)))))
        best = _best(judge, [now, *proposals], index, window, first, sure)
        for target, values in zip(out, best):
            target.view(-1)[index] = values
    return Planes(*out)


def _best(
    judge: Judge, hypotheses: list[Planes], index: torch.Tensor, window, first: torch.Tensor, sure: torch.Tensor
) -> torch.Tensor:
    """(3, N) the plane of least energy at pixels ``index`` (N,), whose windows are given. The first of them stands now."""
    was, trust = first.reshape(-1)[index], sure.reshape(-1)[index]
    planes = [torch.stack([x.reshape(-1)[index] for x in (plane.w, plane.du, plane.dv)]) for plane in hypotheses]
    energies = []
    for plane, apart in zip(planes, _apart(judge.frame, hypotheses[0].w, index, planes)):
        stays = limits.STAY * trust * ((plane[0] - was).abs() <= limits.SAME * was)
        energies.append(_against(judge, index, window, Planes(*plane)) + apart - stays)
    for energy, plane in zip(energies[1:], planes[1:]):
        energy[plane[0] <= 0] = torch.inf
    chosen = torch.stack(energies).argmin(0)
    return torch.stack(planes).gather(0, chosen[None, None].expand(1, 3, -1))[0]


def _against(judge: Judge, index: torch.Tensor, window, planes: Planes) -> torch.Tensor:
    """(N,) 0..1 how much speaks against planes at pixels ``index``: the mean of the two partners that fit them best."""
    pixels = judge.pixels[:, index]
    scores, usable = judge.matcher.zncc(window, planes, pixels)
    texture = window[2] / (window[2] + limits.FLAT)
    own = judge.frame.image.reshape(3, -1)[:, index]
    found = []
    for number, (partner, _, _) in enumerate(judge.partners):
        inside, u, v, ratio, sure = judge.look(number, pixels, planes.w)
        unlike = (sample(partner.image, u, v)[:, 0] - own).abs().amax(0)
        cost = texture * (1 - scores[number]) + (1 - texture) * (limits.EDGE_PLAIN + limits.UNLIKE * unlike).clamp_max(1)
        cost = cost.clamp_max(1)
        seen = inside & usable[number] & ~((ratio < limits.HIDDEN) & (cost > limits.MATCHED))
        cost = torch.where((ratio - 1).abs() <= limits.SAME, cost * (1 - limits.AGREES * sure), cost)
        cost = torch.where(ratio > limits.FREE_SPACE, torch.maximum(cost, limits.PAST * sure), cost)
        found.append(torch.where(seen, cost, torch.full_like(cost, torch.inf)))
    costs = torch.stack(found).sort(0).values
    best = costs[0]
    second = costs[1] if len(costs) > 1 else torch.full_like(best, torch.inf)
    second = torch.where(torch.isinf(second), best.clamp_min(limits.LONE), second)
    cost = torch.where(torch.isinf(best), torch.full_like(best, limits.UNKNOWN), 0.5 * (best + second))
    return torch.where(planes.w > 0, cost, torch.ones_like(cost))


def _proposals(now: Planes, offsets: list[tuple[int, int]]) -> list[Planes]:
    """The planes of others as they go on here; 0 where they go too far or say nothing new."""
    stacked = torch.stack([now.w, now.du, now.dv])
    found = []
    for dx, dy in offsets:
        w, du, dv = from_neighbour(stacked, dx, dy)
        moved = dx * du + dy * dv
        useful = (moved.abs() <= limits.EXTENDED * (w + moved)) & ((w - now.w).abs() > limits.EDGE_ALIKE * w)
        found.append(Planes(torch.where(useful, w, torch.zeros_like(w)), du, dv))
    return found


def _apart(frame: Frame, w: torch.Tensor, index: torch.Tensor, planes: list[torch.Tensor]) -> list[torch.Tensor]:
    """For each of the planes (3, N) at pixels ``index`` (N,): how much it costs not to stand with the eight neighbours."""
    height, width = w.shape
    row, column = torch.div(index, width, rounding_mode="floor"), index % width
    image, flat = frame.image.reshape(3, -1), w.reshape(-1)
    own = image[:, index]
    total = [torch.zeros_like(planes[0][0]) for _ in planes]
    for dx, dy in ADJACENT:
        x, y = column + dx, row + dy
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        there = torch.where(inside, y * width + x, index)
        near = (
            torch.exp(-(image[:, there] - own).abs().mean(0) / limits.EDGE_CONTRAST)
            * inside
            * (limits.DIAGONAL if dx * dy else 1.0)
        )
        other = flat[there]
        for part, plane in zip(total, planes):
            reached = plane[0] + dx * plane[1] + dy * plane[2]
            away = (reached - other).abs() / torch.maximum(reached, other).clamp_min(1e-12)
            part += limits.ALONE * near * (away / limits.APART).clamp_max(1)
    return total
