"""A real close-up photo's own viewpoint: found from the finished geometry, and seen again by the engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from engine import camera as cams
from engine import job, pipeline
from engine.conditioning import Warper
from engine.device import pick
from engine.generation import open_backend
from engine.job import Camera
from engine.memory import remembering
from engine.progress import Progress
from engine.records import View

SCALES = (1.0, 0.5, 0.25)
"""Sizes of the close photo at which features are matched: it shows far more detail than the photos it is matched with."""
FEATURES = 8000
CONTRAST = 0.01
RATIO = 0.8
INLIER_PIXELS = 5.0
FEWEST = 20
"""Matches that must agree on a pose."""


def matches(picture: np.ndarray, views: list[View]) -> tuple[np.ndarray, np.ndarray]:
    """World points (N, 3) and the pixels (N, 2) of ``picture`` that show them: SIFT features that a photo with depth has too."""
    sift = cv2.SIFT_create(FEATURES, contrastThreshold=CONTRAST)

    def features(image: np.ndarray):
        return sift.detectAndCompute(cv2.cvtColor(np.round(image * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY), None)

    wanted, described = features(picture)
    points, pixels = [np.empty((0, 3))], [np.empty((0, 2))]
    for view in views:
        found, others = features(view.image)
        if described is None or others is None or len(others) < 2:
            continue
        pairs = cv2.BFMatcher().knnMatch(described, others, k=2)
        good = [a for a, b in pairs if a.distance < RATIO * b.distance]
        here = np.array([found[m.trainIdx].pt for m in good]).reshape(-1, 2)
        column, row = (np.clip(here[:, k].round().astype(int), 0, view.depth.shape[1 - k] - 1) for k in (0, 1))
        depth = view.depth[row, column]
        known = np.isfinite(depth) & (depth > 0) & (view.confidence[row, column] > 0)
        world = cams.unproject(view.camera, np.where(np.isfinite(view.depth), view.depth, 0.0))[row, column]
        points.append(world[known])
        pixels.append(np.array([wanted[m.queryIdx].pt for m in good]).reshape(-1, 2)[known] + 0.5)
    return np.concatenate(points), np.concatenate(pixels)


def pose_of(picture: np.ndarray, views: list[View]) -> Camera | None:
    """The camera that took ``picture`` (H, W, 3) of the same scene, or None when too little agrees.

    Its focal length is looked for around the photos' own, since it was mostly the same lens.
    """
    height, width = picture.shape[:2]
    own = views[0].camera
    guess = max(own.fx, own.fy) / max(own.width, own.height) * max(width, height)

    def camera_at(scale: float, focal: float, found: tuple) -> tuple[int, Camera | None]:
        k = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        solved = _solve(*found, k, INLIER_PIXELS / scale) if len(found[0]) >= FEWEST else None
        return (solved[0], cams.from_arrays(width, height, k, solved[1])) if solved else (0, None)

    tried = []
    for scale in SCALES:
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        points, pixels = matches(small, views)
        tried.append((scale, (points, pixels / scale)))
    scale, found = max(tried, key=lambda item: camera_at(item[0], guess, item[1])[0])
    count, camera = max(
        (camera_at(scale, focal, found) for focal in guess * np.geomspace(0.75, 1.33, 7)), key=lambda item: item[0]
    )
    return camera if count >= FEWEST else None


def _solve(points: np.ndarray, pixels: np.ndarray, k: np.ndarray, tolerance: float) -> tuple[int, np.ndarray] | None:
    """How many matches agree, and their ``world_from_camera``; None when there is no pose."""
    cv2.setRNGSeed(1)
    options = {"reprojectionError": tolerance, "iterationsCount": 2000, "flags": cv2.SOLVEPNP_AP3P}
    found, turn, shift, inliers = cv2.solvePnPRansac(points, pixels, k, None, **options)
    if not found or inliers is None or len(inliers) < 6:
        return None
    chosen = inliers.ravel()
    turn, shift = cv2.solvePnPRefineLM(points[chosen], pixels[chosen], k, None, turn, shift)
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(turn)[0].T
    pose[:3, 3] = -pose[:3, :3] @ shift.ravel()
    return len(chosen), pose


def frame_at(folder: Path, camera: Camera, width: int) -> np.ndarray:
    """The frame that the finished job in ``folder`` gives for one more camera, ``width`` pixels wide."""
    what, geometry, device = job.load(folder), pipeline.load_geometry(folder), pick()
    camera = cams.resized(camera, width, round(width * camera.height / camera.width))
    camera = replace(camera, fy=camera.fx)
    condition = remembering(Warper(geometry.views, device, geometry.cloud, what.conditioning.levels), camera)
    condition.references = geometry.views
    return open_backend(what.generator.backend, device).generate([condition], what.generator, Progress())[0]
