"""What other photos say of several hypotheses per pixel, on the CPU; see :mod:`..cues`."""

from __future__ import annotations

import numpy as np
import torch

from ...compiled import array, in_ranges, summing, summing_kernel
from . import limits
from .judging import FLAT, FREE_SPACE, HIDDEN, PLAIN, UNSEEN, known_of, unlikeness
from .slanted import HALF, INVERSE, ONE, TINIEST, ZERO, bench, correlation, land_all, lands, weigh

SAME, NEAR = np.float32(limits.CUES_ALIKE), np.float32(limits.CUES_NEAR)


@summing
def _look(window, partners, known, trust, at, variance, landings, centre, i, out):
    """The CUES of plane i of a pixel, into out (6,)."""
    texture, w = variance / (variance + FLAT), at.planes[0, i]
    least, total, seen, agreed, refuted, hidden = ONE, ZERO, ZERO, ZERO, ZERO, ZERO
    for p in range(len(partners.start)):
        _, usable, there = lands(partners, p, landings[p], i)
        if not usable:
            continue
        ratio, sure = w * landings[p, INVERSE, i] / max(known[there], TINIEST), trust[there]
        agreed += sure * max(ZERO, ONE - abs(ratio - ONE) / NEAR)
        if ratio > FREE_SPACE:
            refuted = max(refuted, sure)
        if ratio < HIDDEN:
            hidden = max(hidden, sure)
            if sure > np.float32(limits.SURE):
                continue
        score = correlation(partners, p, window, at, variance, landings[p], i)
        unlike = unlikeness(partners, p, landings[p], i, window, centre)
        cost = texture * (ONE - score) * HALF + (ONE - texture) * min(PLAIN + np.float32(3) * unlike, HALF)
        least, total, seen = min(least, cost), total + cost, seen + ONE
    quarter = np.float32(0.25)
    out[0] = least if seen > ZERO else UNSEEN
    out[1] = total / seen if seen > ZERO else UNSEEN
    out[2], out[3], out[4], out[5] = seen * quarter, agreed * quarter, refuted, hidden


@summing_kernel
def _gather(start, stop, first_row, window, partners, known, trust, hypotheses, out):
    """Rows start..stop of out (n, W, L, 6), which begins at a row of the photo. hypotheses: (L, 3, n, W); one like the first has
    the first's cues."""
    count, others = hypotheses.shape[0], len(partners.start)
    at, landings = bench(count, others)
    for row in range(start, stop):
        for column in range(out.shape[1]):
            variance, centre = weigh(window, first_row + row, column, at)
            land_all(partners, hypotheses, row, column, first_row + row, at, landings)
            first = at.planes[0, 0]
            for number in range(count):
                w = at.planes[0, number]
                if w <= ZERO:
                    out[row, column, number, :] = ZERO
                elif number > 0 and abs(w - first) <= SAME * first:
                    out[row, column, number] = out[row, column, 0]
                else:
                    into = out[row, column, number]
                    _look(window, partners, known, trust, at, variance, landings, centre, number, into)


def gather(judge, hypotheses, rows: range) -> torch.Tensor:
    """See :func:`cues.gather`."""
    window, partners = judge.matcher.packed
    known, trust = known_of(judge)
    strip = slice(rows.start, rows.stop)
    stacked = np.stack([np.stack([array(x)[strip] for x in (plane.w, plane.du, plane.dv)]) for plane in hypotheses])
    out = np.zeros((len(rows), judge.frame.size[1], len(hypotheses), 6), np.float32)
    in_ranges(_gather, range(len(rows)), rows.start, window, partners, known, trust, stacked, out)
    return torch.from_numpy(out)
