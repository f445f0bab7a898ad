"""Small whole jobs of the synthetic scene, and ways to run them as a user does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import synthetic
from PIL import Image

from engine import job

ROOT = Path(__file__).resolve().parents[2]
SIZE = (160, 120)


def make(
    folder: Path,
    photos: int = 3,
    frames: int = 3,
    depth: bool = True,
    size: tuple[int, int] = (96, 64),
    photo_size: tuple[int, int] = SIZE,
    **settings,
) -> Path:
    """A job folder: photos on an arc, a push-in, with exact depth files unless told otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    found, truths = synthetic.photos(photos, *photo_size)
    sources = []
    for index, (photo, truth) in enumerate(zip(found, truths)):
        image = folder / f"photo-{index}.png"
        Image.fromarray((photo.image * 255 + 0.5).astype(np.uint8)).save(image)
        name = None
        if depth:
            name = f"photo-{index}.npy"
            np.save(folder / name, truth)
        sources.append(job.Source(image.name, depth=name, camera=photo.camera, sha256=job.sha256_of(image)))
    job.save(job.Job(sources=tuple(sources), path=push_in(frames, size), **settings), folder)
    return folder


def push_in(frames: int, size: tuple[int, int]) -> tuple[job.PathFrame, ...]:
    """A straight move toward the sphere; the last frame is about four times as close as the photos."""
    path = []
    for index in range(frames):
        position = np.array([-0.3, -2.6 + 1.8 * index / max(1, frames - 1), 0.8])
        path.append(job.PathFrame(index + 1, synthetic.look_at(position, (-0.45, -0.1, 0.45), *size)))
    return tuple(path)


def change(folder: Path, edit) -> None:
    """Let ``edit`` change job.json's object in place."""
    place = folder / job.FILENAME
    data = json.loads(place.read_text())
    edit(data)
    place.write_text(json.dumps(data))


def environment() -> dict[str, str]:
    """One thread is steadier than two on a busy machine."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def start(*arguments: object, **pipes) -> subprocess.Popen:
    """``python -m engine …`` as a process."""
    command = [sys.executable, "-m", "engine", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment(), **pipes)


def run(folder: Path) -> tuple[int, list[dict], str]:
    """Exit code, events and stderr of ``run FOLDER``."""
    process = start("run", folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=300)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


def results(folder: Path) -> dict[str, str]:
    """Hash of every file that a run leaves for the user, but the report with its times."""
    found = {}
    for name in ("frames", "condition", "depth", "provenance", "cloud.ply", "cameras.json"):
        place = folder / name
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def temporaries(folder: Path) -> list[Path]:
    """Files under a temporary name."""
    return [path for path in folder.rglob(".[0-9]*") if path.is_file()]
