"""A whole condition frame on the processor (see ``conditioning.warp``, whose steps these are)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...compiled import kernel, share
from ...job import Camera
from ..blend import DOUBT
from ..cloud import Cloud
from ..fill import open_to
from ..source import Source
from .blend import finish, looks, read
from .cleaning import without_specks
from .cloud import project_cloud
from .fill import ROWS, background_weight, fill_depth, push_pull
from .lookup import ONE, ZERO, F
from .sky import sky_layer
from .surface import PIECE, Scene, Surface, trace

CPU = torch.device("cpu")
_GREY = F(0.5)


def condition(
    sources: Sequence[Source], camera: Camera, cloud: Cloud | None, levels: int, device: torch.device = CPU
) -> dict[str, Tensor]:
    """The arrays of a :class:`Condition` (see ``warp.condition_tensors``)."""
    shape, n = (camera.height, camera.width), camera.height * camera.width
    out = {
        "rgb": np.full((3, n), _GREY, F),
        "level": np.zeros(n, np.uint8),
        "depth": np.zeros(n, F),
        "confidence": np.zeros(n, F),
        "source": np.full(n, -1, np.int16),
    }
    if sources:
        scene = Scene.of(sources, camera)
        surface = trace(scene, levels)
        share(lambda a, b: _paint(out, scene, surface, a, b), n, PIECE)
        _paint_holes(out, shape)
        depth, source = (out[name].reshape(shape) for name in ("depth", "source"))
        out["rgb"] = without_specks(_calmed(out, shape).reshape(3, *shape), depth, source).reshape(3, n)
    rgb = np.empty((*shape, 3), F)
    planes = out["rgb"].reshape(3, *shape)
    share(lambda a, b: _interleave(planes, a, b, rgb), shape[0], ROWS)
    out = {name: value.reshape(shape) for name, value in out.items() if name != "rgb"}
    projected = (np.zeros((*shape, 3), F), np.zeros(shape, F)) if cloud is None else project_cloud(cloud, camera)
    out |= {"rgb": rgb, "global_rgb": projected[0], "global_depth": projected[1]}
    return {name: torch.from_numpy(value) for name, value in out.items()}


@kernel
def _interleave(planes, first, last, out):
    """Rows of planar colours (3, H, W) as pixels (H, W, 3), 0..1."""
    for row in range(first, last):
        for channel in range(3):
            own = planes[channel, row]
            for x in range(planes.shape[2]):
                out[row, x, channel] = min(max(own[x], ZERO), ONE)


def _sky(scene: Scene, surface: Surface, piece: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The sky layer's colour, weight and source in a piece of the frame, and where it is what the target sees."""
    colour, weight, which = sky_layer(scene, scene.x[piece], scene.y[piece])
    open_sky = (weight > 0) & ~surface.found[piece] & (~surface.guessed[piece] | (surface.against[piece] > 0))
    return colour, weight, which, open_sky


def _paint(out: dict, scene: Scene, surface: Surface, first: int, last: int) -> None:
    """Surface and sky of a piece of the frame: colour, level, depth, confidence, source."""
    piece = slice(first, last)
    t, found, support, against = (getattr(surface, name)[piece] for name in ("t", "found", "support", "against"))
    is_solid = (t > 0) & (found | (against == 0))
    if scene.any_sky:
        colour, weight, which, is_sky = _sky(scene, surface, piece)
        at = np.flatnonzero(is_sky)
        is_solid &= ~is_sky
        out["rgb"][:, first + at] = colour[:, at]
        out["level"][first + at] = 1
        out["depth"][first + at] = np.inf
        out["confidence"][first + at] = F(0.5) + F(0.45) * weight[at]
        out["source"][first + at] = which[at]
    if is_solid.any():
        sums = read(scene, scene.x[piece], scene.y[piece], t)
        planes = (out["rgb"][channel, piece] for channel in range(3))
        rest = (out[name][piece] for name in ("level", "depth", "confidence", "source"))
        finish(*sums, t, found, support, against, is_solid, *planes, *rest)


def _paint_holes(out: dict, shape: tuple[int, int]) -> None:
    """Smooth colour and depth for holes, mostly from what lies behind; beside open sky they continue the sky."""
    hole = (out["level"] == 0).reshape(shape)
    if not hole.any() or hole.all():
        return
    rgb, depth = out["rgb"].reshape(3, *shape), out["depth"].reshape(shape)
    sky = np.isinf(depth)
    solid = ~hole & ~sky
    weight = background_weight(depth, solid, sky)
    if sky.any():
        layer = sky.astype(F)
        open_sky = open_to(hole, sky) & (push_pull(layer[None], weight + layer)[0] > _GREY)
        rgb[:, open_sky] = push_pull(rgb, layer)[:, open_sky]
        depth[open_sky] = np.inf
        hole &= ~open_sky
    if solid.any():
        rgb[:, hole] = push_pull(rgb, weight)[:, hole]
        depth[hole] = fill_depth(depth, solid)[hole]


@kernel
def _trust(confidence, level, doubt, weight):
    """How much each colour is left alone by :func:`_calmed`."""
    for i in range(len(weight)):
        w = min(max(confidence[i] / doubt, F(0.17)), ONE)
        weight[i] = F(0.02) if level[i] == 0 else w * w * w


@kernel
def _merge(rgb, calmed, level):
    """Keep the colours of holes."""
    for channel in range(3):
        own, other = rgb[channel], calmed[channel]
        for i in range(len(level)):
            kept, mixed = own[i], other[i]
            other[i] = kept if level[i] == 0 else mixed


def _calmed(out: dict, shape: tuple[int, int]) -> np.ndarray:
    """(3, H·W) colours; doubtful ones lean on the sure ones around them, holes hardly have a say."""
    weight = np.empty(out["confidence"].size, F)
    share(lambda a, b: _trust(out["confidence"][a:b], out["level"][a:b], F(DOUBT), weight[a:b]), len(weight), PIECE)
    calmed = push_pull(out["rgb"].reshape(3, *shape), weight.reshape(shape)).reshape(3, -1)
    _merge(out["rgb"], calmed, out["level"])
    return calmed


def visible(sources: Sequence[Source], camera: Camera, levels: int) -> np.ndarray:
    """(S,) share of the target's pixels whose surface or sky each source sees."""
    scene = Scene.of(sources, camera)
    surface = trace(scene, levels)
    counts = np.zeros(len(sources))
    at = np.flatnonzero(surface.found)
    if len(at):
        for number, (_, seen, *_) in looks(scene, scene.x[at], scene.y[at], surface.t[at]):
            counts[number] += seen.sum()
    if scene.any_sky:
        open_sky = _sky(scene, surface, slice(None))[3]
        for number in range(len(sources)):
            counts[number] += (sky_layer(scene, scene.x[open_sky], scene.y[open_sky], number)[1] > 0).sum()
    return counts / (camera.width * camera.height)
