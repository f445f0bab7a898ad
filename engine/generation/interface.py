"""What every generation backend is: condition frames in, frames out.

A backend sees nothing but :class:`engine.records.Condition` records and the job's generator settings. The photos' own
pixels are put back afterwards by :func:`put_back`, so that no backend can change what was seen well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..job import GeneratorSettings
from ..progress import EngineError, Progress
from ..records import Condition
from .model import box_mean


class Backend(Protocol):
    """A generator of frames. ``name``: as in ``job.json``. ``version``: changes when the same job gives other frames. ``steady``:
    neighbouring frames agree by themselves; where they do not, :mod:`engine.memory.temporal` ties them together. ``inventive``:
    frames hold what no photo showed; :mod:`engine.memory.agreement` holds them to what the photos did show."""

    name: str
    version: str
    steady: bool
    inventive: bool

    def generate(self, conditions: Sequence[Condition], settings: GeneratorSettings, progress: Progress) -> list[np.ndarray]:
        """One (H, W, 3) float32 frame, sRGB-coded, 0..1, per condition, of the condition's size.

        A frame depends on its condition and the settings alone, not on how the path was cut into calls.
        Raises Cancelled within one step of the user's wish, EngineError when the device cannot do it.
        """
        ...


class NoneBackend:
    """No generation: the filled condition itself is the result."""

    name = "none"
    version = "1"
    steady = True
    inventive = False

    def generate(self, conditions: Sequence[Condition], settings: GeneratorSettings, progress: Progress) -> list[np.ndarray]:
        """See Backend; the settings change nothing here."""
        frames = []
        for condition in conditions:
            progress.check()
            frames.append(np.clip(condition.rgb, 0, 1).astype(np.float32))
        return frames


def open_backend(name: str, device: torch.device) -> Backend:
    """The backend of that name ("embedded" or "none"), ready on ``device``. Raises EngineError when there is none such."""
    if name == "none":
        return NoneBackend()
    if name == "embedded":
        from .embedded import EmbeddedBackend  # after this module: it needs put_back

        return EmbeddedBackend(device)
    raise EngineError(f'There is no generator "{name}"; choose "embedded" or "none".', "backend")


FULL_RESOLUTION_TRUST = 0.35
"""Exponent of the confidence where a photo saw the pixel at full resolution: there the model has little to add but doubt."""
COARSE_TRUST = 0.3
"""Exponent of the confidence where it was seen coarser: even a doubtful photo knows the smooth colours better than the model."""
COARSEST = 6
"""Levels beyond this are put back as this one."""


def put_back(frame: np.ndarray, condition: Condition) -> np.ndarray:
    """The frame (H, W, 3) with the photos' pixels put back in proportion to their confidence: text stays that text."""
    planes = [np.asarray(x, np.float32) for x in (frame, condition.rgb, condition.level, np.nan_to_num(condition.confidence))]
    tensors = [torch.from_numpy(x).reshape(1, *x.shape[:2], -1).permute(0, 3, 1, 2) for x in planes]
    return restored(*tensors)[0].permute(1, 2, 0).clamp(0, 1).numpy()


def restored(frame: Tensor, rgb: Tensor, level: Tensor, confidence: Tensor) -> Tensor:
    """:func:`put_back` on tensors: frame, rgb (N, 3, H, W); level, confidence (N, 1, H, W).

    A photo that saw a surface at 1/n of the frame's resolution knows means over n×n pixels, not the pixels: so much of it is put
    back and no more, or what the model added in detail would be blurred again. Holes count as seen at the coarsest level: the
    smooth continuation of what is around them stays, the model gives the detail.
    """
    away = rgb - frame
    trust = torch.where(level == 0, torch.ones_like(confidence), confidence.clamp(0, 1))
    level = torch.where(level == 0, torch.full_like(level, COARSEST), level)
    result = frame + torch.where(level == 1, trust**FULL_RESOLUTION_TRUST, 0.0) * away
    for n in range(2, COARSEST + 1):
        here = (level >= n) if n == COARSEST else (level == n)
        if bool(here.any()):
            side = 2 ** (n - 1) + 1
            result = result + torch.where(here, trust**COARSE_TRUST, 0.0) * box_mean(away, side)
    return result
