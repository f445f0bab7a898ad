"""Reading the photos at a known surface (see ``conditioning.blend``)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...compiled import exp, inline, kernel
from .. import blend as reference
from ..source import BESIDE_EDGE, GENERATED, SKY, SOLID, USABLE, Source
from .lookup import HALF, ONE, ZERO, F, half, look, project, tangent, turn

_TOLERANCE, _BORDER, _UNSEEN = F(reference.TOLERANCE), F(reference.BORDER), F(reference.UNSEEN_DEPTH)
_BAND, _EDGE, _ASKEW = F(0.03), F(BESIDE_EDGE), F(reference.ASKEW)
_MOST, _LEAST = F(1e8), F(1e-8)
_DEEP = F(1023)
_ROUND = F(math.sqrt(2))
_FLOOR = F(1e-5)
"""Photos of a lower score are not read."""


@dataclass
class Pyramid:
    """A photo and its coarser levels, one uint32 a pixel: red, green and blue of 10 bits, level after level.

    texels: (N,) uint32. offsets: (levels,) int32, where each begins. gain: (3,) float32.
    """

    texels: np.ndarray
    offsets: np.ndarray
    gain: np.ndarray

    @classmethod
    def of(cls, source: Source) -> Pyramid:
        image = source.image[0].permute(1, 2, 0).numpy()
        parts, offsets = [], [0]
        for level in range(source.max_mip + 1):
            image = _halved(image) if level else image
            parts.append(_packed(np.ascontiguousarray(image)).reshape(-1))
            offsets.append(offsets[-1] + parts[-1].size)
        return cls(np.concatenate(parts), np.array(offsets[:-1], np.int32), source.gain.numpy())


@kernel
def _pack(image, out):
    height, width, _ = image.shape
    for row in range(height):
        for x in range(width):
            word = np.uint32(0)
            for channel in range(3):
                value = np.uint32(min(max(image[row, x, channel], ZERO), ONE) * _DEEP + HALF)
                word |= np.uint32(value << np.uint32(10 * channel))
            out[row, x] = word


def _packed(image: np.ndarray) -> np.ndarray:
    out = np.empty(image.shape[:2], np.uint32)
    _pack(image, out)
    return out


@kernel
def _halve(image, out):
    """Means of 2×2 pixels, of fewer at an odd border."""
    height, width, channels = image.shape
    for row in range(out.shape[0]):
        y = min(2 * row + 1, height - 1)
        for column in range(out.shape[1]):
            x = min(2 * column + 1, width - 1)
            for c in range(channels):
                above = image[2 * row, 2 * column, c] + image[2 * row, x, c]
                out[row, column, c] = F(0.25) * (above + (image[y, 2 * column, c] + image[y, x, c]))


def _halved(image: np.ndarray) -> np.ndarray:
    out = np.empty((-(-image.shape[0] // 2), -(-image.shape[1] // 2), 3), F)
    _halve(np.ascontiguousarray(image), out)
    return out


@inline
def exponent(value):
    """floor(log2(value)) of a positive normal float."""
    return np.int32((F(value).view(np.int32) >> 23) - 127)


@kernel
def sight(disparity, gradient, state, lens, pose, zoom, coarsest, x, y, depth, score, seen, magnification, level, us, vs):
    """How well one source sees the points at ``depth`` (see ``blend.sight``); seen: 1 where visible, else 0.

    zoom: of the source's focal lengths over the target's, squared. coarsest: of the source's pyramid.
    """
    ax, ay, az = pose[9], pose[10], pose[11]
    fading = ONE / (_BORDER * min(lens[4], lens[5]))
    for i in range(len(x)):
        bx, by, bz = turn(pose, x[i], y[i])
        t = depth[i]
        px, py, pz = bx * t + ax, by * t + ay, bz * t + az
        u, v, z, inverse, inside = project(lens, px, py, pz)
        matched, found, slope_x, slope_y, known, best = look(disparity, gradient, lens, u, v, z, inside, _BAND)
        nx, ny, nz = tangent(lens, u, v, found, slope_x, slope_y)
        facing = ONE - (nx * ax + ny * ay + nz * az)
        slope = (abs(slope_x) + abs(slope_y)) / max(found, F(1e-30))
        error = abs(found * z - ONE) / (_TOLERANCE + HALF * min(slope, F(0.2)))
        fits = min(max(F(2) - error, ZERO), ONE) * min(max((matched - F(0.3)) / F(0.4), ZERO), ONE)
        surface = (matched > ZERO) & (facing > F(1e-6))
        ratio = t * inverse
        frontal = min(max(zoom * ratio * ratio, _LEAST), _MOST)
        slanted = min(max(zoom * ratio * ratio * ratio / (facing if surface else ONE), _LEAST), _MOST)
        density = slanted if surface else frontal
        sharpness = min(density, frontal)
        edge = min(min(u + HALF, lens[4] - HALF - u), min(v + HALF, lens[5] - HALF - v))
        fade = min(max(edge * fading, F(0.02)), ONE)
        bits = state[best]
        dot = px * bx + py * by + pz * bz
        length = (px * px + py * py + pz * pz) * (bx * bx + by * by + bz * bz)
        parallel = min(max(HALF + HALF * dot / math.sqrt(max(length, F(1e-30))), ZERO), ONE)
        askew = ONE if bits & GENERATED != 0 else min((ONE - parallel) * _ASKEW, ONE)
        doubt = (ONE - half(bits >> 16)) * askew
        sure = (ONE - doubt) * (ONE if bits & SOLID != 0 else _EDGE)
        worth = fits * sure if surface else ZERO
        guess = (known == ZERO) & (bits & (USABLE | SKY) == USABLE)
        parallel *= parallel
        parallel *= parallel
        parallel *= parallel
        value = (_UNSEEN if guess else worth) * fade * math.sqrt(min(sharpness, ONE)) * parallel
        score[i] = value if inside else ZERO
        seen[i] = ONE if (worth > F(0.05)) & inside else ZERO
        magnification[i] = ONE / math.sqrt(sharpness)
        level[i] = min(max(np.int32(exponent(F(2) * density) >> 1), np.int32(0)), coarsest)
        us[i] = u
        vs[i] = v


@inline
def _cubic(t):
    """Weights of the four taps of a cubic convolution (a = -0.75) at fraction t."""
    a = F(-0.75)
    s, q = t + ONE, F(2) - t
    r = ONE - t
    return (
        ((a * s - F(5) * a) * s + F(8) * a) * s - F(4) * a,
        ((a + F(2)) * t - (a + F(3))) * t * t + ONE,
        ((a + F(2)) * r - (a + F(3))) * r * r + ONE,
        ((a * q - F(5) * a) * q + F(8) * a) * q - F(4) * a,
    )


@inline
def _tap(word, weight, red, green, blue):
    """Add one texel."""
    red += weight * F(np.int32(word & 1023))
    green += weight * F(np.int32(word >> 10 & 1023))
    blue += weight * F(np.int32(word >> 20 & 1023))
    return red, green, blue


@inline
def _row(texels, start, c0, c1, c2, c3, w0, w1, w2, w3, share, red, green, blue):
    """Add one row of four texels."""
    red, green, blue = _tap(texels[np.uint32(start + c0)], w0 * share, red, green, blue)
    red, green, blue = _tap(texels[np.uint32(start + c1)], w1 * share, red, green, blue)
    red, green, blue = _tap(texels[np.uint32(start + c2)], w2 * share, red, green, blue)
    return _tap(texels[np.uint32(start + c3)], w3 * share, red, green, blue)


@inline
def sample(texels, offsets, gain, lens, u, v, level):
    """A photo's colour at (u, v), bicubic, from one level of its pyramid (see ``lookup.sample``)."""
    scale = np.int32((127 - level) << 23).view(np.float32)
    width = np.int32((np.int32(lens[4]) + (1 << level) - 1) >> level)
    height = np.int32((np.int32(lens[5]) + (1 << level) - 1) >> level)
    x, y = (u + HALF) * scale - HALF, (v + HALF) * scale - HALF
    x1, y1 = np.int32(x + ONE), np.int32(y + ONE)
    w0, w1, w2, w3 = _cubic(x - (F(x1) - ONE))
    h0, h1, h2, h3 = _cubic(y - (F(y1) - ONE))
    right, low, zero = np.int32(width - 1), np.int32(height - 1), np.int32(0)
    c0, c1 = max(np.int32(x1 - 2), zero), max(min(np.int32(x1 - 1), right), zero)
    c2, c3 = min(x1, right), min(np.int32(x1 + 1), right)
    r0, r1 = max(np.int32(y1 - 2), zero), max(min(np.int32(y1 - 1), low), zero)
    r2, r3 = min(y1, low), min(np.int32(y1 + 1), low)
    c0, r0 = min(c0, right), min(r0, low)
    base = offsets[level]
    red = green = blue = ZERO
    red, green, blue = _row(texels, base + r0 * width, c0, c1, c2, c3, w0, w1, w2, w3, h0, red, green, blue)
    red, green, blue = _row(texels, base + r1 * width, c0, c1, c2, c3, w0, w1, w2, w3, h1, red, green, blue)
    red, green, blue = _row(texels, base + r2 * width, c0, c1, c2, c3, w0, w1, w2, w3, h2, red, green, blue)
    red, green, blue = _row(texels, base + r3 * width, c0, c1, c2, c3, w0, w1, w2, w3, h3, red, green, blue)
    one = ONE / _DEEP
    return (
        min(min(max(red * one, ZERO), ONE) * gain[0], ONE),
        min(min(max(green * one, ZERO), ONE) * gain[1], ONE),
        min(min(max(blue * one, ZERO), ONE) * gain[2], ONE),
    )


