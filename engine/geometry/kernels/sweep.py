"""The plane sweep and semi-global aggregation on the CPU. Volumes are (H, W, D): the labels of a pixel lie together."""

from __future__ import annotations

import numpy as np
import torch

from ...compiled import array, in_ranges, summing, summing_kernel
from . import limits

NOISE, LONELY = np.float32(limits.NOISE), np.float32(limits.LONELY)
ZERO, HALF, ONE, TINY = np.float32(0), np.float32(0.5), np.float32(1), np.float32(1e-6)


@summing_kernel
def _warp(start, stop, gray, mask, transfer, labels, reach, warped, valid):
    """The partner's grey at every label of every pixel; at both ends ``reach`` more labels hold what the last one does."""
    h, wide = gray.shape
    m, depth = transfer, len(labels)
    for row in range(start, stop):
        for column in range(warped.shape[1]):
            x, y = np.float32(column) + HALF, np.float32(row) + HALF
            a0 = m[0, 0] * x + m[0, 1] * y + m[0, 2]
            a1 = m[1, 0] * x + m[1, 1] * y + m[1, 2]
            a2 = m[2, 0] * x + m[2, 1] * y + m[2, 2]
            for k in range(depth):
                q0, q1, q2 = a0 + m[0, 3] * labels[k], a1 + m[1, 3] * labels[k], a2 + m[2, 3] * labels[k]
                z = ONE / max(q2, TINY)
                u, v = q0 * z, q1 * z
                inside = q2 > TINY and u > ZERO and u < np.float32(wide) and v > ZERO and v < np.float32(h)
                gx = min(max(u - HALF, ZERO), np.float32(wide - 1))
                gy = min(max(v - HALF, ZERO), np.float32(h - 1))
                ix, iy = min(int(gx), wide - 2), min(int(gy), h - 2)
                fx, fy = gx - np.float32(ix), gy - np.float32(iy)
                upper = gray[iy, ix] + (gray[iy, ix + 1] - gray[iy, ix]) * fx
                lower = gray[iy + 1, ix] + (gray[iy + 1, ix + 1] - gray[iy + 1, ix]) * fx
                warped[row, column, reach + k] = upper + (lower - upper) * fy
                valid[row, column, k] = inside and mask[int(v), int(u)]
            for k in range(reach):
                warped[row, column, k] = warped[row, column, reach]
                warped[row, column, reach + depth + k] = warped[row, column, reach + depth - 1]


@summing
def _column(warped, gray, row, column, rise, radius, reach, depth, sums):
    """Sums of g, g² and f·g down the window's column, ``rise`` labels more with each pixel; (3, D + 2·reach), ends repeated."""
    h = warped.shape[0]
    g, gg, fg = sums[0, reach : reach + depth], sums[1, reach : reach + depth], sums[2, reach : reach + depth]
    g[:], gg[:], fg[:] = ZERO, ZERO, ZERO
    for dy in range(-radius, radius + 1):
        y = min(max(row + dy, 0), h - 1)
        line = warped[y, column, reach + rise * dy : reach + rise * dy + depth]
        f = gray[y, column]
        for k in range(depth):
            g[k] += line[k]
            gg[k] += line[k] * line[k]
            fg[k] += line[k] * f
    for i in range(3):
        sums[i, :reach], sums[i, reach + depth :] = sums[i, reach], sums[i, reach + depth - 1]


@summing_kernel
def _correlate(start, stop, warped, valid, gray, mean, variance, rises, shears, radius, reach, first, second):
    """Cost of one partner for rows start..stop, sorted into the ``first`` and ``second`` least (H, W, D) so far."""
    _, width, depth = valid.shape
    ring = 2 * radius + 1
    columns = np.empty((ring, len(rises), 3, depth + 2 * reach), np.float32)
    best = np.empty(depth, np.float32)
    g, gg, fg = np.empty(depth, np.float32), np.empty(depth, np.float32), np.empty(depth, np.float32)
    share = ONE / np.float32(ring * ring)
    for row in range(start, stop):
        ready = 0
        for column in range(width):
            while ready < min(column + radius + 1, width):
                for i in range(len(rises)):
                    _column(warped, gray, row, ready, rises[i], radius, reach, depth, columns[ready % ring, i])
                ready += 1
            best[:] = -ONE
            m, texture = mean[row, column], max(variance[row, column], ZERO) + NOISE
            for s in range(len(shears)):
                g[:], gg[:], fg[:] = ZERO, ZERO, ZERO
                for dx in range(-radius, radius + 1):
                    at = min(max(column + dx, 0), width - 1) % ring
                    shift = reach + shears[s, 0] * dx
                    a = columns[at, shears[s, 1], 0, shift : shift + depth]
                    b = columns[at, shears[s, 1], 1, shift : shift + depth]
                    c = columns[at, shears[s, 1], 2, shift : shift + depth]
                    for k in range(depth):
                        g[k] += a[k]
                        gg[k] += b[k]
                        fg[k] += c[k]
                for k in range(depth):
                    average = g[k] * share
                    spread = max(gg[k] * share - average * average, ZERO) + NOISE
                    zncc = (fg[k] * share - m * average) / np.sqrt(texture * spread)
                    best[k] = max(best[k], zncc)
            for k in range(depth):
                cost = min(max((ONE - best[k]) * HALF, ZERO), ONE) if valid[row, column, k] else HALF
                low, high = first[row, column, k], second[row, column, k]
                first[row, column, k], second[row, column, k] = min(low, cost), min(high, max(low, cost))


