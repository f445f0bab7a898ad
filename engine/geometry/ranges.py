"""Where the scene lies: depths of a few sure points, which photos see the same things, and the range to search."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .. import camera as cams
from ..progress import Progress
from ..records import Photo

MIN_POINTS = 12
"""Fewer sparse points than this say nothing about the range."""


@dataclass
class Scope:
    """One photo's search: partners (indices, best first) and the inverse depths that are sure (N,), the largest to be tried, and
    the least that is likely (0 when nothing is known; less is tried too).
    """

    partners: list[int]
    known: np.ndarray
    largest: float
    least: float


def sparse_points(photos: list[Photo], progress: Progress, longest: int = 800) -> np.ndarray:
    """(N, 3) world points from SIFT matches that agree with the known cameras (epipolar distance, positive depth)."""
    sift = cv2.SIFT_create(nfeatures=3000)
    features = []
    for photo in photos:
        progress.check()
        h, w = photo.image.shape[:2]
        scale = min(1.0, longest / max(h, w))
        small = cv2.resize(photo.image, (max(1, round(w * scale)), max(1, round(h * scale))), interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor((np.clip(small, 0, 1) * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        keys, descriptors = sift.detectAndCompute(gray, None)
        pixels = np.array([k.pt for k in keys], np.float64).reshape(-1, 2) + 0.5
        features.append((pixels, descriptors, cams.resized(photo.camera, gray.shape[1], gray.shape[0])))
    points = [np.zeros((0, 3))]
    for i in range(len(photos)):
        for j in range(i + 1, len(photos)):
            progress.check()
            points.append(_pair(*features[i], *features[j]))
    return np.concatenate(points)


def _pair(pixels_a, words_a, camera_a, pixels_b, words_b, camera_b) -> np.ndarray:
    """World points (N, 3) of one pair's matches."""
    if words_a is None or words_b is None or min(len(words_a), len(words_b)) < 2:
        return np.zeros((0, 3))
    matches = cv2.BFMatcher().knnMatch(words_a, words_b, k=2)
    good = [m for m, n in (pair for pair in matches if len(pair) == 2) if m.distance < 0.8 * n.distance]
    if not good:
        return np.zeros((0, 3))
    a = pixels_a[[m.queryIdx for m in good]]
    b = pixels_b[[m.trainIdx for m in good]]
    rays_a, rays_b = _rays(camera_a, a), _rays(camera_b, b)
    origin_a, origin_b = cams.position(camera_a), cams.position(camera_b)
    # the midpoint of the shortest line between two rays
    cos = (rays_a * rays_b).sum(1)
    offset = origin_b - origin_a
    along_a, along_b = rays_a @ offset, rays_b @ offset
    sine = np.maximum(1 - cos**2, 1e-12)
    s, t = (along_a - cos * along_b) / sine, (cos * along_a - along_b) / sine
    point = 0.5 * (origin_a + rays_a * s[:, None] + origin_b + rays_b * t[:, None])
    keep = (s > 0) & (t > 0) & (sine > np.sin(np.radians(1.0)) ** 2)
    for camera, seen in ((camera_a, a), (camera_b, b)):
        pixel, z = cams.project(camera, point)
        with np.errstate(invalid="ignore"):
            keep &= (z > 0) & (np.linalg.norm(pixel - seen, axis=1) < 1.5)
    return point[keep]


def _rays(camera, pixels: np.ndarray) -> np.ndarray:
    """Unit world-space rays (N, 3) through pixels (N, 2)."""
    local = np.column_stack(
        [(pixels[:, 0] - camera.cx) / camera.fx, (pixels[:, 1] - camera.cy) / camera.fy, np.ones(len(pixels))]
    )
    world = local @ cams.world_from_camera(camera)[:3, :3].T
    return world / np.linalg.norm(world, axis=1, keepdims=True)


def scopes(photos: list[Photo], points: np.ndarray, most: int = 4) -> list[Scope]:
    """The search of every photo. points: (N, 3) world points known to be of the scene (may be none)."""
    known = [_known(photo, points) for photo in photos]
    middles = [middle(photos, i, known[i]) for i in range(len(photos))]
    result = []
    for i in range(len(photos)):
        ranked = sorted(((_overlap(photos[i], photos[j], middles[i]), -j) for j in range(len(photos)) if j != i), reverse=True)
        partners = [-j for score, j in ranked if score > 0.02][:most]
        enough = len(known[i]) >= MIN_POINTS
        largest = float(np.percentile(known[i], 99) * 1.35) if enough else 3.0 / middles[i]
        least = float(np.percentile(known[i], 1) * 0.8) if enough else 0.0
        result.append(Scope(partners, known[i], largest, least))
    return result


def _known(photo: Photo, points: np.ndarray) -> np.ndarray:
    """Inverse depths (N,) of what is known to lie inside the photo: its own depth map, or the sparse points."""
    if photo.depth is not None:
        depth = photo.depth[np.isfinite(photo.depth) & (photo.depth > 0)]
        return 1.0 / depth[:: max(1, depth.size // 5000)].astype(np.float64)
    pixel, z = cams.project(photo.camera, points)
    with np.errstate(invalid="ignore"):
        inside = (z > 0) & (pixel > 0).all(-1) & (pixel < (photo.camera.width, photo.camera.height)).all(-1)
    return 1.0 / z[inside]


def middle(photos: list[Photo], index: int, known: np.ndarray) -> float:
    """A depth in the middle of what the photo shows: of known points, else where it and the other cameras look."""
    if len(known) >= MIN_POINTS:
        return float(1.0 / np.median(known))
    camera = photos[index].camera
    here, ahead = cams.position(camera), cams.direction(camera)
    depths, gaps = [], [0.0]
    for j, other in enumerate(photos):
        if j == index:
            continue
        there, toward = cams.position(other.camera), cams.direction(other.camera)
        cos = float(ahead @ toward)
        gaps.append(float(np.linalg.norm(there - here)))
        if 1 - cos**2 > 1e-4:
            offset = there - here
            along = (offset @ ahead - cos * (offset @ toward)) / (1 - cos**2)
            if along > 0:
                depths.append(float(along))
    if depths:
        return float(np.median(depths))
    return 4.0 * max(gaps) if max(gaps) > 0 else 1.0


def _overlap(photo: Photo, other: Photo, depth: float) -> float:
    """How useful ``other`` is to ``photo``: the part of it they share at ``depth``, times how good the angle is (0..1)."""
    small = cams.resized(photo.camera, 12, 9)
    points = cams.unproject(small, np.full((9, 12), depth)).reshape(-1, 3)
    pixel, z = cams.project(other.camera, points)
    with np.errstate(invalid="ignore"):
        inside = (z > 1e-9) & (pixel > 0).all(-1) & (pixel < (other.camera.width, other.camera.height)).all(-1)
    a, b = points - cams.position(photo.camera), points - cams.position(other.camera)
    cos = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
    angle = np.degrees(np.arccos(np.clip(cos, -1, 1)))
    good = np.clip((angle - 0.3) / 6.0, 0, 1) * np.clip((80.0 - angle) / 55.0, 0, 1)
    return float((good * inside).mean())
