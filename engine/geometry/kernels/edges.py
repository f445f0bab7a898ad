"""Planes chosen anew beside depth edges, on the CPU; see :mod:`engine.geometry.edges`."""

from __future__ import annotations

import numpy as np
import torch

from ...compiled import array, exp, in_ranges, summing, summing_kernel
from . import limits
from .judging import known_of, unlikeness
from .slanted import GIVEN_UP, HALF, INVERSE, ONE, TINIEST, ZERO, bench, correlation, land, lands, rounded, weigh

ALIKE, ALONE, APART, CONTRAST = (np.float32(x) for x in (limits.EDGE_ALIKE, limits.ALONE, limits.APART, limits.EDGE_CONTRAST))
EXTENDED, SAME, STAY, FLAT, PLAIN = (
    np.float32(x) for x in (limits.EXTENDED, limits.SAME, limits.STAY, limits.FLAT, limits.EDGE_PLAIN)
)
AGREES, MATCHED, PAST = (np.float32(x) for x in (limits.AGREES, limits.MATCHED, limits.PAST))
UNKNOWN, LONE, FREE_SPACE, HIDDEN = (np.float32(x) for x in (limits.UNKNOWN, limits.LONE, limits.FREE_SPACE, limits.HIDDEN))
DIAGONAL, UNLIKE, THIRD = (np.float32(x) for x in (limits.DIAGONAL, limits.UNLIKE, 1 / 3))


@summing
def _against(window, partners, known, trust, at, variance, landings, centre, i, enough):
    """0..1 how much speaks against plane i of a pixel: the mean of the two partners that fit it best; or GIVEN_UP, as soon as it
    is sure to be no less than ``enough``."""
    texture, w = variance / (variance + FLAT), at.planes[0, i]
    best, second, seen, others = ONE, ONE, 0, len(partners.start)
    for p in range(others):
        if seen > 0 and p == others - 1 and HALF * best >= enough:
            return GIVEN_UP
        _, usable, there = lands(partners, p, landings[p], i)
        if not usable:
            continue
        ratio = w * landings[p, INVERSE, i] / max(known[there], TINIEST)
        score = correlation(partners, p, window, at, variance, landings[p], i)
        unlike = unlikeness(partners, p, landings[p], i, window, centre)
        cost = min(texture * (ONE - score) + (ONE - texture) * min(PLAIN + UNLIKE * unlike, ONE), ONE)
        if ratio < HIDDEN and cost > MATCHED:
            continue
        if abs(ratio - ONE) <= SAME:
            cost *= ONE - AGREES * trust[there]
        if ratio > FREE_SPACE:
            cost = max(cost, PAST * trust[there])
        seen += 1
        best, second = min(best, cost), min(second, max(best, cost))
    if seen == 0:
        return UNKNOWN
    return HALF * (best + (second if seen > 1 else max(best, LONE)))


@summing
def _ties(window, centre, row, column, height, width, ties):
    """How dear each of a pixel's eight neighbours (row by row) is to it."""
    for k in range(9):
        dy, dx = k // 3 - 1, k % 3 - 1
        ties[k] = ZERO
        if k == 4 or not (0 <= row + dy < height and 0 <= column + dx < width):
            continue
        there = np.uint32(centre + np.int32(dy * window.stride + dx))
        unlike = ZERO
        for c in range(3):
            unlike += abs(window.image[c, there] - window.image[c, centre])
        near = DIAGONAL if dx * dy else ONE
        ties[k] = ALONE * near * exp(-unlike * THIRD / CONTRAST)


@summing
def _add(planes, count, w, du, dv):
    """How many planes (3, n) there are with this one, which is added when none is like it."""
    for k in range(count):
        if abs(planes[0, k] - w) <= ALIKE * w:
            return count
    planes[0, count], planes[1, count], planes[2, count] = w, du, dv
    return count + 1


