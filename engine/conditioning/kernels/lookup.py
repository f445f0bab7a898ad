"""Backward lookup (see ``conditioning.lookup``): rays against one source's surface."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ...compiled import inline, kernel, share
from ...job import Camera
from .. import lookup as reference
from ..source import SKY, Source, relative

F = np.float32
ZERO, HALF, ONE = F(0), F(0.5), F(1)
_EPSILON, _TINY = F(1e-6), F(1e-12)
BANDS = np.array(reference.BANDS, F)
_MAX_BAND = F(reference.MAX_BAND)
_MAX_STEP, _LEAST_STEP = F(reference.MAX_STEP), F(1 / reference.MAX_STEP)
_SAME = F(reference.SAME)
_PAST = F(1 - reference.PAST)
_HALF_SCALE = F(2.0**112)


@dataclass
class Pixels:
    """A source as the flat arrays kernels read; all are of 32 bits, which lanes can gather.

    disparity, front: float32, the source's own. gradient: uint32, a pixel's two float16 slopes. state: uint32.
    lens: (8,) float32, fx, fy, the first pixel's cx, cy, width, height, 1 / fx and 1 / fy.
    """

    disparity: np.ndarray
    gradient: np.ndarray
    front: np.ndarray
    state: np.ndarray
    lens: np.ndarray

    @classmethod
    def of(cls, source: Source) -> Pixels:
        return cls(
            source.disparity.numpy(),
            source.gradient.numpy().view(np.uint32).reshape(-1),
            source.front.numpy(),
            source.state.numpy().view(np.uint32),
            lens_of(source.camera),
        )


def lens_of(camera: Camera) -> np.ndarray:
    """(8,) float32, see :class:`Pixels`."""
    size = camera.width, camera.height
    return np.array([camera.fx, camera.fy, camera.cx - 0.5, camera.cy - 0.5, *size, 1 / camera.fx, 1 / camera.fy], F)


def pose_of(source: Camera, target: Camera) -> np.ndarray:
    """(12,) float32: rotation, row-major, and offset of the map from the target camera's space to the source's."""
    rel = relative(source, target)
    return np.concatenate([rel.rotation.reshape(-1), rel.offset]).astype(F)


@inline
def half(bits):
    """The float32 of a float16's bits (in the lower 16)."""
    bits = np.int32(bits)
    return np.int32(((bits & 0x7FFF) << 13) | ((bits & 0x8000) << 16)).view(np.float32) * _HALF_SCALE


@inline
def slopes(word):
    """The two float16 of one pixel's gradient."""
    return half(word & 0xFFFF), half(word >> 16)


@inline
def turn(pose, x, y):
    """A ray's direction in the source's space."""
    return (
        pose[0] * x + (pose[1] * y + pose[2]),
        pose[3] * x + (pose[4] * y + pose[5]),
        pose[6] * x + (pose[7] * y + pose[8]),
    )


@inline
def project(lens, x, y, z):
    """Pixel-index coordinates u, v, the depth z (1 where the point is behind), 1 / z and whether it lies inside the photo."""
    front = z > _TINY
    z = z if front else ONE
    inverse = ONE / z
    u = x * inverse * lens[0] + lens[2]
    v = y * inverse * lens[1] + lens[3]
    inside = front & (u >= -HALF) & (u < lens[4] - HALF) & (v >= -HALF) & (v < lens[5] - HALF)
    return (u if inside else ZERO), (v if inside else ZERO), z, inverse, inside


@inline
def nearest_pixel(lens, u, v):
    """Index of the pixel that holds (u, v)."""
    return np.uint32(np.int32(v + HALF) * np.int32(lens[4]) + np.int32(u + HALF))


