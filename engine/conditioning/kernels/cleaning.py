"""Filters that clean a disparity image (see ``conditioning.cleaning``)."""

from __future__ import annotations

import numpy as np
import torch

from ...compiled import kernel, share
from .. import cleaning as reference
from .lookup import ONE, ZERO, F

ROWS = 32
"""Rows that one thread takes at a time."""
_SPECKLE = F(reference.SPECKLE)


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
