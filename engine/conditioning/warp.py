"""Hierarchical warping: photos with depth, and a target camera, to the condition frame (CloseUpShot, arXiv 2511.13121).

splat the sources' points into levels 1, 1/2, 1/4, … and suppress what leaks through   (splat, suppress)
intersect each ray with the sources' continuous surfaces near that guess               (surface, lookup)
look the surface up in the photos that see it, sky by direction                        (blend, sky)
fill smoothly what no photo saw                                                        (fill)
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..camera import resized
from ..job import Camera
from ..records import Condition, PointCloud, View
from .cloud import Cloud
from .consistency import cross_check
from .exposure import even_out
from .path import path_of
from .prepare import prepare
from .source import Source

CONTRIBUTION_SIDE = 160
"""Longer side of the index render that measures visible contributions, pixels."""


class Warper:
    """All sources of a scene, prepared once, warped into any number of target cameras.

    views: the sources. device: where it works. cloud: the fused cloud for the global projection, or None. levels: how many
    halvings are splatted; 0 lets the zoom decide.
    """

    def __init__(self, views: list[View], device: torch.device, cloud: PointCloud | None = None, levels: int = 0):
        self.device = torch.device(device)
        self.levels = levels
        with torch.no_grad():
            self.sources = prepare_all(views, self.device)
            self.cloud = None if cloud is None or not len(cloud) else Cloud.of(cloud, self.device)

    @torch.no_grad()
    def choose(self, indices: Sequence[int], extra: Sequence[View] = ()) -> Warper:
        """A warper of some of these sources and of ``extra`` views; the sources are not prepared anew."""
        other = copy.copy(self)
        other.sources = [self.sources[index] for index in indices] + [prepare(view, self.device) for view in extra]
        return other

    @torch.no_grad()
    def condition(self, camera: Camera) -> Condition:
        """What the sources say about one target frame. Every array is finite but for the depth of sky (+inf)."""
        found = condition_tensors(self.sources, camera, self.cloud, self.levels)
        return Condition(camera=camera, **{name: value.cpu().numpy() for name, value in found.items()})

    @torch.no_grad()
    def visible_contribution(self, camera: Camera) -> np.ndarray:
        """(n_views,) share of the target's pixels whose surface (or sky) each view really sees, occlusion respected."""
        scale = min(1.0, CONTRIBUTION_SIDE / max(camera.width, camera.height))
        small = resized(camera, max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
        return path_of(self.device).visible(self.sources, small, self.levels) if self.sources else np.zeros(0)


def prepare_all(views: list[View], device: torch.device) -> list[Source]:
    """The sources of a scene, checked against each other and evened out in exposure."""
    sources = [prepare(view, device) for view in views]
    cross_check(sources)
    even_out(sources)
    return sources


def condition_tensors(sources: list[Source], camera: Camera, cloud: Cloud | None = None, levels: int = 0) -> dict[str, Tensor]:
    """The arrays of a :class:`Condition` as tensors on the sources' device, for training in the loop (under torch.no_grad()).

    rgb, global_rgb: (H, W, 3) float32. depth, confidence, global_depth: (H, W) float32. level: (H, W) uint8.
    source: (H, W) int16.
    sources: from :func:`prepare_all`. Small targets are cheap: only the blocks of the photos in their frustum are looked at.
    """
    device = sources[0].image.device if sources else (cloud.points.device if cloud else torch.device("cpu"))
    return path_of(device).condition(sources, camera, cloud, levels, device)
