"""What came out, and how good it is: table, contact sheets and films of a finished demo.

engine-python demo/report.py --out DIR --scene DIR/scene     with the true close-ups of the still life
engine-python demo/report.py --out DIR --photos FOLDER       without; truth_* pictures are shown, not measured
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import revisit  # noqa: E402 - these two stand beside this file
import sheets  # noqa: E402

from engine import artifacts, evaluation, job, pipeline  # noqa: E402
from engine import camera as cams  # noqa: E402
from engine.conditioning import baselines  # noqa: E402
from engine.job import Camera  # noqa: E402
from engine.records import View  # noqa: E402

COLUMNS = 6
TOLERANCE = 0.02
"""Relative error up to which a depth counts as right."""
CONFIDENT = 0.8
SEEN = 0.01
"""Relative difference of depth up to which a point is the one another photo sees there."""
METHODS = ("naive", "condition", "result")
NAMES = {"naive": "naive warp + Telea", "condition": "condition", "result": "result", "truth": "truth"}


def say(message: str) -> None:
    """One line for the user."""
    print(f"· {message}", flush=True)


def read_frames(folder: Path, numbers: list[int]) -> list[np.ndarray]:
    """The pictures of a folder by frame number."""
    return [evaluation.read_picture(folder / f"{number:04d}.png") for number in numbers]


# --- measures ------------------------------------------------------------------


@dataclass(frozen=True)
class DepthAccuracy:
    """Shares are of pixels. seen: with a surface that at least two photos see. measured: of those, with any depth.

    right: of those seen, within TOLERANCE. confident: of those seen, called confident; confident_right: of these, within
    TOLERANCE. median: relative error of the measured ones.
    """

    seen: float
    measured: float
    right: float
    confident: float
    confident_right: float
    median: float


def seen_twice(cameras: list[Camera], depths: list[np.ndarray], index: int) -> np.ndarray:
    """(H, W) bool: which pixels of a photo show a surface that another photo sees too. depths: true z-depth, inf = sky."""
    finite = np.isfinite(depths[index])
    points = cams.unproject(cameras[index], np.where(finite, depths[index], 1.0))
    seen = np.zeros(finite.shape, bool)
    for other, (camera, depth) in enumerate(zip(cameras, depths)):
        if other == index:
            continue
        uv, z = cams.project(camera, points)
        with np.errstate(invalid="ignore"):
            cell = np.floor(np.nan_to_num(uv, nan=-1, posinf=-1, neginf=-1)).clip(-1, 1e6).astype(int)
        inside = (z > 0) & (cell >= 0).all(-1) & (cell[..., 0] < camera.width) & (cell[..., 1] < camera.height)
        there = np.zeros(finite.shape)
        there[inside] = depth[cell[..., 1][inside], cell[..., 0][inside]]
        with np.errstate(invalid="ignore", divide="ignore"):
            seen |= inside & (np.abs(there / z - 1) < SEEN)
    return seen & finite


def depth_accuracy(views: list[View], truth: list[np.ndarray]) -> DepthAccuracy:
    """How right measured depth is, over all photos. truth: (H, W) z-depth per view."""
    cameras = [view.camera for view in views]
    errors, confidences, seen_count, total = [], [], 0, 0
    for index, (view, true) in enumerate(zip(views, truth, strict=True)):
        seen = seen_twice(cameras, truth, index)
        measured = view.depth[seen]
        known = np.isfinite(measured) & (measured > 0)
        errors.append(np.where(known, np.abs(np.where(known, measured, 0) / true[seen] - 1), np.inf))
        confidences.append(view.confidence[seen])
        seen_count, total = seen_count + int(seen.sum()), total + seen.size
    error, confident = np.concatenate(errors), np.concatenate(confidences) >= CONFIDENT
    known = np.isfinite(error)

    def share(of: np.ndarray) -> float:
        return float(of.mean()) if of.size else 0.0

    median = float(np.median(error[known])) if known.any() else float("inf")
    right = error < TOLERANCE
    return DepthAccuracy(seen_count / total, share(known), share(right), share(confident), share(right[confident]), median)


def naive_frames(views: list[View], cameras: list[Camera]) -> list[np.ndarray]:
    """The baseline: every photo pixel drawn once, holes inpainted by Telea's method."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda camera: baselines.telea(*baselines.naive(views, camera)), cameras))


