"""Pixels of one source that the others see through: stereo's bleeding edges and outliers, found before anything is warped."""

from __future__ import annotations

import torch
from torch import Tensor

from .lookup import Line, line_of, project, rays_of, sees_past
from .source import Source, refresh

PARTNERS = 4
"""How many other sources check one."""
SAMPLE = 400
"""Pixels that measure how much two sources overlap."""
SAME = 0.02
"""Relative difference of depth that still is the same surface."""


def cross_check(sources: list[Source]) -> None:
    """Lower, in place, the confidence of pixels that other sources see past, and forget those most of them see past.

    Votes count with the confidence of whoever casts them; a pixel that no other source can judge keeps what it has.
    """
    verdicts = [_trust(number, sources) for number in range(len(sources))]
    for source, trust in zip(sources, verdicts):
        source.confidence = (source.confidence.float() * trust).half()
        gone = (trust < 0.5) & (source.disparity > 0)
        if bool(gone.any()):
            source.disparity = torch.where(gone, torch.zeros_like(source.disparity), source.disparity)
            refresh(source)


def _trust(number: int, sources: list[Source]) -> Tensor:
    """(H*W,) share of the votes that are for each pixel of a source, its own included; 1 where it has no depth."""
    source = sources[number]
    known = (source.disparity > 0).nonzero()[:, 0]
    trust = torch.ones_like(source.disparity)
    if not len(known):
        return trust
    rays = rays_of(source.camera, source.disparity.device)
    some = known[:: max(1, len(known) // SAMPLE)]
    overlaps = []
    for other, partner in enumerate(sources):
        if other != number and partner.has_surface:
            inside = project(partner, line_of(partner, source.camera, rays[some]).at(1 / source.disparity[some]))[3]
            overlaps.append((-int(inside.sum()), other))
    for part in known.split(1 << 19):
        depth = 1 / source.disparity[part]
        support = source.confidence[part].float()
        against = torch.zeros_like(support)
        for count, other in sorted(overlaps)[:PARTNERS]:
            if count:
                line = line_of(sources[other], source.camera, rays[part])
                support += supports(sources[other], line, depth)
                against += sees_past(sources[other], line.at(depth))
        trust[part] = support / (support + against).clamp(min=1e-6)
    return trust


def supports(partner: Source, line: Line, depth: Tensor) -> Tensor:
    """(N,) the partner's confidence where it sees the same surface, else 0."""
    u, v, z, inside = project(partner, line.at(depth))
    index = (v + 0.5).floor().long() * partner.camera.width + (u + 0.5).floor().long()
    slope = partner.gradient[index].float().abs().sum(1)
    same = inside & ((partner.disparity[index] * z - 1).abs() < SAME + slope)
    return torch.where(same, partner.confidence[index].float(), torch.zeros_like(depth))
