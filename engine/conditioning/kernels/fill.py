"""Smooth filling (see ``conditioning.fill``): push-pull over planar images, with 2-D filters from OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from ...compiled import kernel, share
from .lookup import ONE, ZERO, F

ROWS = 64
"""Rows that one thread takes at a time."""
_QUARTER, _REST = F(0.25), F(0.75)


@kernel
def _pull(values, weight, weighted, first, last, coarse_values, coarse_weight):
    """Rows of the next coarser level: sums of 2×2 whose weight saturates at 1. weighted: whether values carry their weight."""
    channels, height, width = values.shape
    for row in range(first, last):
        y = 2 * row
        below = y + 1 < height
        a, b = weight[y], weight[y + 1 if below else y]
        share_b = ONE if below else ZERO
        out = coarse_weight[row]
        for x in range(width // 2):
            out[x] = a[2 * x] + a[2 * x + 1] + share_b * (b[2 * x] + b[2 * x + 1])
        if width % 2:
            out[width // 2] = a[width - 1] + share_b * b[width - 1]
        for channel in range(channels):
            c, d = values[channel, y], values[channel, y + 1 if below else y]
            here = coarse_values[channel, row]
            if weighted:
                for x in range(width // 2):
                    here[x] = (c[2 * x] + c[2 * x + 1] + share_b * (d[2 * x] + d[2 * x + 1])) / max(out[x], ONE)
                if width % 2:
                    here[width // 2] = (c[width - 1] + share_b * d[width - 1]) / max(out[width // 2], ONE)
            else:
                for x in range(width // 2):
                    left = c[2 * x] * a[2 * x] + share_b * d[2 * x] * b[2 * x]
                    right = c[2 * x + 1] * a[2 * x + 1] + share_b * d[2 * x + 1] * b[2 * x + 1]
                    here[x] = (left + right) / max(out[x], ONE)
                if width % 2:
                    only = c[width - 1] * a[width - 1] + share_b * d[width - 1] * b[width - 1]
                    here[width // 2] = only / max(out[width // 2], ONE)
        for x in range(len(out)):
            out[x] = min(out[x], ONE)


@kernel
def _push(values, weight, weighted, coarse, first, last, mixed, out):
    """Rows filled, where their weight leaves room, from the next coarser level, bilinearly. mixed: scratch, coarse width + 2."""
    channels, _, width = values.shape
    rows, columns = coarse.shape[1], coarse.shape[2]
    for channel in range(channels):
        for row in range(first, last):
            half = row >> 1
            other = min(half + 1, rows - 1) if row % 2 else max(half - 1, 0)
            near, far = coarse[channel, half], coarse[channel, other]
            for x in range(columns):
                mixed[x + 1] = _REST * near[x] + _QUARTER * far[x]
            mixed[0], mixed[columns + 1] = mixed[1], mixed[columns]
            own, w, here = values[channel, row], weight[row], out[channel, row]
            if weighted:
                for x in range(width // 2):
                    up = _QUARTER * mixed[x] + _REST * mixed[x + 1]
                    here[2 * x] = own[2 * x] + (ONE - w[2 * x]) * up
                    up = _REST * mixed[x + 1] + _QUARTER * mixed[x + 2]
                    here[2 * x + 1] = own[2 * x + 1] + (ONE - w[2 * x + 1]) * up
            else:
                for x in range(width // 2):
                    up = _QUARTER * mixed[x] + _REST * mixed[x + 1]
                    here[2 * x] = own[2 * x] * w[2 * x] + (ONE - w[2 * x]) * up
                    up = _REST * mixed[x + 1] + _QUARTER * mixed[x + 2]
                    here[2 * x + 1] = own[2 * x + 1] * w[2 * x + 1] + (ONE - w[2 * x + 1]) * up
            if width % 2:
                x = width - 1
                up = _QUARTER * mixed[x >> 1] + _REST * mixed[(x >> 1) + 1]
                here[x] = (own[x] if weighted else own[x] * w[x]) + (ONE - w[x]) * up


def push_pull(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(C, H, W) ``values`` whose weight (H, W) is small, mixed with their surroundings (see ``fill.push_pull``)."""
    levels = [(values, weight)]
    while max(levels[-1][1].shape) > 1:
        v, w = levels[-1]
        shape = (-(-w.shape[0] // 2), -(-w.shape[1] // 2))
        coarse = np.empty((len(v), *shape), F), np.empty(shape, F)
        weighted = len(levels) > 1
        share(lambda a, b, v=v, w=w, c=coarse, k=weighted: _pull(v, w, k, a, b, *c), shape[0], ROWS)
        levels.append(coarse)
    v, w = levels[-1]
    filled = (v if len(levels) > 1 else v * w) / np.maximum(w, F(1e-20))
    for level in range(len(levels) - 2, -1, -1):
        v, w = levels[level]
        out = np.empty_like(v)

        def fill(a, b, v=v, w=w, coarse=filled, out=out, weighted=level > 0):
            _push(v, w, weighted, coarse, a, b, np.empty(coarse.shape[2] + 2, F), out)

        share(fill, len(w), ROWS)
        filled = out
    return filled


def maximum_around(image: np.ndarray, radius: int) -> np.ndarray:
    """(2 radius + 1)² maximum of a (H, W) image."""
    return cv2.dilate(image, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8), borderType=cv2.BORDER_REPLICATE)


def minimum_around(image: np.ndarray, radius: int) -> np.ndarray:
    """(2 radius + 1)² minimum of a (H, W) image."""
    return cv2.erode(image, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8), borderType=cv2.BORDER_REPLICATE)


