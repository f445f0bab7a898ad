"""What several depth maps say of each other: reprojection, agreement, occlusion, filling."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ..compiled import on_cpu
from ..job import Camera
from .kernels import maps
from .matching import NEAREST, Planes, crossing, landing, pixel_grid, sample, transfer, within
from .patchmatch import slopes

FILL_SIZE = 1000
"""Pixels; larger images are filled at half their size."""
COLOUR = 6.0
"""Weight of a difference of 1 in RGB when something is continued from where it is known."""


def inverse(depth: np.ndarray, device: torch.device) -> torch.Tensor:
    """Inverse depth (H, W) of a depth map (H, W); sky and unknown are 0."""
    depth = torch.from_numpy(np.ascontiguousarray(depth, np.float32)).to(device)
    return torch.where(torch.isfinite(depth) & (depth > 0), 1 / depth.clamp_min(1e-12), torch.zeros_like(depth))


def reproject(w: torch.Tensor, source: Camera, target: Camera, size: tuple[int, int]) -> torch.Tensor:
    """Inverse depth (H, W) of ``source`` as ``target`` would see it at ``size``: the nearest wins, 0 where nothing lands.

    Points are splatted on the 2×2 pixels around them, so that a surface seen at like scale stays closed.
    """
    th, tw = size
    q, u, v = landing(*crossing(source, target, w.shape, w.device), w)
    there = (w > 0) & (q > NEAREST)
    u, v = u - 0.5, v - 0.5
    inverse = w / q.clamp_min(NEAREST)
    out = torch.zeros(th * tw, device=w.device)
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = u.floor() + dx, v.floor() + dy
            ok = there & (x >= 0) & (x < tw) & (y >= 0) & (y < th)
            index = (y.clamp(0, th - 1) * tw + x.clamp(0, tw - 1)).long()
            out.scatter_reduce_(0, index[ok], inverse[ok], "amax")
    return out.reshape(th, tw)


def compare(w: torch.Tensor, source: Camera, other: torch.Tensor, target: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """How each pixel of ``source`` (inverse depth w) stands to the map ``other`` of ``target``; both (H, W).

    ratio: the other's depth over the pixel's depth there, 1 = the same surface, below 1 = hidden behind it, above 1 = it stands
    in what the other sees as free space; 0 where the pixel falls outside. shift: pixels between the pixel and where
    the other's depth, brought back, lands (forward-backward check); inf outside.
    """
    q, u, v = landing(*crossing(source, target, w.shape, w.device), w)
    inside = (w > 0) & within(q, u, v, other.shape)
    seen = sample(other[None], u, v, mode="nearest")[0]
    inside &= seen > 0
    ratio = torch.where(inside, (w / q.clamp_min(NEAREST)) / seen.clamp_min(1e-9), torch.zeros_like(w))
    back_a, back_b = transfer(target, source, w.device)
    back = torch.einsum("ij,jhw->ihw", back_a, torch.stack([u, v, torch.ones_like(u)])) + back_b[:, None, None] * seen
    back_z = back[2].clamp_min(NEAREST)
    pixels = pixel_grid(*w.shape, w.device)
    shift = ((back[0] / back_z - pixels[0]) ** 2 + (back[1] / back_z - pixels[1]) ** 2).sqrt()
    inside &= back[2] > NEAREST
    return ratio, torch.where(inside, shift, torch.full_like(shift, float("inf")))


@on_cpu(maps.weighted_median)
def weighted_median(
    values: torch.Tensor,
    weights: torch.Tensor,
    image: torch.Tensor,
    radius: int,
    stride: int,
    sigma: float,
    only: torch.Tensor | None = None,
) -> torch.Tensor:
    """Edge-aware weighted median (H, W) of ``values``: neighbours count by ``weights`` and by likeness of colour (3, H, W).

    Pixels outside ``only`` (H, W) keep their value.
    """
    h, w = values.shape
    pad = radius * stride
    stacked = F.pad(torch.cat([values[None], weights[None], image])[None], [pad] * 4, mode="replicate")[0]
    out = values.clone()
    steps = [i * stride for i in range(-radius, radius + 1)]
    for top in range(0, h, 64):
        n = min(64, h - top)
        here = torch.ones_like(values[top : top + n], dtype=torch.bool) if only is None else only[top : top + n]
        if not bool(here.any()):
            continue
        middle = image[:, top : top + n][:, here]
        found, weight = [], []
        for y in steps:
            for x in steps:
                patch = stacked[:, pad + top + y : pad + top + y + n, pad + x : pad + x + w][:, here]
                unlike = ((patch[2:] - middle) ** 2).sum(0) / (2 * sigma**2)
                found.append(patch[0])
                weight.append(patch[1] * torch.exp(-unlike))
        found, weight = torch.stack(found, -1), torch.stack(weight, -1) + 1e-9
        found, order = found.sort(-1)
        share = weight.gather(-1, order).cumsum(-1)
        index = (share >= share[..., -1:] * 0.5).float().argmax(-1, keepdim=True)
        out[top : top + n][here] = found.gather(-1, index)[..., 0]
    return out


@on_cpu(maps.support)
def support(planes: Planes, radius: int = 2, stride: int = 2, tolerance: float = 0.006) -> torch.Tensor:
    """Share (H, W) of the pixels around each that its plane predicts within a relative ``tolerance``."""
    h, w = planes.w.shape
    pad = radius * stride
    padded = F.pad(planes.w[None, None], [pad] * 4, mode="replicate")[0, 0]
    total = torch.zeros_like(planes.w)
    steps = [i * stride for i in range(-radius, radius + 1)]
    for y in steps:
        for x in steps:
            here = padded[pad + y : pad + y + h, pad + x : pad + x + w]
            total += ((here - planes.w - x * planes.du - y * planes.dv).abs() < tolerance * planes.w).float()
    return (total - 1) / (len(steps) ** 2 - 1)


@on_cpu(maps.smoothed)
def smoothed(
    planes: Planes, weights: torch.Tensor, image: torch.Tensor, radius: int, stride: int, sigma: float, spread: float
) -> torch.Tensor:
    """(H, W) mean of what the planes around each pixel say of its inverse depth.

    They count by ``weights`` (H, W), by likeness of colour (3, H, W) up to ``sigma``, and by how near to the pixel's own value
    they are, relative to it, up to ``spread``: so a step of depth stays, as a bilateral filter leaves it, and a slant does too.
    """
    h, width = planes.w.shape
    rows, columns = (torch.arange(size, device=planes.device) for size in (h, width))
    total, much = torch.zeros_like(planes.w), torch.zeros_like(planes.w)
    steps = [i * stride for i in range(-radius, radius + 1)]
    for dy in steps:
        y = (rows + dy).clamp(0, h - 1)
        for dx in steps:
            x = (columns + dx).clamp(0, width - 1)
            w, du, dv = (part[y][:, x] for part in (planes.w, planes.du, planes.dv))
            value = w - (x - columns) * du - (y - rows)[:, None] * dv
            unlike = ((value - planes.w) / (spread * planes.w).clamp_min(1e-12)) ** 2
            unlike = unlike + ((image[:, y][:, :, x] - image) ** 2).sum(0) / (2 * sigma**2)
            weight = torch.where(unlike < 9, weights[y][:, x] * torch.exp(-unlike), torch.zeros_like(unlike))
            total, much = total + weight * value, much + weight
    return torch.where(much > 0, total / much.clamp_min(1e-30), planes.w)


def specks(w: torch.Tensor, area: float = 1e-4, jump: float = 0.01) -> torch.Tensor:
    """(H, W) bool: pixels in patches smaller than ``area`` (of the image) with a relative ``jump`` of depth all around."""
    logs = np.round(np.log(np.maximum(w.cpu().numpy(), 1e-12)) / jump * 10)
    logs = np.clip(logs - np.median(logs), -32000, 32000).astype(np.int16)
    clean = logs.copy()
    cv2.filterSpeckles(clean, 32767, max(4, int(area * logs.size)), 10)
    return torch.from_numpy(clean == 32767).to(w.device)


def fill(
    w: torch.Tensor, known: torch.Tensor, image: torch.Tensor, fall: float = 0.12, colour: float = COLOUR
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse depth (H, W) for every pixel: known ones keep theirs, the others extend a surface nearby. And how far-fetched that
    is (H, W): the distance over ``fall``, and ``colour`` times the difference of colour; 0 where it is known.

    Each unknown pixel takes the smoothed plane of a known pixel that is near, like in colour and rather behind than in front
    (what no other photo sees was hidden, so it is background). Found by jump flooding (Rong & Tan 2006). known: (H, W) bool.
    image: (3, H, W). fall: share of the image's longer side.
    """
    h, width = w.shape
    if max(h, width) > FILL_SIZE and bool(known[::2, ::2].any()):
        half = fill(w[::2, ::2], known[::2, ::2], image[:, ::2, ::2], fall, colour)
        twice, fetched = (x.repeat_interleave(2, 0).repeat_interleave(2, 1)[:h, :width] for x in half)
        return torch.where(known, w, twice), fetched.masked_fill(known, 0)
    smooth = torch.where(known, w, torch.zeros_like(w))
    du, dv = slopes(smooth, 4, 0.02)
    low, high = w[known].min(), w[known].max()
    smoothed = F.avg_pool2d(image[None], 5, 1, 2, count_include_pad=False)[0]
    nearness = 0.4 * (smooth / w[known].median()).clamp(0.5, 2.0)
    steps = [1 << power for power in range((max(h, width) - 1).bit_length())][::-1]
    chosen = flood(known, nearness, smoothed, [*steps, 2, 1], fall, colour).clamp_min(0).reshape(-1)
    planes, grid = torch.stack([smooth, du, dv]), pixel_grid(h, width, w.device)[:2]
    value, du, dv = planes.reshape(3, -1)[:, chosen].reshape(3, h, width)
    offset = grid - grid.reshape(2, -1)[:, chosen].reshape(2, h, width)
    fetched = offset.square().sum(0).sqrt() / (fall * max(h, width))
    fetched += colour * (smoothed - smoothed.reshape(3, -1)[:, chosen].reshape(3, h, width)).abs().amax(0)
    extended = (value + du * offset[0] + dv * offset[1]).clamp(float(low), float(high))
    extended = torch.minimum(torch.maximum(extended, 0.7 * value), 1.4 * value)
    result = torch.where(known, w, extended)
    filled = weighted_median(result, torch.ones_like(w), image, 2, 4, 0.1, ~known)
    return torch.where(known, w, filled), fetched.masked_fill(known, 0)


