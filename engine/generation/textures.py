"""Procedural textures of the synthetic training world: many octaves, print, wood, fabric, tiles, scratches, dead leaves.

Drawn with numpy and OpenCV once, then looked up on the device with mip levels, so that a far photo sees a texture filtered,
as a lens would, and a close-up sees its finest detail.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SIZE = 512
"""Texels a side."""


def octaves(rng: np.random.Generator, stretch: float = 1.0, roughness: float | None = None) -> np.ndarray:
    """(SIZE, SIZE) float32 noise in 0..1, a sum of octaves; ``stretch`` above 1 makes it long in y."""
    roughness = rng.uniform(0.4, 0.85) if roughness is None else roughness
    total = np.zeros((SIZE, SIZE), np.float32)
    for octave in range(rng.integers(1, 4), 9):
        cells = 2**octave
        grid = rng.random((max(2, round(cells / stretch)), cells), np.float32)
        total += roughness**octave * cv2.resize(grid, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    low, high = np.percentile(total, (1, 99))
    return np.clip((total - low) / (high - low + 1e-6), 0, 1)


def palette(rng: np.random.Generator, value: np.ndarray, colors: int | None = None) -> np.ndarray:
    """Map values 0..1 (H, W) to (H, W, 3) through a few random colours."""
    colors = int(rng.integers(2, 6)) if colors is None else colors
    tone = rng.uniform(0.15, 0.85) + rng.normal(0, 0.25, (colors, 1))
    tint = rng.beta(1, 2.5) * (rng.normal(0, 0.3, (1, 3)) + rng.normal(0, 0.2, (colors, 3)))
    stops = np.clip(tone + tint, 0.02, 1)
    place = np.linspace(0, 1, colors)
    return np.stack([np.interp(value, place, stops[:, c]) for c in range(3)], -1).astype(np.float32)


def _grid(rng: np.random.Generator, wobble: float) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    return x + wobble * (octaves(rng, roughness=0.4) - 0.5), y + wobble * (octaves(rng, roughness=0.4) - 0.5)


def _noise(rng):
    return palette(rng, octaves(rng))


def _marble(rng):
    x, y = _grid(rng, rng.uniform(0.05, 0.5))
    return palette(rng, 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(2, 16) * (x + rng.uniform(0, 1) * y)))


def _wood(rng):
    x, y = _grid(rng, 0.06)
    rings = np.hypot(x - rng.uniform(-1, 0.5), 0.12 * (y - rng.uniform(0, 1)))
    grain = octaves(rng, stretch=rng.uniform(12, 40), roughness=0.85)
    value = 0.55 * (rings * rng.uniform(8, 40) % 1) + 0.45 * grain
    base = np.array([0.55, 0.33, 0.16]) * rng.uniform(0.4, 1.5)
    return np.clip(base * (0.55 + 0.9 * value[..., None]), 0, 1).astype(np.float32)


def _fabric(rng):
    x, y = _grid(rng, 0.01)
    threads = rng.integers(24, 120)
    a, b = np.sin(np.pi * threads * x), np.sin(np.pi * threads * y)
    over = (np.floor(threads * x) + np.floor(threads * y)) % 2
    height = np.where(over > 0, np.abs(a), np.abs(b)) * (0.7 + 0.3 * octaves(rng, roughness=0.85))
    warp, weft = palette(rng, octaves(rng), 3), palette(rng, octaves(rng), 3)
    return np.where(over[..., None] > 0, warp, weft) * (0.35 + 0.65 * height[..., None])


def _stripes(rng):
    x, y = _grid(rng, rng.choice([0, 0, 0.02]))
    n = rng.integers(3, 40)
    kind = rng.integers(3)
    dots = ((n * x) % 1 - 0.5) ** 2 + ((n * y) % 1 - 0.5) ** 2 < 0.08
    value = [np.floor(n * x) % 2, (np.floor(n * x) + np.floor(n * y)) % 2, dots][kind]
    return palette(rng, 0.8 * value + 0.2 * octaves(rng), 2)


def _tiles(rng):
    x, y = _grid(rng, 0.006)
    n, aspect, line = rng.integers(3, 16), rng.choice([1, 2, 3]), rng.uniform(0.02, 0.1)
    row = np.floor(n * aspect * y)
    u, v = n * x + 0.5 * (row % 2), n * aspect * y
    tone = rng.random(4096).astype(np.float32)[(np.floor(u).astype(int) * 131 + row.astype(int) * 17) % 4096]
    joint = np.minimum(np.minimum(u % 1, 1 - u % 1), np.minimum(v % 1, 1 - v % 1) / aspect) < line
    return np.where(joint[..., None], palette(rng, octaves(rng), 2), palette(rng, 0.6 * tone + 0.4 * octaves(rng), 3))


def _print(rng):
    """Paper with lines of text in several sizes, and bars."""
    paper, ink = rng.uniform(0.7, 1, 3), rng.uniform(0, 0.35, 3)
    if rng.random() < 0.3:
        paper, ink = ink, paper
    picture = Image.new("L", (SIZE, SIZE), 0)
    draw = ImageDraw.Draw(picture)
    letters = np.array(list(string.ascii_letters + string.digits + "    .,:;-&%"))
    y = int(rng.integers(0, 12))
    while y < SIZE:
        size = int(np.exp(rng.uniform(np.log(7), np.log(64))))
        text = "".join(rng.choice(letters, 2 * SIZE // size))
        for _ in range(rng.integers(1, 6) if size < 24 else 1):
            draw.text((int(rng.integers(0, 20)), y), text, fill=255, font=ImageFont.load_default(size))
            text = text[::-1]
            y += round(size * 1.15)
        if rng.random() < 0.25:
            draw.rectangle((0, y, int(rng.integers(60, SIZE)), y + int(rng.integers(1, 10))), fill=255)
            y += 14
    mask = np.asarray(picture, np.float32)[..., None] / 255
    return (paper + mask * (ink - paper)).astype(np.float32) * (0.9 + 0.1 * octaves(rng)[..., None])


def _label(rng):
    """Crisp graphics on an even ground, as on labels, dials and covers: rings, ticks, rules, shapes and letters of any size."""
    ground, *inks = np.clip(rng.uniform(0, 1, (4, 1)) ** 1.5 + rng.normal(0, 0.08, (4, 3)), 0, 1)
    image = np.broadcast_to(ground, (SIZE, SIZE, 3)).astype(np.float32)
    for _ in range(rng.integers(8, 48)):
        picture = Image.new("L", (SIZE, SIZE), 0)
        _SIGNS[rng.integers(len(_SIGNS))](rng, ImageDraw.Draw(picture))
        mask = np.asarray(picture.rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC), np.float32)[..., None] / 255
        image = image + mask * (inks[rng.integers(len(inks))] - image)
    return image * (1 - rng.uniform(0, 0.15) * octaves(rng)[..., None])


def _letters(rng, draw: ImageDraw.ImageDraw) -> None:
    size = int(np.exp(rng.uniform(np.log(8), np.log(240))))
    text = "".join(rng.choice(list(string.ascii_letters + string.digits), max(1, 2 * SIZE // size)))
    bold = int(rng.integers(0, 1 + size // 24))
    draw.text(tuple(rng.integers(-SIZE // 8, SIZE, 2)), text, fill=255, font=ImageFont.load_default(size), stroke_width=bold)


def _dial(rng, draw: ImageDraw.ImageDraw) -> None:
    center, radius = rng.uniform(0, SIZE, 2), np.exp(rng.uniform(np.log(12), np.log(SIZE / 2)))
    width = int(rng.integers(1, 3 + radius // 12))
    draw.ellipse((*(center - radius), *(center + radius)), outline=255, width=width)
    for angle in np.linspace(0, 2 * np.pi, int(rng.choice([12, 24, 60])), endpoint=False) if rng.random() < 0.6 else ():
        way = np.array([np.cos(angle), np.sin(angle)])
        draw.line((*(center + 0.8 * radius * way), *(center + 0.95 * radius * way)), fill=255, width=width)


def _rules(rng, draw: ImageDraw.ImageDraw) -> None:
    step, width = int(rng.integers(4, 40)), int(rng.integers(1, 8))
    left, right = np.sort(rng.integers(0, SIZE, 2)).tolist()
    for y in range(int(rng.integers(0, SIZE)), SIZE, step + width)[: int(rng.integers(1, 10))]:
        draw.rectangle((left, y, right, y + width - 1), fill=255)


def _shape(rng, draw: ImageDraw.ImageDraw) -> None:
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
    corners = rng.uniform(0, SIZE, 2) + rng.uniform(10, 150) * np.stack([np.cos(angles), np.sin(angles)], -1)
    draw.polygon(list(map(tuple, corners.tolist())), fill=255)


_SIGNS = (_letters, _letters, _letters, _dial, _rules, _shape)


def _scratches(rng):
    image = palette(rng, octaves(rng, stretch=rng.choice([1, 30]), roughness=0.8), 2)
    for _ in range(rng.integers(20, 250)):
        a = rng.uniform(0, SIZE, 2)
        b = a + rng.normal(0, rng.uniform(5, 160), 2)
        tone = rng.uniform(0, 1)
        ends = [tuple(int(16 * v) for v in p) for p in (a, b)]
        cv2.line(image, *ends, (tone, tone, tone), int(rng.integers(1, 3)), cv2.LINE_AA, 4)
    return image


def _leaves(rng):
    """Dead leaves: opaque shapes whose sizes follow a power law have the statistics of photographs (Lee, Mumford, Huang 2001)."""
    image = palette(rng, octaves(rng))
    shapes = rng.integers(300, 1200)
    tones = palette(rng, rng.random((1, shapes)).astype(np.float32))[0]
    tones = np.clip(tones + rng.normal(0, 0.08, tones.shape), 0, 1)
    for tone in tones:
        radius = 3.0 / rng.uniform(0.02, 1) ** 0.9
        center = rng.uniform(0, SIZE, 2)
        if rng.random() < 0.5:
            axes = (int(radius) + 1, int(radius * rng.uniform(0.3, 1)) + 1)
            place = (int(center[0]), int(center[1]))
            cv2.ellipse(image, place, axes, rng.uniform(0, 360), 0, 360, tone.tolist(), -1, cv2.LINE_AA)
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 6)))
            corners = center + radius * np.stack([np.cos(angles), np.sin(angles)], -1)
            cv2.fillPoly(image, [np.round(16 * corners).astype(np.int32)], tone.tolist(), cv2.LINE_AA, 4)
    return np.clip(image * (0.85 + 0.3 * octaves(rng, roughness=0.8)[..., None]), 0, 1)


KINDS = (_noise, _marble, _wood, _fabric, _stripes, _tiles, _print, _print, _label, _label, _scratches, _leaves, _leaves)


def draw(rng: np.random.Generator, photos: Sequence[Path] = ()) -> np.ndarray:
    """(SIZE, SIZE, 3) float32 in 0..1: a piece of one of ``photos``, half of the time where there are any, or one random texture,
    at times two of them in patches."""
    if photos and rng.random() < 0.5:
        return _piece(rng, photos[rng.integers(len(photos))])
    image = KINDS[rng.integers(len(KINDS))](rng)
    if rng.random() < 0.25:
        edge = np.clip((octaves(rng) - rng.uniform(0.3, 0.7)) * rng.uniform(8, 60), 0, 1)[..., None]
        image = image * (1 - edge) + KINDS[rng.integers(len(KINDS))](rng) * edge
    return np.clip(image, 0, 1).astype(np.float32)


def _piece(rng: np.random.Generator, photo: Path) -> np.ndarray:
    """A square of a photo, from as fine as it is to all of it."""
    image = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
    short = min(image.shape[:2])
    side = round(short * rng.uniform(min(1.0, SIZE / short), 1.0))
    top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[:2])
    piece = image[top : top + side, left : left + side].astype(np.float32) / 255
    return cv2.resize(piece, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


@dataclass
class Bank:
    """Textures with mip levels. levels[l]: (count, SIZE >> l, SIZE >> l, 3) linear light."""

    levels: list[Tensor]

    def __len__(self) -> int:
        return len(self.levels[0])


def bank(seed: int, count: int, device: torch.device, photos: Sequence[Path] = ()) -> Bank:
    """``count`` random textures on ``device``; photos: pictures that pieces may be taken of."""
    rng = np.random.default_rng([seed, 1])
    images = torch.from_numpy(np.stack([draw(rng, photos) for _ in range(count)])).permute(0, 3, 1, 2) ** 2.2
    levels = [images]
    while levels[-1].shape[-1] > 4:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return Bank([level.permute(0, 2, 3, 1).contiguous().to(device) for level in levels])


def lookup(textures: Bank, index: Tensor, uv: Tensor, footprint: Tensor) -> Tensor:
    """(N, 3) linear colours of texture ``index`` (N,) at ``uv`` (N, 2) in texels, mirrored at the borders.

    footprint: (N,) texels that a pixel covers; between mip levels the colour is interpolated (trilinear filtering).
    """
    lod = footprint.clamp(min=1).log2().clamp(max=len(textures.levels) - 1.001)
    fine = lod.floor().long()
    blend = (lod - fine)[:, None]
    result = torch.zeros(len(uv), 3, device=uv.device)
    for level in torch.unique(fine).tolist():
        rows = (fine == level).nonzero()[:, 0]
        args = index[rows], uv[rows]
        a, b = (_bilinear(textures.levels[n], *args, 2.0**n) for n in (level, level + 1))
        result[rows] = a + blend[rows] * (b - a)
    return result


def _bilinear(texture: Tensor, index: Tensor, uv: Tensor, scale: float) -> Tensor:
    size = texture.shape[1]
    place = uv / scale - 0.5
    low = place.floor()
    fx, fy = (place - low).unbind(1)
    low = low.long()
    x0, y0, x1, y1 = (cell % (2 * size) for cell in (low[:, 0], low[:, 1], low[:, 0] + 1, low[:, 1] + 1))
    x0, y0, x1, y1 = (torch.minimum(cell, 2 * size - 1 - cell) for cell in (x0, y0, x1, y1))
    rows = texture.reshape(-1, 3)
    base = index * size

    def at(y: Tensor, x: Tensor) -> Tensor:
        return rows.index_select(0, (base + y) * size + x)

    fx, fy = fx[:, None], fy[:, None]
    top, bottom = torch.lerp(at(y0, x0), at(y0, x1), fx), torch.lerp(at(y1, x0), at(y1, x1), fx)
    return torch.lerp(top, bottom, fy)
