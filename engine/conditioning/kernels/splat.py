"""Forward splatting (see ``conditioning.splat``): points into cells of one int64, depth above, a payload of 32 bits below.

The smaller key wins. A photo's point carries its footprint, so no list of points is ever made; a cloud's carries its index.
Threads fill buffers of their own, whose minimum does not depend on who took which points: the result is deterministic.
"""

from __future__ import annotations

import math

import numpy as np

from ...compiled import inline, kernel, share, threads
from ...job import Camera
from .. import splat as reference
from .. import surface
from ..source import BLOCK, Source, relative
from .lookup import ONE, ZERO, F, Pixels, slopes

EMPTY = reference.EMPTY
BUFFERS = 4
"""At most so many threads splat; each needs a buffer of the frame's size."""
ROWS = 64
"""Rows of cells that one thread takes at a time."""
_STRETCH, _BEHIND = F(reference.MAX_STRETCH), F(1e-6)
_BLOCK = BLOCK


def frame_of(target: Camera, guard: int, margin: float) -> np.ndarray:
    """(8,) float32: fx, fy, cx, cy of the target, with its frame widened by ``guard`` pixels a side at the origin; width and
    height of that frame; how far outside the true frame a point may be, in x and y."""
    size = (target.width + 2 * guard, target.height + 2 * guard)
    reach = (min(guard, margin * target.width), min(guard, margin * target.height))
    return np.array([target.fx, target.fy, target.cx + guard, target.cy + guard, *size, guard - reach[0], guard - reach[1]], F)


@kernel
def blocks_in_view(blocks, columns, lens, pose, limits, seen):
    """seen[i] = 1 for blocks that can have a point in the target's frame. limits: left, right, top, bottom at z = 1."""
    for block in range(len(blocks)):
        near, far = blocks[block, 0], blocks[block, 1]
        first_x, first_y = block % columns * _BLOCK, block // columns * _BLOCK
        behind = left = right = above = below = 0
        for corner in range(8):
            x = min(F(first_x + (corner & 1) * _BLOCK), lens[4])
            y = min(F(first_y + (corner >> 1 & 1) * _BLOCK), lens[5])
            rx, ry = (x - F(0.5) - lens[2]) / lens[0], (y - F(0.5) - lens[3]) / lens[1]
            z = far if corner >> 2 else near
            px = z * (pose[0] * rx + pose[1] * ry + pose[2]) + pose[9]
            py = z * (pose[3] * rx + pose[4] * ry + pose[5]) + pose[10]
            pz = z * (pose[6] * rx + pose[7] * ry + pose[8]) + pose[11]
            behind += not pz > ZERO
            left += not px >= limits[0] * pz
            right += not px <= limits[1] * pz
            above += not py >= limits[2] * pz
            below += not py <= limits[3] * pz
        seen[block] = far > ZERO and max(behind, left, right, above, below) < 8


@inline
def _point(disparity, gradient, lens, pose, frame, x, ry, index):
    """One pixel's point in the target: cell (-1 outside), depth, footprint."""
    d = disparity[index]
    z = ONE / (d if d > ZERO else ONE)
    rx = (F(x) - lens[2]) * lens[6]
    px = z * (pose[0] * rx + (pose[1] * ry + pose[2])) + pose[9]
    py = z * (pose[3] * rx + (pose[4] * ry + pose[5])) + pose[10]
    pz = z * (pose[6] * rx + (pose[7] * ry + pose[8])) + pose[11]
    slope_x, slope_y = slopes(gradient[index])
    steep = max(abs(slope_x) * lens[0], abs(slope_y) * lens[1])
    stretch = min(math.sqrt(ONE + steep * steep * (ONE + rx * rx + ry * ry)), _STRETCH)
    spacing = z * max(lens[6], lens[7]) * stretch
    front = (d > ZERO) & (pz > spacing * _BEHIND)
    pz = pz if front else ONE
    inverse = ONE / pz
    u, v = frame[0] * px * inverse + frame[2], frame[1] * py * inverse + frame[3]
    inside = front & (u >= frame[6]) & (u < frame[4] - frame[6]) & (v >= frame[7]) & (v < frame[5] - frame[7])
    cell = np.int32(v if inside else ZERO) * np.int32(frame[4]) + np.int32(u if inside else ZERO)
    return (np.int32(cell) if inside else np.int32(-1)), pz, max(frame[0], frame[1]) * spacing * inverse


