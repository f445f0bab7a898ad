"""Depth from photos against the truth: our stereo, learned and classical at its end, and OpenCV's StereoSGBM, fused."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from tables import table

from engine import camera as cams
from engine.generation.textures import bank
from engine.geometry import aggregator, ranges, rooms, stereo
from engine.geometry.train_aggregator import HELD_OUT, SURE
from engine.job import Camera
from engine.progress import Progress
from engine.records import Photo

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "demo"), str(ROOT / "tests" / "engine")]

import report  # noqa: E402 - these two stand in the folders above
import synthetic  # noqa: E402

ROOMS = 2
"""Rooms of the synthetic world, seen by no training."""
BINS = 10
"""Of confidence, for the calibration."""
AGREE = 0.01
"""Relative difference of depth within which two pairs agree."""
BLOCK = 5
"""Pixels; SGBM's window, and with it its customary penalties."""
WIDEST = 3
"""Of the photo's size; a rectified picture is cut off there."""
Depths = list[tuple[np.ndarray, np.ndarray]]
"""z-depth and confidence (H, W) of every photo."""


def run(out: Path, folders: list[Path]) -> str:
    """Markdown tables. folders: scenes that demo/still_life.py wrote; without any the ray-cast ones of the tests are taken. A few
    rooms of the synthetic world are always among them.

    out: gets a picture of the depth maps of each scene, and one of the calibration.
    """
    rows, calibrations = [], []
    scenes = [*(map(_rendered, folders) if folders else _ray_cast()), *_rooms()]
    _ours(scenes[0][1][:2], ranges.sparse_points(scenes[0][1][:2], Progress()))  # what is compiled once is no photo's time
    for name, photos, truth in scenes:
        sparse = ranges.sparse_points(photos, Progress())
        pictures = [np.hstack(truth)]
        for estimate in (_ours, _sgbm):
            start = time.perf_counter()
            methods = estimate(photos, sparse)
            seconds = (time.perf_counter() - start) / len(photos)
            for method, found in methods.items():
                error, confidence = errors(photos, truth, found)
                rows.append([name, method, *measures(error, confidence), f"{seconds:.1f}"])
                pictures.append(np.hstack([depth for depth, _ in found]))
                if estimate is _ours:
                    calibrations.append((name, method, *calibration(error, confidence)))
        _write(out / f"depth-{name}.png", np.vstack(pictures))
    _draw(out / "calibration.png", calibrations)
    header = ["scene", "method", "within 2%", "within 1%", "median error", "confident", "confident within 2%", "s/photo"]
    return (
        table("Depth of pixels that two photos see", header, rows)
        + f"\nConfident: at least {SURE}. Pictures: truth, ours, ours without the network, SGBM, as depth-*.png\n\n"
        + table("Calibration: of pixels at a confidence, how many are right", *_calibration_rows(calibrations))
    )


def _rendered(folder: Path) -> tuple[str, list[Photo], list[np.ndarray]]:
    from scenes import photos_of, rendered

    shot = rendered(folder)
    return shot.name, photos_of(shot), [np.where(view.depth < 1e9, view.depth, np.inf) for view in shot.views]


def _ray_cast() -> Iterator[tuple[str, list[Photo], list[np.ndarray]]]:
    for spread in (40, 70):
        yield f"ray-cast, {spread}°", *synthetic.photos(4, 400, 300, spread=spread)


def _rooms() -> Iterator[tuple[str, list[Photo], list[np.ndarray]]]:
    textures = bank(HELD_OUT, 24, torch.device("cpu"))
    for number in range(ROOMS):
        yield f"room {number + 1}", *rooms.photos(HELD_OUT + 1000 + number, textures, 400, 300)


def _ours(photos: list[Photo], sparse: np.ndarray) -> dict[str, Depths]:
    """Learned at the end, and classical; the time is that of both, which differ little."""
    classical = []

    def both(findings):
        w, confidence = (part.numpy() for part in aggregator.classical(findings))
        with np.errstate(divide="ignore"):
            classical.append((1 / w, confidence))
        return aggregator.learned(findings)

    views = stereo.estimate(photos, torch.device("cpu"), Progress(), sparse=sparse, aggregate=both)
    return {"ours": [(view.depth, view.confidence) for view in views], "ours, classical": classical}


def _sgbm(photos: list[Photo], sparse: np.ndarray) -> dict[str, Depths]:
    return {"StereoSGBM, fused": sgbm(photos, sparse)}


