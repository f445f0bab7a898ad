"""Training samples of one textured surface: cheap, so many; they teach what magnification does to fine detail.

The ray-cast world (world.py) is about edges, holes and occlusion, at a second a sample. Here a plane of the same units
(widths of the target's crop) carries a texture at about a texel per target pixel; photos of it are drawn by homography.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ..camera import camera_from_world, intrinsics, pixel_rays, world_from_camera
from ..job import Camera
from ..records import View
from .textures import SIZE, Bank
from .world import FOCAL, Sample, around, corrupt_depth, jittered, look_at


def surface_views(seed: int, textures: Bank, size: int, zoom: float | None = None) -> Sample:
    """Sample number ``seed``: 1 to 4 photos of a plane and a target crop of ``size`` pixels at ``zoom`` (1 to 8)."""
    rng = np.random.default_rng([seed, 4])
    zoom = float(np.exp(rng.uniform(0, np.log(8)))) if zoom is None else zoom
    texture = textures.levels[0][int(rng.integers(len(textures)))].cpu().numpy()
    # texels (homogeneous) of a point (x, y, 1) of the plane z = 0
    angle, texels = rng.uniform(0, 2 * math.pi), size * rng.uniform(0.7, 1.3)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * texels
    place = np.vstack([np.column_stack([turn, SIZE / 2 + rng.uniform(-0.2, 0.2, 2) * SIZE]), [0, 0, 1]])
    target = look_at(around(rng, FOCAL, 0.2), rng.normal(0, 0.02, 3), size, FOCAL * size, size / 2)
    truth = photograph(texture, place, target, 0.4)
    error = 0.0 if rng.random() < 0.35 else rng.uniform(0.03, 0.4) / 0.3
    count = int(rng.choice([1, 2, 3, 4], p=[0.15, 0.25, 0.3, 0.3]))
    views = [_photo(rng, texture, place, size, zoom, error, f"photo {i + 1}") for i in range(count)]
    return Sample(views, target, truth, depth_of(target), zoom)


def _photo(rng: np.random.Generator, texture, place, size: int, zoom: float, error: float, name: str) -> View:
    zoom = zoom * rng.uniform(0.85, 1.2)
    window = int(np.clip(size / zoom * 1.5 + size / 8, 32, 1.5 * size)) // 8 * 8
    focal = FOCAL * size * rng.uniform(0.8, 1.2)
    distance = zoom * focal / size
    camera = look_at(around(rng, distance, 0.3), rng.normal(0, 0.04, 3), window, focal, window / 2, rng.normal(0, 0.1))
    image = photograph(texture, place, camera, rng.uniform(0.3, 0.6))
    image = image * np.exp(rng.normal(0, 0.015))
    image = np.clip(image + rng.normal(0, rng.uniform(0, 0.01), image.shape), 0, 1)
    image = (np.round(image * 255) / 255).astype(np.float32)
    depth, confidence = corrupt_depth(rng, depth_of(camera), error / focal)
    if error:
        camera = jittered(rng, camera, 0.3 / focal)
    return View(name, image, camera, np.ones(depth.shape, bool), depth, confidence)


def photograph(texture: np.ndarray, place: np.ndarray, camera: Camera, blur: float) -> np.ndarray:
    """(H, W, 3) float32, sRGB-coded: the plane as ``camera`` sees it.

    texture: (SIZE, SIZE, 3) linear light, mirrored at its borders. place: (3, 3), texels of a point of the plane. blur: standard
    deviation of the lens and the pixel's filter beside its area, pixels.
    """
    m = camera_from_world(camera)
    pixel_of_plane = intrinsics(camera) @ np.column_stack([m[:3, 0], m[:3, 1], m[:3, 3]])
    pixel_of_texel = pixel_of_plane @ np.linalg.inv(place)
    middle = np.linalg.inv(pixel_of_texel) @ [camera.width / 2, camera.height / 2, 1]
    beside = np.linalg.inv(pixel_of_texel) @ [camera.width / 2 + 1, camera.height / 2, 1]
    fine = int(np.clip(math.ceil(np.linalg.norm(beside[:2] / beside[2] - middle[:2] / middle[2])), 2, 12))
    # cv2 puts pixel centres at whole numbers
    to_cv = np.array([[fine, 0, -0.5], [0, fine, -0.5], [0, 0, 1.0]])
    from_cv = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    size = (camera.width * fine, camera.height * fine)
    drawn = cv2.warpPerspective(
        texture, to_cv @ pixel_of_texel @ from_cv, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    drawn = cv2.GaussianBlur(drawn, (0, 0), blur * fine)
    drawn = cv2.resize(drawn, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.clip(drawn, 0, 1).astype(np.float32) ** np.float32(1 / 2.2)


def depth_of(camera: Camera) -> np.ndarray:
    """(H, W) float32 z-depth of the plane z = 0."""
    m = world_from_camera(camera)
    rays = pixel_rays(camera) @ m[:3, :3].T
    return (-m[2, 3] / rays[..., 2]).astype(np.float32)
