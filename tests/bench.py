"""Quality and time of the engine's parts on a synthetic scene; writes a table and a picture. Started by build.py bench."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "engine")]

import jobs  # noqa: E402
import synthetic  # noqa: E402

from engine import evaluation  # noqa: E402
from engine.conditioning import Warper, baselines  # noqa: E402
from engine.generation import open_backend  # noqa: E402
from engine.geometry import stereo  # noqa: E402
from engine.job import GeneratorSettings  # noqa: E402
from engine.progress import Progress  # noqa: E402
from engine.records import View  # noqa: E402

DEVICE = torch.device("cpu")
METRICS = ("psnr", "ssim", "haarpsi", "gmsd")


def views_of(photos, depths, corrupt: bool) -> list[View]:
    """The photos with exact depth, or with depth as stereo gets it wrong: noise, drop-outs, drift of scale, bleeding edges."""
    chance = np.random.default_rng(0)
    views = []
    for photo, depth in zip(photos, depths):
        confidence = np.ones_like(depth)
        if corrupt:
            import cv2

            depth = cv2.erode(depth, np.ones((3, 3))) * (1 + chance.normal(0, 0.002))
            depth = depth * (1 + chance.normal(0, 0.003, depth.shape)).astype(np.float32)
            lost = cv2.resize(chance.random((12, 16)), depth.shape[::-1]) > 0.8
            depth, confidence = np.where(lost, 0, depth).astype(np.float32), np.where(lost, 0, 0.8).astype(np.float32)
        views.append(View(photo.name, photo.image, photo.camera, photo.mask, depth.astype(np.float32), confidence))
    return views


def scores(frame: np.ndarray, truth: np.ndarray) -> list[float]:
    """PSNR, SSIM, HaarPSI, GMSD."""
    return [getattr(evaluation, name)(frame, truth) for name in METRICS]


def table(title: str, header: list[str], rows: list[list]) -> str:
    """A markdown table."""
    text = [f"## {title}", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    text += ["| " + " | ".join(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row) + " |" for row in rows]
    return "\n".join(text) + "\n"


def memory_seconds(points: int) -> float:
    """Time of one read of ``points`` xyz float32: the floor of any splat, on this machine and now."""
    array = np.ones(points * 3, np.float32)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        array.sum()
        times.append(time.perf_counter() - start)
    return min(times)


def conditioning(out: Path) -> str:
    """Condition against naive warping, and its time."""
    photos, depths = synthetic.photos(4, 640, 480)
    path = jobs.push_in(6, (512, 288))
    rows, sheet = [], []
    for kind in ("exact", "corrupted"):
        views = views_of(photos, depths, kind == "corrupted")
        warper = Warper(views, DEVICE)
        sums, seconds = np.zeros((3, len(METRICS))), []
        for item in path:
            truth, _ = synthetic.cast(item.camera)
            naive, mask = baselines.naive(views, item.camera)
            start = time.perf_counter()
            condition = warper.condition(item.camera)
            seconds.append(time.perf_counter() - start)
            pictures = (naive, baselines.telea(naive, mask), condition.rgb)
            sums += [scores(picture, truth) for picture in pictures]
            if item.frame == len(path):
                sheet.append(np.hstack([*pictures, truth]))
        for name, row in zip(("naive", "naive + Telea", "condition"), sums / len(path)):
            time_of = float(np.median(seconds)) if name == "condition" else ""
            rows.append([kind, name, *map(float, row), time_of])
    Image.fromarray((np.clip(np.vstack(sheet), 0, 1) * 255).astype(np.uint8)).save(out / "conditioning.png")
    floor = memory_seconds(sum(d.size for d in depths))
    text = table(
        "Conditioning, 512×288, 4 photos of 640×480", ["depth", "method", "PSNR", "SSIM", "HaarPSI", "GMSD", "s/frame"], rows
    )
    return text + f"\nOne read of the photos' points takes {floor * 1e3:.2f} ms; picture: conditioning.png\n"


def generator(out: Path) -> str:
    """Result against condition, and its time at full size."""
    photos, depths = synthetic.photos(4, 640, 480)
    warper = Warper(views_of(photos, depths, True), DEVICE)
    backend, rows = open_backend("embedded", DEVICE), []
    for width, height in ((512, 288), (1024, 576)):
        item = jobs.push_in(3, (width, height))[-1]
        truth, _ = synthetic.cast(item.camera)
        condition = warper.condition(item.camera)
        start = time.perf_counter()
        frame = backend.generate([condition], GeneratorSettings(), Progress())[0]
        seconds = time.perf_counter() - start
        rows.append([f"{width}×{height}", "condition", *scores(condition.rgb, truth), ""])
        rows.append([f"{width}×{height}", "result", *scores(frame, truth), seconds])
    return table("Generator, corrupted depth, 4 steps", ["size", "picture", "PSNR", "SSIM", "HaarPSI", "GMSD", "s/frame"], rows)


def geometry(out: Path) -> str:
    """Stereo depth against the true one."""
    photos, depths = synthetic.photos(4, 400, 300)
    start = time.perf_counter()
    views = stereo.estimate(photos, DEVICE, Progress())
    seconds = (time.perf_counter() - start) / len(views)
    rows = []
    for view, depth in zip(views, depths):
        error = np.abs(view.depth - depth) / depth
        sure = view.confidence >= 0.5
        rows.append([view.name, float((error < 0.02).mean()), float((error[sure] < 0.02).mean()), float(sure.mean()), seconds])
    return table("Stereo, 4 photos of 400×300", ["photo", "within 2%", "confident within 2%", "confident", "s/photo"], rows)


def main() -> None:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser()
    parts = {"conditioning": conditioning, "generator": generator, "geometry": geometry}
    parser.add_argument("what", choices=("all", *parts))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    texts = [part(arguments.out) for name, part in parts.items() if arguments.what in ("all", name)]
    (arguments.out / "bench.md").write_text("\n".join(texts), encoding="utf-8")
    print("\n".join(texts))


if __name__ == "__main__":
    main()
