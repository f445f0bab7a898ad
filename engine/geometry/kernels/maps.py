"""Neighbourhoods of maps on the CPU: slopes, medians, flooding, support, splatting."""

from __future__ import annotations

import numpy as np
import torch

from ...compiled import LANES, array, exp, in_ranges, summing, summing_kernel

ONE, ZERO, HALF, MOST = np.float32(1), np.float32(0), np.float32(0.5), np.float32(3e38)


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


@summing
def _half_way(found, weight, below, count):
    """The least of the first ``count`` values that has half of all weight, with those below it. below: as long, to work in."""
    below[:] = ZERO
    total = ZERO
    for k in range(count):
        value, much = found[k], weight[k]
        total += much
        for i in range(len(found)):
            below[i] += much if value <= found[i] else ZERO
    least = found[0]
    for k in range(count):
        least = max(least, found[k])
    for i in range(len(found)):
        least = min(least, found[i] if below[i] >= total * HALF else least)
    return least


@summing_kernel
def _weighted_median(start, stop, values, weights, image, radius, stride, sharpness, only, out):
    h, width = values.shape
    count = (2 * radius + 1) ** 2
    size = (count + LANES - 1) // LANES * LANES
    found, weight, below = np.full(size, MOST), np.zeros(size, np.float32), np.empty(size, np.float32)
    for row in range(start, stop):
        for column in range(width):
            if not only[row, column]:
                continue
            red, green, blue = image[row, column, 0], image[row, column, 1], image[row, column, 2]
            n = 0
            for dy in range(-radius, radius + 1):
                y = min(max(row + dy * stride, 0), h - 1)
                for dx in range(-radius, radius + 1):
                    x = min(max(column + dx * stride, 0), width - 1)
                    r, g, b = image[y, x, 0] - red, image[y, x, 1] - green, image[y, x, 2] - blue
                    found[n], weight[n], below[n] = values[y, x], r * r + g * g + b * b, weights[y, x]
                    n += 1
            for k in range(size):
                weight[k] = below[k] * exp(-weight[k] * sharpness) + np.float32(1e-9)
            out[row, column] = _half_way(found, weight, below, count)


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


@summing
def _continue(maps, y, reach, lines):
    """Row y of maps (C, H, W) into lines (C + 1, W + 2·reach), its ends repeated; the last line says from which column."""
    width = maps.shape[2]
    for c in range(maps.shape[0]):
        lines[c, reach : reach + width] = maps[c, y]
        lines[c, :reach], lines[c, reach + width :] = maps[c, y, 0], maps[c, y, width - 1]
    for i in range(lines.shape[1]):
        lines[-1, i] = np.float32(min(max(i - reach, 0), width - 1))


@summing
def _add(here, image, row, lines, first, down, sharpness, spread, total, much):
    """Add what the planes of ``lines``, from the column ``first`` on, say of each pixel of the row ``down`` above theirs."""
    width = len(here)
    w, du, dv, weights = lines[0, first:], lines[1, first:], lines[2, first:], lines[3, first:]
    red, green, blue, x = lines[4, first:], lines[5, first:], lines[6, first:], lines[7, first:]
    own_red, own_green, own_blue = image[0, row], image[1, row], image[2, row]
    for i in range(width):
        value = w[i] - (x[i] - np.float32(i)) * du[i] - down * dv[i]
        away = (value - here[i]) / max(spread * here[i], np.float32(1e-12))
        r, g, b = red[i] - own_red[i], green[i] - own_green[i], blue[i] - own_blue[i]
        unlike = away * away + (r * r + g * g + b * b) * sharpness
        weight = weights[i] * exp(-unlike) if unlike < np.float32(9) else ZERO
        total[i] += weight * value
        much[i] += weight


@summing_kernel
def _smoothed(start, stop, maps, image, radius, stride, sharpness, spread, out):
    """Rows start..stop of out (H, W). maps: (7, H, W) inverse depth, its slopes, weights, and the ``image`` (3, H, W)."""
    _, h, width = maps.shape
    reach = radius * stride
    lines = np.empty((8, width + 2 * reach), np.float32)
    total, much = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(start, stop):
        total[:], much[:] = ZERO, ZERO
        here = maps[0, row]
        for dy in range(-radius, radius + 1):
            y = min(max(row + dy * stride, 0), h - 1)
            _continue(maps, y, reach, lines)
            for dx in range(-radius, radius + 1):
                _add(here, image, row, lines, reach + dx * stride, np.float32(y - row), sharpness, spread, total, much)
        for i in range(width):
            out[row, i] = total[i] / much[i] if much[i] > ZERO else here[i]


def smoothed(planes, weights, image, radius: int, stride: int, sigma: float, spread: float) -> torch.Tensor:
    """See :func:`consistency.smoothed`."""
    out, colours = np.empty(planes.w.shape, np.float32), array(image)
    maps = np.concatenate([np.stack([array(x) for x in (planes.w, planes.du, planes.dv, weights)]), colours])
    scalars = radius, stride, np.float32(1 / (2 * sigma**2)), np.float32(spread)
    in_ranges(_smoothed, range(len(out)), maps, colours, *scalars, out)
    return torch.from_numpy(out)
