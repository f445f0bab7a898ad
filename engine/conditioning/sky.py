"""Sky and infinity: a layer of its own, looked up by direction."""

from __future__ import annotations

import torch
from torch import Tensor

from ..job import Camera
from .lookup import Rays, line_of, project, sample
from .source import SKY, Source


def sky_layer(sources: list[Source], target: Camera, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
    """What the photos say of infinity along the target's rays.

    Returns colour (N, 3), weight (N,) 0..1, 0 where no photo saw sky in that direction, and source (N,) int16, -1 there. Only
    directions matter (the infinite homography): where the cameras stand does not.
    """
    colour = torch.zeros(len(rays), 3, device=rays.x.device)
    total = torch.zeros_like(rays.x)
    best, which = torch.zeros_like(rays.x), torch.full_like(rays.x, -1, dtype=torch.int16)
    for number, source in enumerate(sources):
        if not source.any_sky:
            continue
        line = line_of(source, target, rays)
        u, v, _, inside = project(source, line.b)
        width, height = source.camera.width, source.camera.height
        index = (v + 0.5).floor().long() * width + (u + 0.5).floor().long()
        index = (inside & source.flag(SKY)[index]).nonzero()[:, 0] if bool(inside.any()) else index[:0]
        if not len(index):
            continue
        u, v = u[index], v[index]
        edge = torch.minimum(torch.minimum(u + 0.5, width - 0.5 - u), torch.minimum(v + 0.5, height - 0.5 - v))
        weight = (edge / (0.05 * min(width, height))).clamp(0.01, 1)
        lod = torch.full_like(u, torch.tensor(source.camera.fx / target.fx).log2().item())
        colour[index] += sample(source, u, v, lod) * weight[:, None]
        total[index] += weight
        better = weight > best[index]
        which[index[better]] = number
        best[index[better]] = weight[better]
    return colour / total.clamp(min=1e-20)[:, None], best, which
