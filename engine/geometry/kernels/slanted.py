"""Slanted planes against the other photos on the CPU: the inner loops of PatchMatch and of completion."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ...compiled import array, in_ranges, summing, summing_kernel
from . import limits

TAPS = 32
"""Length of a window's arrays: its 25 pixels, and zeros up to whole vector registers."""
NOISE, LONELY, ALIKE = (np.float32(x) for x in (limits.NOISE, limits.LONELY, limits.ALIKE))
HALF, ONE, ZERO = np.float32(0.5), np.float32(1), np.float32(0)
TINY = np.float32(1e-6)


class Partners(NamedTuple):
    """The other photos one after the other: grey, image and mask as flat pixels, where each begins, its (H, W), its transfer."""

    gray: np.ndarray
    image: np.ndarray
    mask: np.ndarray
    start: np.ndarray
    size: np.ndarray
    transfer: np.ndarray


class Window(NamedTuple):
    """The reference photo and the shape of the window. gray: (H + 2·pad, W + 2·pad). image: (…, …, 3)."""

    gray: np.ndarray
    image: np.ndarray
    pad: int
    x: np.ndarray
    y: np.ndarray
    nearness: np.ndarray
    sharpness: np.float32


def packed(matcher) -> tuple[Window, Partners]:
    """What the kernels need of a :class:`matching.SlantedMatcher`."""
    x, y, distance = (np.zeros(TAPS, np.float32) for _ in range(3))
    count = len(matcher.offsets)
    x[:count], y[:count] = np.array(matcher.offsets, np.float32).T
    distance[:count] = (x[:count] ** 2 + y[:count] ** 2) / (2 * matcher.spread**2)
    distance[count:] = np.inf
    padded = array(matcher.padded)
    window = Window(
        padded[3],
        np.ascontiguousarray(padded[:3].transpose(1, 2, 0)),
        matcher.pad,
        x,
        y,
        np.exp(-distance),
        np.float32(1 / (2 * matcher.sigma**2)),
    )
    frames = matcher.partners
    starts = np.cumsum([0, *(frame.gray.numel() for frame in frames[:-1])])
    return window, Partners(
        np.concatenate([array(frame.gray).reshape(-1) for frame in frames]),
        np.concatenate([array(frame.image.permute(1, 2, 0)).reshape(-1, 3) for frame in frames]),
        np.concatenate([array(frame.mask).reshape(-1) for frame in frames]),
        starts,
        np.array([frame.size for frame in frames]),
        np.stack([np.column_stack([array(a), array(b)]).reshape(-1) for a, b in matcher.transfers]),
    )


@summing
def _weigh(window, row, column, weight, weighted):
    """Weights of a pixel's window, the weighted zero-mean grey, and its variance."""
    gray, image, pad = window.gray, window.image, window.pad
    v, u = row + pad, column + pad
    red, green, blue = image[v, u, 0], image[v, u, 1], image[v, u, 2]
    total, mean = ZERO, ZERO
    for k in range(TAPS):
        if window.nearness[k] == ZERO:
            weight[k], weighted[k] = ZERO, ZERO
            continue
        y, x = v + np.int64(window.y[k]), u + np.int64(window.x[k])
        r, g, b = image[y, x, 0] - red, image[y, x, 1] - green, image[y, x, 2] - blue
        weight[k] = np.exp(-(r * r + g * g + b * b) * window.sharpness) * window.nearness[k]
        weighted[k] = gray[y, x]
        total += weight[k]
        mean += weight[k] * weighted[k]
    total = ONE / total
    mean *= total
    variance = ZERO
    for k in range(TAPS):
        weight[k] *= total
        away = weighted[k] - mean
        weighted[k] = weight[k] * away
        variance += weighted[k] * away
    return variance


