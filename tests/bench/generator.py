"""The embedded generator's result against its condition, what it owes to its inputs, its flicker, and its time at full size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import scenes
import torch
from PIL import Image
from tables import METRICS, scores, table

from engine.camera import resized
from engine.generation import Backend, open_backend
from engine.generation.samples import HELD_OUT, warper_of
from engine.generation.textures import bank
from engine.generation.world import Sample, sample_move
from engine.job import GeneratorSettings
from engine.memory import remembering
from engine.memory.agreement import agreeing
from engine.memory.temporal import Shown, seen_again, steadied
from engine.progress import Progress
from engine.records import Condition

CPU = torch.device("cpu")
NUMBERS = (2, 3, 4, 6)
"""Of photos, compared with each other; memory and guidance are taken away from the last but one."""


def run(out: Path, per_band: int = 6) -> str:
    """A table per band of zoom, and the time of a frame of 1024×576."""
    backend = open_backend("embedded", CPU)
    settings, rows, sheet = GeneratorSettings(), {}, []
    for band, shot in scenes.synthetic("corrupted", per_band):
        warper = warper_of(shot.views, CPU)
        condition = remembering(warper, shot.path[0])
        frame = agreeing(backend.generate([condition], settings, Progress())[0], condition, warper)
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
    text += f"\nA frame of 1024×576 takes {time.perf_counter() - start:.1f} s, the look-up of its captured views apart.\n"
    return "\n".join([text, ablation(backend, 3 * per_band), flicker(backend, per_band)])


def ablation(backend: Backend, count: int) -> str:
    """Results by number of photos, and with memory or guidance taken away, paired: of the same ``count`` scenes."""
    rows: dict[str, list] = {}
    for index, (first, *_) in enumerate(_moves(count, 1, NUMBERS[-1])):
        for number in NUMBERS:
            warper = warper_of(first.views[:number], CPU)
            condition = remembering(warper, first.camera)
            variants = {f"{number} photos": condition}
            if number == NUMBERS[-2]:
                silent = (np.zeros_like(x) for x in (condition.global_rgb, condition.global_depth))
                variants["without memory"] = replace(condition, captured=None)
                variants["without guidance"] = replace(condition, **dict(zip(("global_rgb", "global_depth"), silent)))
            for name, variant in variants.items():
                frame = agreeing(backend.generate([variant], GeneratorSettings(seed=index), Progress())[0], variant, warper)
                rows.setdefault(name, []).append([scores(x, first.truth) for x in (np.clip(variant.rgb, 0, 1), frame)])
    lines = []
    for name, pairs in rows.items():
        before, after = np.mean(pairs, 0)
        lines += [[name, "condition", *before.tolist()], [name, "result", *after.tolist()]]
    return table(f"What it is made from, {count} scenes", ["input", "picture", *(x.upper() for x in METRICS)], lines)


def flicker(backend: Backend, count: int, frames: int = 8) -> str:
    """How much neighbouring frames of ``count`` slow moves differ where the truth shows the same surface, and their error."""
    rows: dict[str, list] = {}
    for move in _moves(count, frames):
        warper = warper_of(move[0].views, CPU)
        conditions = [remembering(warper, shot.camera) for shot in move]
        singles = backend.generate(conditions, GeneratorSettings(), Progress())
        tied = [agreeing(frame, c, warper) for frame, c in zip(steadied(singles, conditions, None), conditions)]
        sequences = {"truth": [shot.truth for shot in move], "condition": [np.clip(c.rgb, 0, 1) for c in conditions]}
        for name, pictures in {**sequences, "frames by themselves": singles, "frames": tied}.items():
            error = np.mean([scores(*pair) for pair in zip(pictures[1:], sequences["truth"][1:])], 0)
            rows.setdefault(name, []).append([1000 * difference(pictures, move), *error])
    lines = [[name, *np.mean(row, 0).tolist()] for name, row in rows.items()]
    return table(f"Flicker, {count} moves of {frames} frames", ["frames", "flicker ×1000", *(x.upper() for x in METRICS)], lines)


def difference(pictures: list[np.ndarray], move: list[Sample]) -> float:
    """Mean absolute difference of each picture and the one before it, carried over by true depth, where both see the surface."""
    total = []
    for index in range(1, len(move)):
        shown = Shown(move[index - 1].camera, pictures[index - 1], move[index - 1].depth)
        colours, share = seen_again(shown, move[index].camera, move[index].depth)
        total.append(np.abs(colours - pictures[index])[share > 0.5].mean())
    return float(np.mean(total))


def _moves(count: int, frames: int, photos: int | None = None) -> Iterator[list[Sample]]:
    """Held-out scenes at zooms from 1 to 8, seen from a moving camera."""
    textures = bank(HELD_OUT + 2, 24, CPU)
    for index in range(count):
        zoom = 8 ** ((index + 0.5) / count)
        yield sample_move(HELD_OUT + 8000 + index, textures, 128, CPU, frames, zoom, count=photos)


def _enlarged(condition: Condition) -> Condition:
    """The condition repeated to 1024×576: only its size matters."""
    height, width = 576, 1024
    tiles = (-(-height // condition.level.shape[0]), -(-width // condition.level.shape[1]))
    arrays = {
        field.name: np.tile(value, (*tiles, 1)[: value.ndim])[:height, :width]
        for field in fields(condition)
        if isinstance(value := getattr(condition, field.name), np.ndarray)
    }
    views = np.tile(condition.captured(), (1, 1, *tiles))[..., :height, :width]
    return replace(condition, camera=resized(condition.camera, width, height), captured=lambda: views, **arrays)
