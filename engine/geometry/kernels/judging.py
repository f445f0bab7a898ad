"""What other photos say of hypotheses about depth, on the CPU; see :mod:`completion`."""

from __future__ import annotations

import numpy as np
import torch

from ...compiled import array, in_ranges, summing, summing_kernel
from . import limits
from .slanted import HALF, INVERSE, ONE, TINIEST, ZERO, bench, correlation, faces, land_all, lands, weigh

FREE_SPACE, HIDDEN, SURE = (np.float32(x) for x in (limits.FREE_SPACE, limits.HIDDEN, limits.SURE))
UNSEEN, FLAT, PLAIN = (np.float32(x) for x in (limits.UNSEEN, limits.FLAT, limits.PLAIN))


@summing
def unlikeness(partners, p, landing, i, window, centre):
    """Greatest difference of a channel of the pixel's colour to that of partner p where plane i lands, between its pixels."""
    h, wide = partners.size[p, 0], partners.size[p, 1]
    gx = min(max(landing[0, i] - HALF, ZERO), np.float32(wide - 1))
    gy = min(max(landing[1, i] - HALF, ZERO), np.float32(h - 1))
    ix, iy = min(np.int64(gx), wide - 2), min(np.int64(gy), h - 2)
    fx, fy = gx - np.float32(ix), gy - np.float32(iy)
    at = partners.start[p] + iy * wide + ix
    most = ZERO
    for c in range(3):
        upper = partners.image[at, c] + (partners.image[at + 1, c] - partners.image[at, c]) * fx
        lower = partners.image[at + wide, c] + (partners.image[at + wide + 1, c] - partners.image[at + wide, c]) * fx
        most = max(most, abs(upper + (lower - upper) * fy - window.image[c, centre]))
    return most


@summing
def _against(window, partners, known, trust, at, variance, landings, centre, i):
    """0..1 how much speaks against plane i of a pixel; 1 where a partner sees past it."""
    texture = variance / (variance + FLAT)
    best, seen, w = UNSEEN, False, at.planes[0, i]
    for p in range(len(partners.start)):
        inside, usable, there = lands(partners, p, landings[p], i)
        if not inside:
            continue
        ratio, certain = w * landings[p, INVERSE, i] / max(known[there], TINIEST), trust[there] > SURE
        if certain and ratio > FREE_SPACE:
            return ONE
        if not usable or not faces(landings[p], i) or (certain and ratio < HIDDEN):
            continue
        score = correlation(partners, p, window, at, variance, landings[p], i)
        unlike = unlikeness(partners, p, landings[p], i, window, centre)
        cost = texture * (ONE - score) * HALF + (ONE - texture) * min(PLAIN + np.float32(3) * unlike, HALF)
        best = min(best, cost) if seen else cost
        seen = True
    return min(max(best, ZERO), ONE)


@summing_kernel
def _costs(start, stop, window, partners, known, trust, hypotheses, only, out):
    """Rows start..stop of out (H, W, L). known, trust: the partners' inverse depth and confidence, flat as in ``partners``."""
    count, others = hypotheses.shape[0], len(partners.start)
    at, landings = bench(count, others)
    for row in range(start, stop):
        for column in range(only.shape[1]):
            if not only[row, column]:
                continue
            variance, centre = weigh(window, row, column, at)
            land_all(partners, hypotheses, row, column, row, at, landings)
            for number in range(count):
                if at.planes[0, number] > ZERO:
                    against = _against(window, partners, known, trust, at, variance, landings, centre, number)
                    out[row, column, number] = against
                else:
                    out[row, column, number] = ONE


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
