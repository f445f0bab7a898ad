"""Where a target's rays meet the scene: a first guess from splatted points, made exact on the sources' continuous surfaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..job import Camera
from .fill import dilate_max, dilate_min, fill_depth
from .lookup import Hit, Rays, intersect, line_of, sees_past
from .source import Source
from .splat import Points, halve, join, project_source, splat, unpack
from .suppress import REACH, leaked

MAX_LEVELS = 7
COVER = 0.6
"""A coarse cell is filled by a point whose footprint spans at least this share of it."""
NEAR = 0.02
"""A hit so far (relative) from the guess counts half."""
SURE = 8
"""Power of a source's confidence that says how sure its surface is to be the front one: given depth is, stereo's halos
are not."""
AGREE = 0.03
"""Sources whose surfaces lie within this (relative) of the best one's are blended."""
EDGE = 0.03
"""Relative depth step that makes another hypothesis worth a try."""
STEPS = 2
"""Pixels by which a surface grows over the one behind it."""
ALONE = 8
"""A pixel beside a depth edge needs this many of its 5×5 neighbours (itself included) on its surface."""
MAX_STEP = 8
"""At least every so many-th pixel of a source is splatted, in x and y."""
SAMPLE = 20_000
"""Points that measure how densely the sources' surfaces are sampled."""


@dataclass
class Proxy:
    """A first guess of the depth, (H, W) each, +inf where there is none.

    depth: the suppressed samples, empty cells taken from the coarser levels. front: the nearest surface that could reach it.
    index: of the point that gave ``depth``, -1 where there is none.
    """

    depth: Tensor
    front: Tensor
    index: Tensor


def high_quantile(footprints: np.ndarray) -> float:
    """A high quantile of points' spacing, px; the surface is dense at the level of this cell size."""
    return max(float(np.sort(footprints)[int(0.98 * (len(footprints) - 1))]), 1.0) if len(footprints) else 1.0