@inline
def look(disparity, gradient, lens, u, v, z, inside, band):
    """The source's surface around (u, v): matched, disparity, slope_x, slope_y, known, best pixel (see ``reference.Cell``)."""
    width, height = np.int32(lens[4]), np.int32(lens[5])
    x1, y1 = np.int32(u + ONE), np.int32(v + ONE)  # floor(u) + 1, as u is at least -0.5
    fx, fy = u - (F(x1) - ONE), v - (F(y1) - ONE)
    left, right = max(np.int32(x1 - 1), np.int32(0)), min(x1, np.int32(width - 1))
    top, bottom = np.int32(max(np.int32(y1 - 1), np.int32(0)) * width), np.int32(min(y1, np.int32(height - 1)) * width)
    nearest = np.uint32((top if fy < HALF else bottom) + (left if fx < HALF else right))
    slope_x, slope_y = slopes(gradient[nearest])
    tolerance = min(band + F(1.5) * (abs(slope_x) + abs(slope_y)), _MAX_BAND)
    i0, i1, i2, i3 = np.uint32(top + left), np.uint32(top + right), np.uint32(bottom + left), np.uint32(bottom + right)
    d0, d1, d2, d3 = disparity[i0], disparity[i1], disparity[i2], disparity[i3]
    w0, w1, w2, w3 = (ONE - fx) * (ONE - fy), fx * (ONE - fy), (ONE - fx) * fy, fx * fy
    known = (w0 if d0 > ZERO else ZERO) + (w1 if d1 > ZERO else ZERO) + (w2 if d2 > ZERO else ZERO) + (w3 if d3 > ZERO else ZERO)
    w0 = w0 if abs(d0 * z - ONE) < tolerance else ZERO
    w1 = w1 if abs(d1 * z - ONE) < tolerance else ZERO
    w2 = w2 if abs(d2 * z - ONE) < tolerance else ZERO
    w3 = w3 if abs(d3 * z - ONE) < tolerance else ZERO
    total = w0 + w1 + w2 + w3
    best = i0 if w0 > ZERO else nearest
    most = w0
    best = i1 if w1 > most else best
    most = max(most, w1)
    best = i2 if w2 > most else best
    most = max(most, w2)
    best = i3 if w3 > most else best
    some = total > _EPSILON
    scale = ONE / max(total, _EPSILON)
    found = (w0 * d0 + w1 * d1 + w2 * d2 + w3 * d3) * scale if some else ZERO
    slope_x, slope_y = slopes(gradient[best])
    slope_x, slope_y = slope_x * found, slope_y * found
    found += slope_x * (fx - (w1 + w3) * scale) + slope_y * (fy - (w2 + w3) * scale) if some else ZERO
    return (total if inside else ZERO), found, slope_x, slope_y, (known if inside else ZERO), best


@inline
def tangent(lens, u, v, disparity, slope_x, slope_y):
    """The plane n·X = 1 that touches the source's surface."""
    return slope_x * lens[0], slope_y * lens[1], disparity + slope_x * (lens[2] - u) + slope_y * (lens[3] - v)


@inline
def _step(disparity, gradient, lens, pose, bx, by, bz, start, t, band):
    """One step of the intersection."""
    ax, ay, az = pose[9], pose[10], pose[11]
    u, v, z, inverse, inside = project(lens, bx * t + ax, by * t + ay, bz * t + az)
    matched, found, slope_x, slope_y, _, best = look(disparity, gradient, lens, u, v, z, inside, band)
    nx, ny, nz = tangent(lens, u, v, found, slope_x, slope_y)
    along = nx * bx + ny * by + nz * bz
    facing = ONE - (nx * ax + ny * ay + nz * az)
    ok = (matched > ZERO) & (along > F(1e-20)) & (facing > ZERO)
    meets = facing / (along if ok else ONE) if ok else t
    hit = ok & (matched >= HALF) & (abs(meets - t) < F(0.02) * t)
    moved = min(max(meets, start * _LEAST_STEP), start * _MAX_STEP)
    tan_x, tan_y = (u - lens[2]) * lens[6], (v - lens[3]) * lens[7]
    size = (nx * nx + ny * ny + nz * nz) * (ONE + (tan_x * tan_x + tan_y * tan_y))
    frontal = inverse / math.sqrt(max(size, F(1e-30)))
    return moved, hit, min(max(frontal, F(0.05)), ONE) * inverse, best


