"""Filters that clean a disparity image (H, W), 0 where nothing is known, of what stereo gets wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SPECKLE = 0.03
"""Relative difference of inverse depth up to which two pixels can be of one surface."""


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
