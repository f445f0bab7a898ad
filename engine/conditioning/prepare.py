"""Preparing a view for the warp: its depth cleaned, and cut where the surface is broken."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..records import View
from .path import path_of
from .source import BLOCK, GENERATED, SKY, SOLID, USABLE, Source

BREAK = 0.015
"""Relative step in inverse depth that can be a depth edge."""
BREAK_SLOPE = 3.0
"""A depth edge is steeper than this many times the gentler of the slopes beside it."""
SMOOTH_FROM = 3e-4
"""Relative noise of depth from which it is smoothed."""
_NEAREST, _FARTHEST = 1e-9, 1e12


def prepare(view: View, device: torch.device) -> Source:
    """Clean a view's depth, cut it at depth edges and drop the flying pixels there.

    Depth that is NaN, negative or vanishing counts as unknown; +inf is sky.
    """
    camera, count = view.camera, view.camera.width * view.camera.height
    # What is kept is allocated first: between temporaries it would leave holes in the heap, twice as large as itself.
    kept = {
        "disparity": torch.empty(count, device=device),
        "gradient": torch.empty(count, 2, dtype=torch.float16, device=device),
        "front": torch.empty(count, device=device),
        "state": torch.empty(count, dtype=torch.int32, device=device),
        "blocks": torch.empty(-(-camera.width // BLOCK) * -(-camera.height // BLOCK), 2, device=device),
    }
    depth = torch.from_numpy(np.ascontiguousarray(view.depth, np.float32)).to(device)
    mask = torch.from_numpy(np.ascontiguousarray(view.mask, bool)).to(device)
    confidence = torch.from_numpy(np.ascontiguousarray(view.confidence, np.float32)).to(device)
    confidence = torch.nan_to_num(confidence, 0.0, 0.0, 0.0).clamp(0, 1)
    image = torch.from_numpy(np.ascontiguousarray(view.image, np.float32)).to(device)
    if not bool(torch.isfinite(image).all()):
        image = torch.nan_to_num(image, 0.0, 1.0, 0.0)
    sky = torch.isposinf(depth) & mask
    known = (depth > _NEAREST) & (depth < _FARTHEST) & mask & (confidence > 0)
    disparity = torch.where(known, 1.0 / depth, torch.zeros_like(depth))
    clean = path_of(disparity.device)
    disparity = _drop_flying(clean.drop_speckles(disparity))
    noise = noise_of(disparity)
    # Depth as exact as a renderer's is left as it is.
    disparity = clean.smooth(disparity, noise) if noise >= SMOOTH_FROM else disparity
    kept["disparity"].copy_(disparity.reshape(-1))
    kept["state"].copy_((sky * SKY + mask * USABLE + view.generated * GENERATED).reshape(-1))
    source = Source(
        camera=camera,
        image=image.permute(2, 0, 1)[None],
        gain=torch.ones(3, device=device),
        **kept,
    )
    source.confidence = torch.where(disparity > 0, confidence, torch.zeros_like(confidence)).reshape(-1)
    refresh(source)
    return source


def refresh(source: Source) -> None:
    """Derive again what follows from the disparity: slopes, edges, block ranges."""
    disparity = source.disparity.reshape(source.camera.height, source.camera.width)
    gradient, solid = _surface(disparity)
    source.gradient.copy_(gradient.reshape(-1, 2))
    source.state.copy_(torch.where(solid.reshape(-1), source.state | SOLID, source.state & ~SOLID))
    source.packed = None
    source.front.copy_(F.max_pool2d(disparity[None, None], 3, 1, 1).reshape(-1))
    source.blocks.copy_(_block_ranges(disparity))
    source.has_surface = bool((disparity > 0).any())


def noise_of(disparity: Tensor) -> float:
    """Relative noise of a disparity image, pixel to pixel: the median second difference along x, which slants do not change."""
    left, own, right = disparity[:, :-2], disparity[:, 1:-1], disparity[:, 2:]
    known = (left > 0) & (own > 0) & (right > 0)
    if not bool(known.any()):
        return 0.0
    second = ((left + right - 2 * own).abs() / own.clamp(min=1e-30))[known]
    return float(second.median()) / (0.6745 * 6**0.5)


def _steps(disparity: Tensor) -> tuple[Tensor, Tensor]:
    """Along x: (H, W-1) disparity steps and whether each is a break (depth edge, or either side unknown)."""
    left, right = disparity[:, :-1], disparity[:, 1:]
    step = right - left
    both = (left > 0) & (right > 0)
    size = torch.where(both, step.abs(), torch.full_like(step, torch.inf))
    beside = torch.minimum(F.pad(size, (1, 0), value=torch.inf)[:, :-1], F.pad(size, (0, 1), value=torch.inf)[:, 1:])
    beside = torch.where(torch.isfinite(beside), beside, torch.zeros_like(beside))
    # A slanted plane has equal steps; an edge is a step its neighbours do not share.
    return step, ~(size <= BREAK * torch.maximum(left, right) + BREAK_SLOPE * beside)


def _drop_flying(disparity: Tensor) -> Tensor:
    """Forget pixels that hang strictly between the two sides of a depth edge (lens blur, stereo bleeding)."""
    drop = torch.zeros_like(disparity, dtype=torch.bool)
    for axis in (0, 1):
        d, out = (disparity, drop) if axis else (disparity.T, drop.T)
        if d.shape[1] < 3:
            continue
        step, broken = _steps(d)
        before, after = step[:, :-1], step[:, 1:]
        known = (d[:, :-2] > 0) & (d[:, 1:-1] > 0) & (d[:, 2:] > 0)
        out[:, 1:-1] |= known & broken[:, :-1] & broken[:, 1:] & (before * after > 0)
    return torch.where(drop, torch.zeros_like(disparity), disparity)


def _surface(disparity: Tensor) -> tuple[Tensor, Tensor]:
    """Relative slopes (H, W, 2) within the surface, and where (H, W) it is solid."""
    slopes, joined = [], torch.zeros_like(disparity)
    for axis in (1, 0):
        d = disparity if axis else disparity.T
        step, broken = _steps(d)
        step = torch.where(broken, torch.zeros_like(step), step)
        whole = (~broken).to(d.dtype)
        count = F.pad(whole, (1, 0)) + F.pad(whole, (0, 1))
        slope = (F.pad(step, (1, 0)) + F.pad(step, (0, 1))) / count.clamp(min=1) / d.clamp(min=1e-30)
        slope = torch.where(d > 0, slope, torch.zeros_like(slope)).clamp(-0.5, 0.5)
        slopes.append(slope if axis else slope.T)
        joined = joined + (count if axis else count.T)
    # Colours within a pixel of an edge are mixed with the other side's.
    beside = F.max_pool2d((joined < 4).float()[None, None], 3, 1, 1)[0, 0]
    return torch.stack(slopes, -1), beside == 0


def _block_ranges(disparity: Tensor) -> Tensor:
    """(n, 2) nearest and farthest z-depth of each block, row-major."""
    height, width = disparity.shape
    pad = (0, -width % BLOCK, 0, -height % BLOCK)
    depth = torch.where(disparity > 0, 1.0 / disparity.clamp(min=1e-30), torch.full_like(disparity, torch.inf))
    near = -F.max_pool2d(F.pad(-depth, pad, value=-torch.inf)[None, None], BLOCK)[0, 0]
    depth = torch.where(disparity > 0, depth, torch.zeros_like(depth))
    far = F.max_pool2d(F.pad(depth, pad, value=0.0)[None, None], BLOCK)[0, 0]
    return torch.stack([near.reshape(-1), far.reshape(-1)], 1)
