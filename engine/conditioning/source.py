"""What a photo brings to the warp: its depth as a continuous surface, cut where the surface is broken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import camera as cams
from ..job import Camera

BLOCK = 16
"""Side of the blocks of pixels that are culled against the target's frustum, pixels."""
SKY, USABLE, SOLID, GENERATED = 1, 2, 4, 8
"""Flags of a pixel: the photo saw sky; its colour may be used; it lies inside a surface, not beside a depth edge; it was made by
the generator."""
BESIDE_EDGE = 0.6
"""What a pixel beside a depth edge is worth, of one inside a surface."""


@dataclass
class Source:
    """One view, prepared. All tensors live on one device.

    camera: of the photo, H×W. image: (1, 3, H, W) float32. disparity: (H*W,) float32, 1 / z-depth, 0 where no surface is known.
    gradient: (H*W, 2) float16, the disparity's slope per pixel in x and y divided by the disparity, within the surface.
    front: (H*W,) float32, largest disparity of the 3×3 neighbourhood (sky and unknown excluded).
    state: (H*W,) int32, the bits of the depth's confidence (float16, 0..1) above, the flags below.
    blocks: (n, 2) float32, nearest and farthest z-depth of each 16×16 block (row-major); (inf, 0) where it has no surface.
    gain: (3,) float32, multiplies the photo's colours to even out exposure.
    packed: what the CPU's kernels read instead, made when first needed.
    """

    camera: Camera
    image: Tensor
    disparity: Tensor
    gradient: Tensor
    front: Tensor
    state: Tensor
    blocks: Tensor
    gain: Tensor
    mips: list[Tensor] = field(default_factory=list)
    packed: Any = None

    def __post_init__(self):
        self.any_sky = bool(self.flag(SKY).any())
        self.has_surface = bool((self.disparity > 0).any())

    def flag(self, which: int) -> Tensor:
        """(H*W,) bool: pixels that have a flag."""
        return (self.state & which) != 0

    @property
    def confidence(self) -> Tensor:
        """(H*W,) float16, 0..1."""
        return (self.state >> 16).to(torch.int16).view(torch.float16)

    @confidence.setter
    def confidence(self, value: Tensor) -> None:
        bits = value.half().contiguous().view(torch.int16).to(torch.int32) << 16
        self.state.copy_(bits | (self.state & 0xFFFF))

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


@dataclass(frozen=True)
class Relative:
    """A source as the target sees it: x_source = rotation @ x_target + offset, in float32 from float64."""

    rotation: np.ndarray
    offset: np.ndarray


def relative(source: Camera, target: Camera) -> Relative:
    """The rigid map from the target camera's space to the source camera's; differences are taken in float64."""
    m = cams.camera_from_world(source) @ cams.world_from_camera(target)
    return Relative(m[:3, :3], m[:3, 3])