def sampling_step(sources: Sequence[Source]) -> int:
    """Every so many-th pixel of all sources, in x and y, makes about SAMPLE points."""
    return max(1, math.isqrt(sum(source.camera.width * source.camera.height for source in sources) // SAMPLE))


def density(footprints: list[np.ndarray]) -> tuple[list[int], float]:
    """How the sources are splatted, from samples of their points' spacing, px: of each source every so many-th pixel in x and y,
    so that there still is about a point for every pixel of the target; and the typical spacing of what is left."""
    steps = [int(1 / np.clip(np.median(own), 1 / MAX_STEP, 1)) if len(own) else 1 for own in footprints]
    return steps, high_quantile(np.concatenate([own * step for own, step in zip(footprints, steps)]))


def sampled(sources: Sequence[Source], camera: Camera) -> list[np.ndarray]:
    """For every source, the spacing, px, of some of its points in a target's frame."""
    step = sampling_step(sources)
    return [project_source(source, camera, step=step).footprint.cpu().numpy() for source in sources]


def extent(footprint: float, camera: Camera, levels: int) -> tuple[int, int]:
    """How many coarser levels the splat needs at this zoom, unless ``levels`` says so, and how many pixels beyond the frame it
    covers: points just outside belong to surfaces that reach into it."""
    wanted = levels or math.ceil(math.log2(footprint)) + 1
    count = max(0, min(wanted, MAX_LEVELS, max(camera.width, camera.height).bit_length()))
    unit = 1 << count
    return count, math.ceil(min(2 * footprint, 0.25 * max(camera.width, camera.height)) / unit) * unit


@dataclass
class Level:
    """One level of the splat, (h, w) each: depth of the samples that are large enough for its cells, +inf where there is none;
    index of their points, -1 there; leaked, which of them nearer points surround."""

    depth: Tensor
    index: Tensor
    leaked: Tensor


def splat_levels(points: Points, camera: Camera, levels: int, footprint: float) -> Proxy:
    """Hierarchical splat with occlusion-aware suppression at every level. footprint: typical of the points."""
    found, guard = samples(points, camera, levels, footprint)
    return _compose(found, guard, camera)


def samples(points: Points, camera: Camera, levels: int, footprint: float) -> tuple[list[Level], int]:
    """The levels of :func:`splat_levels`, fine to coarse, and how many pixels they reach beyond the frame on every side."""
    count, guard = extent(footprint, camera, levels)
    height, width = camera.height + 2 * guard, camera.width + 2 * guard
    column, row = (points.u + guard).floor().long(), (points.v + guard).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    kept = inside.nonzero()[:, 0]
    keys = [splat((row * width + column)[kept], points.z[kept], height * width).reshape(height, width)]
    for _ in range(count):
        keys.append(halve(keys[-1]))
    footprints = torch.cat([points.footprint[kept], points.footprint.new_zeros(1)])
    kept = torch.cat([kept, kept.new_full((1,), -1)])
    coarsest = F.max_pool2d(footprints[unpack(keys[-1])[1]][None, None], 3, 1, 1)[0, 0]
    found = []
    for level, key in enumerate(keys):
        depth, index = unpack(key)
        spacing = footprints[index]
        around = _enlarge(coarsest, 1 << (count - level), depth.shape)
        bad = leaked(depth, REACH * torch.maximum(spacing, around) / (1 << level))
        usable = torch.isfinite(depth) & ((spacing >= COVER * (1 << level)) | (level == 0))
        depth = torch.where(usable, depth, torch.full_like(depth, torch.inf))
        found.append(Level(depth, torch.where(usable, kept[index], -1), bad & usable))
    return found, guard


def _compose(found: list[Level], guard: int, camera: Camera) -> Proxy:
    """Let coarse levels fill what fine ones leave empty, without what leaked."""
    size = found[0].depth.shape
    depth = front = best = None
    for number, level in enumerate(found):
        z = torch.where(level.leaked, torch.full_like(level.depth, torch.inf), level.depth)
        index = torch.where(level.leaked, torch.full_like(level.index, -1), level.index)
        near = _enlarge(dilate_min(z), 1 << number, size)
        z, index = _enlarge(z, 1 << number, size), _enlarge(index, 1 << number, size)
        if depth is None:
            depth, front, best = z, near, index
            continue
        empty = torch.isinf(depth)
        depth = torch.where(empty, z, depth)
        best = torch.where(empty, index, best)
        front = torch.minimum(front, near)
    crop = (slice(guard, guard + camera.height), slice(guard, guard + camera.width))
    return Proxy(depth[crop], front[crop], best[crop])


def _enlarge(image: Tensor, factor: int, size: torch.Size) -> Tensor:
    """Each cell repeated ``factor`` times a side, cut to ``size``."""
    if factor == 1:
        return image[: size[0], : size[1]]
    return image.repeat_interleave(factor, 0)[: size[0]].repeat_interleave(factor, 1)[:, : size[1]]


@dataclass
class Solution:
    """t: z-depth (N,). support, against: votes of the sources for and against a surface there."""

    t: Tensor
    support: Tensor
    against: Tensor

    @property
    def found(self) -> Tensor:
        """(N,) bool: a surface is there."""
        return (self.support > 0) & (self.support >= self.against)


def solve(sources: list[Source], target: Camera, rays: Rays, guess: Tensor) -> Solution:
    """Intersect rays with every source's surface near a guess, and agree on one depth: that of the source which measures it best,
    blended with those that agree.

    A source whose surface is hidden there, or ends there, meets another one far from the guess: the surer any source is of the
    near one, the less that counts. Whether sources see past is asked where they agreed; as far as the surest of these is unsure,
    where each one's own ray slipped to instead.
    """
    hits = [intersect(source, target, rays, guess) for source in sources]
    best, most, t = torch.zeros_like(guess), torch.zeros_like(guess), guess
    doubt = _doubt(hits, guess)
    for hit in hits:
        value = hit.weight * torch.maximum(1 / (1 + ((hit.t / guess - 1) / NEAR) ** 2), doubt)
        better = value > best
        t = torch.where(better, hit.t, t)
        most = torch.where(better, hit.weight, most)
        best = torch.where(better, value, best)
    total, mean, support = torch.zeros_like(guess), torch.zeros_like(guess), torch.zeros_like(guess)
    doubt = _doubt(hits, t)
    for hit in hits:
        weight = torch.where((hit.t - t).abs() <= AGREE * t, hit.weight / most.clamp(min=1e-30), torch.zeros_like(t)) ** 2
        total += weight
        mean += weight * hit.t
        support += torch.where(weight > 0, hit.confidence, torch.zeros_like(t))
    t = torch.where(total > 0, mean / total.clamp(min=1e-30), t)
    doubt = torch.where(total > 0, doubt, torch.zeros_like(doubt))
    against = torch.zeros_like(guess)
    for source, hit in zip(sources, hits):
        line = line_of(source, target, rays)
        against += torch.lerp(sees_past(source, line.at(t)), sees_past(source, line.at(hit.t)), doubt)
    return Solution(t, support, against)


def _doubt(hits: list[Hit], t: Tensor) -> Tensor:
    """(N,) 0..1: what the surest of the sources that hit a surface at depth t leaves open."""
    doubt = torch.ones_like(t)
    for hit in hits:
        here = (hit.t - t).abs() <= AGREE * t
        doubt = torch.where(here, torch.minimum(doubt, 1 - hit.confidence**SURE), doubt)
    return doubt


@dataclass
class Surface:
    """(N,) each, N = H·W: t, the z-depth (a smooth guess where nothing was found; 0 when nothing is known at all); found; support
    and against, the votes; guessed, where a sample lies nearby although no surface was found."""

    t: Tensor
    found: Tensor
    support: Tensor
    against: Tensor
    guessed: Tensor


def trace(sources: list[Source], target: Camera, rays: Rays, levels: int) -> Surface:
    """The front surface along every ray.

    Four hypotheses are tried: the suppressed samples' depth everywhere; where a nearer surface might reach the pixel, that one;
    where neither holds, the farther surface beside it; and everywhere the nearer surface beside it. A hypothesis holds where the
    ray really meets a source's surface and not more sources see past it than support it, which makes silhouettes as sharp as the
    sources'.
    """
    steps, footprint = density(sampled(sources, target))
    points = join([project_source(source, target, step=step).coarser(step) for source, step in zip(sources, steps)])
    first = splat_levels(points, target, levels, footprint)
    depth = first.depth.reshape(-1)
    guessed = torch.isfinite(depth)
    if not bool(guessed.any()):
        zero = torch.zeros_like(depth)
        return Surface(zero, guessed, zero, zero, guessed)
    filled = fill_depth(first.depth, guessed.reshape(first.depth.shape)).reshape(-1)
    best = solve(sources, target, rays, filled)
    front = first.front.reshape(-1)
    result = Surface(best.t, best.found, best.support, best.against, guessed)
    _try(result, sources, target, rays, front, torch.isfinite(front) & (front < best.t * (1 - EDGE)))
    if not bool(result.found.any()):
        result.t = filled
        return result
    shape = first.depth.shape
    if not bool(result.found.all()):
        _try_behind(result, sources, target, rays, filled, shape, footprint)
    _spread(result, sources, target, rays, shape)
    _settle(result, sources, target, rays, shape)
    return result


def _try_behind(
    result: Surface,
    sources: list[Source],
    target: Camera,
    rays: Rays,
    filled: Tensor,
    shape: tuple[int, int],
    footprint: float,
) -> None:
    """Where nothing was found: the farthest surface near, then what continues smoothly, which stays as the guess."""
    sure = torch.where(result.found, result.t, torch.zeros_like(result.t)).reshape(shape)
    radius = int(min(max(2.0, 1.5 * footprint), 16))
    behind = dilate_max(sure, radius).reshape(-1)
    _try(result, sources, target, rays, behind, ~result.found & (behind > filled * (1 + EDGE)))
    filled = fill_depth(sure, sure > 0).reshape(-1)
    _try(result, sources, target, rays, filled, ~result.found)
    result.t = torch.where(result.found, result.t, filled)


def _spread(result: Surface, sources: list[Source], target: Camera, rays: Rays, shape: tuple[int, int]) -> None:
    """Surfaces grow over what was found behind them, from pixel to pixel, as far as the rays meet them: to their own borders."""
    for _ in range(STEPS):
        t = torch.where(result.found, result.t, torch.full_like(result.t, torch.inf))
        near = dilate_min(t.reshape(shape)).reshape(-1)
        _try(result, sources, target, rays, near, near < result.t * (1 - EDGE))


def _settle(result: Surface, sources: list[Source], target: Camera, rays: Rays, shape: tuple[int, int]) -> None:
    """Beside depth edges, pixels that few of their 5×5 neighbours stand with take the median's: no speckled silhouettes."""
    t = result.t.reshape(1, 1, *shape)
    smallest, largest = -F.max_pool2d(-t, 3, 1, 1), F.max_pool2d(t, 3, 1, 1)
    index = (largest > smallest * (1 + EDGE)).reshape(-1).nonzero()[:, 0]
    if not len(index):
        return
    padded = F.pad(t, (2, 2, 2, 2), mode="replicate")[0, 0]
    row, column = torch.div(index, shape[1], rounding_mode="floor"), index % shape[1]
    around = torch.stack([padded[row + dy, column + dx] for dy in range(5) for dx in range(5)])
    own = result.t[index]
    alone = ((around - own).abs() <= EDGE * own).sum(0) < ALONE
    index, median = index[alone], around[:, alone].median(0).values
    guess = result.t.clone()
    guess[index] = median
    lonely = torch.zeros_like(result.found)
    lonely[index] = True
    result.t[index] = median
    result.found[index] = False
    _try(result, sources, target, rays, guess, lonely)


def _try(result: Surface, sources: list[Source], target: Camera, rays: Rays, guess: Tensor, where: Tensor) -> None:
    """Take another hypothesis, of the pixels ``where``, at those it holds at and is nearer or better supported at than before."""
    index = where.nonzero()[:, 0]
    if not len(index):
        return
    other = solve(sources, target, rays[index], guess[index])
    better = (other.t < result.t[index]) | (other.support > result.support[index])
    keep = other.found & (~result.found[index] | better)
    index = index[keep]
    result.t[index] = other.t[keep]
    result.found[index] = True
    result.support[index] = other.support[keep]
    result.against[index] = other.against[keep]