@summing
def _zncc(partners, p, window, weight, weighted, variance, column, row, w, du, dv):
    """ZNCC of a plane's window against partner p, where its centre lands (u, v), its z, and whether that may be used."""
    m = partners.transfer
    h, wide = partners.size[p, 0], partners.size[p, 1]
    x, y = np.float32(column) + HALF, np.float32(row) + HALF
    q0 = m[p, 0] * x + m[p, 1] * y + m[p, 2] + m[p, 3] * w
    q1 = m[p, 4] * x + m[p, 5] * y + m[p, 6] + m[p, 7] * w
    q2 = m[p, 8] * x + m[p, 9] * y + m[p, 10] + m[p, 11] * w
    z = ONE / max(q2, TINY)
    u, v = q0 * z, q1 * z
    # the window's warp, linearised at its centre
    zx, zy = m[p, 8] + m[p, 11] * du, m[p, 9] + m[p, 11] * dv
    ux, uy = (m[p, 0] + m[p, 3] * du - u * zx) * z, (m[p, 1] + m[p, 3] * dv - u * zy) * z
    vx, vy = (m[p, 4] + m[p, 7] * du - v * zx) * z, (m[p, 5] + m[p, 7] * dv - v * zy) * z
    right, bottom = np.float32(wide - 1), np.float32(h - 1)
    gray, start, stride = partners.gray, np.uint32(partners.start[p]), np.float32(wide)
    beside, below = np.uint32(1), np.uint32(wide)
    off_x, off_y = window.x, window.y
    mean, square, cross = ZERO, ZERO, ZERO
    for k in range(TAPS):
        gx = min(max(u - HALF + ux * off_x[k] + uy * off_y[k], ZERO), right)
        gy = min(max(v - HALF + vx * off_x[k] + vy * off_y[k], ZERO), bottom)
        ix, iy = min(np.floor(gx), right - ONE), min(np.floor(gy), bottom - ONE)
        fx, fy = gx - ix, gy - iy
        # whole numbers below 2**24 are exact in float32, and 64-bit products would be slow
        at = start + np.uint32(np.int32(iy * stride + ix))
        upper = gray[at] + (gray[at + beside] - gray[at]) * fx
        lower = gray[at + below] + (gray[at + below + beside] - gray[at + below]) * fx
        g = upper + (lower - upper) * fy
        mean += weight[k] * g
        square += weight[k] * g * g
        cross += weighted[k] * g
    var = max(square - mean * mean, ZERO)
    score = cross / np.sqrt((variance + NOISE) * (var + NOISE))
    inside = q2 > TINY and u > ZERO and u < np.float32(wide) and v > ZERO and v < np.float32(h)
    if inside:
        inside = partners.mask[partners.start[p] + np.int64(v) * wide + np.int64(u)]
    return score, u, v, z, inside


@summing
def _photometric(partners, window, weight, weighted, variance, belief, row, column, w, du, dv):
    """Matching cost of a plane, all partners' together as :func:`matching.together`; belief: (P, H, W)."""
    first, second = np.float32(9), np.float32(9)
    for p in range(len(partners.start)):
        score, _, _, _, inside = _zncc(partners, p, window, weight, weighted, variance, column, row, w, du, dv)
        cost = min(max((ONE - score) * HALF, ZERO), ONE) if inside else HALF
        cost = HALF + (cost - HALF) * belief[p, row, column]
        if cost < first:
            first, second = cost, first
        elif cost < second:
            second = cost
    return first if len(partners.start) == 1 else min((first + second) * HALF, first + LONELY)


@summing
def _plane(planes, number, row, column):
    return planes[number, 0, row, column], planes[number, 1, row, column], planes[number, 2, row, column]


@summing_kernel
def _best_planes(start, stop, top, window, partners, candidates, prior, belief, scalars, chosen, cost):
    """For rows start..stop the best of candidates (C, 3, H, W) and its cost, written at the rows from ``top`` on."""
    step, strength, low, high = scalars
    weight, weighted = np.empty(TAPS, np.float32), np.empty(TAPS, np.float32)
    reach, alike, near = np.float32(window.pad), ALIKE * step, ONE / (np.float32(4) * step)
    for row in range(start, stop):
        for column in range(prior.shape[1]):
            variance = _weigh(window, row, column, weight, weighted)
            best, (w, du, dv) = np.float32(2), _plane(candidates, 0, row, column)
            for c in range(candidates.shape[0]):
                new_w, new_du, new_dv = _plane(candidates, c, row, column)
                if c > 0 and abs(new_w - w) + reach * (abs(new_du - du) + abs(new_dv - dv)) <= alike:
                    continue
                away = abs(new_w - prior[row, column]) * near
                total = strength * away / (ONE + away)
                if new_w < low or new_w > high or total >= best:
                    continue
                total += _photometric(partners, window, weight, weighted, variance, belief, row, column, new_w, new_du, new_dv)
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