def errors(photos: list[Photo], truth: list[np.ndarray], found: Depths) -> tuple[np.ndarray, np.ndarray]:
    """Relative error (N,) and confidence (N,) of the pixels that two photos see."""
    wrong, sure = [], []
    for index, (depth, confidence) in enumerate(found):
        seen = report.seen_twice([photo.camera for photo in photos], truth, index)
        with np.errstate(invalid="ignore"):
            error = np.abs(depth[seen] / truth[index][seen] - 1)
        wrong.append(np.where(depth[seen] > 0, error, np.inf))
        sure.append(confidence[seen])
    return np.concatenate(wrong), np.concatenate(sure)


def measures(error: np.ndarray, confidence: np.ndarray) -> list[str]:
    """Within 2 %, within 1 %, median error, called confident, and of these within 2 %."""
    confident = confidence >= SURE
    shares = [error < 0.02, error < 0.01, confident, error[confident] < 0.02]
    text = [f"{100 * share.mean():.1f}%" for share in shares]
    return [*text[:2], f"{100 * np.median(error):.2f}%", *text[2:]]


def calibration(error: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, float]:
    """(BINS, 4) share of pixels, mean confidence, shares within 1 % and 2 %, NaN where few are; and the mean distance of
    confidence from the share within 1 % (expected calibration error)."""
    place = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    rows = np.full((BINS, 4), np.nan)
    for number in range(BINS):
        there = place == number
        if there.mean() > 1e-3:
            part = error[there]
            rows[number] = there.mean(), confidence[there].mean(), (part < 0.01).mean(), (part < 0.02).mean()
    return rows, float(np.nansum(rows[:, 0] * np.abs(rows[:, 1] - rows[:, 2])))


def _calibration_rows(calibrations) -> tuple[list[str], list[list[str]]]:
    header = ["scene", "method", *(f"{number / BINS:.1f}" for number in range(BINS)), "mean distance"]
    rows = []
    for name, method, bins, off in calibrations:
        for label, column in (("within 1%", 2), ("within 2%", 3)):
            cells = ["" if np.isnan(value) else f"{100 * value:.0f}%" for value in bins[:, column]]
            rows.append([name, f"{method}, {label}", *cells, f"{off:.3f}" if column == 2 else ""])
    return header, rows


