"""Slanted planes against the other photos on the CPU: the inner loops of PatchMatch and of completion."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ...compiled import LANES, array, exp, in_ranges, summing, summing_kernel
from . import limits

TAPS = 2 * LANES
"""Length of a window's arrays: its 25 pixels, and zeros up to whole vector registers."""
NOISE, LONELY, ALIKE = (np.float32(x) for x in (limits.NOISE, limits.LONELY, limits.ALIKE))
HALF, ONE, ZERO = np.float32(0.5), np.float32(1), np.float32(0)
FACING = np.float32(limits.FACING)
TINY, TINIEST = np.float32(1e-6), np.float32(1e-12)
INVERSE = 2
"""Row of a landing that holds 1/z."""
GIVEN_UP = np.float32(9)
"""Cost of a plane that was not looked at to the end, since it could not win."""
UNIT, SIXTEEN = np.float32(1 / 32767), np.int32(16)
"""Of grey, and how many bits it has."""


class Partners(NamedTuple):
    """The other photos one after the other: grey, image and mask as flat pixels, where each begins, its (H, W), its transfer.

    gray: int32, a pixel's grey in the lower half and its right neighbour's in the upper, in UNITs: so one reading gets both.
    """

    gray: np.ndarray
    image: np.ndarray
    mask: np.ndarray
    start: np.ndarray
    size: np.ndarray
    transfer: np.ndarray


class Window(NamedTuple):
    """The reference photo, padded, as flat pixels (N,) and (3, N), ``stride`` to a row, and the window's shape (TAPS,) on it."""

    gray: np.ndarray
    image: np.ndarray
    pad: int
    stride: int
    offset: np.ndarray
    x: np.ndarray
    y: np.ndarray
    nearness: np.ndarray
    sharpness: np.float32


class Bench(NamedTuple):
    """One pixel's window (TAPS,), weighed, and the planes (3, n) that are tried there; n is a multiple of LANES."""

    weight: np.ndarray
    weighted: np.ndarray
    planes: np.ndarray


@summing
def rounded(count):
    """At least ``count`` planes, a multiple of LANES."""
    return (count + LANES - 1) // LANES * LANES


@summing
def bench(count, others):
    """A :class:`Bench` for ``count`` planes, and (P, 7, n) where they land in each of the ``others``: u, v, 1/z, and what a pixel
    to the right and one down add to u and to v."""
    size = rounded(count)
    weight, weighted = np.zeros(TAPS, np.float32), np.zeros(TAPS, np.float32)
    return Bench(weight, weighted, np.zeros((3, size), np.float32)), np.zeros((others, 7, size), np.float32)


def packed(matcher) -> tuple[Window, Partners]:
    """What the kernels need of a :class:`matching.SlantedMatcher`."""
    x, y, distance = (np.zeros(TAPS, np.float32) for _ in range(3))
    count = len(matcher.offsets)
    x[:count], y[:count] = np.array(matcher.offsets, np.float32).T
    distance[:count] = (x[:count] ** 2 + y[:count] ** 2) / (2 * matcher.spread**2)
    distance[count:] = np.inf
    padded = array(matcher.padded)
    stride = padded.shape[2]
    window = Window(
        padded[3].reshape(-1),
        padded[:3].reshape(3, -1),
        matcher.pad,
        stride,
        (y * stride + x).astype(np.int32),
        x,
        y,
        np.exp(-distance),
        np.float32(1 / (2 * matcher.sigma**2)),
    )
    frames = matcher.partners
    starts = np.cumsum([0, *(frame.gray.numel() for frame in frames[:-1])])
    return window, Partners(
        np.concatenate([_pairs(array(frame.gray)) for frame in frames]),
        np.concatenate([array(frame.image.permute(1, 2, 0)).reshape(-1, 3) for frame in frames]),
        np.concatenate([array(frame.mask).reshape(-1) for frame in frames]),
        starts,
        np.array([frame.size for frame in frames]),
        np.stack([np.column_stack([array(a), array(b)]).reshape(-1) for a, b in matcher.transfers]),
    )


def _pairs(gray: np.ndarray) -> np.ndarray:
    """(H·W,) int32: each pixel's grey and its right neighbour's, see :class:`Partners`."""
    units = np.rint(gray.clip(-1, 1) / UNIT).astype(np.int32)
    beside = np.concatenate([units[:, 1:], units[:, -1:]], 1)
    return ((beside << 16) | (units & 0xFFFF)).reshape(-1)