def gains(rows: dict[str, list[evaluation.Row]]) -> dict:
    """The result against the baseline: mean gains, and the smallest gain of any frame."""
    pairs = list(zip(rows["result"], rows["naive"], strict=True))
    psnr, haarpsi = ([getattr(a, key) - getattr(b, key) for a, b in pairs] for key in ("psnr", "haarpsi"))
    return {
        "psnr": float(np.mean(psnr)),
        "haarpsi": float(np.mean(haarpsi)),
        "smallest_psnr": float(min(psnr)),
        "smallest_haarpsi": float(min(haarpsi)),
    }


def tables(rows: dict[str, list[evaluation.Row]], accuracy: DepthAccuracy, zooms: list[float]) -> tuple[str, dict]:
    """The report as Markdown and as a dict for JSON."""
    means = {method: evaluation.mean(rows[method], NAMES[method]) for method in METHODS}
    gain = gains(rows)
    lines = ["Mean over all frames, against the true close-ups:", "", evaluation.table(list(means.values())), ""]
    lines += [
        f"Result against naive warp + Telea: {gain['psnr']:+.2f} dB PSNR, {gain['haarpsi']:+.3f} HaarPSI; "
        f"the frame that gains least: {gain['smallest_psnr']:+.2f} dB, {gain['smallest_haarpsi']:+.3f}.",
        "",
        f"Depth of our stereo against the true depth: {accuracy.right:.1%} of the pixels that two photos see are within "
        f"{TOLERANCE:.0%} (median error {accuracy.median:.2%}); {accuracy.confident:.0%} are called confident, and of these "
        f"{accuracy.confident_right:.1%} are within {TOLERANCE:.0%}.",
        "",
        "| frame | zoom | "
        + " | ".join(f"PSNR {NAMES[m]}" for m in METHODS)
        + " | "
        + " | ".join(f"HaarPSI {NAMES[m]}" for m in METHODS)
        + " |",
        "| ---: | ---: |" + " ---: |" * 6,
    ]
    for index, zoom in enumerate(zooms):
        cells = [f"{rows[m][index].psnr:.2f}" for m in METHODS] + [f"{rows[m][index].haarpsi:.3f}" for m in METHODS]
        lines.append(f"| {rows['result'][index].name} | {zoom:.1f}× | " + " | ".join(cells) + " |")
    data = {
        "mean": {method: asdict(means[method]) for method in METHODS},
        "gain": gain,
        "depth": asdict(accuracy),
        "frames": {method: [asdict(row) for row in rows[method]] for method in METHODS},
    }
    return "\n".join(lines) + "\n", data


