"""Filters that clean pictures of what stereo gets wrong: disparity (H, W), 0 where nothing is known, and a finished condition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SPECKLE = 0.03
"""Relative difference of inverse depth up to which two pixels can be of one surface."""

ONE_SURFACE = 0.01
"""Relative difference of depth within which two pixels of a frame are of one surface."""
CORNERS = ((0, 1, 3), (1, 2, 5), (3, 6, 7), (5, 7, 8))
"""Of the 3×3 pixels around one, in rows: those that make a square with it."""
STICKS_OUT = 0.06
"""Difference to the median around it from which on a colour, in any channel, is a speck's."""


def smooth(disparity: Tensor, noise: float) -> Tensor:
    """Even out a disparity image's relative ``noise`` within surfaces (bilateral, 5×5, twice)."""
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


def drop_speckles(disparity: Tensor) -> Tensor:
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


def without_specks(rgb: Tensor, depth: Tensor, source: Tensor) -> Tensor:
    """Colours (3, H, W) without specks: what stands out in colour and almost alone in depth (H, W) becomes the median around it.

    Where photos take turns from pixel to pixel (source: (H, W) which one), a few show what lies before or behind. What has two
    pixels of its own surface that face each other, as in a wire, or a square of them, as in a corner, stays.
    """
    d, own = depth[..., None], source[..., None]
    other = _around(depth)
    near = (other == d) | ((other - d).abs() < ONE_SURFACE * d)
    wire = (near & near.flip(-1))[..., :4].any(-1)
    corner = torch.stack([near[..., three].all(-1) for three in CORNERS]).any(0)
    lonely = ~wire & ~corner & (_around(source) != own).any(-1)
    median = torch.stack([_around(plane).median(-1).values for plane in rgb])
    return torch.where(lonely & ((rgb - median).abs().amax(0) > STICKS_OUT), median, rgb)


def _around(plane: Tensor) -> Tensor:
    """(H, W, 9) the 3×3 pixels around each; the border's are repeated."""
    padded = F.pad(plane[None, None].float(), (1, 1, 1, 1), mode="replicate")[0, 0]
    return padded.unfold(0, 3, 1).unfold(1, 3, 1).flatten(2)