def swept(reference, partners, labels: torch.Tensor, shears, transfers, moments, radius: int) -> torch.Tensor:
    """See :func:`matching.sweep`. transfers: (A, b) to each partner. moments: mean and variance (H, W) of its windows."""
    h, w = reference.size
    depth = len(labels)
    rises = sorted({rise for _, rise in shears})
    indexed = np.array([(run, rises.index(rise)) for run, rise in shears])
    reach = radius * max(max(abs(run), abs(rise)) for run, rise in shears)
    warped = np.empty((h, w, depth + 2 * reach), np.float32)
    valid = np.empty((h, w, depth), np.bool_)
    first, second = np.full((h, w, depth), 2, np.float32), np.full((h, w, depth), 2, np.float32)
    gray, mean, variance = array(reference.gray), *map(array, moments)
    for partner, (a, b) in zip(partners, transfers):
        transfer = np.column_stack([array(a), array(b)])
        in_ranges(_warp, range(h), array(partner.gray), array(partner.mask), transfer, array(labels), reach, warped, valid)
        in_ranges(
            _correlate, range(h), warped, valid, gray, mean, variance, np.array(rises), indexed, radius, reach, first, second
        )
    if len(partners) > 1:
        first = np.minimum((first + second) * HALF, first + LONELY)
    return torch.from_numpy(first)


# --- semi-global aggregation -----------------------------------------------------


@summing
def _step(before, cost, small, jump, state, total):
    """One step of the recursion at one pixel: ``before`` and ``state`` (D,), the sum added to ``total`` (D,)."""
    depth = len(cost)
    least = before[0]
    for k in range(depth):
        least = min(least, before[k])
    far = least + jump
    for k in range(depth):
        state[k] = min(before[k], far)
    for k in range(depth - 1):
        state[k] = min(state[k], before[k + 1] + small)
    for k in range(1, depth):
        state[k] = min(state[k], before[k - 1] + small)
    for k in range(depth):
        state[k] += cost[k] - least
        total[k] += state[k]


@summing
def _jump(image, y, x, there_y, there_x, small, large, contrast):
    """The penalty of a jump between two pixels, less where their colours differ; never below 1.5 times the small one."""
    unlike = contrast
    for i in range(3):
        unlike = max(unlike, abs(image[y, x, i] - image[there_y, there_x, i]))
    return max(large * contrast / unlike, small * np.float32(1.5))


@summing_kernel
def _down(start, stop, cost, image, small, floor, large, contrast, totals):
    """Paths from above (0) or below (1), straight and diagonal, each into its own total (H, W, D)."""
    h, width, depth = cost.shape
    for direction in range(start, stop):
        total = totals[direction]
        before, state = np.empty((3, width, depth), np.float32), np.empty((3, width, depth), np.float32)
        for i in range(h):
            row = i if direction == 0 else h - 1 - i
            last = row - 1 if direction == 0 else row + 1
            for shift in range(-1, 2):
                for column in range(width):
                    if i == 0:
                        state[shift + 1, column] = cost[row, column]
                        total[row, column] += cost[row, column]
                        continue
                    there = min(max(column - shift, 0), width - 1)
                    jump = _jump(image, row, column, last, there, floor, large, contrast)
                    _step(before[shift + 1, there], cost[row, column], small, jump, state[shift + 1, column], total[row, column])
            before, state = state, before


@summing_kernel
def _across(start, stop, cost, image, small, floor, large, contrast, total):
    """Paths along rows start..stop, to the right and to the left."""
    _, width, depth = cost.shape
    before, state = np.empty(depth, np.float32), np.empty(depth, np.float32)
    for row in range(start, stop):
        for direction in (1, -1):
            for i in range(width):
                column = i if direction > 0 else width - 1 - i
                if i == 0:
                    state[:] = cost[row, column]
                    total[row, column] += cost[row, column]
                else:
                    jump = _jump(image, row, column, row, column - direction, floor, large, contrast)
                    _step(before, cost[row, column], small, jump, state, total[row, column])
                before, state = state, before


def semi_global(
    cost: torch.Tensor, image: torch.Tensor, small: float | None, large: float, contrast: float = 0.06
) -> torch.Tensor:
    """See :func:`aggregation.semi_global`."""
    volume, colours = array(cost), array(image.permute(1, 2, 0))
    totals = np.zeros((2, *volume.shape), np.float32)
    near, floor = np.float32(np.inf if small is None else small), np.float32(small or 0.0)
    scalars = near, floor, np.float32(large), np.float32(contrast)
    in_ranges(_down, range(2), volume, colours, *scalars, totals)
    total = totals[0]
    total += totals[1]
    in_ranges(_across, range(len(volume)), volume, colours, *scalars, total)
    total /= 8
    return torch.from_numpy(total)