@kernel
def add(
    texels, offsets, gain, lens, us, vs, level, score, seen, magnification, number,
    reds, greens, blues, squares, total, scores, sizes, measured, which,
):  # fmt: skip
    """Add one source's colours, weighted by their scores, to the sums ``reds`` to ``total``; where it is the best so far, keep
    its score, magnification (``sizes``), whether it measured the point, and its number (``which``)."""
    for i in range(len(us)):
        red, green, blue = sample(texels, offsets, gain, lens, us[i], vs[i], level[i])
        s = score[i] if score[i] > _FLOOR else ZERO
        weight = s * s
        weight *= weight
        reds[i] += red * weight
        greens[i] += green * weight
        blues[i] += blue * weight
        squares[i] += (red * red + green * green + blue * blue) / F(3) * weight
        total[i] += weight
        # All loads stand before the choices, which else would be branches.
        most, size, measure, first = scores[i], sizes[i], measured[i], which[i]
        new_size, new_measure = magnification[i], seen[i]
        better = s > most
        scores[i] = s if better else most
        sizes[i] = new_size if better else size
        measured[i] = new_measure if better else measure
        which[i] = number if better else first


@kernel
def finish(
    reds, greens, blues, squares, total, scores, sizes, measured, which, t, found, support, against, wanted,
    red_out, green_out, blue_out, level, depth, confidence, source,
):  # fmt: skip
    """Write what :func:`add` summed up, where it is ``wanted`` and a photo could be read."""
    for i in range(len(total)):
        scale = ONE / max(total[i], F(1e-30))
        red, green, blue = reds[i] * scale, greens[i] * scale, blues[i] * scale
        spread = math.sqrt(max(squares[i] * scale - (red * red + green * green + blue * blue) / F(3), ZERO))
        votes = support[i] / max(support[i] + against[i], F(1e-6))
        sure = math.sqrt(scores[i]) * votes * exp(F(-8) * spread)
        sure = sure if found[i] & (measured[i] > ZERO) else F(0.15)
        doublings = np.int32(exponent(max(sizes[i], ONE) * _ROUND) + 1)
        some = wanted[i] & (total[i] > ZERO)
        # All loads stand before the choices, which else would be branches.
        old_red, old_green, old_blue, old_level, old_depth = red_out[i], green_out[i], blue_out[i], level[i], depth[i]
        old_confidence, old_source, new_depth, new_source = confidence[i], source[i], t[i], np.int16(which[i])
        red_out[i] = red if some else old_red
        green_out[i] = green if some else old_green
        blue_out[i] = blue if some else old_blue
        level[i] = np.uint8(min(doublings, np.int32(16))) if some else old_level
        depth[i] = new_depth if some else old_depth
        confidence[i] = min(max(sure, F(0.02)), ONE) if some else old_confidence
        source[i] = new_source if some else old_source


