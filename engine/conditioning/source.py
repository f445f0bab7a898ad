"""What a photo brings to the warp: its depth as a continuous surface, cut where the surface is broken."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import camera as cams
from ..job import Camera
from ..records import View

BLOCK = 16
"""Side of the blocks of pixels that are culled against the target's frustum, pixels."""
BREAK = 0.015
"""Relative step in inverse depth that can be a depth edge."""
BREAK_SLOPE = 3.0
"""A depth edge is steeper than this many times the gentler of the slopes beside it."""
SPECKLE = 0.03
"""Relative difference of inverse depth up to which two pixels can be of one surface."""
SMOOTH_FROM = 3e-4
"""Relative noise of depth from which it is smoothed."""
_NEAREST, _FARTHEST = 1e-9, 1e12


@dataclass
class Source:
    """One view, prepared. All tensors live on one device.

    camera: of the photo, H×W. image: (1, 3, H, W) float32. disparity: (H*W,) float32, 1 / z-depth, 0 where no surface is known.
    gradient: (H*W, 2) float16, the disparity's slope per pixel in x and y divided by the disparity, within the surface.
    confidence: (H*W,) float16, 0..1. solid: (H*W,) float16, 1 inside a surface, less beside a depth edge.
    front: (H*W,) float32, largest disparity of the 3×3 neighbourhood (sky and unknown excluded).
    sky: (H*W,) bool, where the photo saw sky. usable: (H*W,) bool, where the photo's colours may be used.
    blocks: (n, 2) float32, nearest and farthest z-depth of each 16×16 block (row-major); (inf, 0) where it has no surface.
    gain: (3,) float32, multiplies the photo's colours to even out exposure.
    """

    camera: Camera
    image: Tensor
    disparity: Tensor
    gradient: Tensor
    confidence: Tensor
    solid: Tensor
    front: Tensor
    sky: Tensor
    usable: Tensor
    blocks: Tensor
    gain: Tensor
    mips: list[Tensor] = field(default_factory=list)

    def __post_init__(self):
        self.any_sky = bool(self.sky.any())
        self.has_surface = bool((self.disparity > 0).any())

    def mip(self, level: int) -> Tensor:
        """(1, 3, H >> level, W >> level) the photo, box-filtered; made when first asked for."""
        if level == 0:
            return self.image
        while len(self.mips) < level:
            last = self.mips[-1] if self.mips else self.image
            self.mips.append(F.avg_pool2d(last.contiguous(), 2, ceil_mode=True, count_include_pad=False))
        return self.mips[level - 1]

    @property
    def max_mip(self) -> int:
        """The coarsest level of the photo's pyramid that still has two pixels a side."""
        return max(min(self.camera.width, self.camera.height).bit_length() - 2, 0)


def prepare(view: View, device: torch.device) -> Source:
    """Clean a view's depth, cut it at depth edges and drop the flying pixels there.

    Depth that is NaN, negative or vanishing counts as unknown; +inf is sky.
    """
    camera = view.camera
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
    disparity = _smooth(_drop_flying(_drop_speckles(disparity)))
    pixels = torch.zeros(disparity.numel(), device=device)
    source = Source(
        camera=camera,
        image=image.permute(2, 0, 1)[None],
        disparity=disparity.reshape(-1),
        gradient=pixels,
        confidence=torch.where(disparity > 0, confidence, torch.zeros_like(confidence)).reshape(-1).half(),
        solid=pixels,
        front=pixels,
        sky=sky.reshape(-1),
        usable=mask.reshape(-1),
        blocks=pixels,
        gain=torch.ones(3, device=device),
    )
    refresh(source)
    return source


def refresh(source: Source) -> None:
    """Derive again what follows from the disparity: slopes, edges, block ranges."""
    disparity = source.disparity.reshape(source.camera.height, source.camera.width)
    gradient, solid = _surface(disparity)
    source.gradient = gradient.reshape(-1, 2).half()
    source.solid = solid.reshape(-1).half()
    source.front = F.max_pool2d(disparity[None, None], 3, 1, 1).reshape(-1)
    source.blocks = _block_ranges(disparity)
    source.has_surface = bool((disparity > 0).any())


