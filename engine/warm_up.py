"""A small job of a scene of its own: what is compiled on first use is compiled when it ends, and kept (:mod:`engine.compiled`).

The installer runs it, so that a user's first job starts at once.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from . import camera as cams
from . import job, pipeline, preview
from .progress import Progress

SIZE = (160, 120)
FOCAL = 150.0
WALL, BLOCK = 3.0, 2.0
"""Depth of a wall, and of a block before its middle; above the wall is sky."""


def run() -> float:
    """Everything a job and a live preview do on the CPU, on small pictures. Returns the seconds of the job.

    Raises what :func:`engine.pipeline.run` does, and OSError where no temporary folder can be made.
    """
    with tempfile.TemporaryDirectory(prefix="closeup-warm-up-") as name:
        folder = Path(name)
        sources = tuple(_photo(folder, index) for index in range(4))
        path = tuple(job.PathFrame(number, _camera(0.1 * number, 0.4 * number)) for number in (1, 2))
        job.save(job.Job(sources, path, generator=job.GeneratorSettings(steps=1)), folder)
        seconds = pipeline.run(folder, Progress(), "cpu")["seconds"]
        camera = json.loads(json.dumps(asdict(_camera(0.2, 0.5))))
        request = {"id": 1, "job": name, "pictures": name, "camera": camera}
        list(preview.Previewer("cpu").pictures(request, lambda: False))
    return seconds


def _camera(right: float, forward: float) -> job.Camera:
    """Looks along +z from a place on the floor."""
    pose = np.eye(4)
    pose[:3, 3] = right, 0.0, forward
    return cams.from_arrays(*SIZE, [[FOCAL, 0, SIZE[0] / 2], [0, FOCAL, SIZE[1] / 2], [0, 0, 1]], pose)


def _photo(folder: Path, index: int) -> job.Source:
    """One view of the scene, as a file."""
    camera = _camera(0.12 * index, 0.05 * (index % 2))
    picture, depth = _seen(camera)
    Image.fromarray(picture).save(folder / f"{index}.png")
    if index:
        return job.Source(f"{index}.png", camera=camera)
    noisy = depth * np.random.default_rng(2).normal(1, 0.02, depth.shape)  # what is measured may be too good to be smoothed
    np.save(folder / "depth.npy", noisy.astype(np.float32))
    return job.Source(f"{index}.png", depth="depth.npy", camera=camera)


def _seen(camera: job.Camera) -> tuple[np.ndarray, np.ndarray]:
    """Picture (H, W, 3) uint8 and z-depth (H, W) of ``camera``; the colours depend on the point alone, so all views agree."""
    rays, origin = cams.pixel_rays(camera), cams.position(camera)
    at = {depth: origin + rays * (depth - origin[2]) / rays[..., 2:] for depth in (WALL, BLOCK)}
    block = np.abs(at[BLOCK][..., :2]).max(-1) < 0.35
    points = np.where(block[..., None], at[BLOCK], at[WALL])
    waves = [np.sin(points @ direction) for direction in np.random.default_rng(1).normal(0, 25, (12, 3))]
    color = 128 + 20 * np.stack([sum(waves[channel::3]) for channel in range(3)], axis=-1)
    sky = ~block & (at[WALL][..., 1] < -0.9)
    color[sky] = 150, 190, 240
    return color.clip(0, 255).astype(np.uint8), np.where(sky, np.inf, points[..., 2] - origin[2])
