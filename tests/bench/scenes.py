"""The benchmark's scenes: rooms of the synthetic world that no training saw, and still lifes that Blender rendered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine import evaluation
from engine.generation.samples import HELD_OUT
from engine.generation.textures import bank
from engine.generation.world import sample_views
from engine.job import Camera
from engine.records import Photo, View

BANDS = ((1.5, 2.5), (2.5, 4.0), (4.0, 7.0))
"""Zoom of the synthetic samples, times the photos'."""
FIRST = HELD_OUT + 5_000_000
ERRORS = {"exact": 0.0, "corrupted": 0.8}
"""Depth's error (1 sigma), pixels of the photo over the baseline: stereo's own is about this."""


@dataclass
class Shot:
    """Photos with depth, target cameras, what these truly see, (H, W, 3) each, and the true z-depth, (H, W) each."""

    name: str
    views: list[View]
    path: list[Camera]
    truth: list[np.ndarray]
    depth: list[np.ndarray]


def synthetic(kind: str, per_band: int, size: int = 256) -> Iterator[tuple[tuple[float, float], Shot]]:
    """Samples of the synthetic world per band of zoom, with ``exact`` or ``corrupted`` depth."""
    textures = bank(FIRST, 48, torch.device("cpu"))
    for row, (low, high) in enumerate(BANDS):
        for column in range(per_band):
            zoom = low * (high / low) ** ((column + 0.5) / per_band)
            seed = FIRST + row * 1000 + column
            sample = sample_views(seed, textures, size, torch.device("cpu"), zoom, ERRORS[kind])
            yield (low, high), Shot(f"{seed}", sample.views, [sample.camera], [sample.truth], [sample.depth])


def rendered(folder: Path) -> Shot:
    """A folder that demo/still_life.py wrote, with the exact depth."""
    table = json.loads((folder / "cameras.json").read_text(encoding="utf-8"))
    views = []
    for item in table["photos"]:
        image = np.asarray(evaluation.read_picture(folder / item["image"]), np.float32)
        depth = np.load(folder / "photos_depth" / f"{Path(item['image']).stem}.npy").astype(np.float32)
        whole = np.ones(depth.shape, bool)
        views.append(View(item["image"], image, Camera(**item["camera"]), whole, depth, np.ones_like(depth)))
    path = [Camera(**item["camera"]) for item in table["path"]]
    truth = [evaluation.read_picture(name) for name in sorted((folder / "truth").glob("*.png"))]
    depth = [np.load(name) for name in sorted((folder / "truth_depth").glob("*.npy"))]
    return Shot(folder.name, views, path, truth, depth)


def photos_of(shot: Shot) -> list[Photo]:
    """The shot's photos with their cameras and without their depth, for stereo."""
    return [Photo(view.name, view.image, view.mask, view.camera) for view in shot.views]
