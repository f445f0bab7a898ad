"""Where a solved scene stands: alignment to known cameras, or an upright, centred world of a handy size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNITS_TO_SCENE = 5.0
"""Median distance from the cameras to the points, in scene units, when nothing says how large the scene is."""
_GROUND_TILT = np.cos(np.radians(35))
_GROUND_SHARE = 0.25


@dataclass(frozen=True)
class Similarity:
    """x → scale · rotation · x + translation. rotation: (3, 3), translation: (3,)."""

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def points(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) points moved."""
        return self.scale * np.asarray(points, float) @ self.rotation.T + self.translation

    def pose(self, world_from_camera: np.ndarray) -> np.ndarray:
        """A rigid (4, 4) moved; its rotation stays a rotation."""
        result = np.eye(4)
        result[:3, :3] = self.rotation @ world_from_camera[:3, :3]
        result[:3, 3] = self.points(world_from_camera[None, :3, 3])[0]
        return result


def onto_known(solved: np.ndarray, known: np.ndarray, scale: float | None = None) -> Similarity:
    """The similarity that takes solved poses (K, 4, 4) onto the known ones (K, 4, 4), by orientations and centres.

    Orientations give the rotation, so that two cameras (or cameras in a row) are enough. One camera leaves the scale open:
    ``scale`` is taken then.
    """
    rotation = _nearest_rotation(sum(k[:3, :3] @ s[:3, :3].T for s, k in zip(solved, known)))
    from_, to = solved[:, :3, 3], known[:, :3, 3]
    if scale is None:
        spread = np.sum((from_ - from_.mean(0)) ** 2)
        scale = float(np.sqrt(np.sum((to - to.mean(0)) ** 2) / spread)) if spread > 0 else 1.0
    return Similarity(scale, rotation, to.mean(0) - scale * rotation @ from_.mean(0))


def upright(poses: np.ndarray, points: np.ndarray) -> Similarity:
    """Blender's z up, the cameras looking along +y on the whole, the scene standing at the origin, UNITS_TO_SCENE away.

    poses: (K, 4, 4) world_from_camera. points: (N, 3), N ≥ 1.
    """
    up, ground = _up(poses, points)
    forward = poses[:, :3, 2].mean(0)
    forward = forward - up * (forward @ up)
    if np.linalg.norm(forward) < 0.05:  # looking straight down, or all around: the pictures' top is as good a north
        forward = -poses[0, :3, 1] + up * (poses[0, :3, 1] @ up)
    if np.linalg.norm(forward) < 1e-6:
        forward = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    y = forward / np.linalg.norm(forward)
    rotation = np.stack([np.cross(y, up), y, up])
    distance = np.median(np.linalg.norm(points[None] - poses[:, None, :3, 3], axis=2))
    scale = UNITS_TO_SCENE / max(float(distance), 1e-12)
    turned = scale * points @ rotation.T
    centre = np.median(turned, axis=0)
    centre[2] = np.percentile(turned[:, 2], 2) if ground is None else scale * ground
    return Similarity(scale, rotation, -centre)


def _up(poses: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, float | None]:
    """The vertical, and the ground's height along it when there is a ground.

    People hold cameras level: the vertical is what the pictures' horizontal axes are most perpendicular to, on the side of
    their tops. A large plane about level below the cameras says it better.
    """
    across, tops = poses[:, :3, 0], -poses[:, :3, 1]
    mean_top = tops.mean(0)
    spread = across.T @ across / len(poses) - 0.05 * np.outer(mean_top, mean_top)
    up = np.linalg.eigh(spread)[1][:, 0]
    up = up * (1.0 if up @ mean_top >= 0 else -1.0)
    if up @ mean_top < 0.2 * np.linalg.norm(mean_top) or np.linalg.norm(mean_top) < 0.1:
        up = mean_top / max(np.linalg.norm(mean_top), 1e-12) if np.linalg.norm(mean_top) >= 0.1 else tops[0]
    plane = _ground(poses[:, :3, 3], points, up)
    return (up, None) if plane is None else plane


def _ground(centres: np.ndarray, points: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, float] | None:
    """The largest plane within 35° of level with little of the scene below it: (unit normal, height along it), or None."""
    if len(points) < 50:
        return None
    generator = np.random.default_rng(0)
    tolerance = 0.01 * np.median(np.linalg.norm(points[None] - centres[:, None], axis=2))
    best, best_count = None, _GROUND_SHARE * len(points)
    for triple in points[generator.integers(0, len(points), (500, 3))]:
        normal = np.cross(triple[1] - triple[0], triple[2] - triple[0])
        length = np.linalg.norm(normal)
        if length < 1e-12:
            continue
        normal = normal / length * (1.0 if normal @ up >= 0 else -1.0)
        height = normal @ triple[0]
        heights = points @ normal - height
        close = np.abs(heights) < tolerance
        below = np.mean(heights < -3 * tolerance)
        if normal @ up > _GROUND_TILT and below < 0.1 and close.sum() > best_count and (centres @ normal > height).all():
            best, best_count = close, close.sum()
    if best is None:
        return None
    centre = points[best].mean(0)
    normal = np.linalg.svd(points[best] - centre, full_matrices=False)[2][2]
    normal = normal * (1.0 if normal @ up >= 0 else -1.0)
    return normal, float(normal @ centre)


def _nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(matrix)
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
