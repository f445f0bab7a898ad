"""What other photos say of several hypotheses per pixel, on the CPU; see :mod:`..cues`."""

from __future__ import annotations

import numpy as np
import torch

from ...compiled import array, in_ranges, summing, summing_kernel
from . import limits
from .judging import FLAT, FREE_SPACE, HIDDEN, PLAIN, UNSEEN, _unlike, known_of
from .slanted import HALF, ONE, TAPS, TINY, ZERO, _weigh, _zncc

SAME, NEAR = np.float32(limits.CUES_ALIKE), np.float32(limits.CUES_NEAR)


@summing
def _look(window, partners, known, trust, weight, weighted, variance, column, row, w, du, dv, out):
    """The CUES of one plane at one pixel, into out (6,)."""
    texture = variance / (variance + FLAT)
    least, total, seen, agreed, refuted, hidden = ONE, ZERO, ZERO, ZERO, ZERO, ZERO
    for p in range(len(partners.start)):
        score, u, v, z, usable = _zncc(partners, p, window, weight, weighted, variance, column, row, w, du, dv)
        h, wide = partners.size[p, 0], partners.size[p, 1]
        if not (z * TINY < ONE and u > ZERO and u < np.float32(wide) and v > ZERO and v < np.float32(h)) or not usable:
            continue
        there = partners.start[p] + np.int64(v) * wide + np.int64(u)
        ratio, sure = w * z / max(known[there], np.float32(1e-12)), trust[there]
        agreed += sure * max(ZERO, ONE - abs(ratio - ONE) / NEAR)
        if ratio > FREE_SPACE:
            refuted = max(refuted, sure)
        if ratio < HIDDEN:
            hidden = max(hidden, sure)
            if sure > np.float32(limits.SURE):
                continue
        unlike = _unlike(partners, p, u, v, window.image[row + window.pad, column + window.pad])
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
    weight, weighted = np.empty(TAPS, np.float32), np.empty(TAPS, np.float32)
    for row in range(start, stop):
        for column in range(out.shape[1]):
            variance = _weigh(window, first_row + row, column, weight, weighted)
            first = hypotheses[0, 0, row, column]
            for number in range(hypotheses.shape[0]):
                w = hypotheses[number, 0, row, column]
                if w <= ZERO:
                    out[row, column, number, :] = ZERO
                elif number > 0 and abs(w - first) <= SAME * first:
                    out[row, column, number] = out[row, column, 0]
                else:
                    du, dv = hypotheses[number, 1, row, column], hypotheses[number, 2, row, column]
                    into = out[row, column, number]
                    _look(window, partners, known, trust, weight, weighted, variance, column, first_row + row, w, du, dv, into)


def gather(judge, hypotheses, rows: range) -> torch.Tensor:
    """See :func:`cues.gather`."""
    window, partners = judge.matcher.packed
    known, trust = known_of(judge)
    strip = slice(rows.start, rows.stop)
    stacked = np.stack([np.stack([array(x)[strip] for x in (plane.w, plane.du, plane.dv)]) for plane in hypotheses])
    out = np.zeros((len(rows), judge.frame.size[1], len(hypotheses), 6), np.float32)
    in_ranges(_gather, range(len(rows)), rows.start, window, partners, known, trust, stacked, out)
    return torch.from_numpy(out)