@kernel
def splat_rows(disparity, gradient, lens, pose, frame, step, seen, first, last, cells, depths, footprints, keys):
    """Splat every ``step``-th pixel of a photo's block rows ``first`` to ``last`` into ``keys``.

    cells, depths, footprints: scratch of the photo's width.
    """
    width, height = np.int64(lens[4]), np.int64(lens[5])
    columns = (width + _BLOCK - 1) // _BLOCK
    for block_row in range(first, last):
        column = 0
        while column < columns:
            if not seen[block_row * columns + column]:
                column += 1
                continue
            begin = (column * _BLOCK + step - 1) // step * step
            while column < columns and seen[block_row * columns + column]:
                column += 1
            count = (min(column * _BLOCK, width) - begin + step - 1) // step
            top = (block_row * _BLOCK + step - 1) // step * step
            for y in range(top, min((block_row + 1) * _BLOCK, height), step):
                ry = (F(y) - lens[3]) * lens[7]
                offset = y * width + begin
                for i in range(count):
                    cell, z, footprint = _point(disparity, gradient, lens, pose, frame, begin + i * step, ry, offset + i * step)
                    cells[i], depths[i], footprints[i] = cell, z, footprint * F(step)
                for i in range(count):
                    cell = cells[i]
                    if cell >= 0:
                        key = np.int64(F(depths[i]).view(np.int32)) << 32 | np.int64(F(footprints[i]).view(np.int32))
                        keys[cell] = min(keys[cell], key)


@kernel
def footprints_of(disparity, gradient, lens, pose, frame, step, out):
    """The footprints of every ``step``-th pixel in x and y that falls into the frame; returns how many they are."""
    count = 0
    for y in range(0, np.int64(lens[5]), step):
        ry = (F(y) - lens[3]) * lens[7]
        for x in range(0, np.int64(lens[4]), step):
            index = y * np.int64(lens[4]) + x
            cell, _, footprint = _point(disparity, gradient, lens, pose, frame, x, ry, index)
            if cell >= 0:
                out[count] = footprint
                count += 1
    return count


@kernel
def splat_points(points, spacing, pose, frame, first, last, cells, depths, keys):
    """Splat the points ``first`` to ``last`` of a cloud into ``keys``, as many at a time as ``cells`` and ``depths`` hold."""
    for begin in range(first, last, len(cells)):
        count = min(last - begin, len(cells))
        for i in range(count):
            x, y, z = points[begin + i, 0], points[begin + i, 1], points[begin + i, 2]
            px = pose[0] * x + pose[1] * y + pose[2] * z + pose[9]
            py = pose[3] * x + pose[4] * y + pose[5] * z + pose[10]
            pz = pose[6] * x + pose[7] * y + pose[8] * z + pose[11]
            front = pz > spacing[begin + i] * _BEHIND
            pz = pz if front else ONE
            inverse = ONE / pz
            u, v = frame[0] * px * inverse + frame[2], frame[1] * py * inverse + frame[3]
            inside = front & (u >= frame[6]) & (u < frame[4] - frame[6]) & (v >= frame[7]) & (v < frame[5] - frame[7])
            cell = np.int32(v if inside else ZERO) * np.int32(frame[4]) + np.int32(u if inside else ZERO)
            cells[i] = np.int32(cell) if inside else np.int32(-1)
            depths[i] = pz
        for i in range(count):
            cell = cells[i]
            if cell >= 0:
                keys[cell] = min(keys[cell], np.int64(F(depths[i]).view(np.int32)) << 32 | (begin + i))


