"""Occlusion-aware suppression and the composition of levels (see ``conditioning.suppress`` and ``surface``)."""

from __future__ import annotations

import numpy as np

from ...compiled import inline, kernel
from .. import surface as reference
from ..suppress import EMPTY, NEARER, RADII, REACH
from .lookup import HALF, ZERO, F

_INFINITY = F(np.inf)
_NEARER, _REACH, _COVER = F(1 - NEARER), F(REACH), F(reference.COVER)
_RADII = np.array(RADII, np.int64)


def _octants() -> np.ndarray:
    """(2, 8, R) int64 offsets, down and right, of the cells of the eight octants (see ``suppress.octant_minima``), nearest rings
    first."""
    rings = [(ring, aside) for ring in range(1, RADII[-1] + 1) for aside in range(ring)]
    even = np.array([(aside, ring) for ring, aside in rings])
    odd = np.array([(ring, aside + 1) for ring, aside in rings])
    turn = np.array([[0, -1], [1, 0]])  # by a right angle, from right to down
    turns = [np.linalg.matrix_power(turn, quarter) for quarter in range(4)]
    return np.stack([octant @ quarter for quarter in turns for octant in (even, odd)]).transpose(2, 0, 1).copy()


_DOWN, _RIGHT = _octants()


@kernel
def unpack(keys, first, last, depth, payload):
    """Depth (+inf where empty) and payload (0 there) of rows of keys."""
    for row in range(first, last):
        key, z, low = keys[row], depth[row], payload[row]
        for x in range(len(key)):
            empty = key[x] == 0x7FFFFFFFFFFFFFFF
            z[x] = _INFINITY if empty else np.int32(key[x] >> 32).view(np.float32)
            low[x] = np.uint32(0) if empty else np.uint32(key[x] & 0xFFFFFFFF)


@inline
def _anything_nearer(depth, row, column, radius, limit):
    """Whether any cell within ``radius`` is nearer than ``limit``."""
    height, width = depth.shape
    for y in range(max(row - radius, 0), min(row + radius + 1, height)):
        for x in range(max(column - radius, 0), min(column + radius + 1, width)):
            if depth[y, x] < limit:
                return True
    return False


@inline
def _occluded(depth, row, column, octant, cells, limit):
    """Whether one of an octant's first cells, of which every ring adds as many as its number, is nearer than ``limit``."""
    height, width = depth.shape
    for cell in range(cells):
        y, x = row + _DOWN[octant, cell], column + _RIGHT[octant, cell]
        if 0 <= y < height and 0 <= x < width and depth[y, x] < limit:
            return True
    return False


@inline
def _surrounded(depth, row, column, radius, limit):
    """No three octants beside each other are without nearer cells."""
    cells = radius * (radius + 1) // 2
    gap, first = 0, -1
    for octant in range(8):
        if _occluded(depth, row, column, octant, cells, limit):
            first = gap if first < 0 else first
            gap = 0
        else:
            gap += 1
            if gap == EMPTY:
                return False
    return gap + first < EMPTY


@kernel
def suppress(depth, spacing, coarse, coarser_by, around, around_by, level, first, last, out):
    """Rows of one level without the samples that leaked, and those too small for its cells.

    depth: (H, W), +inf where empty. spacing: (H, W) footprints, px. coarse: minima of depth, ``coarser_by`` halvings away, which
    rule out most cells at once. around: the coarsest level's largest footprints, ``around_by`` halvings away.
    """
    width = depth.shape[1]
    size = F(1 << level)
    for row in range(first, last):
        for column in range(width):
            z = depth[row, column]
            own = spacing[row, column]
            out[row, column] = _INFINITY
            if z == _INFINITY or (level > 0 and own < _COVER * size):
                continue
            reach = _REACH * max(own, around[row >> around_by, column >> around_by]) / size
            radius = _RADII[-1]
            for candidate in _RADII:
                if reach <= F(candidate) + HALF:
                    radius = candidate
                    break
            limit = z * _NEARER
            wide = ((radius - 1) >> coarser_by) + 1
            nearer = reach > ZERO and _anything_nearer(coarse, row >> coarser_by, column >> coarser_by, wide, limit)
            if not (nearer and _surrounded(depth, row, column, radius, limit)):
                out[row, column] = z


@kernel
def compose(depth, payload, near, coarse_depth, coarse_payload, coarse_front, first, last):
    """Take, in place, what a level leaves empty from the next coarser one; ``near`` becomes the front of both."""
    width = depth.shape[1]
    for row in range(first, last):
        for x in range(width):
            empty = depth[row, x] == _INFINITY
            depth[row, x] = coarse_depth[row >> 1, x >> 1] if empty else depth[row, x]
            payload[row, x] = coarse_payload[row >> 1, x >> 1] if empty else payload[row, x]
            near[row, x] = min(near[row, x], coarse_front[row >> 1, x >> 1])
