"""Where a target's rays meet the scene (see ``conditioning.surface``, whose steps these are)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...compiled import inline, kernel, share
from ...job import Camera
from .. import surface as reference
from ..source import Source
from ..splat import MARGIN
from .blend import Pyramid
from .fill import fill_depth, maximum_around, minimum_around
from .lookup import BANDS, ONE, ZERO, F, Pixels, intersect, oppose, pose_of
from .splat import ROWS, pyramid, sampled, splat_sources
from .suppress import compose, suppress, unpack

PIECE = 1 << 14
"""Rays that one thread takes at a time: what is known of them stays in its cache."""
_AGREE, _NEARNESS = F(reference.AGREE), F(1 / reference.NEAR)
_EDGE, _ALONE = F(reference.EDGE), reference.ALONE


@dataclass
class Scene:
    """The sources, and the target's rays. x, y: (H·W,) float32, the rays at z = 1, row-major."""

    sources: list[Source]
    pixels: list[Pixels]
    pyramids: list[Pyramid]
    poses: list[np.ndarray]
    camera: Camera
    x: np.ndarray
    y: np.ndarray

    @classmethod
    def of(cls, sources: list[Source], camera: Camera) -> Scene:
        x = (np.arange(camera.width, dtype=F) + F(0.5 - camera.cx)) / F(camera.fx)
        y = (np.arange(camera.height, dtype=F) + F(0.5 - camera.cy)) / F(camera.fy)
        poses = [pose_of(source.camera, camera) for source in sources]
        rays = np.tile(x, camera.height), np.repeat(y, camera.width)
        return cls(list(sources), *_packed(sources), poses, camera, *rays)

    @property
    def any_sky(self) -> bool:
        return any(source.any_sky for source in self.sources)

    @property
    def shape(self) -> tuple[int, int]:
        return self.camera.height, self.camera.width


def _packed(sources: Sequence[Source]) -> tuple[list[Pixels], list[Pyramid]]:
    """What the kernels read of each source, made when it is first used."""
    for source in sources:
        if source.packed is None:
            source.packed = Pixels.of(source), Pyramid.of(source)
    return [source.packed[0] for source in sources], [source.packed[1] for source in sources]


@inline
def _least_doubt(doubt, own, here, sure):
    """See ``surface._doubt``."""
    squared = sure * sure
    fourth = squared * squared  # surface.SURE is 8
    return min(doubt, ONE - fourth * fourth) if abs(own - here) <= _AGREE * here else doubt


@kernel
def _agree(ts, weights, sures, guess, t, best, most, total, mean, support, doubt):
    """One depth from all sources' hits near ``guess``, (S, N) each, into t; the arrays after it (N,) are filled."""
    for i in range(len(t)):
        t[i] = guess[i]
        best[i] = most[i] = total[i] = mean[i] = support[i] = ZERO
        doubt[i] = ONE
    for source in range(len(ts)):
        hit_t, certainty = ts[source], sures[source]
        for i in range(len(t)):
            doubt[i] = _least_doubt(doubt[i], hit_t[i], guess[i], certainty[i])
    for source in range(len(ts)):
        hit_t, weight = ts[source], weights[source]
        for i in range(len(t)):
            own, other, here, top, largest = hit_t[i], weight[i], t[i], best[i], most[i]  # loads before choices: no branches
            apart = (own / guess[i] - ONE) * _NEARNESS
            value = other * max(ONE / (ONE + apart * apart), doubt[i])
            better = value > top
            t[i] = own if better else here
            most[i] = other if better else largest
            best[i] = value if better else top
    for i in range(len(t)):
        doubt[i] = ONE
    for source in range(len(ts)):
        hit_t, weight, certainty = ts[source], weights[source], sures[source]
        for i in range(len(t)):
            own, here, sure = hit_t[i], t[i], certainty[i]
            doubt[i] = _least_doubt(doubt[i], own, here, sure)
            share = weight[i] / max(most[i], F(1e-30))
            w = share * share if abs(own - here) <= _AGREE * here else ZERO
            total[i] += w
            mean[i] += w * own
            support[i] += sure if w > ZERO else ZERO
    for i in range(len(t)):
        whole, sum_t, here, left = total[i], mean[i], t[i], doubt[i]
        t[i] = sum_t / whole if whole > ZERO else here
        doubt[i] = left if whole > ZERO else ZERO


