"""Planes chosen anew beside depth edges, on the CPU; see :mod:`engine.geometry.edges`."""

from __future__ import annotations

import numpy as np
import torch

from ...compiled import array, in_ranges, summing, summing_kernel
from . import limits
from .judging import _unlike, known_of
from .slanted import HALF, ONE, TAPS, TINY, ZERO, _weigh, _zncc

ALIKE, ALONE, APART, CONTRAST = (np.float32(x) for x in (limits.EDGE_ALIKE, limits.ALONE, limits.APART, limits.EDGE_CONTRAST))
EXTENDED, SAME, STAY, FLAT, PLAIN = (
    np.float32(x) for x in (limits.EXTENDED, limits.SAME, limits.STAY, limits.FLAT, limits.EDGE_PLAIN)
)
AGREES, MATCHED, PAST = (np.float32(x) for x in (limits.AGREES, limits.MATCHED, limits.PAST))
UNKNOWN, LONE, FREE_SPACE, HIDDEN = (np.float32(x) for x in (limits.UNKNOWN, limits.LONE, limits.FREE_SPACE, limits.HIDDEN))
DIAGONAL, UNLIKE, TINIEST, THIRD = (np.float32(x) for x in (limits.DIAGONAL, limits.UNLIKE, 1e-12, 1 / 3))


@summing
def _against(window, partners, known, trust, weight, weighted, variance, column, row, w, du, dv):
    """0..1 how much speaks against a plane at a pixel: the mean of the two partners that fit it best."""
    texture = variance / (variance + FLAT)
    best, second, seen = ONE, ONE, 0
    for p in range(len(partners.start)):
        score, u, v, z, usable = _zncc(partners, p, window, weight, weighted, variance, column, row, w, du, dv)
        h, wide = partners.size[p, 0], partners.size[p, 1]
        if not (usable and z * TINY < ONE and u > ZERO and u < np.float32(wide) and v > ZERO and v < np.float32(h)):
            continue
        there = partners.start[p] + np.int64(v) * wide + np.int64(u)
        ratio = w * z / max(known[there], TINIEST)
        unlike = _unlike(partners, p, u, v, window.image[row + window.pad, column + window.pad])
        cost = min(texture * (ONE - score) + (ONE - texture) * min(PLAIN + UNLIKE * unlike, ONE), ONE)
        if ratio < HIDDEN and cost > MATCHED:
            continue
        if abs(ratio - ONE) <= SAME:
            cost *= ONE - AGREES * trust[there]
        if ratio > FREE_SPACE:
            cost = max(cost, PAST * trust[there])
        seen += 1
        if cost < best:
            best, second = cost, best
        else:
            second = min(second, cost)
    if seen == 0:
        return UNKNOWN
    return HALF * (best + (second if seen > 1 else max(best, LONE)))


@summing
def _ties(window, row, column, height, width, ties):
    """How dear each of a pixel's eight neighbours (row by row) is to it."""
    image, pad = window.image, window.pad
    v, u = row + pad, column + pad
    for k in range(9):
        dy, dx = k // 3 - 1, k % 3 - 1
        ties[k] = ZERO
        if k == 4 or not (0 <= row + dy < height and 0 <= column + dx < width):
            continue
        unlike = ZERO
        for c in range(3):
            unlike += abs(image[v + dy, u + dx, c] - image[v, u, c])
        near = DIAGONAL if dx * dy else ONE
        ties[k] = ALONE * near * np.exp(-unlike * THIRD / CONTRAST)


@summing
def _apart(now, row, column, ties, w, du, dv):
    """What it costs the plane not to stand with the pixel's neighbours."""
    total = ZERO
    for k in range(9):
        if ties[k] > ZERO:
            dy, dx = k // 3 - 1, k % 3 - 1
            reached = w + np.float32(dx) * du + np.float32(dy) * dv
            other = now[0, row + dy, column + dx]
            away = abs(reached - other) / max(max(reached, other), TINIEST)
            total += ties[k] * min(away / APART, ONE)
    return total


@summing_kernel
def _choose(start, stop, window, partners, known, trust, now, offsets, only, first, sure, out):
    """Rows start..stop of out (3, H, W)."""
    weight, weighted, ties = np.empty(TAPS, np.float32), np.empty(TAPS, np.float32), np.empty(9, np.float32)
    tried = np.empty(len(offsets) + 1, np.float32)
    height, width = only.shape
    for row in range(start, stop):
        for column in range(width):
            if not only[row, column]:
                continue
            variance = _weigh(window, row, column, weight, weighted)
            _ties(window, row, column, height, width, ties)
            was, stay = first[row, column], STAY * sure[row, column]
            least, count = np.float32(np.inf), 0
            for number in range(-1, len(offsets)):
                dx, dy = (offsets[number, 0], offsets[number, 1]) if number >= 0 else (0, 0)
                y, x = min(max(row + dy, 0), height - 1), min(max(column + dx, 0), width - 1)
                du, dv = now[1, y, x], now[2, y, x]
                moved = np.float32(dx) * du + np.float32(dy) * dv
                w = now[0, y, x] - moved
                if number >= 0 and not (w > ZERO and abs(moved) <= EXTENDED * now[0, y, x]):
                    continue
                again = False
                for k in range(count):
                    again = again or abs(tried[k] - w) <= ALIKE * w
                if again:
                    continue
                tried[count] = w
                count += 1
                energy = _apart(now, row, column, ties, w, du, dv)
                if abs(w - was) <= SAME * was:
                    energy -= stay
                if energy >= least:
                    continue
                if w > ZERO:
                    energy += _against(window, partners, known, trust, weight, weighted, variance, column, row, w, du, dv)
                else:
                    energy += ONE
                if energy < least:
                    least = energy
                    out[0, row, column], out[1, row, column], out[2, row, column] = w, du, dv


def choose(judge, now, offsets, only: torch.Tensor, first: torch.Tensor, sure: torch.Tensor):
    """See :func:`engine.geometry.edges.choose`."""
    window, partners = judge.matcher.packed
    known, trust = known_of(judge)
    planes = np.stack([array(part) for part in (now.w, now.du, now.dv)])
    out = planes.copy()
    where = np.array(offsets, np.int64)
    maps = (array(x) for x in (only, first, sure))
    in_ranges(_choose, range(len(only)), window, partners, known, trust, planes, where, *maps, out)
    return type(now)(*(torch.from_numpy(part) for part in out))