@summing
def weigh(window, row, column, at):
    """Weights of a pixel's window and its weighted zero-mean grey, into ``at``; its variance, and where it is, padded."""
    gray, reds, greens, blues = window.gray, window.image[0], window.image[1], window.image[2]
    centre = np.uint32((row + window.pad) * window.stride + column + window.pad)
    red, green, blue = reds[centre], greens[centre], blues[centre]
    total, mean = ZERO, ZERO
    for k in range(TAPS):
        there = np.uint32(centre + window.offset[k])
        r, g, b = reds[there] - red, greens[there] - green, blues[there] - blue
        much, shade = exp(-(r * r + g * g + b * b) * window.sharpness) * window.nearness[k], gray[there]
        at.weight[k], at.weighted[k] = much, shade
        total += much
        mean += much * shade
    total = ONE / total
    mean *= total
    variance = ZERO
    for k in range(TAPS):
        much, away = at.weight[k] * total, at.weighted[k] - mean
        at.weight[k], at.weighted[k] = much, much * away
        variance += much * away * away
    return variance, centre


@summing
def land(transfer, column, row, planes, landing, count):
    """Where the first ``count`` planes of a pixel land in the partner of that ``transfer`` (12,); 1/z is 1/TINY behind it."""
    m = transfer
    x, y = np.float32(column) + HALF, np.float32(row) + HALF
    a0, a1, a2 = m[0] * x + m[1] * y + m[2], m[4] * x + m[5] * y + m[6], m[8] * x + m[9] * y + m[10]
    m0, m1, m3, m4, m5, m7, m8, m9, m11 = m[0], m[1], m[3], m[4], m[5], m[7], m[8], m[9], m[11]
    for i in range(rounded(count)):
        w, du, dv = planes[0, i], planes[1, i], planes[2, i]
        z = ONE / max(a2 + m11 * w, TINY)
        u, v = (a0 + m3 * w) * z, (a1 + m7 * w) * z
        # the window's warp, linearised at its centre
        zx, zy = m8 + m11 * du, m9 + m11 * dv
        landing[0, i], landing[1, i], landing[INVERSE, i] = u, v, z
        landing[3, i], landing[4, i] = (m0 + m3 * du - u * zx) * z, (m1 + m3 * dv - u * zy) * z
        landing[5, i], landing[6, i] = (m4 + m7 * du - v * zx) * z, (m5 + m7 * dv - v * zy) * z


@summing
def land_all(partners, planes, row, column, y, at, landings):
    """:func:`land` of a pixel's planes (C, 3, H, W) in every partner; y: its row in the whole picture."""
    count = planes.shape[0]
    for number in range(count):
        for i in range(3):
            at.planes[i, number] = planes[number, i, row, column]
    for p in range(len(partners.start)):
        land(partners.transfer[p], column, y, at.planes, landings[p], count)


@summing
def lands(partners, p, landing, i):
    """Whether plane i's centre lands inside partner p, whether it may be used there, and which pixel of all partners' that is."""
    u, v, z = landing[0, i], landing[1, i], landing[INVERSE, i]
    h, wide = partners.size[p, 0], partners.size[p, 1]
    if not (z * TINY < ONE and u > ZERO and u < np.float32(wide) and v > ZERO and v < np.float32(h)):
        return False, False, np.uint32(0)
    there = np.uint32(partners.start[p] + np.int64(v) * wide + np.int64(u))
    return True, partners.mask[there], there


@summing
def faces(landing, i):
    """Whether plane i turns its face to the partner."""
    return landing[3, i] * landing[6, i] - landing[4, i] * landing[5, i] > FACING


