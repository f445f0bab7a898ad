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
from .blend import Reading, level_of, read
from .cloud import Cloud, project_cloud
from .consistency import cross_check
from .exposure import even_out
from .fill import background_weight, fill_depth, push_pull
from .lookup import Rays, rays_of
from .sky import sky_layer
from .source import Source, prepare
from .splat import join, project_source
from .surface import Surface, trace

MARGIN = 0.3
"""Points are kept this share of the frame beyond its border: their surfaces may reach into it."""
DOUBT = 0.3
"""Colours of less confidence than this are mixed with their surroundings: beside depth edges they are speckles."""
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
        rays = rays_of(small, self.device)
        shares = np.zeros(len(self.sources))
        if not self.sources:
            return shares
        surface = _trace(self.sources, small, rays, self.levels)
        index = surface.found.nonzero()[:, 0]
        if len(index):
            reading = read(self.sources, small, rays[index], surface.t[index])
            shares += [float(seen.sum()) for seen in reading.visible]
        open_sky = _sky(self.sources, small, rays, surface)[3]
        for number, source in enumerate(self.sources):
            if source.any_sky and bool(open_sky.any()):
                shares[number] += float((sky_layer([source], small, rays)[1] > 0)[open_sky].sum())
        return shares / (small.width * small.height)


def prepare_all(views: list[View], device: torch.device) -> list[Source]:
    """The sources of a scene, checked against each other and evened out in exposure."""
    sources = [prepare(view, device) for view in views]
    cross_check(sources)
    even_out(sources)
    return sources


def _trace(sources: list[Source], camera: Camera, rays: Rays, levels: int) -> Surface:
    points = join([project_source(source, camera, MARGIN) for source in sources])
    return trace(sources, camera, rays, points, levels)


def _sky(sources: list[Source], camera: Camera, rays: Rays, surface: Surface) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sky layer (colour, weight, source) and where it is what the target sees: in front of it nothing was found, and either
    there is no sample near either, or a photo looks past that sample."""
    colour, weight, which = sky_layer(sources, camera, rays)
    return colour, weight, which, (weight > 0) & ~surface.found & (~surface.guessed | (surface.against > 0))


def condition_tensors(sources: list[Source], camera: Camera, cloud: Cloud | None = None, levels: int = 0) -> dict[str, Tensor]:
    """The arrays of a :class:`Condition` as tensors on the sources' device, for training in the loop (under torch.no_grad()).

    rgb, global_rgb: (H, W, 3) float32. depth, confidence, global_depth: (H, W) float32. level: (H, W) uint8.
    source: (H, W) int16.
    sources: from :func:`prepare_all`. Small targets are cheap: only the blocks of the photos in their frustum are looked at.
    """
    shape = (camera.height, camera.width)
    device = sources[0].image.device if sources else (cloud.points.device if cloud else torch.device("cpu"))
    n = camera.height * camera.width
    out = {
        "rgb": torch.full((n, 3), 0.5, device=device),
        "level": torch.zeros(n, dtype=torch.uint8, device=device),
        "depth": torch.zeros(n, device=device),
        "confidence": torch.zeros(n, device=device),
        "source": torch.full((n,), -1, dtype=torch.int16, device=device),
    }
    if sources:
        rays = rays_of(camera, device)
        surface = _trace(sources, camera, rays, levels)
        colour, sky_weight, sky_source, is_sky = _sky(sources, camera, rays, surface)
        _paint_surface(out, sources, camera, rays, surface, is_sky)
        _paint_sky(out, colour, sky_weight, sky_source, is_sky)
        _paint_holes(out, shape)
        _calm(out, shape)
    out = {name: value.reshape(*shape, *value.shape[1:]) for name, value in out.items()}
    out["global_rgb"], out["global_depth"] = project_cloud(cloud, camera, device)
    return out


def _paint_surface(out: dict, sources: list[Source], camera: Camera, rays: Rays, surface: Surface, is_sky: Tensor) -> None:
    """Pixels with a surface: colour, level, depth, confidence, source."""
    # Where a photo looks past the guess nothing stands there: a hole, to be filled from behind.
    index = ((surface.t > 0) & ~is_sky & (surface.found | (surface.against == 0))).nonzero()[:, 0]
    if not len(index):
        return
    reading = read(sources, camera, rays[index], surface.t[index])
    read_at = reading.total > 0
    index = index[read_at]
    out["rgb"][index] = reading.rgb[read_at]
    out["level"][index] = level_of(reading.magnification[read_at])
    out["depth"][index] = surface.t[index]
    out["source"][index] = reading.source[read_at]
    out["confidence"][index] = _confidence(reading, surface, read_at, index)


def _confidence(reading: Reading, surface: Surface, at: Tensor, index: Tensor) -> Tensor:
    """How likely the colour is right, 0..1."""
    votes = surface.support[index] / (surface.support[index] + surface.against[index]).clamp(min=1e-6)
    sure = reading.score[at].sqrt() * votes * torch.exp(-reading.spread[at] * 8)
    sure = torch.where(surface.found[index] & reading.measured[at], sure, 0.15 * torch.ones_like(sure))
    return sure.clamp(0.02, 1)


def _paint_sky(out: dict, colour: Tensor, weight: Tensor, which: Tensor, is_sky: Tensor) -> None:
    """Pixels in which the sky is seen."""
    out["rgb"][is_sky] = colour[is_sky]
    out["level"][is_sky] = 1
    out["depth"][is_sky] = torch.inf
    out["confidence"][is_sky] = 0.5 + 0.45 * weight[is_sky]
    out["source"][is_sky] = which[is_sky]


def _paint_holes(out: dict, shape: tuple[int, int]) -> None:
    """Holes get smooth colour and depth, mostly from what lies farther away; beside open sky they continue the sky."""
    hole = (out["level"] == 0).reshape(shape)
    if not bool(hole.any()) or bool(hole.all()):
        return
    rgb, depth = out["rgb"].T.reshape(3, *shape), out["depth"].reshape(shape)
    sky = torch.isinf(depth)
    solid = ~hole & ~sky
    open_sky = torch.zeros_like(hole)
    weight = background_weight(depth, solid, sky)
    if bool(sky.any()):
        open_sky = hole & (push_pull(sky.float()[None], weight + sky.float())[0] > 0.5)
        out["rgb"][open_sky.reshape(-1)] = push_pull(rgb, sky.float())[:, open_sky].T
        out["depth"][open_sky.reshape(-1)] = torch.inf
    hole = hole & ~open_sky
    if bool(solid.any()):
        out["rgb"][hole.reshape(-1)] = push_pull(rgb, weight)[:, hole].T
        out["depth"][hole.reshape(-1)] = fill_depth(depth, solid)[hole]


def _calm(out: dict, shape: tuple[int, int]) -> None:
    """Doubtful colours lean on the sure ones around them; holes, filled already, hardly have a say."""
    weight = (out["confidence"] / DOUBT).clamp(0.17, 1) ** 3
    weight = torch.where(out["level"] == 0, torch.full_like(weight, 0.02), weight).reshape(shape)
    calmed = push_pull(out["rgb"].T.reshape(3, *shape), weight).reshape(3, -1).T
    out["rgb"] = torch.where((out["level"] > 0)[:, None], calmed, out["rgb"])
