"""What the benchmarks share: metrics, tables, and the memory's speed on this machine and now."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from engine import evaluation

METRICS = ("psnr", "ssim", "haarpsi", "gmsd")


def scores(frame: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(4,) PSNR, SSIM, HaarPSI, GMSD of an (H, W, 3) picture 0..1."""
    return np.array([getattr(evaluation, name)(frame, truth) for name in METRICS])


def table(title: str, header: list[str], rows: list[list]) -> str:
    """A markdown table; numbers get three digits."""
    text = [f"## {title}", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    text += ["| " + " | ".join(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row) + " |" for row in rows]
    return "\n".join(text) + "\n"


def seconds(function: Callable[[], object], times: int = 5) -> float:
    """The fastest of several calls: what the machine can do when nobody disturbs it."""
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def memory_seconds(points: int) -> float:
    """One read of ``points`` xyz float32: the floor of any splat."""
    array = np.ones(points * 3, np.float32)
    return seconds(array.sum)