def noise_of(disparity: Tensor) -> float:
    """Relative noise of a disparity image, pixel to pixel: the median second difference along x, which slants do not change."""
    left, own, right = disparity[:, :-2], disparity[:, 1:-1], disparity[:, 2:]
    known = (left > 0) & (own > 0) & (right > 0)
    if not bool(known.any()):
        return 0.0
    second = ((left + right - 2 * own).abs() / own.clamp(min=1e-30))[known]
    return float(second.median()) / (0.6745 * 6**0.5)


def _smooth(disparity: Tensor) -> Tensor:
    """Even out stereo's noise within surfaces (bilateral, 5×5, twice); depth as exact as a renderer's is left as it is."""
    noise = noise_of(disparity)
    if noise < SMOOTH_FROM:
        return disparity
    height, width = disparity.shape
    for _ in range(2):
        padded = F.pad(disparity, (2, 2, 2, 2))
        total, weights = torch.zeros_like(disparity), torch.zeros_like(disparity)
        for dy in range(5):
            for dx in range(5):
                other = padded[dy : dy + height, dx : dx + width]
                apart = (other - disparity) / ((4 * noise) * disparity.clamp(min=1e-30))
                weight = (1 - apart * apart).clamp(min=0) * 2.0 ** -((dx - 2) ** 2 / 2 + (dy - 2) ** 2 / 2)
                total += weight * other
                weights += weight
        disparity = torch.where(disparity > 0, total / weights.clamp(min=1e-30), disparity)
    return disparity


def _drop_speckles(disparity: Tensor) -> Tensor:
    """Forget pixels that almost none of their many known neighbours (5×5) stand with."""
    height, width = disparity.shape
    padded = F.pad(disparity, (2, 2, 2, 2))
    alike, known = torch.zeros_like(disparity), torch.zeros_like(disparity)
    for dy in range(5):
        for dx in range(5):
            other = padded[dy : dy + height, dx : dx + width]
            known += other > 0
            alike += (other - disparity).abs() <= SPECKLE * disparity
    return torch.where((known >= 12) & (alike < 0.2 * known), torch.zeros_like(disparity), disparity)


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
    """Relative slopes (H, W, 2) within the surface, and solidity (H, W)."""
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
    solid = torch.where(joined >= 4, 1.0, 0.3)
    # Colours within a pixel of an edge are mixed with the other side's.
    solid = -F.max_pool2d(-solid[None, None], 3, 1, 1)[0, 0]
    return torch.stack(slopes, -1), solid


def _block_ranges(disparity: Tensor) -> Tensor:
    """(n, 2) nearest and farthest z-depth of each block, row-major."""
    height, width = disparity.shape
    pad = (0, -width % BLOCK, 0, -height % BLOCK)
    depth = torch.where(disparity > 0, 1.0 / disparity.clamp(min=1e-30), torch.full_like(disparity, torch.inf))
    near = -F.max_pool2d(F.pad(-depth, pad, value=-torch.inf)[None, None], BLOCK)[0, 0]
    depth = torch.where(disparity > 0, depth, torch.zeros_like(depth))
    far = F.max_pool2d(F.pad(depth, pad, value=0.0)[None, None], BLOCK)[0, 0]
    return torch.stack([near.reshape(-1), far.reshape(-1)], 1)


@dataclass(frozen=True)
class Relative:
    """A source as the target sees it: x_source = rotation @ x_target + offset, in float32 from float64."""

    rotation: np.ndarray
    offset: np.ndarray


def relative(source: Camera, target: Camera) -> Relative:
    """The rigid map from the target camera's space to the source camera's; differences are taken in float64."""
    m = cams.camera_from_world(source) @ cams.world_from_camera(target)
    return Relative(m[:3, :3], m[:3, 3])
