"""What other photos say of hypotheses about depth, on the CPU; see :mod:`completion`."""

from __future__ import annotations

import numpy as np
import torch

from ...compiled import array, in_ranges, summing, summing_kernel
from . import limits
from .slanted import HALF, ONE, TAPS, TINY, ZERO, _weigh, _zncc

FREE_SPACE, HIDDEN, SURE = (np.float32(x) for x in (limits.FREE_SPACE, limits.HIDDEN, limits.SURE))
UNSEEN, FLAT, PLAIN = (np.float32(x) for x in (limits.UNSEEN, limits.FLAT, limits.PLAIN))


@summing
def _unlike(partners, p, u, v, own):
    """Greatest difference of a colour to partner p's at (u, v), between its pixels."""
    h, wide = partners.size[p, 0], partners.size[p, 1]
    gx, gy = min(max(u - HALF, ZERO), np.float32(wide - 1)), min(max(v - HALF, ZERO), np.float32(h - 1))
    ix, iy = min(int(gx), wide - 2), min(int(gy), h - 2)
    fx, fy = gx - np.float32(ix), gy - np.float32(iy)
    at = partners.start[p] + iy * wide + ix
    most = ZERO
    for c in range(3):
        upper = partners.image[at, c] + (partners.image[at + 1, c] - partners.image[at, c]) * fx
        lower = partners.image[at + wide, c] + (partners.image[at + wide + 1, c] - partners.image[at + wide, c]) * fx
        most = max(most, abs(upper + (lower - upper) * fy - own[c]))
    return most


@summing
def _against(window, partners, known, trust, weight, weighted, variance, column, row, w, du, dv):
    """0..1 how much speaks against a plane at a pixel; 1 where a partner sees past it."""
    texture = variance / (variance + FLAT)
    best, seen = UNSEEN, False
    for p in range(len(partners.start)):
        score, u, v, z, usable = _zncc(partners, p, window, weight, weighted, variance, column, row, w, du, dv)
        h, wide = partners.size[p, 0], partners.size[p, 1]
        if not (z * TINY < ONE and u > ZERO and u < np.float32(wide) and v > ZERO and v < np.float32(h)):
            continue
        there = partners.start[p] + np.int64(v) * wide + np.int64(u)
        ratio = w * z / max(known[there], np.float32(1e-12))
        certain = trust[there] > SURE
        if certain and ratio > FREE_SPACE:
            return ONE
        if not usable or (certain and ratio < HIDDEN):
            continue
        unlike = _unlike(partners, p, u, v, window.image[row + window.pad, column + window.pad])
        cost = texture * (ONE - score) * HALF + (ONE - texture) * min(PLAIN + np.float32(3) * unlike, HALF)
        best = min(best, cost) if seen else cost
        seen = True
    return min(max(best, ZERO), ONE)


@summing_kernel
def _costs(start, stop, window, partners, known, trust, hypotheses, only, out):
    """Rows start..stop of out (H, W, L). known, trust: the partners' inverse depth and confidence, flat as in ``partners``."""
    weight, weighted = np.empty(TAPS, np.float32), np.empty(TAPS, np.float32)
    for row in range(start, stop):
        for column in range(only.shape[1]):
            if not only[row, column]:
                continue
            variance = _weigh(window, row, column, weight, weighted)
            for number in range(hypotheses.shape[0]):
                w = hypotheses[number, 0, row, column]
                if w <= ZERO:
                    out[row, column, number] = ONE
                    continue
                du, dv = hypotheses[number, 1, row, column], hypotheses[number, 2, row, column]
                against = _against(window, partners, known, trust, weight, weighted, variance, column, row, w, du, dv)
                out[row, column, number] = against


def known_of(judge) -> tuple[np.ndarray, np.ndarray]:
    """What the partners know, inverse depth and confidence, flat as in :class:`slanted.Partners`."""
    return tuple(np.concatenate([array(partner[i]).reshape(-1) for partner in judge.partners]) for i in (1, 2))


def costs(judge, hypotheses, only: torch.Tensor) -> torch.Tensor:
    """See :func:`completion.costs`."""
    window, partners = judge.matcher.packed
    known, trust = known_of(judge)
    h, width = judge.frame.size
    stacked = np.stack([np.stack([array(x) for x in (plane.w, plane.du, plane.dv)]) for plane in hypotheses])
    out = np.zeros((h, width, len(hypotheses)), np.float32)
    in_ranges(_costs, range(h), window, partners, known, trust, stacked, array(only), out)
    return torch.from_numpy(out)