@summing
def correlation(partners, p, window, at, variance, landing, i):
    """ZNCC of plane i's window against partner p."""
    h, wide = partners.size[p, 0], partners.size[p, 1]
    u, v, ux, uy, vx, vy = landing[0, i], landing[1, i], landing[3, i], landing[4, i], landing[5, i], landing[6, i]
    right, bottom = np.float32(wide - 1), np.float32(h - 1)
    gray, start, stride, below = partners.gray, np.uint32(partners.start[p]), np.float32(wide), np.uint32(wide)
    weight, weighted, off_x, off_y = at.weight, at.weighted, window.x, window.y
    mean, square, cross = ZERO, ZERO, ZERO
    for k in range(TAPS):
        gx = min(max(u - HALF + ux * off_x[k] + uy * off_y[k], ZERO), right)
        gy = min(max(v - HALF + vx * off_x[k] + vy * off_y[k], ZERO), bottom)
        ix, iy = min(np.floor(gx), right - ONE), min(np.floor(gy), bottom - ONE)
        fx, fy = gx - ix, gy - iy
        # whole numbers below 2**24 are exact in float32, and 64-bit products would be slow
        there = start + np.uint32(np.int32(iy * stride + ix))
        above, under = gray[there], gray[there + below]
        a, b = np.float32(np.int32(above << SIXTEEN) >> SIXTEEN), np.float32(above >> SIXTEEN)
        c, d = np.float32(np.int32(under << SIXTEEN) >> SIXTEEN), np.float32(under >> SIXTEEN)
        upper = a + (b - a) * fx
        lower = c + (d - c) * fx
        g = upper + (lower - upper) * fy
        mean += weight[k] * g
        square += weight[k] * g * g
        cross += weighted[k] * g
    var = max(square - mean * mean, ZERO) * (UNIT * UNIT)
    return cross * UNIT / np.sqrt((variance + NOISE) * (var + NOISE))


@summing
def _photometric(partners, window, at, variance, landings, belief, row, column, c, enough):
    """Matching cost of plane c, all partners' as :func:`matching.together`; or GIVEN_UP, as soon as it is sure to be no less than
    ``enough``. belief: (P, H, W)."""
    others = len(partners.start)
    first, second = GIVEN_UP, GIVEN_UP
    for p in range(others):
        least = HALF - HALF * belief[p, row, column]
        if 0 < p == others - 1:
            low, high = min(first, least), min(second, max(first, least))
            if min((low + high) * HALF, low + LONELY) >= enough:
                return GIVEN_UP
        cost = HALF
        _, usable, _ = lands(partners, p, landings[p], c)
        if usable:
            score = correlation(partners, p, window, at, variance, landings[p], c)
            cost = min(max((ONE - score) * HALF, ZERO), ONE)
        cost = HALF + (cost - HALF) * belief[p, row, column]
        first, second = min(first, cost), min(second, max(first, cost))
    return first if others == 1 else min((first + second) * HALF, first + LONELY)


@summing_kernel
def _best_planes(start, stop, top, window, partners, candidates, prior, belief, scalars, chosen, cost):
    """For rows start..stop the best of candidates (C, 3, H, W) and its cost, written at the rows from ``top`` on."""
    step, strength, low, high = scalars
    count, others = candidates.shape[0], len(partners.start)
    at, landings = bench(count, others)
    reach, alike, near = np.float32(window.pad), ALIKE * step, ONE / (np.float32(4) * step)
    for row in range(start, stop):
        for column in range(prior.shape[1]):
            variance, _ = weigh(window, row, column, at)
            land_all(partners, candidates, row, column, row, at, landings)
            best, w, du, dv = np.float32(2), at.planes[0, 0], at.planes[1, 0], at.planes[2, 0]
            for c in range(count):
                new_w, new_du, new_dv = at.planes[0, c], at.planes[1, c], at.planes[2, c]
                if c > 0 and abs(new_w - w) + reach * (abs(new_du - du) + abs(new_dv - dv)) <= alike:
                    continue
                away = abs(new_w - prior[row, column]) * near
                total = strength * away / (ONE + away)
                if new_w < low or new_w > high or total >= best:
                    continue
                total += _photometric(partners, window, at, variance, landings, belief, row, column, c, best - total)
                if total < best:
                    best, w, du, dv = total, new_w, new_du, new_dv
            cost[row - top, column] = best
            chosen[0, row - top, column], chosen[1, row - top, column], chosen[2, row - top, column] = w, du, dv


def best_planes(matcher, rows: range, candidates: torch.Tensor, aim) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`patchmatch.best_planes`."""
    window, partners = matcher.packed
    width = candidates.shape[-1]
    chosen, cost = np.empty((3, len(rows), width), np.float32), np.empty((len(rows), width), np.float32)
    scalars = np.array([aim.step, aim.strength, *aim.limits], np.float32)
    maps = array(candidates), array(aim.prior), array(aim.weights)
    in_ranges(_best_planes, rows, rows.start, window, partners, *maps, scalars, chosen, cost)
    return torch.from_numpy(chosen), torch.from_numpy(cost)
