"""Whether a solved model deserves belief: a wrong camera is worse than none."""

from __future__ import annotations

import numpy as np
import pycolmap

from . import sfm
from .lens import focal_35mm

MIN_POINTS = 20
"""Points a solved photo must see."""
MIN_POINTS_OF_PAIR = 100
"""The same when there are but two photos: no third one then tells a chance alignment, or a static background, from the scene."""
MAX_ERROR = 2.0
"""Pixels at the solver's size; the mean reprojection error of a photo."""
MIN_ANGLE = 1.0
"""Degrees; the median angle under which a photo's points are seen by another one farthest aside."""
_FOCAL_RANGE = (8.0, 600.0)
_PRIOR_RATIO = 1.4
_MAX_RADIAL = 0.5


def checked(model: sfm.Model, shots: list[sfm.Shot], min_points: int = MIN_POINTS) -> sfm.Model:
    """The model without the solved shots whose pose is not well supported; without any when too few remain."""
    while True:
        weak = [i for i in sorted(model.poses) if shots[i].fixed is None and not _supported(model, shots[i], i, min_points)]
        if not weak:
            return model if len(model.poses) >= 2 else sfm.Model()
        worst = min(weak, key=lambda i: len(model.seen[i]))
        model = without(model, worst)


def _supported(model: sfm.Model, shot: sfm.Shot, index: int, min_points: int) -> bool:
    return (
        len(model.seen[index]) >= (min_points if len(model.poses) > 2 else MIN_POINTS_OF_PAIR)
        and float(np.mean(reprojection_errors(model, index))) <= MAX_ERROR
        and float(np.median(_angles(model, index))) >= MIN_ANGLE
        and _plausible_lens(model.cameras[index], shot.camera)
    )


def reprojection_errors(model: sfm.Model, index: int) -> np.ndarray:
    """(M,) distance in pixels between where the shot saw its points and where its camera projects them; inf behind it."""
    local = _local(model, index)
    projected = np.full((len(local), 2), np.inf)
    front = local[:, 2] > 0
    projected[front] = np.asarray(model.cameras[index].img_from_cam(local[front]), float).reshape(-1, 2)
    return np.linalg.norm(projected - model.pixels[index], axis=1)


def _local(model: sfm.Model, index: int) -> np.ndarray:
    pose = model.poses[index]
    return (model.points[model.seen[index]] - pose[:3, 3]) @ pose[:3, :3]


def _angles(model: sfm.Model, index: int) -> np.ndarray:
    """(M,) degrees; per point of the shot the widest angle to another shot that sees it."""
    widest = np.zeros(len(model.points))
    own = model.points - model.poses[index][:3, 3]
    for other, pose in model.poses.items():
        if other != index:
            rays = model.points - pose[:3, 3]
            lengths = np.linalg.norm(own, axis=1) * np.linalg.norm(rays, axis=1)
            angle = np.degrees(np.arccos(np.clip((own * rays).sum(1) / np.maximum(lengths, 1e-12), -1, 1)))
            seen = np.zeros(len(model.points), bool)
            seen[model.seen[other]] = True
            widest = np.maximum(widest, np.where(seen, angle, 0))
    return widest[model.seen[index]]


def _plausible_lens(camera: pycolmap.Camera, start: pycolmap.Camera) -> bool:
    focal = camera.mean_focal_length()
    if not _FOCAL_RANGE[0] <= focal_35mm(focal, camera.width, camera.height) <= _FOCAL_RANGE[1]:
        return False
    if start.has_prior_focal_length and not 1 / _PRIOR_RATIO <= focal / start.mean_focal_length() <= _PRIOR_RATIO:
        return False
    # With k below this the picture would fold back onto itself before its corner.
    corner = (np.hypot(camera.width, camera.height) / 2 / focal) ** 2
    radial = camera.params[3] if camera.model_name == "SIMPLE_RADIAL" else 0.0
    return bool(np.isfinite(camera.params).all() and abs(radial) <= _MAX_RADIAL and 3 * radial * corner > -0.9)


def without(model: sfm.Model, index: int) -> sfm.Model:
    """The model without a shot, and without the points that fewer than two shots then see."""
    rest = [i for i in model.poses if i != index]
    counts = np.zeros(len(model.points), int)
    for i in rest:
        np.add.at(counts, np.unique(model.seen[i]), 1)
    keep = counts >= 2
    number = np.cumsum(keep) - 1
    still = {i: keep[model.seen[i]] for i in rest}
    return sfm.Model(
        poses={i: model.poses[i] for i in rest},
        cameras={i: model.cameras[i] for i in rest},
        points=model.points[keep],
        seen={i: number[model.seen[i][still[i]]] for i in rest},
        pixels={i: model.pixels[i][still[i]] for i in rest},
    )
