"""Quality and time of the warp against what others would render from the same photos with depth."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scenes
import torch
from measures import BINS, calibration, leaked, suppression
from PIL import Image
from renders import bilinear_splat, point_render, tsdf
from tables import METRICS, memory_seconds, scores, seconds, table

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "engine"))

import synthetic  # noqa: E402

from engine.conditioning import Warper, baselines  # noqa: E402
from engine.generation.samples import warper_of  # noqa: E402
from engine.job import Camera  # noqa: E402
from engine.records import View  # noqa: E402

CPU = torch.device("cpu")
Draw = Callable[[list[View], Camera], tuple[np.ndarray, np.ndarray]]
OTHERS: dict[str, Draw] = {
    "naive, 1 pixel": baselines.naive,
    "points of fixed radius (ViewCrafter)": point_render,
    "bilinear, soft z (GEN3C)": bilinear_splat,
}


def others(shot: scenes.Shot, tsdf_python: str | None) -> dict[str, list[np.ndarray]]:
    """Frames per method, each with Telea's inpainting where nothing was drawn; the naive ones without it, too."""
    drawn = {name: [draw(shot.views, camera) for camera in shot.path] for name, draw in OTHERS.items()}
    if tsdf_python:
        drawn["coloured TSDF mesh with sky"] = tsdf(shot.views, shot.path, tsdf_python)
    frames = {f"{name} + Telea": [baselines.telea(*pair) for pair in pairs] for name, pairs in drawn.items()}
    return {"naive, 1 pixel": [rgb for rgb, _ in drawn["naive, 1 pixel"]], **frames}


@dataclass
class Found:
    """On one shot: metrics (frames, 4) and frames of every method, and of the condition the share of leaked pixels, the counts of
    ``measures.suppression``, and those of ``measures.calibration``."""

    rows: dict[str, np.ndarray]
    frames: dict[str, list[np.ndarray]]
    leak: float
    suppressed: np.ndarray
    calibrated: np.ndarray


def compare(shot: scenes.Shot, tsdf_python: str | None) -> Found:
    """Every method on one shot."""
    warper = warper_of(shot.views, CPU)
    conditions = [warper.condition(camera) for camera in shot.path]
    frames = {**others(shot, tsdf_python), "condition": [condition.rgb for condition in conditions]}
    return Found(
        {name: np.array([scores(*pair) for pair in zip(pictures, shot.truth)]) for name, pictures in frames.items()},
        frames,
        float(np.mean([leaked(*pair) for pair in zip(conditions, shot.depth)])),
        sum(suppression(warper.sources, *pair) for pair in zip(shot.path, shot.depth)),
        sum(calibration(*pair) for pair in zip(conditions, shot.truth)),
    )


def on_synthetic(out: Path, per_band: int, tsdf_python: str | None) -> str:
    """Tables per kind of depth and band of zoom, and a picture with one sample of each band."""
    text, sheet, suppressed, calibrated = "", [], [], {}
    for kind in scenes.ERRORS:
        bands: dict[str, list[Found]] = {}
        for (low, high), shot in scenes.synthetic(kind, per_band):
            bands.setdefault(f"{low}–{high}×", []).append(compare(shot, tsdf_python))
        lines = []
        for band, found in bands.items():
            sheet.append(np.hstack([*(pictures[0] for pictures in found[0].frames.values()), shot.truth[0]]))
            for name in found[0].rows:
                leaks = f"{np.mean([one.leak for one in found]):.2%}" if name == "condition" else ""
                lines.append([band, name, *np.mean([one.rows[name][0] for one in found], 0).tolist(), leaks])
            suppressed.append([f"{kind}, {band}", *_removed(sum(one.suppressed for one in found))])
        text += table(f"Synthetic scenes, {kind} depth, {per_band} samples a band", _header("zoom", "leaked"), lines) + "\n"
        calibrated[f"synthetic, {kind}"] = sum(one.calibrated for found in bands.values() for one in found)
    _save(out / "conditioning-synthetic.png", sheet)
    return text + _suppression(suppressed) + _calibration(calibrated)


def on_rendered(out: Path, folders: list[Path], tsdf_python: str | None) -> str:
    """A table per rendered scene: the means, and on how many frames the condition is the better one."""
    text, suppressed, calibrated = "", [], {}
    for folder in folders:
        shot = scenes.rendered(folder)
        found = compare(shot, tsdf_python)
        ours = found.rows["condition"]
        lines = [
            [
                name,
                *values.mean(0).tolist(),
                f"{(ours[:, 0] > values[:, 0]).sum()} of {len(values)}" if name != "condition" else "",
            ]
            for name, values in found.rows.items()
        ]
        title = f"{shot.name}, exact depth: {found.leak:.2%} leaked"
        text += table(title, ["method", *_names(), "condition better (PSNR)"], lines) + "\n"
        suppressed.append([shot.name, *_removed(found.suppressed)])
        calibrated[shot.name] = found.calibrated
        chosen = range(0, len(shot.path), max(1, len(shot.path) // 4))
        sheet = [np.hstack([*(pictures[i] for pictures in found.frames.values()), shot.truth[i]]) for i in chosen]
        _save(out / f"conditioning-{shot.name}.png", sheet)
    return text + (_suppression(suppressed) + _calibration(calibrated) if folders else "")


def _removed(counts: np.ndarray) -> list[str]:
    leaks, removed, good, wrongly = counts
    return [f"{leaks:.0f}", f"{removed / max(leaks, 1):.1%}", f"{good:.0f}", f"{wrongly / max(good, 1):.2%}"]


def _suppression(lines: list[list]) -> str:
    header = ["depth", "samples that leak", "of them removed", "good samples", "of them removed"]
    return table("Suppression, samples of all levels", header, lines) + "\n"


def _calibration(counts: dict[str, np.ndarray]) -> str:
    """Per bin of confidence, the share of the pixels, and how many of these are right."""
    lines = []
    for row in range(BINS):
        shares = [f"{x[row, 1] / max(x[row, 0], 1):.0%} of {x[row, 0] / x[:, 0].sum():.2%}" for x in counts.values()]
        lines.append([f"{row / BINS:.1f}–{(row + 1) / BINS:.1f}", *shares])
    return table("Within 8/255 of the truth, by confidence", ["confidence", *counts], lines) + "\n"


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
