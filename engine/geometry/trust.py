"""How sure depth must be to be used: one bar for the cloud, which stays as a thing of its own, and a lower one for frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..records import UNKNOWN, View

FUSED_CONFIDENCE = 0.3
"""Depth below this confidence was filled in from its neighbours and stays out of the cloud."""
WARPED_CONFIDENCE = 0.025
"""Depth below this confidence, of a photo that shares too little with the others, is made up; frames are better without it."""
LEAST = 0.05
"""Share of the pixels that must be left, or all are kept."""


def for_cloud(views: list[View]) -> list[View]:
    """The views with the depth that is fused."""
    return trusted(views, FUSED_CONFIDENCE)


def for_frames(views: list[View]) -> list[View]:
    """The views with the depth that frames are made from."""
    return trusted(views, WARPED_CONFIDENCE)


def trusted(views: list[View], floor: float) -> list[View]:
    """The views without depth of less confidence than ``floor``; as they are when hardly anything would be left."""
    kept = [view.confidence >= floor for view in views]
    if np.mean([mask.mean() for mask in kept]) < LEAST:
        return views
    return [
        replace(view, depth=np.where(mask, view.depth, UNKNOWN), confidence=np.where(mask, view.confidence, np.float32(0)))
        for view, mask in zip(views, kept)
    ]
