"""Solving cameras in tests, and how far the result is off."""

from __future__ import annotations

import itertools

import numpy as np

from engine import camera as cams
from engine.geometry import cameras
from engine.progress import Progress
from engine.records import Photo


def rotation(photo: Photo) -> np.ndarray:
    return cams.world_from_camera(photo.camera)[:3, :3]


def degrees(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1))))


def worst_rotation(found: list[Photo], wanted: list[Photo]) -> float:
    """Degrees; the largest error of a relative rotation between photos of the same name."""
    of = {photo.name: rotation(photo) for photo in wanted}
    pairs = itertools.combinations([(rotation(p), of[p.name]) for p in found if p.name in of], 2)
    return max(degrees(a.T @ b, c.T @ d) for (a, c), (b, d) in pairs)


def solve(photos: list[Photo]) -> tuple[cameras.Solve, list[str]]:
    progress = Progress()
    return cameras.solve_cameras(photos, progress), progress.warnings