def _draw(path: Path, calibrations, side: int = 320) -> None:
    """Share within 1 % (full) and 2 % (thin) over confidence, one square a scene; learned green, classical red."""
    names = list(dict.fromkeys(name for name, *_ in calibrations))
    picture = np.full((side, side * len(names), 3), 255, np.uint8)
    for name, method, bins, _ in calibrations:
        left = names.index(name) * side
        cv2.line(picture, (left, side - 1), (left + side - 1, 0), (200, 200, 200), 1)
        colour = (40, 140, 40) if method == "ours" else (40, 40, 200)
        known = ~np.isnan(bins[:, 0])
        for column, thickness in ((2, 3), (3, 1)):
            points = np.stack([left + bins[known, 1] * side, side - bins[known, column] * side], -1)
            cv2.polylines(picture, [points.astype(np.int32)], False, colour, thickness, cv2.LINE_AA)
        cv2.putText(picture, name, (left + 8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.imwrite(str(path), picture)


def _write(path: Path, depth: np.ndarray) -> None:
    with np.errstate(divide="ignore"):
        inverse = np.where(depth > 0, 1 / depth, 0)
    shown = np.clip(inverse / np.percentile(inverse, 99) * 255, 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), cv2.applyColorMap(shown, cv2.COLORMAP_TURBO))


# --- OpenCV's StereoSGBM ---------------------------------------------------------


def sgbm(photos: list[Photo], sparse: np.ndarray) -> Depths:
    """Every photo against every other, rectified and matched; the median of what was found, sure where two agree, holes filled
    by their nearest pixel."""
    scopes = ranges.scopes(photos, sparse)
    result = []
    for photo, scope in zip(photos, scopes):
        near, far = 1 / scope.largest, 1 / max(scope.least, scope.largest / 100)
        pairs = np.stack([_pair(photo, photos[j], near, far) for j in scope.partners])
        empty = np.isnan(pairs).all(0)
        depth = np.nanmedian(np.where(empty, 0.0, pairs), 0)
        agreeing = (np.abs(pairs / np.where(empty, 1, depth) - 1) < AGREE).sum(0)
        result.append((_filled(depth, ~empty).astype(np.float32), (agreeing >= min(2, len(pairs))).astype(np.float32)))
    return result


def _filled(depth: np.ndarray, known: np.ndarray) -> np.ndarray:
    _, labels = cv2.distanceTransformWithLabels((~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    of_label = np.zeros(labels.max() + 1)
    of_label[labels[known]] = depth[known]
    return of_label[labels]


def _pair(photo: Photo, other: Photo, near: float, far: float) -> np.ndarray:
    """(H, W) z-depth of ``photo`` from one other photo, NaN where SGBM finds none."""
    swapped, axes, baseline = _rectified_axes(photo.camera, other.camera)
    left, right = (other, photo) if swapped else (photo, other)
    focal = photo.camera.fx
    maps = [_homography(item.camera, axes, focal) for item in (left, right)]
    low, high = (function([_corners(item.camera, h) for item, h in zip((left, right), maps)]) for function in (_low, _high))
    size = np.minimum(np.ceil(high - low), WIDEST * max(photo.image.shape)).astype(int)
    shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]])
    maps = [shift @ h for h in maps]
    grays = [
        cv2.warpPerspective((np.clip(item.image, 0, 1) * 255).astype(np.uint8), h, tuple(size.tolist()), flags=cv2.INTER_LINEAR)
        for item, h in zip((left, right), maps)
    ]
    least = int(np.floor(focal * baseline / far / 1.2))
    count = -(-int(np.ceil(focal * baseline / near) - least + 1) // 16) * 16
    if swapped:  # the photo is the right one: the same scene, mirrored
        grays = [np.ascontiguousarray(gray[:, ::-1]) for gray in grays[::-1]]
    area = 3 * BLOCK * BLOCK
    matcher = cv2.StereoSGBM_create(least, count, BLOCK, 8 * area, 32 * area, 1, 0, 5, 100, 2, cv2.STEREO_SGBM_MODE_HH)
    disparity = matcher.compute(*grays).astype(np.float32) / 16
    if swapped:
        disparity = disparity[:, ::-1]
    return _depth_at_pixels(photo.camera, disparity, maps[1] if swapped else maps[0], axes, focal * baseline, least)


def _rectified_axes(camera: Camera, other: Camera) -> tuple[bool, np.ndarray, float]:
    """Whether ``other`` stands to the left, the rows (x along the baseline, y, z) of the common orientation, and the baseline."""
    offset = cams.position(other) - cams.position(camera)
    right = cams.world_from_camera(camera)[:3, 0]
    swapped = bool(offset @ right < 0)
    x = (-offset if swapped else offset) / np.linalg.norm(offset)
    forward = cams.direction(camera) + cams.direction(other)
    z = forward - x * (forward @ x)
    z /= np.linalg.norm(z)
    return swapped, np.stack([x, np.cross(z, x), z]), float(np.linalg.norm(offset))


def _homography(camera: Camera, axes: np.ndarray, focal: float) -> np.ndarray:
    """(3, 3) from a photo's pixels to those of the common orientation, origin at its axis."""
    turn = axes @ cams.world_from_camera(camera)[:3, :3]
    return np.diag([focal, focal, 1.0]) @ turn @ np.linalg.inv(cams.intrinsics(camera))


def _corners(camera: Camera, homography: np.ndarray) -> np.ndarray:
    corners = np.array([(0, 0), (camera.width, 0), (0, camera.height), (camera.width, camera.height)], np.float64)
    return cv2.perspectiveTransform(corners[None], homography)[0]


def _low(corners: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(corners).min(0)


def _high(corners: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(corners).max(0)


def _depth_at_pixels(camera: Camera, disparity, homography, axes, scale: float, least: int) -> np.ndarray:
    """A rectified disparity looked up at a photo's own pixels, as z-depth: rectifying is a rotation, pixels match one to one."""
    v, u = np.mgrid[: camera.height, : camera.width] + 0.5
    at = cv2.perspectiveTransform(np.stack([u, v], -1).reshape(1, -1, 2), homography)[0].reshape(*u.shape, 2) - 0.5
    found = cv2.remap(disparity, *np.moveaxis(at.astype(np.float32), -1, 0), cv2.INTER_NEAREST, borderValue=-1e4)
    ray = cams.pixel_rays(camera) @ cams.world_from_camera(camera)[:3, :3].T @ axes[2]
    with np.errstate(divide="ignore"):
        return np.where(found >= max(least, 0.5), scale / found / ray, np.nan)