@summing
def _propose(now, offsets, others, row, column, planes):
    """Into planes (3, n) the pixel's own plane, those of the pixels (dx, dy) away, as they go on here, and its ``others``
    (C, 3, H, W), but none like one before it; how many they are."""
    _, height, width = now.shape
    for i in range(3):
        planes[i, 0] = now[i, row, column]
    count = 1
    for number in range(len(offsets)):
        dx, dy = offsets[number, 0], offsets[number, 1]
        y, x = min(max(row + dy, 0), height - 1), min(max(column + dx, 0), width - 1)
        du, dv = now[1, y, x], now[2, y, x]
        moved = np.float32(dx) * du + np.float32(dy) * dv
        w = now[0, y, x] - moved
        if w > ZERO and abs(moved) <= EXTENDED * now[0, y, x]:
            count = _add(planes, count, w, du, dv)
    for number in range(len(others)):
        if others[number, 0, row, column] > ZERO:
            plane = others[number, :, row, column]
            count = _add(planes, count, plane[0], plane[1], plane[2])
    return count


@summing
def _apart(now, row, column, ties, planes, energy, count):
    """Into energy (n,) what it costs each of the first planes (3, n) not to stand with the pixel's neighbours."""
    energy[:] = ZERO
    for k in range(9):
        if ties[k] > ZERO:
            dy, dx = k // 3 - 1, k % 3 - 1
            other, right, down, dear = now[0, row + dy, column + dx], np.float32(dx), np.float32(dy), ties[k]
            for i in range(rounded(count)):
                reached = planes[0, i] + right * planes[1, i] + down * planes[2, i]
                away = abs(reached - other) / max(max(reached, other), TINIEST)
                energy[i] += dear * min(away / APART, ONE)


@summing_kernel
def _choose(start, stop, window, partners, known, trust, now, offsets, others, only, first, sure, out):
    """Rows start..stop of out (3, H, W)."""
    count_of_partners = len(partners.start)
    at, landings = bench(len(offsets) + 1 + len(others), count_of_partners)
    ties, energies = np.empty(9, np.float32), np.empty(at.planes.shape[1], np.float32)
    height, width = only.shape
    for row in range(start, stop):
        for column in range(width):
            if not only[row, column]:
                continue
            variance, centre = weigh(window, row, column, at)
            _ties(window, centre, row, column, height, width, ties)
            count = _propose(now, offsets, others, row, column, at.planes)
            _apart(now, row, column, ties, at.planes, energies, count)
            for p in range(count_of_partners):
                land(partners.transfer[p], column, row, at.planes, landings[p], count)
            was, stay = first[row, column], STAY * sure[row, column]
            least, best = np.float32(np.inf), 0
            for i in range(count):
                w, energy = at.planes[0, i], energies[i]
                if abs(w - was) <= SAME * was:
                    energy -= stay
                if energy >= least:
                    continue
                if w > ZERO:
                    energy += _against(window, partners, known, trust, at, variance, landings, centre, i, least - energy)
                else:
                    energy += ONE
                if energy < least:
                    least, best = energy, i
            for i in range(3):
                out[i, row, column] = at.planes[i, best]


def choose(judge, now, offsets, others, only: torch.Tensor, first: torch.Tensor, sure: torch.Tensor):
    """See :func:`engine.geometry.edges.choose`."""
    window, partners = judge.matcher.packed
    known, trust = known_of(judge)
    planes, *more = (np.stack([array(part) for part in (plane.w, plane.du, plane.dv)]) for plane in (now, *others))
    out = planes.copy()
    proposed = np.stack(more) if more else np.empty((0, *planes.shape), np.float32)
    where = np.array(offsets, np.int64)
    maps = (array(x) for x in (only, first, sure))
    in_ranges(_choose, range(len(only)), window, partners, known, trust, planes, where, proposed, *maps, out)
    return type(now)(*(torch.from_numpy(part) for part in out))
