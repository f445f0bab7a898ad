"""Quality and time of the warp against what others would render from the same photos with depth."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import scenes
import torch
from PIL import Image
from renders import bilinear_splat, point_render, tsdf
from tables import METRICS, memory_seconds, scores, seconds, table

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "engine"))

import synthetic  # noqa: E402

from engine.conditioning import Warper, baselines  # noqa: E402
from engine.generation.samples import cloud_of  # noqa: E402
from engine.job import Camera  # noqa: E402
from engine.records import Condition, View  # noqa: E402

CPU = torch.device("cpu")
LEAK = 0.05
"""A pixel shows what lies behind when it is farther than the true surface around it (3×3) by more than this (relative)."""
Draw = Callable[[list[View], Camera], tuple[np.ndarray, np.ndarray]]
OTHERS: dict[str, Draw] = {
    "naive, 1 pixel": baselines.naive,
    "points of fixed radius (ViewCrafter)": point_render,
    "bilinear, soft z (GEN3C)": bilinear_splat,
}


def leaked(condition: Condition, depth: np.ndarray) -> float:
    """Share of the pixels of a true surface at which the condition shows a photo's colour of something farther away."""
    far = cv2.dilate(np.where(np.isfinite(depth), depth, np.float32(1e30)).astype(np.float32), np.ones((3, 3)))
    surface = far < 1e29
    shown = (condition.level > 0) & (condition.depth > far * (1 + LEAK)) & surface
    return float(shown.sum() / max(1, surface.sum()))


def others(shot: scenes.Shot, tsdf_python: str | None) -> dict[str, list[np.ndarray]]:
    """Frames per method, each with Telea's inpainting where nothing was drawn; the naive ones without it, too."""
    drawn = {name: [draw(shot.views, camera) for camera in shot.path] for name, draw in OTHERS.items()}
    if tsdf_python:
        drawn["coloured TSDF mesh with sky"] = tsdf(shot.views, shot.path, tsdf_python)
    frames = {f"{name} + Telea": [baselines.telea(*pair) for pair in pairs] for name, pairs in drawn.items()}
    return {"naive, 1 pixel": [rgb for rgb, _ in drawn["naive, 1 pixel"]], **frames}


def compare(shot: scenes.Shot, tsdf_python: str | None) -> tuple[dict[str, np.ndarray], dict[str, list[np.ndarray]], float]:
    """Metrics (frames, 4) and frames of every method on one shot, and the share of leaked pixels."""
    warper = Warper(shot.views, CPU, cloud_of(shot.views))
    conditions = [warper.condition(camera) for camera in shot.path]
    frames = {**others(shot, tsdf_python), "condition": [condition.rgb for condition in conditions]}
    rows = {name: np.array([scores(*pair) for pair in zip(pictures, shot.truth)]) for name, pictures in frames.items()}
    return rows, frames, float(np.mean([leaked(*pair) for pair in zip(conditions, shot.depth)]))


def on_synthetic(out: Path, per_band: int, tsdf_python: str | None) -> str:
    """Tables per kind of depth and band of zoom, and a picture with one sample of each band."""
    text, sheet = "", []
    for kind in scenes.ERRORS:
        rows: dict[tuple, dict[str, list]] = {}
        leaks: dict[tuple, list[float]] = {}
        for band, shot in scenes.synthetic(kind, per_band):
            found, frames, leak = compare(shot, tsdf_python)
            for name, values in found.items():
                rows.setdefault(band, {}).setdefault(name, []).append(values[0])
            leaks.setdefault(band, []).append(leak)
            if len(leaks[band]) == 1:
                sheet.append(np.hstack([*(pictures[0] for pictures in frames.values()), shot.truth[0]]))
        lines = []
        for band, methods in rows.items():
            lines += [
                [f"{band[0]}–{band[1]}×", name, *np.mean(values, 0).tolist(), leaks[band] and float(np.mean(leaks[band])) * 100]
                if name == "condition"
                else [f"{band[0]}–{band[1]}×", name, *np.mean(values, 0).tolist(), ""]
                for name, values in methods.items()
            ]
        text += table(f"Synthetic scenes, {kind} depth, {per_band} samples a band", _header("zoom", "leaked %"), lines) + "\n"
    _save(out / "conditioning-synthetic.png", sheet)
    return text


def on_rendered(out: Path, folders: list[Path], tsdf_python: str | None) -> str:
    """A table per rendered scene: the means, and on how many frames the condition is the better one."""
    text = ""
    for folder in folders:
        shot = scenes.rendered(folder)
        rows, frames, leak = compare(shot, tsdf_python)
        ours = rows["condition"]
        lines = [
            [
                name,
                *values.mean(0).tolist(),
                f"{(ours[:, 0] > values[:, 0]).sum()} of {len(values)}" if name != "condition" else "",
            ]
            for name, values in rows.items()
        ]
        text += (
            table(f"{shot.name}, exact depth: {leak:.2%} leaked", ["method", *_names(), "condition better (PSNR)"], lines) + "\n"
        )
        chosen = range(0, len(shot.path), max(1, len(shot.path) // 4))
        sheet = [np.hstack([*(pictures[i] for pictures in frames.values()), shot.truth[i]]) for i in chosen]
        _save(out / f"conditioning-{shot.name}.png", sheet)
    return text


def speed() -> str:
    """Time of whole conditions from four photos of 1600×1200."""
    photos, depths = synthetic.photos(4, 1600, 1200)
    views = [View(p.name, p.image, p.camera, p.mask, d, np.ones_like(d)) for p, d in zip(photos, depths)]
    lines = []
    prepared = []
    prepare = seconds(lambda: prepared.append(Warper(views, CPU)), 1)
    for width, height in ((512, 288), (1024, 576)):
        for zoom in (1, 4):
            camera = synthetic.look_at((0.3, -3.0 / zoom, 1.2 / zoom), (0, 0, 0.3), width, height)
            lines.append([f"{width}×{height}", f"{zoom}×", seconds(functools.partial(prepared[0].condition, camera)) * 1e3])
    floor = memory_seconds(sum(depth.size for depth in depths)) * 1e3
    text = table("Time of a whole condition, 4 photos of 1600×1200", ["frame", "nearer", "ms"], lines)
    return text + f"\nPreparing the photos takes {prepare:.2f} s, one read of their points {floor:.2f} ms.\n"


def run(out: Path, folders: list[Path], tsdf_python: str | None, per_band: int = 6) -> str:
    """The whole benchmark as markdown; pictures go to ``out``."""
    return on_synthetic(out, per_band, tsdf_python) + on_rendered(out, folders, tsdf_python) + speed()


def _names() -> list[str]:
    return [name.upper() if name != "haarpsi" else "HaarPSI" for name in METRICS]


def _header(first: str, last: str) -> list[str]:
    return [first, "method", *_names(), last]


def _save(path: Path, rows: list[np.ndarray]) -> None:
    Image.fromarray((np.clip(np.vstack(rows), 0, 1) * 255).round().astype(np.uint8)).save(path)
