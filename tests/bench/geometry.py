"""Depth from photos against the truth: our stereo and OpenCV's StereoSGBM on rectified pairs, fused."""

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
from engine.geometry import ranges, stereo
from engine.job import Camera
from engine.progress import Progress
from engine.records import Photo

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "demo"), str(ROOT / "tests" / "engine")]

import report  # noqa: E402 - these two stand in the folders above
import synthetic  # noqa: E402

CONFIDENT = 0.5
AGREE = 0.01
"""Relative difference of depth within which two pairs agree."""
BLOCK = 5
"""Pixels; SGBM's window, and with it its customary penalties."""
WIDEST = 3
"""Of the photo's size; a rectified picture is cut off there."""
Depths = list[tuple[np.ndarray, np.ndarray]]
"""z-depth and confidence (H, W) of every photo."""


def run(out: Path, folders: list[Path]) -> str:
    """A markdown table. folders: scenes that demo/still_life.py wrote; without any the ray-cast ones of the tests are taken.

    out: gets a picture of the depth maps of each scene.
    """
    rows = []
    for name, photos, truth in map(_rendered, folders) if folders else _ray_cast():
        sparse = ranges.sparse_points(photos, Progress())
        pictures = [np.hstack(truth)]
        for method, estimate in (("ours", _ours), ("StereoSGBM, fused", sgbm)):
            if not rows:
                estimate(photos[:2], sparse)  # what is compiled or loaded once is no photo's time
            start = time.perf_counter()
            found = estimate(photos, sparse)
            seconds = (time.perf_counter() - start) / len(photos)
            rows.append([name, method, *measures(photos, truth, found), f"{seconds:.1f}"])
            pictures.append(np.hstack([depth for depth, _ in found]))
        _write(out / f"depth-{name}.png", np.vstack(pictures))
    header = ["scene", "method", "within 2%", "within 1%", "median error", "confident", "confident within 2%", "s/photo"]
    return table("Depth of pixels that two photos see", header, rows) + "\nPictures: truth, ours, SGBM, as depth-*.png\n"


def _rendered(folder: Path) -> tuple[str, list[Photo], list[np.ndarray]]:
    from scenes import photos_of, rendered

    shot = rendered(folder)
    return shot.name, photos_of(shot), [np.where(view.depth < 1e9, view.depth, np.inf) for view in shot.views]


def _ray_cast() -> Iterator[tuple[str, list[Photo], list[np.ndarray]]]:
    for spread in (40, 70):
        yield f"ray-cast, {spread}°", *synthetic.photos(4, 400, 300, spread=spread)


def _ours(photos: list[Photo], sparse: np.ndarray) -> Depths:
    views = stereo.estimate(photos, torch.device("cpu"), Progress(), sparse=sparse)
    return [(view.depth, view.confidence) for view in views]


def measures(photos: list[Photo], truth: list[np.ndarray], found: Depths) -> list[str]:
    """Of the pixels that two photos see: within 2 %, within 1 %, median error, called confident, and of these within 2 %."""
    errors, sure = [], []
    for index, (depth, confidence) in enumerate(found):
        seen = report.seen_twice([photo.camera for photo in photos], truth, index)
        with np.errstate(invalid="ignore"):
            error = np.abs(depth[seen] / truth[index][seen] - 1)
        errors.append(np.where(depth[seen] > 0, error, np.inf))
        sure.append(confidence[seen] >= CONFIDENT)
    error, confident = np.concatenate(errors), np.concatenate(sure)
    shares = [error < 0.02, error < 0.01, confident, error[confident] < 0.02]
    text = [f"{100 * share.mean():.1f}%" for share in shares]
    return [*text[:2], f"{100 * np.median(error):.2f}%", *text[2:]]


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
