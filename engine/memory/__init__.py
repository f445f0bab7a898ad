"""Memory: what ties the segments of a path together (AnyRecon, arXiv 2604.19747).

The path is cut into segments. For each, the captured views that *visibly* contribute most are
retrieved; after each, what its last frame shows that no photo saw becomes part of the memory,
so the segments to come show the same thing there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from ..conditioning import Warper
from ..conditioning.silhouettes import softened
from ..job import Camera, PathFrame
from ..records import Condition, View
from . import captured
from .agreement import RESOLVE, agreeing
from .captured import retrieve as retrieve

MAX_REMEMBERED = 4
"""Generated views that are carried along; older ones are forgotten."""
GENERATED_CONFIDENCE = 0.15
"""Depth confidence of generated pixels: below anything a photo saw."""


def segments(path: Sequence[PathFrame], length: int) -> Iterator[Sequence[PathFrame]]:
    """The path in order, in pieces of at most ``length`` frames."""
    for start in range(0, len(path), length):
        yield path[start : start + length]


def remembering(warper: Warper, camera: Camera) -> Condition:
    """``warper.condition(camera)``, its silhouettes softened, resolved as finely as the photos' pixels together tell; it can
    be asked what the captured views say at its pixels."""
    condition = warper.condition(camera)
    condition.rgb = agreeing(softened(condition, warper), condition, warper, RESOLVE)
    condition.captured = partial(captured.captured, warper, camera, condition.depth)
    return condition


def generated_view(name: str, camera: Camera, frame: np.ndarray, depth: np.ndarray, holes: np.ndarray) -> View | None:
    """What a generated frame adds to what the photos saw, as a view; None when it adds nothing.

    frame: (H, W, 3) sRGB-coded. depth: (H, W) z-depth. holes: (H, W) bool, where no photo saw anything.
    """
    known = holes & np.isfinite(depth) & (depth > 0)
    if known.mean() < 1e-3:
        return None
    depth = np.where(known, depth, 0).astype(np.float32)
    confidence = np.where(known, GENERATED_CONFIDENCE, 0).astype(np.float32)
    return View(name, frame, camera, known, depth, confidence, generated=True)


def remember(remembered: list[View], view: View | None) -> list[View]:
    """The generated views that the next segment is made from."""
    return ([*remembered, view] if view is not None else remembered)[-MAX_REMEMBERED:]
