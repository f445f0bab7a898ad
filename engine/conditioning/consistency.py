"""Pixels of one source that the others see through: stereo's bleeding edges and outliers, found before anything is warped."""

from __future__ import annotations

import torch
from torch import Tensor

from .lookup import line_of, project, rays_of
from .path import path_of
from .prepare import refresh
from .source import Source

PARTNERS = 4
"""How many other sources check one."""
SAMPLE = 400
"""Pixels that measure how much two sources overlap."""


def cross_check(sources: list[Source]) -> None:
    """Lower, in place, the confidence of pixels that other sources see past, and forget those most of them see past.

    Votes count with the confidence of whoever casts them; a pixel that no other source can judge keeps what it has.
    """
    verdicts = [_trust(number, sources) for number in range(len(sources))]
    for source, trust in zip(sources, verdicts):
        source.confidence = source.confidence.float() * trust
        gone = (trust < 0.5) & (source.disparity > 0)
        if bool(gone.any()):
            source.disparity.masked_fill_(gone, 0)
            refresh(source)


def _trust(number: int, sources: list[Source]) -> Tensor:
    """(H*W,) float16: share of the votes that are for each pixel of a source, its own included; 1 where it has no depth."""
    source = sources[number]
    known = (source.disparity > 0).nonzero()[:, 0]
    if not len(known):
        return torch.ones_like(source.disparity, dtype=torch.float16)
    rays = rays_of(source.camera, source.disparity.device)
    some = known[:: max(1, len(known) // SAMPLE)]
    overlaps = []
    for other, partner in enumerate(sources):
        if other != number and partner.has_surface:
            inside = project(partner, line_of(partner, source.camera, rays[some]).at(1 / source.disparity[some]))[3]
            overlaps.append((-int(inside.sum()), other))
    partners = [sources[other] for count, other in sorted(overlaps)[:PARTNERS] if count]
    return path_of(source.disparity.device).votes(source, partners)
