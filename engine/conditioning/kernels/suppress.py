"""Occlusion-aware suppression and the composition of levels (see ``conditioning.suppress`` and ``surface``)."""

from __future__ import annotations

import numpy as np

from ...compiled import inline, kernel
from .. import surface as reference
from ..suppress import NEARER, RADII, REACH
from .lookup import HALF, ZERO, F

_INFINITY = F(np.inf)
_NEARER, _REACH, _COVER = F(1 - NEARER), F(REACH), F(reference.COVER)
_RADII = np.array(RADII, np.int64)


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
def _in_range(depth, top, bottom, left, right, limit):
    """1 when a cell of the rectangle (inclusive) is nearer than ``limit``."""
    height, width = depth.shape
    for y in range(max(top, 0), min(bottom + 1, height)):
        for x in range(max(left, 0), min(right + 1, width)):
            if depth[y, x] < limit:
                return 1
    return 0


@inline
def _surrounded(depth, row, column, radius, limit):
    """Nearer cells stand in at least three of the four half-open quadrants."""
    count = _in_range(depth, row, row + radius, column + 1, column + radius, limit)
    count += _in_range(depth, row + 1, row + radius, column - radius, column, limit)
    if count == 0:
        return False
    count += _in_range(depth, row - radius, row, column - radius, column - 1, limit)
    if count == 1 or count == 3:
        return count == 3
    return count + _in_range(depth, row - radius, row - 1, column, column + radius, limit) >= 3


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
