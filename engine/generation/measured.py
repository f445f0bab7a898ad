"""Training samples whose depth our own stereo measured: what it gets wrong, and how sure it is of that, is not imitated.

A room of the depth's training (geometry/rooms.py) with finer textures is photographed and measured once; many close-ups of it are
cheap then.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ..camera import unproject, world_from_camera
from ..conditioning import Warper
from ..geometry import fusion, rooms, stereo, trust
from ..job import Camera
from ..memory import remembering
from ..progress import Progress
from ..records import Condition, Photo
from .textures import Bank
from .world import FOCAL, Scene, look_at, random_rotation, render, visible

PHOTO = (400, 300)
"""Width and height of the photos."""
TEXELS = (0.05, 1.5)
"""Of a photo's pixel: what a close-up can show and what photos do."""
SIDE = 0.15
"""Radians (1 sigma) that a close-up's sight is aside of those of the photos."""
TRIES = 20
PLACES = 4
CLOUD = 100_000
"""Points."""


def measured(seed: int, textures: Bank, size: int, count: int, device: torch.device) -> list[tuple[Condition, np.ndarray, float]]:
    """``count`` close-ups of room number ``seed``: the condition, the true crop (size, size, 3), and the zoom, 1 to 8."""
    rng = np.random.default_rng([seed, 6])
    scene = rooms.room(rng, len(textures), TEXELS)
    photos, depths = rooms.photographed(rng, scene, textures, *PHOTO)
    progress = Progress()
    views = stereo.estimate(photos, device, progress)
    warper = Warper(trust.for_frames(views), device, fusion.fuse(trust.for_cloud(views), CLOUD))
    found = []
    for _ in range(count):
        camera, zoom = close_up(rng, scene, photos, depths, size)
        found.append((remembering(warper, camera), render(scene, textures, camera)[0].cpu().numpy(), zoom))
    return found


def close_up(
    rng: np.random.Generator, scene: Scene, photos: list[Photo], depths: list[np.ndarray], size: int
) -> tuple[Camera, float]:
    """A camera of ``size`` pixels at a point that one of the photos sees, from a side that they see it from, and its zoom.

    Close-ups are made of what is worth one: of a few places that with the most contrast.
    """
    focal = FOCAL * size
    detail = [contrast(photo.image) for photo in photos]
    for _ in range(TRIES):
        number = int(rng.integers(len(photos)))
        camera, depth = photos[number].camera, depths[number]
        picks = rng.choice(np.flatnonzero(np.isfinite(depth)), PLACES)
        pick = picks[detail[number].flat[picks].argmax()]
        near = float(depth.flat[pick])
        point = unproject(camera, np.where(np.isfinite(depth), depth, 0)).reshape(-1, 3)[pick]
        zoom = float(np.exp(rng.uniform(0, np.log(8))))
        share = rng.dirichlet(np.ones(len(photos)))
        toward = sum(s * world_from_camera(p.camera)[:3, 3] for s, p in zip(share, photos)) - point
        toward = random_rotation(rng, 2 * SIDE) @ toward
        place = point + toward / np.linalg.norm(toward) * near * focal / camera.fx / zoom
        if visible(scene, torch.as_tensor(point[None], dtype=torch.float32), place):
            break
    return look_at(place, point, size, focal, size / 2, rng.normal(0, 0.05)), zoom


def contrast(image: np.ndarray) -> np.ndarray:
    """(H, W) local variance of a picture (H, W, 3)."""
    grey = image.mean(2)
    return cv2.blur(grey * grey, (15, 15)) - cv2.blur(grey, (15, 15)) ** 2
