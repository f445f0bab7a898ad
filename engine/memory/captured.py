"""The captured views themselves, as a frame sees them: an order-free set that the generator reads beside the condition.

The condition is one blend of the photos; what each of them says at a pixel is lost in it. Here every source is looked up at the
frame's surface by itself, so that several photos together can show more than each, and disagreement can be judged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..conditioning import Warper
from ..conditioning.blend import sample, sight
from ..conditioning.lookup import line_of, rays_of
from ..conditioning.source import Source
from ..job import Camera
from ..records import CAPTURED

MAX_REFERENCES = 8
"""Captured views that one segment is made from."""
MOST = 4
"""Captured views that one frame reads: as many as in training, and what two cores have time for."""
PIECE = 1 << 18
"""Pixels that are looked up at a time."""


@torch.no_grad()
def captured(warper: Warper, camera: Camera, depth: np.ndarray, most: int = MOST) -> np.ndarray:
    """(K, CAPTURED, H, W) float16: what the ``most`` best sources of ``warper`` say at the surface of z-depth ``depth`` (H, W).

    Nothing is said of sky and of what has no depth.
    """
    known = torch.from_numpy(np.ascontiguousarray(depth)).to(warper.device)
    return stacked(best_sources(warper, camera, most), camera, known).cpu().numpy()


def best_sources(warper: Warper, camera: Camera, most: int = MOST) -> list[Source]:
    """The at most ``most`` sources that show most of what ``camera`` sees, in their order."""
    return [warper.sources[index] for index in retrieve(warper, [camera], most)]


def retrieve(warper: Warper, cameras: Sequence[Camera], most: int = MAX_REFERENCES) -> list[int]:
    """The at most ``most`` sources of ``warper`` that contribute most visible pixels to ``cameras``, in their original order.

    Visible means: measured in an index render with an occlusion test, at the segment's first, middle and last camera.
    """
    count = len(warper.sources)
    if count <= most:
        return list(range(count))
    contribution = np.zeros(count)
    for index in sorted({0, len(cameras) // 2, len(cameras) - 1}):
        contribution += warper.visible_contribution(cameras[index])
    return sorted(np.argsort(-contribution, kind="stable")[:most].tolist())


def stacked(sources: Sequence[Source], camera: Camera, depth: Tensor) -> Tensor:
    """:func:`captured` of these sources, on their device."""
    flat = depth.reshape(-1)
    planes = torch.zeros(len(sources), CAPTURED, len(flat), dtype=torch.float16, device=depth.device)
    rays = rays_of(camera, depth.device)
    for index in ((flat > 0) & torch.isfinite(flat)).nonzero()[:, 0].split(PIECE):
        for number, source in enumerate(sources):
            planes[number, :, index] = seen_by(source, camera, rays[index], flat[index]).half()
    return planes.reshape(len(sources), CAPTURED, *depth.shape)


def seen_by(source: Source, camera: Camera, rays, t: Tensor) -> Tensor:
    """(CAPTURED, N): what a source says of the target's points at depth t (N,); all 0 where it does not see them.

    rgb: its colours there, bicubic. score: how well it sees the point, 0..1. visible: 1 where its own depth agrees. resolution:
    its pixels per target pixel, 1 at most. parallax: cosine of the angle between both cameras' rays. phase: 1 where the point
    falls on the middle of one of its pixels, 0 in a corner between four.
    """
    seen = sight(source, camera, rays, t)
    line = line_of(source, camera, rays)
    point = line.at(t)
    dot = sum(p * b for p, b in zip(point, line.b))
    length = sum(p * p for p in point) * sum(b * b for b in line.b)
    parallax = dot * torch.rsqrt(length.clamp(min=1e-30))
    phase = (1 - 2 * (seen.u - seen.u.round()).abs()) * (1 - 2 * (seen.v - seen.v.round()).abs())
    rgb = sample(source, seen.u, seen.v, seen.lod).T
    rest = [seen.score, seen.visible.float(), (1 / seen.magnification).clamp(0, 1), parallax.clamp(0, 1), phase]
    return torch.cat([rgb, torch.stack(rest)]) * (seen.score > 1e-3)
