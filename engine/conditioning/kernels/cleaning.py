"""Filters that clean disparity and conditions (see ``conditioning.cleaning``)."""

from __future__ import annotations

import numpy as np
import torch

from ...compiled import kernel, share
from .. import cleaning as reference
from .lookup import ONE, ZERO, F

ROWS = 32
"""Rows that one thread takes at a time."""
_SPECKLE, _ONE_SURFACE, _STICKS_OUT = F(reference.SPECKLE), F(reference.ONE_SURFACE), F(reference.STICKS_OUT)


@kernel
def _speckles(padded, first, last, alike, known, out):
    """Rows without the pixels that hardly any neighbour stands with. padded: by 2 with 0. alike, known: scratch, a row."""
    width = out.shape[1]
    for row in range(first, last):
        own, here = padded[row + 2], out[row]
        for x in range(width):
            alike[x] = known[x] = ZERO
        for dy in range(5):
            other = padded[row + dy]
            for dx in range(5):
                for x in range(width):
                    value, d = other[x + dx], own[x + 2]
                    known[x] += ONE if value > ZERO else ZERO
                    alike[x] += ONE if abs(value - d) <= _SPECKLE * d else ZERO
        for x in range(width):
            here[x] = ZERO if (known[x] >= F(12)) & (alike[x] < F(0.2) * known[x]) else own[x + 2]


def drop_speckles(disparity: torch.Tensor) -> torch.Tensor:
    """Forget pixels that almost none of their many known neighbours (5×5) stand with."""
    padded, out = np.pad(disparity.numpy(), 2), np.empty(disparity.shape, F)
    share(lambda a, b: _speckles(padded, a, b, *np.empty((2, out.shape[1]), F), out), len(out), ROWS)
    return torch.from_numpy(out)


@kernel
def _smooth(padded, reach, first, last, total, weights, out):
    """Rows of one pass of :func:`smooth`. padded: by 2 with 0. reach: relative. total, weights: scratch, a row."""
    width = out.shape[1]
    for row in range(first, last):
        own, here = padded[row + 2], out[row]
        for x in range(width):
            total[x] = weights[x] = ZERO
        for dy in range(5):
            other = padded[row + dy]
            for dx in range(5):
                kernel = F(2.0 ** -((dx - 2) ** 2 / 2 + (dy - 2) ** 2 / 2))
                for x in range(width):
                    value, d = other[x + dx], own[x + 2]
                    apart = (value - d) / (reach * max(d, F(1e-30)))
                    weight = max(ONE - apart * apart, ZERO) * kernel
                    total[x] += weight * value
                    weights[x] += weight
        for x in range(width):
            d, mean = own[x + 2], total[x] / max(weights[x], F(1e-30))
            here[x] = mean if d > ZERO else d


def smooth(disparity: torch.Tensor, noise: float) -> torch.Tensor:
    """Even out a disparity image's relative ``noise`` within surfaces (bilateral, 5×5, twice)."""
    image = disparity.numpy()
    for _ in range(2):
        padded, out = np.pad(image, 2), np.empty(image.shape, F)
        share(lambda a, b, p=padded, o=out: _smooth(p, F(4 * noise), a, b, *np.empty((2, o.shape[1]), F), o), len(out), ROWS)
        image = out
    return torch.from_numpy(image)


@kernel
def _specks(rgb, depth, source, first, last, near, around, out):
    """Rows of :func:`without_specks`. out: (3, H, W). near, around: scratch, (9,) and (3, 9)."""
    height, width = depth.shape
    for row in range(first, last):
        above, below = max(row - 1, 0), min(row + 1, height - 1)
        for x in range(width):
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            d, place = depth[row, x], 0
            taking_turns = False
            for y in (above, row, below):
                for z in (left, x, right):
                    near[place] = depth[y, z] == d or abs(depth[y, z] - d) < _ONE_SURFACE * d
                    taking_turns |= source[y, z] != source[row, x]
                    place += 1
            wire = (near[0] and near[8]) or (near[1] and near[7]) or (near[2] and near[6]) or (near[3] and near[5])
            above_it = near[1] and ((near[0] and near[3]) or (near[2] and near[5]))
            below_it = near[7] and ((near[6] and near[3]) or (near[8] and near[5]))
            sticks_out = False
            if taking_turns and not (wire or above_it or below_it):
                for channel in range(3):
                    ranked = around[channel]
                    place = 0
                    for y in (above, row, below):
                        for z in (left, x, right):
                            value, at = rgb[channel, y, z], place
                            while at > 0 and ranked[at - 1] > value:
                                ranked[at] = ranked[at - 1]
                                at -= 1
                            ranked[at] = value
                            place += 1
                    sticks_out |= abs(rgb[channel, row, x] - ranked[4]) > _STICKS_OUT
            for channel in range(3):
                out[channel, row, x] = around[channel, 4] if sticks_out else rgb[channel, row, x]


def without_specks(rgb: np.ndarray, depth: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Colours (3, H, W) without specks; depth: (H, W), +inf in the sky; source: (H, W) int16."""
    out = np.empty_like(rgb)
    share(lambda a, b: _specks(rgb, depth, source, a, b, np.empty(9, np.bool_), np.empty((3, 9), F), out), len(depth), ROWS)
    return out
