"""A whole job that the real engine finishes in a moment: photos with cameras and depth, and small frames."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np


def make(job, photos: list[Path], folder: Path, frames: int) -> Path:
    """Write the job folder. job: the module engine.job. photos: 40 × 30 pixels; their depth is written beside them."""
    sources = []
    for index, path in enumerate(photos):
        np.save(path.with_suffix(".npy"), np.full((30, 40), 4.0, np.float32))
        camera = job.Camera(40, 30, 40.0, 40.0, 20.0, 15.0, _pose(0.1 * index))
        sources.append(job.Source(str(path), depth=str(path.with_suffix(".npy")), camera=camera))
    small = job.Camera(24, 16, 30.0, 30.0, 12.0, 8.0, _pose(0.0))
    path = tuple(job.PathFrame(number, small) for number in range(1, frames + 1))
    job.save(job.Job(tuple(sources), path, generator=job.GeneratorSettings(steps=1)), folder)
    return folder


def _pose(x: float) -> tuple:
    """At (x, 0, 0), looking along +z."""
    return ((1.0, 0.0, 0.0, x), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def frames(folder: Path) -> dict[str, str]:
    """Hash of every frame that stands under its final name."""
    found = sorted((folder / "frames").glob("[0-9]*.png")) if (folder / "frames").is_dir() else []
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
