"""sRGB's transfer curve (IEC 61966-2-1), both ways."""

from __future__ import annotations

import numpy as np


def srgb_from_linear(linear: np.ndarray) -> np.ndarray:
    """sRGB-coded float32 of linear values; the curve's straight part goes on below 0."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055).astype(np.float32)


def exposed(coded: np.ndarray, stops: float) -> np.ndarray:
    """sRGB-coded values 0..1, brightened by ``stops`` and cut at white."""
    return coded if stops == 0 else srgb_from_linear(np.clip(linear_from_srgb(coded) * 2.0**stops, 0, 1))


def linear_from_srgb(coded: np.ndarray) -> np.ndarray:
    """Linear values of sRGB-coded ones; the curve's straight part goes on below 0."""
    return np.where(coded <= 0.04045, coded / 12.92, ((np.maximum(coded, 0) + 0.055) / 1.055) ** 2.4)
