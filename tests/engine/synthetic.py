"""A small exact ray-caster: textured plane, sphere and box with true z-depth, for tests.

Colours are solid noise (a function of the world point), so that every view agrees exactly.
"""

from __future__ import annotations

import numpy as np

from engine import camera as cams
from engine.job import Camera
from engine.records import Photo

_OCTAVES = ((2.2, 0.30), (4.7, 0.28), (9.5, 0.26), (19.0, 0.24), (38.0, 0.20))


def look_at(position, target, width: int, height: int, fov: float = 45.0) -> Camera:
    """A camera at ``position`` looking at ``target``; world z is up. fov: horizontal, degrees."""
    position, target = np.asarray(position, float), np.asarray(target, float)
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = position
    focal = 0.5 * width / np.tan(np.radians(fov) / 2)
    return cams.from_arrays(width, height, [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], pose)


def arc(count: int, width: int, height: int, spread: float = 50.0, radius: float = 3.2, elevation: float = 1.3) -> list[Camera]:
    """``count`` cameras on an arc of ``spread`` degrees around the origin."""
    angles = np.radians(np.linspace(-spread / 2, spread / 2, count) if count > 1 else [0.0])
    return [look_at((radius * np.sin(a), -radius * np.cos(a), elevation), (0.0, 0.15, 0.35), width, height) for a in angles]


def noise(points: np.ndarray, seed: int) -> np.ndarray:
    """Trilinear value noise in 0..1 at world points (N, 3)."""
    cell = np.floor(points).astype(np.int64)
    frac = points - cell
    frac = frac * frac * (3 - 2 * frac)
    total = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        at = (cell + corner).astype(np.uint64)
        key = at[:, 0] * np.uint64(73856093) ^ at[:, 1] * np.uint64(19349663) ^ at[:, 2] * np.uint64(83492791) ^ np.uint64(seed)
        key = (key ^ (key >> np.uint64(13))) * np.uint64(0x9E3779B97F4A7C15)
        value = (key >> np.uint64(40)).astype(np.float64) / float(1 << 24)
        weight = np.prod(np.where(corner, frac, 1 - frac), axis=1)
        total += weight * value
    return total


def _texture(points: np.ndarray, footprint: np.ndarray, seed: int, tint: np.ndarray) -> np.ndarray:
    """(N, 3) colours; octaves finer than the pixel's footprint are faded out, as a lens would."""
    value = np.full((len(points), 3), 0.5)
    for index, (frequency, amplitude) in enumerate(_OCTAVES):
        fade = np.clip(1.5 - 2.0 * footprint * frequency, 0, 1)[:, None]
        n = np.stack([noise(points * frequency + 31.7 * c, seed * 101 + index * 7 + c) for c in range(2)], axis=1) - 0.5
        value += amplitude * fade * (n[:, :1] * 1.2 + n[:, 1:] * np.array([0.6, -0.2, -0.5]))
    return np.clip(value * tint, 0, 1)


def _plane(origin, rays, height):
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (height - origin[2]) / rays[:, 2]
    return np.where((t > 1e-6) & np.isfinite(t), t, np.inf)


def _wall(origin, rays, y):
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (y - origin[1]) / rays[:, 1]
    return np.where((t > 1e-6) & np.isfinite(t), t, np.inf)


def _sphere(origin, rays, centre, radius):
    offset = origin - np.asarray(centre)
    a, b, c = (rays**2).sum(1), rays @ offset, offset @ offset - radius**2
    disc = b * b - a * c
    t = (-b - np.sqrt(np.maximum(disc, 0))) / a
    return np.where((disc > 0) & (t > 1e-6), t, np.inf)


def _box(origin, rays, low, high):
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (np.asarray(low) - origin) / rays, (np.asarray(high) - origin) / rays
    near, far = np.minimum(a, b).max(1), np.maximum(a, b).min(1)
    return np.where((near < far) & (near > 1e-6), near, np.inf)


def cast(camera: Camera, sky: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The scene from ``camera``: image (H, W, 3) float32 0..1 and z-depth (H, W) float32 (inf where sky shows)."""
    origin = cams.position(camera)
    rays = (cams.pixel_rays(camera).reshape(-1, 3)) @ cams.world_from_camera(camera)[:3, :3].T
    hits = np.stack(
        [
            _plane(origin, rays, 0.0),
            _sphere(origin, rays, (-0.45, -0.1, 0.45), 0.45),
            _box(origin, rays, (0.2, -0.35, 0.0), (0.85, 0.25, 0.75)),
            np.full(len(rays), np.inf) if sky else _wall(origin, rays, 1.6),
        ]
    )
    which, depth = hits.argmin(0), hits.min(0)
    depth = np.where(depth > 30, np.inf, depth) if sky else depth
    points = origin + rays * np.where(np.isfinite(depth), depth, 1.0)[:, None]
    tints = np.array([[1.0, 0.95, 0.85], [0.75, 1.0, 0.8], [1.0, 0.75, 0.7], [0.8, 0.85, 1.05]])
    image = np.empty((len(rays), 3))
    for index in range(4):
        of = which == index
        image[of] = _texture(points[of], depth[of] / camera.fx, index + 1, tints[index])
    image[~np.isfinite(depth)] = (0.55, 0.7, 0.95)
    shape = (camera.height, camera.width)
    return image.reshape(*shape, 3).astype(np.float32), depth.reshape(shape).astype(np.float32)


def photos(
    count: int = 4, width: int = 240, height: int = 180, sky: bool = False, **kwargs
) -> tuple[list[Photo], list[np.ndarray]]:
    """Photos of the scene (without depth) and their true depths."""
    found, truths = [], []
    for index, camera in enumerate(arc(count, width, height, **kwargs)):
        image, depth = cast(camera, sky)
        found.append(Photo(f"photo{index + 1}.png", image, np.ones((height, width), bool), camera))
        truths.append(depth)
    return found, truths