@kernel
def halve(keys, first, last, out):
    """Exact 2×2 minima of (H, W) keys, rows ``first`` to ``last`` of the half-size image."""
    height, width = keys.shape
    for row in range(first, last):
        above, below = keys[2 * row], keys[min(2 * row + 1, height - 1)]
        here = out[row]
        for x in range(width // 2):
            here[x] = min(min(above[2 * x], above[2 * x + 1]), min(below[2 * x], below[2 * x + 1]))
        if width % 2:
            here[width // 2] = min(above[width - 1], below[width - 1])


@kernel
def merge(keys, other, first, last):
    """The smaller keys of two buffers, into the first."""
    for i in range(first, last):
        keys[i] = min(keys[i], other[i])


def pyramid(keys: np.ndarray, count: int) -> list[np.ndarray]:
    """(H, W) keys and ``count`` exact halvings of them."""
    levels = [keys]
    for _ in range(count):
        last = levels[-1]
        half = np.empty((-(-last.shape[0] // 2), -(-last.shape[1] // 2)), np.int64)
        share(lambda a, b, last=last, half=half: halve(last, a, b, half), len(half), ROWS)
        levels.append(half)
    return levels


def splat_shared(task, pieces: int, cells: int, scratch: int) -> np.ndarray:
    """(cells,) keys: the minimum of what ``task(piece, cells, depths, footprints, keys)`` does for all pieces.

    cells, depths, footprints: (scratch,) for the task's own use.
    """
    buffers: list[np.ndarray] = []
    waiting = iter(range(pieces))

    def fill(first: int, last: int) -> None:
        keys = np.full(cells, EMPTY, np.int64)
        buffers.append(keys)
        cell, z, footprint = np.empty(scratch, np.int32), np.empty(scratch, F), np.empty(scratch, F)
        for piece in waiting:
            task(piece, cell, z, footprint, keys)

    share(fill, max(1, min(threads(), BUFFERS, pieces)), 1)
    first, *others = buffers
    for other in others:
        share(lambda a, b, other=other: merge(first, other, a, b), cells, 1 << 16)
    return first


def inverse_pose(source: Camera, target: Camera) -> np.ndarray:
    """(12,) float32: rotation, row-major, and offset of the map from the source camera's space to the target's."""
    rel = relative(target, source)
    return np.concatenate([rel.rotation.reshape(-1), rel.offset]).astype(F)


def splat_sources(
    sources: list[Source], pixels: list[Pixels], steps: list[int], target: Camera, guard: int, margin: float
) -> np.ndarray:
    """(H + 2 guard, W + 2 guard) keys of the photos' points, their footprints as payload. steps: see ``surface.density``."""
    limits = np.array(
        [
            -(target.cx + margin * target.width) / target.fx,
            (target.width * (1 + margin) - target.cx) / target.fx,
            -(target.cy + margin * target.height) / target.fy,
            (target.height * (1 + margin) - target.cy) / target.fy,
        ],
        F,
    )
    frame, work = frame_of(target, guard, margin), []
    for source, own, step in zip(sources, pixels, steps):
        pose = inverse_pose(source.camera, target)
        blocks = source.blocks.numpy()
        columns = -(-source.camera.width // BLOCK)
        seen = np.empty(len(blocks), np.uint8)
        blocks_in_view(blocks, columns, own.lens, pose, limits, seen)
        rows = np.flatnonzero(seen.reshape(-1, columns).any(1))
        work += [(own.disparity, own.gradient, own.lens, pose, frame, step, seen, *part) for part in _runs(rows, 4)]
    shape = (target.height + 2 * guard, target.width + 2 * guard)
    widest = max(source.camera.width for source in sources)

    def task(piece, cell, z, footprint, keys):
        splat_rows(*work[piece], cell, z, footprint, keys)

    return splat_shared(task, len(work), shape[0] * shape[1], widest).reshape(shape)


def _runs(rows: np.ndarray, most: int) -> list[tuple[int, int]]:
    """(first, last + 1) of consecutive numbers, at most ``most`` of them."""
    runs: list[tuple[int, int]] = []
    for row in rows.tolist():
        if runs and runs[-1][1] == row and row - runs[-1][0] < most:
            runs[-1] = (runs[-1][0], row + 1)
        else:
            runs.append((row, row + 1))
    return runs


def sampled(sources: list[Source], pixels: list[Pixels], target: Camera, margin: float) -> list[np.ndarray]:
    """For every source, the spacing, px, of some of its points in a target's frame (see ``surface.sampled``)."""
    step = surface.sampling_step(sources)
    frame = frame_of(target, math.ceil(margin * max(target.width, target.height)) + 1, margin)
    found = []
    for source, own in zip(sources, pixels):
        out = np.empty(-(-source.camera.width // step) * -(-source.camera.height // step), F)
        count = footprints_of(own.disparity, own.gradient, own.lens, inverse_pose(source.camera, target), frame, step, out)
        found.append(out[:count])
    return found