def solve(scene: Scene, x: np.ndarray, y: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The depth t along rays (x, y, 1) near a guess, and the votes for and against it; (N,) float32 each."""
    count = len(guess)
    hits = np.empty((3, len(scene.pixels), count), F)
    for number, (own, pose) in enumerate(zip(scene.pixels, scene.poses)):
        out = hits[0, number], hits[1, number], hits[2, number]
        intersect(own.disparity, own.gradient, own.state, own.lens, pose, BANDS, x, y, guess, *out)
    t, support, doubt, *scratch = np.empty((7, count), F)
    _agree(hits[0], hits[1], hits[2], guess, t, *scratch, support, doubt)
    against = np.zeros(count, F)
    for number, (own, pose) in enumerate(zip(scene.pixels, scene.poses)):
        oppose(own.gradient, own.front, own.state, own.lens, pose, x, y, t, hits[0, number], doubt, against)
    return t, support, against


@dataclass
class Surface:
    """See ``surface.Surface``; (N,) arrays."""

    t: np.ndarray
    found: np.ndarray
    support: np.ndarray
    against: np.ndarray
    guessed: np.ndarray


def _first_guess(scene: Scene, levels: int, steps: list[int], footprint: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth and front (H, W) of the hierarchical splat, +inf where there is none."""
    count, guard = reference.extent(footprint, scene.camera, levels)
    keys = splat_sources(scene.sources, scene.pixels, steps, scene.camera, guard, MARGIN)
    depth, _, front = composed(keys, count, lambda payload, depth: payload.view(F))
    crop = (slice(guard, guard + scene.camera.height), slice(guard, guard + scene.camera.width))
    return np.ascontiguousarray(depth[crop]), np.ascontiguousarray(front[crop])


def composed(keys: np.ndarray, count: int, spacing_of) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth, payload and front (H, W) of keys: ``count`` coarser levels, each suppressed, fill what finer ones leave empty.

    spacing_of(payload, depth): footprints in pixels, 0 where empty.
    """
    depths, payloads = [], []
    for level in pyramid(keys, count):
        depth, payload = np.empty(level.shape, F), np.empty(level.shape, np.uint32)
        share(lambda a, b, k=level, z=depth, p=payload: unpack(k, a, b, z, p), len(level), ROWS)
        depths.append(depth)
        payloads.append(payload)
    spacings = [spacing_of(payload, depth) for payload, depth in zip(payloads, depths)]
    around = maximum_around(spacings[-1], 1)
    below = None
    for level in range(count, -1, -1):
        coarse = min(level + 2, count)
        kept = np.empty_like(depths[level])

        def drop(a, b, level=level, coarse=coarse, kept=kept):
            suppress(depths[level], spacings[level], depths[coarse], coarse - level, around, count - level, level, a, b, kept)

        share(drop, len(kept), ROWS // 2)
        near = minimum_around(kept, 1)
        if below is not None:
            share(lambda a, b, k=kept, p=payloads[level], n=near, c=below: compose(k, p, n, *c, a, b), len(kept), ROWS)
        below = (kept, payloads[level], near)
    return below


def trace(scene: Scene, levels: int) -> Surface:
    """The front surface along every ray: the hypotheses of ``surface.trace`` in the same order."""
    steps, footprint = reference.density(sampled(scene.sources, scene.pixels, scene.camera, MARGIN))
    depth, front = _first_guess(scene, levels, steps, footprint)
    known = np.isfinite(depth)
    guessed = known.reshape(-1)
    if not guessed.any():
        zero = np.zeros(depth.size, F)
        return Surface(zero, guessed, zero, zero, guessed)
    filled, front = fill_depth(depth, known).reshape(-1), front.reshape(-1)
    n = depth.size
    result = Surface(np.empty(n, F), np.empty(n, bool), np.empty(n, F), np.empty(n, F), guessed)

    def begin(a, b):
        piece = slice(a, b)
        t, support, against = solve(scene, scene.x[piece], scene.y[piece], filled[piece])
        result.t[piece], result.support[piece], result.against[piece] = t, support, against
        result.found[piece] = (support > 0) & (support >= against)
        nearer = np.isfinite(front[piece]) & (front[piece] < t * (ONE - _EDGE))
        _attempt(result, scene, a + np.flatnonzero(nearer), front)

    share(begin, n, PIECE)
    if not result.found.any():
        result.t = filled
        return result
    if not result.found.all():
        _try_behind(result, scene, filled, footprint)
    _spread(result, scene)
    _settle(result, scene)
    return result


def _try_behind(result: Surface, scene: Scene, filled: np.ndarray, footprint: float) -> None:
    """See ``surface._try_behind``."""
    sure = np.where(result.found, result.t, ZERO).reshape(scene.shape)
    behind = maximum_around(sure, int(min(max(2.0, 1.5 * footprint), 16))).reshape(-1)
    smooth = fill_depth(sure, sure > 0).reshape(-1)

    def again(a, b):
        piece = slice(a, b)
        far = ~result.found[piece] & (behind[piece] > filled[piece] * (ONE + _EDGE))
        _attempt(result, scene, a + np.flatnonzero(far), behind)
        _attempt(result, scene, a + np.flatnonzero(~result.found[piece]), smooth)
        result.t[piece] = np.where(result.found[piece], result.t[piece], smooth[piece])

    share(again, len(smooth), PIECE)


def _spread(result: Surface, scene: Scene) -> None:
    """Surfaces grow over what was found behind them (see ``surface._spread``)."""
    for _ in range(reference.STEPS):
        t = np.where(result.found, result.t, F(np.inf)).reshape(scene.shape)
        near = minimum_around(t, 1).reshape(-1)
        index = np.flatnonzero(near < result.t * (ONE - _EDGE))
        share(lambda a, b, index=index, near=near: _attempt(result, scene, index[a:b], near), len(index), PIECE)


def _attempt(result: Surface, scene: Scene, index: np.ndarray, guess: np.ndarray) -> None:
    """Take another hypothesis at the pixels ``index`` where it holds and is nearer, or better supported, than what is there."""
    if not len(index):
        return
    t, support, against = solve(scene, scene.x[index], scene.y[index], guess[index])
    better = ~result.found[index] | (t < result.t[index]) | (support > result.support[index])
    keep = (support > 0) & (support >= against) & better
    index = index[keep]
    result.t[index] = t[keep]
    result.found[index] = True
    result.support[index] = support[keep]
    result.against[index] = against[keep]


@kernel
def _lonely(t, index, medians):
    """The medians of the 5×5 around pixels ``index`` that few of these stand with; 0 for the others."""
    height, width = t.shape
    around = np.empty(25, F)
    for i in range(len(index)):
        row, column = index[i] // width, index[i] % width
        own, alike = t[row, column], 0
        for dy in range(5):
            for dx in range(5):
                other = t[min(max(row + dy - 2, 0), height - 1), min(max(column + dx - 2, 0), width - 1)]
                alike += abs(other - own) <= _EDGE * own
                place = dy * 5 + dx
                while place > 0 and around[place - 1] > other:  # insertion sort
                    around[place] = around[place - 1]
                    place -= 1
                around[place] = other
        medians[i] = around[12] if alike < _ALONE else ZERO


def _settle(result: Surface, scene: Scene) -> None:
    """Beside depth edges, pixels that few of their neighbours stand with take the median's (see ``surface._settle``)."""
    t = result.t.reshape(scene.shape)
    index = np.flatnonzero(maximum_around(t, 1) > minimum_around(t, 1) * (ONE + _EDGE))
    medians = np.empty(len(index), F)
    share(lambda a, b: _lonely(t, index[a:b], medians[a:b]), len(index), PIECE)
    index, medians = index[medians > 0], medians[medians > 0]
    result.t[index] = medians
    result.found[index] = False
    share(lambda a, b: _attempt(result, scene, index[a:b], result.t), len(index), PIECE)
