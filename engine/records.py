"""The records that pass between the engine's rooms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .job import Camera

SKY = np.float32(np.inf)
"""z-depth of a pixel that is known to be sky or infinitely far."""
UNKNOWN = np.float32(0.0)
"""z-depth of a pixel about which nothing is known."""
CAPTURED = 8
"""Planes of one captured view as a frame sees it: rgb 3, score, visible, resolution, parallax, phase."""


@dataclass
class Photo:
    """A source as it was read, before anything is known of its depth.

    name: unique, for messages. image: (H, W, 3) float32, sRGB-coded, 0..1, upright. mask: (H, W) bool, where it may be used.
    camera: of the same size as image, None when it must be solved. depth: (H, W) float32 z-depth given by the user, or None.
    focal_35mm: 35 mm equivalent focal length (mm) from the job or EXIF, None when unknown. turned: the file holds it otherwise,
    and EXIF tells how, which not every program heeds.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray
    camera: Camera | None = None
    depth: np.ndarray | None = None
    focal_35mm: float | None = None
    turned: bool = False


@dataclass
class View:
    """A photo (or a generated frame) with what is known of its geometry.

    name: unique, for messages. image: (H, W, 3) float32, sRGB-coded, 0..1. camera: of the same size as image.
    mask: (H, W) bool, where the photo may be used. depth: (H, W) float32 z-depth in scene units, UNKNOWN = 0, SKY = inf.
    confidence: (H, W) float32, 0..1, of the depth; 0 where it is unknown. generated: made by the generator, not by a lens.
    """

    name: str
    image: np.ndarray
    camera: Camera
    mask: np.ndarray
    depth: np.ndarray
    confidence: np.ndarray
    generated: bool = False


@dataclass
class PointCloud:
    """Points with all that is known of them.

    points: (N, 3) float32, world. colors: (N, 3) uint8, sRGB. normals: (N, 3) float32, unit, toward the cameras that saw them.
    confidence: (N,) float32, 0..1. source: (N,) int16, index of the view each point was taken from.
    """

    points: np.ndarray
    colors: np.ndarray
    normals: np.ndarray
    confidence: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.points)


@dataclass
class Geometry:
    """All that is known of the scene: posed views with depth, and the cloud fused from them."""

    views: list[View]
    cloud: PointCloud


@dataclass
class Condition:
    """What the photos say about one target frame; the input of every generation backend.

    camera: the target, H×W. rgb: (H, W, 3) float32 sRGB-coded 0..1; holes are filled smoothly, ``level`` tells them apart.
    level: (H, W) uint8; 0 = hole (no photo saw it), 1 = seen at full resolution, n = filled from the pyramid's level n,
    so at 1/2**(n-1) of the resolution. depth: (H, W) float32 z-depth, SKY = inf; smooth in holes. confidence: (H, W) float32,
    0..1, 0 in holes. source: (H, W) int16 index into the views, -1 in holes. global_rgb, global_depth: the fused cloud
    projected into the same camera (global structure guidance), 0 where it says nothing. references: the views retrieved
    for this segment (global scene memory). captured: what the best of them say at this frame's pixels, (K, CAPTURED, H, W)
    float16, see :mod:`engine.memory.captured`; looked up when asked for. None: the condition is all there is.
    """

    camera: Camera
    rgb: np.ndarray
    level: np.ndarray
    depth: np.ndarray
    confidence: np.ndarray
    source: np.ndarray
    global_rgb: np.ndarray
    global_depth: np.ndarray
    references: list[View] = field(default_factory=list)
    captured: Callable[[], np.ndarray] | None = None
