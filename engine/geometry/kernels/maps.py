"""Neighbourhoods of maps on the CPU: slopes, medians, flooding, support, splatting."""

from __future__ import annotations

import numpy as np
import torch

from ...compiled import array, in_ranges, summing_kernel

ONE, ZERO, HALF = np.float32(1), np.float32(0), np.float32(0.5)


@summing_kernel
def _slopes(start, stop, w, radius, tolerance, du, dv):
    h, width = w.shape
    line = np.empty(width + 2 * radius, np.float32)
    for row in range(start, stop):
        sums = np.zeros((5, width), np.float32)
        xx, yy, xy, xd, yd = sums[0], sums[1], sums[2], sums[3], sums[4]
        here = w[row]
        for y in range(-radius, radius + 1):
            there = w[min(max(row + y, 0), h - 1)]
            line[radius : radius + width] = there
            line[:radius], line[radius + width :] = there[0], there[width - 1]
            for x in range(-radius, radius + 1):
                reach = tolerance * np.float32(max(1, max(abs(x), abs(y))))
                fx, fy = np.float32(x), np.float32(y)
                moved = line[radius + x : radius + x + width]
                for u in range(width):
                    difference = moved[u] - here[u]
                    near = ONE if abs(difference) < reach * here[u] else ZERO
                    difference *= near
                    xx[u] += fx * fx * near
                    yy[u] += fy * fy * near
                    xy[u] += fx * fy * near
                    xd[u] += fx * difference
                    yd[u] += fy * difference
        for u in range(width):
            a, b = xx[u] + ONE, yy[u] + ONE
            scale = ONE / (a * b - xy[u] * xy[u])
            du[row, u] = (xd[u] * b - yd[u] * xy[u]) * scale
            dv[row, u] = (yd[u] * a - xd[u] * xy[u]) * scale


