"""The embedded generator's result against its condition, and its time at full size."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import scenes
import torch
from PIL import Image
from tables import METRICS, scores, table

from engine.camera import resized
from engine.conditioning import Warper
from engine.generation import open_backend
from engine.generation.samples import cloud_of
from engine.job import GeneratorSettings
from engine.progress import Progress
from engine.records import Condition

CPU = torch.device("cpu")


def run(out: Path, per_band: int = 6) -> str:
    """A table per band of zoom, and the time of a frame of 1024×576."""
    backend = open_backend("embedded", CPU)
    settings, rows, sheet = GeneratorSettings(), {}, []
    for band, shot in scenes.synthetic("corrupted", per_band):
        condition = Warper(shot.views, CPU, cloud_of(shot.views)).condition(shot.path[0])
        frame = backend.generate([condition], settings, Progress())[0]
        pair = [scores(picture, shot.truth[0]) for picture in (condition.rgb, frame)]
        rows.setdefault(band, []).append(pair)
        if len(rows[band]) == 1:
            sheet.append(np.hstack([condition.rgb, frame, shot.truth[0]]))
    lines = []
    for (low, high), pairs in rows.items():
        before, after = np.array(pairs).transpose(1, 0, 2)
        lines.append([f"{low}–{high}×", "condition", *before.mean(0).tolist(), ""])
        lines.append([f"{low}–{high}×", "result", *after.mean(0).tolist(), f"{(after[:, 0] > before[:, 0]).mean():.0%}"])
    Image.fromarray((np.clip(np.vstack(sheet), 0, 1) * 255).round().astype(np.uint8)).save(out / "generator.png")
    header = ["zoom", "picture", *(name.upper() for name in METRICS), "better (PSNR)"]
    text = table(f"Generator, corrupted depth, {per_band} samples a band", header, lines)
    start = time.perf_counter()
    backend.generate([_enlarged(condition)], settings, Progress())
    return text + f"\nA frame of 1024×576 takes {time.perf_counter() - start:.1f} s.\n"


def _enlarged(condition: Condition) -> Condition:
    """The condition repeated to 1024×576: only its size matters."""
    height, width = 576, 1024
    tiles = (-(-height // condition.level.shape[0]), -(-width // condition.level.shape[1]))
    arrays = {
        field.name: np.tile(value, (*tiles, 1)[: value.ndim])[:height, :width]
        for field in fields(condition)
        if isinstance(value := getattr(condition, field.name), np.ndarray)
    }
    return replace(condition, camera=resized(condition.camera, width, height), **arrays)
