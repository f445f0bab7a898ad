"""The whole warp in PyTorch: how GPUs do it, and the reference of the CPU's kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..job import Camera
from .blend import DOUBT, Reading, level_of, read
from .cleaning import drop_speckles, smooth, without_specks
from .cloud import Cloud, project_cloud
from .fill import background_weight, fill_depth, open_to, push_pull
from .lookup import Rays, rays_of, votes
from .sky import sky_layer
from .source import Source
from .surface import Surface, trace

__all__ = ["condition", "drop_speckles", "smooth", "visible", "votes"]


def _sky(sources: list[Source], camera: Camera, rays: Rays, surface: Surface) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sky layer (colour, weight, source) and where it is what the target sees: in front of it nothing was found, and either
    there is no sample near either, or a photo looks past that sample."""
    colour, weight, which = sky_layer(sources, camera, rays)
    return colour, weight, which, (weight > 0) & ~surface.found & (~surface.guessed | (surface.against > 0))


def condition(
    sources: Sequence[Source], camera: Camera, cloud: Cloud | None, levels: int, device: torch.device
) -> dict[str, Tensor]:
    """The arrays of a :class:`Condition` (see ``warp.condition_tensors``)."""
    shape = (camera.height, camera.width)
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
        surface = trace(sources, camera, rays, levels)
        colour, sky_weight, sky_source, is_sky = _sky(sources, camera, rays, surface)
        _paint_surface(out, sources, camera, rays, surface, is_sky)
        _paint_sky(out, colour, sky_weight, sky_source, is_sky)
        _paint_holes(out, shape)
        _calm(out, shape)
        depth, source = (out[name].reshape(shape) for name in ("depth", "source"))
        out["rgb"] = without_specks(out["rgb"].T.reshape(3, *shape), depth, source).reshape(3, n).T
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
        reached = torch.from_numpy(open_to(hole.cpu().numpy(), sky.cpu().numpy())).to(hole.device)
        open_sky = reached & (push_pull(sky.float()[None], weight + sky.float())[0] > 0.5)
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


def visible(sources: Sequence[Source], camera: Camera, levels: int) -> np.ndarray:
    """(n_sources,) share of the target's pixels whose surface or sky each source sees."""
    rays = rays_of(camera, sources[0].image.device)
    shares = np.zeros(len(sources))
    surface = trace(sources, camera, rays, levels)
    index = surface.found.nonzero()[:, 0]
    if len(index):
        reading = read(sources, camera, rays[index], surface.t[index])
        shares += [float(seen.sum()) for seen in reading.visible]
    open_sky = _sky(sources, camera, rays, surface)[3]
    for number, source in enumerate(sources):
        if source.any_sky and bool(open_sky.any()):
            shares[number] += float((sky_layer([source], camera, rays)[1] > 0)[open_sky].sum())
    return shares / (camera.width * camera.height)