@kernel
def _cells_max(image, known, cell, first, last, largest, out):
    """Rows of the maxima of cells of ``cell``² pixels, of what is known; 0 elsewhere. largest: scratch, as wide as the image."""
    height, width = image.shape
    for row in range(first, last):
        for x in range(width):
            largest[x] = ZERO
        for y in range(row * cell, min((row + 1) * cell, height)):
            values, mask = image[y], known[y]
            for x in range(width):
                value, most = values[x], largest[x]
                most = max(most, value if mask[x] else ZERO)
                largest[x] = most
        for column in range(out.shape[1]):
            out[row, column] = ZERO
            for x in range(column * cell, min((column + 1) * cell, width)):
                out[row, column] = max(out[row, column], largest[x])


@kernel
def _weights(depth, known, behind, sky, cell, farthest, first, last, out):
    """Rows of :func:`background_weight`. behind, sky: of each column, for every ``cell`` rows; sky is positive near sky."""
    for row in range(first, last):
        z, mask, back, near, here = depth[row], known[row], behind[row // cell], sky[row // cell], out[row]
        for x in range(len(z)):
            ratio = z[x] / max(back[x], F(1e-20))
            square = ratio * ratio
            beside = z[x] / farthest
            weight = square * square * square * (beside * beside if near[x] > ZERO else ONE)
            here[x] = min(max(weight, F(1e-4)), ONE) if mask[x] else ZERO


def background_weight(depth: np.ndarray, known: np.ndarray, sky: np.ndarray | None = None) -> np.ndarray:
    """(H, W) weights that let a gap be filled from what lies behind (see ``fill.background_weight``)."""
    cell = max(1, max(depth.shape) // 64)
    behind = _around(depth, known, cell)
    near_sky, farthest = np.zeros_like(behind), F(1)
    if sky is not None and sky.any() and known.any():
        near_sky, farthest = _around(np.ones_like(depth), sky, cell), behind.max()
    out = np.empty_like(depth)
    share(lambda a, b: _weights(depth, known, behind, near_sky, cell, farthest, a, b, out), len(depth), ROWS)
    return out


def _around(image: np.ndarray, known: np.ndarray, cell: int) -> np.ndarray:
    """The maximum within about a sixth of the frame, of every column and ``cell`` rows."""
    coarse = np.empty((-(-image.shape[0] // cell), -(-image.shape[1] // cell)), F)
    share(lambda a, b: _cells_max(image, known, cell, a, b, np.empty(image.shape[1], F), coarse), len(coarse), 8)
    return np.repeat(maximum_around(coarse, 10), cell, 1)[:, : image.shape[1]].copy()


def fill_depth(depth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(H, W) depth with its gaps filled smoothly, from the farther side (see ``fill.fill_depth``)."""
    values = np.where(known, depth, ZERO)
    return np.where(known, depth, push_pull(values[None], background_weight(values, known))[0])
