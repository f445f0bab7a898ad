"""A solved model in the world: that of the known cameras, or an upright one; its size from given depth, its points' colours."""

from __future__ import annotations

import numpy as np

from .. import camera as pinhole
from ..progress import Progress
from ..records import Photo
from . import gauge, sfm


def placement(photos: list[Photo], model: sfm.Model, free: sfm.Model, progress: Progress) -> gauge.Similarity:
    """How the model is moved into the world of the known cameras, or upright when there are none.

    free: a model made without regard to the known cameras; the user is warned where these disagree with it.
    Cameras that were held fixed are aligned too: the mapper keeps their arrangement, not always their place and size.
    """
    known = [i for i in sorted(model.poses) if photos[i].camera is not None]
    solved = np.array([model.poses[i] for i in sorted(model.poses)]).reshape(-1, 4, 4)
    if not len(solved):
        return gauge.Similarity(1.0, np.eye(3), np.zeros(3))
    scale = _scale_from_depth(photos, model)
    if not known:
        move = gauge.upright(solved, model.points)
        return move if scale is None else gauge.Similarity(scale, move.rotation, move.translation * (scale / move.scale))
    given = np.array([pinhole.world_from_camera(photos[i].camera) for i in known])
    own = np.array([model.poses[i] for i in known])
    if len(known) == 1:
        if scale is None:
            distance = np.median(np.linalg.norm(model.points[model.seen[known[0]]] - own[0, :3, 3], axis=1))
            scale = gauge.UNITS_TO_SCENE / float(distance)
            progress.warn(
                f"Only {photos[known[0]].name} has a camera, which does not tell the scene's size; it is taken to be "
                f"{gauge.UNITS_TO_SCENE:g} units away: give a second camera to set the scale."
            )
        return gauge.onto_known(own, given, scale)
    _compare(photos, free, progress)
    return gauge.onto_known(own, given)


def _compare(photos: list[Photo], model: sfm.Model, progress: Progress) -> None:
    """Warn when the given cameras do not agree with what the photos show when they are solved freely."""
    known = [i for i in sorted(model.poses) if photos[i].camera is not None]
    if len(known) < 2:
        return
    given = np.array([pinhole.world_from_camera(photos[i].camera) for i in known])
    own = np.array([model.poses[i] for i in known])
    move = gauge.onto_known(own, given)
    names = [photos[i].name for i in known]
    size = np.linalg.norm(given[:, :3, 3] - given[:, :3, 3].mean(0), axis=1).mean()
    for pose, truth, name in zip(map(move.pose, own), given, names):
        cosine = (np.trace(pose[:3, :3].T @ truth[:3, :3]) - 1) / 2
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        distance = np.linalg.norm(pose[:3, 3] - truth[:3, 3]) / max(size, 1e-12)
        if angle > 2 or distance > 0.1:
            progress.warn(
                f"The camera given for {name} is {angle:.1f}° and {100 * distance:.0f} % of the cameras' spread away from what "
                "the photos show; check it, or leave it out to have it solved."
            )


def _scale_from_depth(photos: list[Photo], model: sfm.Model) -> float | None:
    """Scene units per unit of the model, from depth that was given with a photo whose camera was solved or known."""
    ratios = []
    for i in sorted(model.poses):
        depth = photos[i].depth
        if depth is None:
            continue
        factor = photos[i].image.shape[1] / model.cameras[i].width
        x, y = (np.clip(model.pixels[i][:, j] * factor, 0, depth.shape[1 - j] - 1).astype(int) for j in (0, 1))
        z = (model.points[model.seen[i]] - model.poses[i][:3, 3]) @ model.poses[i][:3, 2]
        given = depth[y, x]
        good = np.isfinite(given) & (given > 0) & (z > 0)
        ratios.extend(given[good] / z[good])
    return float(np.median(ratios)) if len(ratios) >= 10 else None


def colors(photos: list[Photo], model: sfm.Model) -> np.ndarray:
    """(N, 3) uint8; the mean of what the photos show at the points' features."""
    total = np.zeros((len(model.points), 3))
    count = np.zeros(len(model.points))
    for i in sorted(model.poses):
        image = photos[i].image
        factor = image.shape[1] / model.cameras[i].width
        x, y = (np.clip(model.pixels[i][:, j] * factor, 0, image.shape[1 - j] - 1).astype(int) for j in (0, 1))
        np.add.at(total, model.seen[i], image[y, x])
        np.add.at(count, model.seen[i], 1)
    return (np.clip(total / np.maximum(count, 1)[:, None], 0, 1) * 255 + 0.5).astype(np.uint8)
