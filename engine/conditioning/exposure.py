"""Evening out photos whose exposure or white balance clearly differs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .lookup import line_of, project, rays_of, sample, supports
from .source import Source

SAMPLE = 2000
"""Points per source whose colours are compared with the other sources'."""
FEWEST = 50
"""Shared points two sources need to be compared."""
CLEAR = 0.06
"""Gains (natural logarithm) that all lie below this are left alone."""
_DARK, _BRIGHT = 0.06, 0.94


def even_out(sources: list[Source]) -> None:
    """Set each source's gain, in place, so that shared surface points have equal colours in the median; the mean log gain is 0.

    Least squares over all pairs of sources, per channel, on sRGB-coded values. Sources that share nothing keep a gain of 1.
    """
    rows, logs = [], []
    for first, source in enumerate(sources):
        for second, partner in enumerate(sources):
            ratio = None if first == second else _log_ratio(source, partner)
            if ratio is not None:
                row = np.zeros(len(sources))
                row[first], row[second] = 1, -1
                rows.append(row)
                logs.append(ratio)
    if not rows:
        return
    # The minimum-norm solution keeps the mean of every connected group at 0.
    gains = np.linalg.lstsq(np.array(rows), np.array(logs), rcond=None)[0]
    if np.abs(gains).max() < CLEAR:
        return
    for source, gain in zip(sources, np.exp(gains).astype(np.float32)):
        source.gain = torch.as_tensor(gain, device=source.gain.device)


def _log_ratio(source: Source, partner: Source) -> np.ndarray | None:
    """(3,) median log of partner over source colours at points both see, None when they share too few."""
    known = ((source.disparity > 0) & (source.confidence > 0.3)).nonzero()[:, 0]
    if len(known) < FEWEST:
        return None
    known = known[:: max(1, len(known) // SAMPLE)]
    depth = 1 / source.disparity[known]
    line = line_of(partner, source.camera, rays_of(source.camera, depth.device)[known])
    u, v, _, inside = project(partner, line.at(depth))
    own = source.image[0].reshape(3, -1)[:, known].T
    other = sample(partner, u, v, torch.zeros_like(u))
    fair = inside & (supports(partner, line, depth) > 0.3) & _midtone(own) & _midtone(other)
    if int(fair.sum()) < FEWEST:
        return None
    return torch.log(other[fair] / own[fair]).median(0).values.cpu().numpy().astype(np.float64)


def _midtone(colour: Tensor) -> Tensor:
    """(N,) bool: no channel is crushed or clipped."""
    return ((colour > _DARK) & (colour < _BRIGHT)).all(1)