def looks(scene, x: np.ndarray, y: np.ndarray, t: np.ndarray):
    """For every source: its number and its sight of the points (score, seen, magnification, level, u, v)."""
    target = scene.camera
    for number, (own, pose, source) in enumerate(zip(scene.pixels, scene.poses, scene.sources)):
        score, seen, magnification, us, vs = np.empty((5, len(t)), F)
        level = np.empty(len(t), np.int32)
        zoom = F(source.camera.fx * source.camera.fy / (target.fx * target.fy))
        shared = (own.disparity, own.gradient, own.state, own.lens, pose, zoom, np.int32(source.max_mip))
        sight(*shared, x, y, t, score, seen, magnification, level, us, vs)
        yield number, (score, seen, magnification, level, us, vs)


def read(scene, x: np.ndarray, y: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, ...]:
    """What all sources say of the points at depth t: the arrays (N,) that :func:`add` fills."""
    sums, which = np.zeros((8, len(t)), F), np.full(len(t), -1, np.int32)
    for number, (score, seen, magnification, mip, us, vs) in looks(scene, x, y, t):
        if score.max(initial=0) > _FLOOR:
            photo = scene.pyramids[number]
            texture = (photo.texels, photo.offsets, photo.gain, scene.pixels[number].lens)
            add(*texture, us, vs, mip, score, seen, magnification, np.int32(number), *sums, which)
    return (*sums, which)