@inline
def vote_past(gradient, front, state, lens, x, y, z):
    """How surely the source sees something farther, or sky, behind a point."""
    u, v, z, _, inside = project(lens, x, y, z)
    index = nearest_pixel(lens, u, v)
    slope_x, slope_y = slopes(gradient[index])
    nearest = front[index]
    behind = (nearest > ZERO) & (nearest * z < _PAST - F(2) * min(abs(slope_x) + abs(slope_y), F(0.3)))
    vote = half(state[index] >> 16) if behind else ZERO
    vote = ONE if (state[index] & SKY != 0) & (nearest == ZERO) else vote
    return vote if inside else ZERO


@kernel
def intersect(disparity, gradient, state, lens, pose, bands, x, y, guess, t, weight, sure):
    """Meet one source's surface near depth ``guess`` along rays (x, y, 1): fills t, weight and sure (its confidence)."""
    for i in range(len(x)):
        t[i] = guess[i]
    for step in range(len(bands)):
        band = bands[step]
        for i in range(len(x)):
            bx, by, bz = turn(pose, x[i], y[i])
            at, hit, fine, best = _step(disparity, gradient, lens, pose, bx, by, bz, guess[i], t[i], band)
            certainty = half(state[best] >> 16)
            t[i] = at
            weight[i] = certainty * fine * lens[0] if hit else ZERO
            sure[i] = certainty if hit else ZERO


@kernel
def oppose(gradient, front, state, lens, pose, x, y, t, own, doubt, against):
    """Add one source's votes against the points at depth ``t``: where it sees past them or, as far as they are in ``doubt``,
    past what its ``own`` ray met."""
    for i in range(len(x)):
        bx, by, bz = turn(pose, x[i], y[i])
        at, met = t[i], own[i]
        vote = vote_past(gradient, front, state, lens, bx * at + pose[9], by * at + pose[10], bz * at + pose[11])
        slipped = vote_past(gradient, front, state, lens, bx * met + pose[9], by * met + pose[10], bz * met + pose[11])
        against[i] += vote + doubt[i] * (slipped - vote)


@kernel
def _vote(disparity, lens, pose, p_disparity, p_gradient, p_front, p_state, p_lens, first, last, support, against):
    """Add, for a source's rows, what one partner says for and against each pixel's depth."""
    width = np.int64(lens[4])
    for row in range(first, last):
        y = (F(row) - lens[3]) * lens[7]
        own, inwards, outwards = disparity[row * width : (row + 1) * width], support[row - first], against[row - first]
        for i in range(width):
            d = own[i]
            z = ONE / (d if d > ZERO else ONE)
            bx, by, bz = turn(pose, (F(i) - lens[2]) * lens[6], y)
            px, py, pz = bx * z + pose[9], by * z + pose[10], bz * z + pose[11]
            u, v, depth, _, inside = project(p_lens, px, py, pz)
            index = nearest_pixel(p_lens, u, v)
            slope_x, slope_y = slopes(p_gradient[index])
            same = inside & (abs(p_disparity[index] * depth - ONE) < _SAME + (abs(slope_x) + abs(slope_y)))
            sure = half(p_state[index] >> 16)
            inwards[i] += sure if same else ZERO
            outwards[i] += vote_past(p_gradient, p_front, p_state, p_lens, px, py, pz)


def votes(source: Source, partners: list[Source]) -> torch.Tensor:
    """(H*W,) float16: share of the votes that are for each pixel of a source (see ``lookup.votes``)."""
    own, others = Pixels.of(source), [(Pixels.of(other), pose_of(other.camera, source.camera)) for other in partners]
    height, width = source.camera.height, source.camera.width
    trust, confidence = np.empty((height, width), np.float16), source.confidence.numpy().reshape(height, width)
    known = own.disparity.reshape(height, width) > 0

    def count(first: int, last: int) -> None:
        support = confidence[first:last].astype(F)
        against = np.zeros_like(support)
        for other, pose in others:
            arrays = other.disparity, other.gradient, other.front, other.state, other.lens
            _vote(own.disparity, own.lens, pose, *arrays, first, last, support, against)
        trust[first:last] = np.where(known[first:last], support / np.maximum(support + against, F(1e-6)), ONE)

    share(count, height, 32)
    return torch.from_numpy(trust.reshape(-1))