def slopes(w: torch.Tensor, radius: int = 2, tolerance: float = 0.03) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`patchmatch.slopes`."""
    du, dv = np.empty(w.shape, np.float32), np.empty(w.shape, np.float32)
    in_ranges(_slopes, range(w.shape[0]), array(w), radius, np.float32(tolerance), du, dv)
    return torch.from_numpy(du), torch.from_numpy(dv)


@summing_kernel
def _weighted_median(start, stop, values, weights, image, radius, stride, sharpness, only, out):
    h, width = values.shape
    count = (2 * radius + 1) ** 2
    found, weight = np.empty(count, np.float32), np.empty(count, np.float32)
    for row in range(start, stop):
        for column in range(width):
            if not only[row, column]:
                continue
            n, total = 0, ZERO
            for dy in range(-radius, radius + 1):
                y = min(max(row + dy * stride, 0), h - 1)
                for dx in range(-radius, radius + 1):
                    x = min(max(column + dx * stride, 0), width - 1)
                    unlike = ZERO
                    for c in range(3):
                        unlike += (image[y, x, c] - image[row, column, c]) ** 2
                    value, much = values[y, x], weights[y, x] * np.exp(-unlike * sharpness) + np.float32(1e-9)
                    total += much
                    place = n
                    while place > 0 and found[place - 1] > value:
                        found[place], weight[place] = found[place - 1], weight[place - 1]
                        place -= 1
                    found[place], weight[place] = value, much
                    n += 1
            share, i = weight[0], 0
            while share < total * HALF and i < count - 1:
                i += 1
                share += weight[i]
            out[row, column] = found[i]


def weighted_median(values, weights, image, radius: int, stride: int, sigma: float, only=None) -> torch.Tensor:
    """See :func:`consistency.weighted_median`."""
    chosen = np.ones(values.shape, np.bool_) if only is None else array(only)
    out = array(values).copy()
    colours, sharpness = array(image.permute(1, 2, 0)), np.float32(1 / (2 * sigma**2))
    rows = range(values.shape[0])
    in_ranges(_weighted_median, rows, array(values), array(weights), colours, radius, stride, sharpness, chosen, out)
    return torch.from_numpy(out)


@summing_kernel
def _flood(start, stop, unknown, before, image, nearness, size, fall, colour, source, best):
    """One pass over the unknown pixels start..stop: each looks at what the eight pixels ``size`` away take their plane from."""
    h, width = before.shape
    longest = np.float32(max(h, width))
    for i in range(start, stop):
        y, x = unknown[i] // width, unknown[i] % width
        least, winner = best[i], before[y, x]
        for dy in range(-size, size + 1, size):
            for dx in range(-size, size + 1, size):
                if (dx == 0 and dy == 0) or not (0 <= y + dy < h and 0 <= x + dx < width):
                    continue
                candidate = before[y + dy, x + dx]
                if candidate < 0:
                    continue
                cy, cx = candidate // width, candidate % width
                across, down = np.float32(cx - x), np.float32(cy - y)
                score = np.sqrt(across * across + down * down) / longest / fall + nearness[cy, cx]
                if score >= least:
                    continue
                unlike = ZERO
                for c in range(3):
                    unlike = max(unlike, abs(image[cy, cx, c] - image[y, x, c]))
                score += colour * unlike
                if score < least:
                    least, winner = score, candidate
        best[i], source[y, x] = least, winner


def flood(known, nearness, image, sizes: list[int], fall: float, colour: float) -> torch.Tensor:
    """See :func:`consistency.flood`."""
    seeds = array(known)
    unknown = np.flatnonzero(~seeds)
    source = np.where(seeds, np.arange(seeds.size).reshape(seeds.shape), -1)
    best = np.full(len(unknown), np.inf, np.float32)
    colours, near = array(image.permute(1, 2, 0)), array(nearness)
    scalars = np.float32(fall), np.float32(colour)
    for size in sizes:
        in_ranges(_flood, range(len(unknown)), unknown, source.copy(), colours, near, size, *scalars, source, best)
    return torch.from_numpy(source)


@summing_kernel
def _support(start, stop, w, du, dv, radius, stride, tolerance, out):
    h, width = w.shape
    others = np.float32((2 * radius + 1) ** 2 - 1)
    for row in range(start, stop):
        for column in range(width):
            here, count = w[row, column], 0
            for dy in range(-radius, radius + 1):
                y = min(max(row + dy * stride, 0), h - 1)
                for dx in range(-radius, radius + 1):
                    x = min(max(column + dx * stride, 0), width - 1)
                    expected = here + np.float32(dx * stride) * du[row, column] + np.float32(dy * stride) * dv[row, column]
                    count += abs(w[y, x] - expected) < tolerance * here
            out[row, column] = np.float32(count - 1) / others


def support(planes, radius: int = 2, stride: int = 2, tolerance: float = 0.006) -> torch.Tensor:
    """See :func:`consistency.support`."""
    out = np.empty(planes.w.shape, np.float32)
    maps = array(planes.w), array(planes.du), array(planes.dv)
    in_ranges(_support, range(len(out)), *maps, radius, stride, np.float32(tolerance), out)
    return torch.from_numpy(out)


@summing_kernel
def _smoothed(start, stop, w, du, dv, weights, image, radius, stride, sharpness, spread, out):
    h, width = w.shape
    for row in range(start, stop):
        for column in range(width):
            here, total, much = w[row, column], ZERO, ZERO
            narrow = ONE / max(spread * here, np.float32(1e-12))
            for dy in range(-radius, radius + 1):
                y = min(max(row + dy * stride, 0), h - 1)
                for dx in range(-radius, radius + 1):
                    x = min(max(column + dx * stride, 0), width - 1)
                    value = w[y, x] - np.float32(x - column) * du[y, x] - np.float32(y - row) * dv[y, x]
                    away = (value - here) * narrow
                    unlike = away * away
                    for c in range(3):
                        unlike += (image[y, x, c] - image[row, column, c]) ** 2 * sharpness
                    if unlike < np.float32(9):
                        weight = weights[y, x] * np.exp(-unlike)
                        total += weight * value
                        much += weight
            out[row, column] = total / much if much > ZERO else here


def smoothed(planes, weights, image, radius: int, stride: int, sigma: float, spread: float) -> torch.Tensor:
    """See :func:`consistency.smoothed`."""
    out = np.empty(planes.w.shape, np.float32)
    maps = array(planes.w), array(planes.du), array(planes.dv), array(weights), array(image.permute(1, 2, 0))
    scalars = radius, stride, np.float32(1 / (2 * sigma**2)), np.float32(spread)
    in_ranges(_smoothed, range(len(out)), *maps, *scalars, out)
    return torch.from_numpy(out)
