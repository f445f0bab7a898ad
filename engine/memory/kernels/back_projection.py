"""One round of iterative back-projection, see :mod:`..agreement`; colours are sRGB-coded, means are taken of light.

Frames and steps are (H * W, 3) float32. A photo's pixels are asked for where the frame sees them: ``where`` (n,) int32,
increasing, numbers the frame's pixels, ``corner`` the upper left of the four pixels of the photo around each, ``across`` and
``down`` are the shares, 0..1, of those to the right and below.
"""

from __future__ import annotations

import math

import numpy as np

from ...color import linear_from_srgb, srgb_from_linear
from ...compiled import exp, inline, kernel, share

F = np.float32
ZERO, ONE = F(0), F(1)
ENTRIES = 4096
LIGHT = linear_from_srgb(np.linspace(0, 1, ENTRIES + 1)).astype(F)
"""Light of sRGB-coded values 0..1."""
CODED = srgb_from_linear(np.linspace(0, 1, ENTRIES + 1) ** 2)
"""sRGB-coded values of light, by its square root, of which the curve is almost a straight line."""
GRAIN = 1 << 14
"""Pixels that one thread takes at a time."""
ROWS = 16
"""Rows that one thread takes at a time."""


@inline
def _read(table, value):
    """A table over 0..1 at a value of that range, between its entries."""
    place = value * F(ENTRIES)
    entry = min(np.int32(place), np.int32(ENTRIES - 1))
    return table[entry] + (place - F(entry)) * (table[entry + 1] - table[entry])


@kernel
def _lighten(start, stop, table, frame, light):
    for n in range(start, stop):
        for c in range(3):
            light[n, c] = _read(table, frame[n, c])


@kernel
def _cover(where, corner, across, down, right, below, area, cover):
    for i in range(len(where)):
        k, x, y = corner[i], across[i], down[i]
        cover[k] += (ONE - x) * (ONE - y) * area[i]
        cover[k + right] += x * (ONE - y) * area[i]
        cover[k + below] += (ONE - x) * y * area[i]
        cover[k + below + right] += x * y * area[i]


def cover(photo) -> np.ndarray:
    """(P,) float32: how many of its pixels' areas the frame's pixels cover, each spread over the four around it."""
    total = np.zeros(len(photo.colours), F)
    _cover(*_taps(photo), photo.area, total)
    return total


@kernel
def _differ(where, corner, across, down, right, below, area, light, cover, enough, strange, table, colours, away):
    """Into ``away`` (P, 3), zeros: a photo's colours beside what the frame's light makes of them."""
    for i in range(len(where)):
        n, k, x, y = where[i], corner[i], across[i], down[i]
        a, b, c, d = (ONE - x) * (ONE - y) * area[i], x * (ONE - y) * area[i], (ONE - x) * y * area[i], x * y * area[i]
        for channel in range(3):
            value = light[n, channel]
            away[k, channel] += a * value
            away[k + right, channel] += b * value
            away[k + below, channel] += c * value
            away[k + below + right, channel] += d * value
    for k in range(len(cover)):
        if cover[k] <= enough:
            away[k, 0] = away[k, 1] = away[k, 2] = ZERO
            continue
        most = ZERO
        for channel in range(3):
            shown = min(max(away[k, channel] / cover[k], ZERO), ONE)
            away[k, channel] = colours[k, channel] - _read(table, F(math.sqrt(shown)))
            most = max(most, abs(away[k, channel]))
        heed = exp(-(most / strange) * (most / strange))
        for channel in range(3):
            away[k, channel] *= heed


def differences(photos, light: np.ndarray, enough: float, strange: float) -> list[np.ndarray]:
    """Of each photo (P, 3), its colours beside those of the frame's ``light`` (H * W, 3), the less the stranger they are; 0 where
    the frame covers no more than ``enough`` of a pixel.

    Many of the frame's pixels add to one of a photo's: each photo is one thread's.
    """
    found = [np.zeros_like(photo.colours) for photo in photos]

    def differ(number: int, _: int) -> None:
        photo = photos[number]
        known = photo.cover, F(enough), F(strange), CODED, photo.colours
        _differ(*_taps(photo), photo.area, light, *known, found[number])

    share(differ, len(photos), 1)
    return found


@kernel
def _give_back(start, stop, where, corner, across, down, right, below, weight, away, step):
    for i in range(start, stop):
        n, k, x, y = where[i], corner[i], across[i], down[i]
        for channel in range(3):
            upper = (ONE - x) * away[k, channel] + x * away[k + right, channel]
            lower = (ONE - x) * away[k + below, channel] + x * away[k + below + right, channel]
            step[n, channel] += weight[i] * ((ONE - y) * upper + y * lower)


def give_back(photo, weight: np.ndarray, away: np.ndarray, step: np.ndarray) -> None:
    """Add to ``step`` what a photo's differences ``away`` (P, 3) say of the frame's pixels, times ``weight`` (n,)."""
    share(lambda a, b: _give_back(a, b, *_taps(photo), weight, away, step), len(photo.where), GRAIN)


@inline
def _pull(frame, n, other, level, out, weight):
    """How a pixel is drawn towards another: as much for a small difference as for a large one."""
    x, y, z = (frame[other, 0] - frame[n, 0], frame[other, 1] - frame[n, 1], frame[other, 2] - frame[n, 2])
    scale = weight / F(math.sqrt(x * x + y * y + z * z + level * level))
    out[n, 0] += scale * x
    out[n, 1] += scale * y
    out[n, 2] += scale * z


@kernel
def _calm(first, last, frame, width, height, weight, level, step):
    for row in range(first, last):
        for column in range(width):
            n = row * width + column
            if weight[n] == ZERO:
                continue
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if (dy != 0 or dx != 0) and 0 <= row + dy < height and 0 <= column + dx < width:
                        _pull(frame, n, n + dy * width + dx, level, step, weight[n])


def calm(frame: np.ndarray, shape: tuple[int, int], weight: np.ndarray, level: float, step: np.ndarray) -> None:
    """Add to ``step`` the negative gradient of the frame's total variation over all eight neighbours (Farsiu et al. 2004), times
    ``weight`` (H * W,). Differences below ``level`` count as squares do. shape: height and width."""
    height, width = shape
    share(lambda a, b: _calm(a, b, frame, width, height, weight, F(level), step), height, ROWS)


@kernel
def _move(start, stop, frame, step, keep, moved):
    """The frame takes the step and what is left of earlier ones."""
    for n in range(start, stop):
        for c in range(3):
            way = keep * moved[n, c] + step[n, c]
            moved[n, c], step[n, c] = way, ZERO
            frame[n, c] = min(max(frame[n, c] + way, ZERO), ONE)


def move(frame: np.ndarray, step: np.ndarray, keep: float, moved: np.ndarray) -> None:
    """Add ``step`` to the frame, and a share ``keep`` of how it ``moved`` before (Polyak's heavy ball); ``step`` is 0 then."""
    share(lambda a, b: _move(a, b, frame, step, F(keep), moved), len(frame), GRAIN)


def lighten(frame: np.ndarray, light: np.ndarray) -> None:
    """Write the light of a frame, 0..1, into ``light``."""
    share(lambda a, b: _lighten(a, b, LIGHT, frame, light), len(frame), GRAIN)


def _taps(photo) -> tuple:
    return photo.where, photo.corner, photo.across, photo.down, photo.right, photo.below