@on_cpu(maps.flood)
def flood(known: torch.Tensor, nearness: torch.Tensor, image: torch.Tensor, sizes: list[int], fall: float, colour: float):
    """(H, W) int64: for every pixel the index of the known one that suits it best, its own where it is known itself.

    Jump flooding over steps of ``sizes``: least distance over ``fall``, difference of colour times ``colour``, and ``nearness``
    (H, W) of the known one. -1 where nothing is found.
    """
    h, width = known.shape
    pixels = torch.arange(h * width, device=known.device).reshape(h, width)
    source = torch.where(known, pixels, torch.full_like(pixels, -1))
    best = torch.where(known, torch.zeros_like(nearness), torch.full_like(nearness, float("inf")))
    features = torch.cat([image, pixel_grid(h, width, known.device)[:2], nearness[None]])
    for size in sizes:
        before = source
        for dy in (-size, 0, size):
            for dx in (-size, 0, size):
                if dx == dy == 0:
                    continue
                candidate = _moved(before, dx, dy)
                there = features.reshape(6, -1)[:, candidate.clamp_min(0).reshape(-1)].reshape(6, h, width)
                apart = ((there[3:5] - features[3:5]) ** 2).sum(0).sqrt() / max(h, width)
                score = apart / fall + colour * (there[:3] - features[:3]).abs().amax(0) + there[5]
                better = (candidate >= 0) & (score < best)
                best, source = torch.where(better, score, best), torch.where(better, candidate, source)
    return source


def _moved(values: torch.Tensor, dx: int, dy: int) -> torch.Tensor:
    """values at (+dx, +dy), -1 beyond the border."""
    h, w = values.shape
    out = torch.full_like(values, -1)
    if abs(dx) >= w or abs(dy) >= h:
        return out
    ys, yd = slice(max(dy, 0), h + min(dy, 0)), slice(max(-dy, 0), h + min(-dy, 0))
    xs, xd = slice(max(dx, 0), w + min(dx, 0)), slice(max(-dx, 0), w + min(-dx, 0))
    out[yd, xd] = values[ys, xs]
    return out