def target_of(camera: Camera, depth: np.ndarray) -> np.ndarray:
    """The world point in the middle of a frame. depth: (H, W) z-depth of the frame; where there is only sky, 1 is taken."""
    height, width = depth.shape
    middle = depth[height // 3 : height - height // 3, width // 3 : width - width // 3]
    known = middle[np.isfinite(middle) & (middle > 0)]
    return cams.position(camera) + cams.direction(camera) * (float(np.median(known)) if known.size else 1.0)


def magnification(path: list[Camera], photos: list[Camera], target: np.ndarray) -> list[float]:
    """How many times finer each frame's pixels are on the target than the best photo's."""
    best = max(_density(camera, target) for camera in photos)
    return [_density(camera, target) / best for camera in path]


def _density(camera: Camera, point: np.ndarray) -> float:
    """Pixels per scene unit at a point."""
    _, z = cams.project(camera, point)
    return camera.fx / float(max(z, 1e-9))


# --- the still life --------------------------------------------------------------


def report_scene(out: Path, scene: Path) -> None:
    """Everything of a demo whose truth is known."""
    folder = out / "job"
    what, views = job.load(folder), pipeline.load_views(artifacts.JobFolder(folder))
    numbers, cameras = [item.frame for item in what.path], [item.camera for item in what.path]
    say("Comparing with the true close-ups")
    pictures = {
        "naive": naive_frames(views, cameras),
        "condition": read_frames(folder / "condition", numbers),
        "result": read_frames(folder / "frames", numbers),
        "truth": read_frames(scene / "truth", numbers),
    }
    names = [f"{number:04d}" for number in numbers]
    rows = {method: evaluation.compare(pictures[method], pictures["truth"], names) for method in METHODS}
    truth_depth = [np.load(scene / "photos_depth" / f"{Path(s.image).stem}.npy") for s in what.sources]
    sizes = [view.image.shape[1::-1] for view in views]  # the job may have shrunk its photos
    truth_depth = [cv2.resize(d, size, interpolation=cv2.INTER_NEAREST_EXACT) for d, size in zip(truth_depth, sizes)]
    target = target_of(cameras[-1], artifacts.read_depth(folder / "depth" / f"{numbers[-1]:04d}.exr"))
    zooms = magnification(cameras, [view.camera for view in views], target)
    text, data = tables(rows, depth_accuracy(views, truth_depth), zooms)
    (out / "table.md").write_text(text, encoding="utf-8")
    (out / "table.json").write_text(json.dumps(data, indent=1), encoding="utf-8")
    print("\n".join("| " + line if not line.startswith("|") else line for line in text.splitlines()[:9]), flush=True)
    _scene_sheets(out, what, pictures, rows, zooms)
    _overview(out, what, pictures, zooms, target)


def _scene_sheets(out: Path, what, pictures: dict, rows: dict, zooms: list[float]) -> None:
    chosen = np.unique(np.linspace(0, len(zooms) - 1, COLUMNS).round().astype(int))
    columns = [f"frame {what.path[i].frame} · {zooms[i]:.1f}x" for i in chosen]

    def row(method: str) -> tuple:
        note = "rendered in Blender"
        if method in rows:
            mean = evaluation.mean(rows[method])
            note = f"PSNR {mean.psnr:.2f} dB\nSSIM {mean.ssim:.3f}\nHaarPSI {mean.haarpsi:.3f}\nGMSD {mean.gmsd:.3f}"
        return (
            NAMES[method].replace(" + ", "\n+ "),
            ("\n\n" if " + " in NAMES[method] else "") + note,
            [pictures[method][i] for i in chosen],
        )

    footer = "Means over all frames. Naive warp and ours use the same depth, from our own stereo on the photos."
    title = f"From {len(what.sources)} photos to {zooms[-1]:.1f} times closer"
    sheets.grid(title, [row(method) for method in (*METHODS, "truth")], columns, footer).save(out / "contact-sheet.png")
    order = sheets.there_and_back(len(zooms))
    sheets.film(out / "close-up.mp4", pictures["result"], order)
    both = [
        sheets.side_by_side(trio, ["naive + Telea", "CloseUp", "truth"])
        for trio in zip(*(pictures[m] for m in ("naive", "result", "truth")))
    ]
    sheets.film(out / "comparison.mp4", both, order)


def _overview(out: Path, what, pictures: dict, zooms: list[float], target: np.ndarray) -> None:
    last = what.path[-1].camera
    source = min(what.sources, key=lambda s: np.linalg.norm(cams.position(s.camera) - cams.position(last)))
    photo = evaluation.read_picture(out / "job" / source.image)
    shown = np.linspace(0.35 * (len(zooms) - 1), len(zooms) - 1, 3).round().astype(int)
    steps = [(f"{zooms[i]:.1f}x", pictures["result"][i]) for i in shown]
    steps.append((f"{zooms[-1]:.1f}x · truth", pictures["truth"][-1]))
    caption = (
        f"One of {len(what.sources)} photos, and frames of the push-in made from them; the last picture is the true close-up."
    )
    sheets.overview(photo, outline(last, source.camera, target), steps, caption).save(out / "overview.png")


def outline(close: Camera, photo: Camera, target: np.ndarray) -> np.ndarray:
    """(4, 2) where the corners of a close-up stand in a photo, on the plane through the target that faces it."""
    _, depth = cams.project(close, target)
    corners = np.array([[0, 0], [close.width, 0], [close.width, close.height], [0, close.height]], float)
    rays = np.concatenate([(corners - (close.cx, close.cy)) / (close.fx, close.fy), np.ones((4, 1))], 1)
    matrix = cams.world_from_camera(close)
    uv, _ = cams.project(photo, (rays * depth) @ matrix[:3, :3].T + matrix[:3, 3])
    return uv


# --- any photos ------------------------------------------------------------------


def report_photos(out: Path, folder: Path) -> None:
    """Everything of a demo on photos: there is no truth to measure against, but perhaps some to look at."""
    root = out / "job"
    what = job.load(root)
    numbers = [item.frame for item in what.path]
    frames, conditions = read_frames(root / "frames", numbers), read_frames(root / "condition", numbers)
    geometry = pipeline.load_geometry(root)
    path = [item.camera for item in what.path]
    target = target_of(path[-1], artifacts.read_depth(root / "depth" / f"{numbers[-1]:04d}.exr"))
    zooms = magnification(path, [view.camera for view in geometry.views], target)
    chosen = np.unique(np.linspace(0, len(frames) - 1, COLUMNS).round().astype(int))
    shown = np.unique(np.linspace(0, len(geometry.views) - 1, COLUMNS).round().astype(int))
    views = [geometry.views[i] for i in shown]
    height, width = frames[0].shape[:2]
    tile = (384, round(384 * height / width)) if width >= height else (288, round(288 * height / width))
    title = f"{folder.name}: {len(geometry.views)} photos, to {zooms[-1]:.1f} times closer"
    images = [view.image for view in views] + [None] * (COLUMNS - len(views))
    names = [re.sub(r"^\d+-", "", Path(view.name).stem) for view in views]
    given = sheets.grid(title, [("photos", "cameras solved", images)], names, tile=tile)
    rows = [
        ("condition", "what the\nphotos say", [conditions[i] for i in chosen]),
        ("result", "", [frames[i] for i in chosen]),
    ]
    columns = [f"frame {numbers[i]} · {zooms[i]:.1f}x" for i in chosen]
    made = sheets.grid("", rows, columns, tile=tile)
    sheets.stacked([given, made]).save(out / "contact-sheet.png")
    sheets.film(out / "close-up.mp4", frames, sheets.there_and_back(len(frames)))
    truths = sorted(path for path in folder.iterdir() if path.stem.startswith("truth_"))
    if truths:
        _real_close_ups(out, folder.name, truths, geometry.views)


def _real_close_ups(out: Path, name: str, truths: list[Path], views: list[View]) -> None:
    """Real photos taken close, which the job never saw, beside what CloseUp gives for their viewpoints."""
    real, made = [], []
    for path in truths:
        picture = _upright(path)
        camera = revisit.pose_of(picture, views)
        if camera is None:
            say(f"{path.name} shows too little of what the photos show; its viewpoint is not found")
            continue
        real.append((path.stem, picture))
        made.append(revisit.frame_at(out / "job", camera, 960))
    if real:
        rows = [
            ("real photo", "taken close;\nnever shown\nto CloseUp", [picture for _, picture in real]),
            ("CloseUp", "the same\nviewpoint, from\nthe far photos", made),
        ]
        sheet = sheets.grid(f"{name}: real close-ups", rows, [stem for stem, _ in real], tile=(760, 570))
        sheet.save(out / "real-close-ups.png")


def _upright(path: Path) -> np.ndarray:
    """A photo turned as its EXIF says, no larger than it is shown."""
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    scale = min(1.0, 1600 / max(image.shape[:2]))
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[..., ::-1].astype(np.float32) / 255


def main(argv: list[str]) -> None:
    """Make all of it."""
    parser = argparse.ArgumentParser(prog="report.py", description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path, help="folder of the demo; its job/ is reported")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--scene", type=Path, help="folder that still_life.py wrote")
    given.add_argument("--photos", type=Path, help="folder of photos the job was made from")
    options = parser.parse_args(argv)
    if options.scene:
        report_scene(options.out.resolve(), options.scene.resolve())
    else:
        report_photos(options.out.resolve(), options.photos.resolve())


if __name__ == "__main__":
    main(sys.argv[1:])
