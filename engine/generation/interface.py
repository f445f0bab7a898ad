"""What every generation backend is: condition frames in, frames out.

A backend sees nothing but :class:`engine.records.Condition` records and the job's generator settings. The photos' own
pixels are put back afterwards by :func:`put_back`, so that no backend can change what was seen well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from ..job import GeneratorSettings
from ..progress import EngineError, Progress
from ..records import Condition


class Backend(Protocol):
    """A generator of frames. ``name``: as in ``job.json``. ``version``: changes when the same job gives other frames."""

    name: str
    version: str

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


def put_back(frame: np.ndarray, condition: Condition) -> np.ndarray:
    """The frame (H, W, 3) with the photos' pixels put back in proportion to their confidence: text stays that text."""
    weight = evidence(condition)[..., None]
    return np.clip(frame + weight * (condition.rgb - frame), 0, 1).astype(np.float32)


FULL_RESOLUTION_TRUST = 0.25
"""Exponent of the confidence where a photo saw the pixel at full resolution: there the model has little to add."""


def evidence(condition: Condition) -> np.ndarray:
    """(H, W) float32, 0..1: how far each pixel is the photos' own, growing with the confidence; 0 in holes."""
    sure = np.clip(np.nan_to_num(condition.confidence), 0, 1)
    sure = np.where(condition.level == 1, sure**FULL_RESOLUTION_TRUST, sure)
    return np.where(condition.level > 0, sure, 0).astype(np.float32)
