"""Sky and infinity, looked up by direction (see ``conditioning.sky``)."""

from __future__ import annotations

import math

import numpy as np

from ...compiled import kernel
from ..source import SKY
from .blend import sample
from .lookup import HALF, ONE, ZERO, F, nearest_pixel, project, turn

_FADE = F(0.05)


@kernel
def _add_sky(texels, offsets, gain, state, lens, pose, level, number, x, y, reds, greens, blues, total, best, which):
    """Add what one source saw of the sky along rays."""
    for i in range(len(x)):
        bx, by, bz = turn(pose, x[i], y[i])
        u, v, _, _, inside = project(lens, bx, by, bz)
        seen = inside & (state[nearest_pixel(lens, u, v)] & SKY != 0)
        edge = min(min(u + HALF, lens[4] - HALF - u), min(v + HALF, lens[5] - HALF - v))
        weight = min(max(edge / (_FADE * min(lens[4], lens[5])), F(0.01)), ONE) if seen else ZERO
        red, green, blue = sample(texels, offsets, gain, lens, u, v, level)
        reds[i] += red * weight
        greens[i] += green * weight
        blues[i] += blue * weight
        total[i] += weight
        most, first = best[i], which[i]
        better = weight > most
        which[i] = number if better else first
        best[i] = weight if better else most


def sky_layer(scene, x: np.ndarray, y: np.ndarray, only: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the photos (or one of them) say of infinity along rays: colour (3, N), weight (N,), source (N,) int32."""
    colour, total, best = np.zeros((3, len(x)), F), np.zeros(len(x), F), np.zeros(len(x), F)
    which = np.full(len(x), -1, np.int32)
    for number, (source, own, pose) in enumerate(zip(scene.sources, scene.pixels, scene.poses)):
        if source.any_sky and only in (None, number):
            photo = scene.pyramids[number]
            lod = math.log2(source.camera.fx / scene.camera.fx)
            level = np.int32(min(max(round(lod), 0), source.max_mip))
            texture = (photo.texels, photo.offsets, photo.gain, own.state, own.lens, pose)
            _add_sky(*texture, level, np.int32(number), x, y, *colour, total, best, which)
    return colour / np.maximum(total, F(1e-20)), best, which
