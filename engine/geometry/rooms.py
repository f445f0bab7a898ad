"""Synthetic scenes with exact depth, as stereo meets them: things on a table or the ground, walls or hills and sky behind.

Made of the generator's synthetic world (its shapes, textures and ray-casting); only what stands where is different. y points
down, the table's top is y = 0, things on it are about a unit across, and photos are taken from an arc around them.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ..generation.textures import Bank
from ..generation.world import BOX, ELLIPSOID, ROD, Scene, assembled, jittered, look_at, random_rotation, render
from ..job import Camera
from ..records import Photo

PIXEL = 0.008
"""About a photo's pixel on the table, in units of the scene."""


def room(rng: np.random.Generator, textures: int, texels: tuple[float, float] = (0.25, 3)) -> Scene:
    """One scene. textures: how many there are to choose from. texels: the smallest and the largest, in photo's pixels."""
    items: list[tuple] = []

    def add(kind, center, size, rotation, detail=1.0):
        items.append((kind, np.asarray(center, float), rotation, np.broadcast_to(np.asarray(size, float), 3), detail))

    outdoors = rng.random() < 0.35
    _ground(rng, add, outdoors)
    (_hills if outdoors else _walls)(rng, add)
    for _ in range(rng.integers(4, 12)):
        _thing(rng, add)
    for _ in range(rng.integers(1, 3) if rng.random() < 0.5 else 0):
        _twigs(rng, add)

    items.sort(key=lambda item: item[0])
    count = len(items)
    texel = PIXEL * np.exp(rng.uniform(*np.log(texels), count)) * [item[4] for item in items]
    # one texel as large as a thing: a surface of one colour; stereo sees nothing there
    texel *= np.where(rng.random(count) < 0.15, rng.uniform(20, 80, count), 1)
    grey = np.full((3, 3), 1 / 3)
    tints = np.stack([np.eye(3) + rng.beta(1, 2) * (grey - np.eye(3)) for _ in items])
    tints *= rng.uniform(0.4, 1.2, (count, 1, 1)) * np.exp(rng.normal(0, 0.15, (count, 3, 1)))
    light = np.array([rng.normal(0, 0.7), -1, rng.normal(-0.5, 0.5)])

    return assembled(
        items,
        torch.device("cpu"),
        texture=rng.integers(0, textures, count),
        texel=texel,
        offset=rng.uniform(0, 1024, (count, 2)),
        tint=tints,
        gloss=rng.beta(0.7, 3, count),
        light=light / np.linalg.norm(light),
        ambient=rng.uniform(0.25, 0.7),
        sky=np.sort(rng.uniform(0.3, 1, (2, 3)), 1) * rng.uniform(0.6, 1.1),
        sky_texture=rng.integers(textures),
    )


def turned(angle: float) -> np.ndarray:
    """(3, 3) rotation about the vertical."""
    return cv2.Rodrigues(np.array([0, angle, 0.0]))[0]


def _ground(rng, add, outdoors: bool) -> None:
    """A table's top or the ground, and the ground below a table."""
    table = rng.random() < 0.6
    half = rng.uniform(0.7, 1.6, 2) if table else (40, 40)
    thickness = rng.uniform(0.02, 0.06)
    add(BOX, [0, thickness, 0], [half[0], thickness, half[1]], turned(rng.uniform(-0.6, 0.6)))
    if table and (outdoors or rng.random() < 0.5):
        add(BOX, [0, rng.uniform(0.5, 1.2) + 1, 0], [60, 1, 60], random_rotation(rng, 0.08), rng.uniform(1, 4))


def _walls(rng, add) -> None:
    for _ in range(rng.integers(1, 3)):
        away, angle = rng.uniform(0.7, 4), rng.normal(0, 0.5)
        turn = turned(angle)
        add(BOX, turn @ [0, 0, away + 0.2], [12, 8, 0.2], turn @ random_rotation(rng, 0.05), rng.uniform(1, 2))


def _hills(rng, add) -> None:
    for _ in range(rng.integers(0, 5)):
        away = np.exp(rng.uniform(np.log(4), np.log(25)))
        size = away * rng.uniform(0.2, 0.8, 3)
        place = [away * rng.normal(0, 0.6), rng.uniform(0.5, 1.5) + 0.3 * size[1], away]
        add(ELLIPSOID, place, size, turned(rng.uniform(0, 3)), away / 2)


def _thing(rng, add) -> None:
    """A box, a can or a ball that stands or lies on the table, at times on another one's place."""
    x, z = rng.uniform(-0.7, 0.7, 2)
    size = np.exp(rng.uniform(np.log(0.03), np.log(0.3), 3))
    kind = rng.choice([BOX, BOX, ELLIPSOID, ROD])
    if kind == BOX:
        lying = rng.random() < 0.4
        size[1] = 0.003 if lying and rng.random() < 0.5 else size[1] * (0.3 if lying else 1)
        add(BOX, [x, -size[1], z], size, turned(rng.uniform(0, 3)))
    elif kind == ELLIPSOID:
        add(ELLIPSOID, [x, -size[1], z], size, turned(rng.uniform(0, 3)))
    else:  # a rod lies along its z
        upright = cv2.Rodrigues(np.array([np.pi / 2, 0, 0]))[0]
        add(ROD, [x, -size[2], z], [size[0], size[0], size[2]], upright)


def _twigs(rng, add) -> None:
    """Thin rods in a bunch, as a plant's: what stereo finds hardest."""
    x, z = rng.uniform(-0.6, 0.6, 2)
    for _ in range(rng.integers(3, 9)):
        radius = np.exp(rng.uniform(np.log(0.004), np.log(0.02)))
        half = rng.uniform(0.1, 0.3)
        turn = cv2.Rodrigues(np.array([np.pi / 2, 0, 0]) + rng.normal(0, 0.35, 3))[0]
        add(ROD, np.array([x, -half, z]) + rng.normal(0, 0.06, 3), [radius, radius, half], turn)


def cameras(rng: np.random.Generator, width: int, height: int) -> list[Camera]:
    """Two to four cameras on an arc of 20 to 80 degrees, as somebody with a telephone takes them."""
    count = int(rng.choice([2, 3, 4, 4, 4]))
    spread, middle = np.radians(rng.uniform(20, 80)), rng.uniform(-0.6, 0.6)
    elevation, distance = np.radians(rng.uniform(6, 45)), rng.uniform(1.8, 3.2)
    focal = width / 2 / np.tan(np.radians(rng.uniform(32, 60)) / 2)
    found = []
    for angle in middle + np.linspace(-spread / 2, spread / 2, count) + rng.normal(0, 0.03, count):
        up = elevation + rng.normal(0, 0.05)
        toward = np.array([np.sin(angle) * np.cos(up), -np.sin(up), -np.cos(angle) * np.cos(up)])
        place = distance * rng.uniform(0.85, 1.15) * toward
        square = look_at(place, rng.normal([0, -0.1, 0], 0.12), width, focal, width / 2, rng.normal(0, 0.03))
        intrinsics = {"fx": focal, "fy": focal, "cx": width / 2, "cy": height / 2}
        found.append(Camera(width=width, height=height, world_from_camera=square.world_from_camera, **intrinsics))
    return found


def photos(seed: int, textures: Bank, width: int, height: int) -> tuple[list[Photo], list[np.ndarray]]:
    """The photos of scene number ``seed``, see :func:`photographed`, and their true z-depths (H, W)."""
    rng = np.random.default_rng([seed, 5])
    return photographed(rng, room(rng, len(textures)), textures, width, height)


def photographed(
    rng: np.random.Generator, scene: Scene, textures: Bank, width: int, height: int
) -> tuple[list[Photo], list[np.ndarray]]:
    """Photos of a scene, with noise, exposure, a JPEG's losses and cameras a little off, and their true z-depths (H, W)."""
    blur, noise, off = rng.uniform(0, 0.6), rng.uniform(0, 0.01), rng.choice([0, 0.1, 0.25])
    quality = int(rng.integers(70, 100)) if rng.random() < 0.7 else 0
    found, truths = [], []
    for number, camera in enumerate(cameras(rng, width, height)):
        image, depth = (x.numpy() for x in render(scene, textures, camera))
        if blur > 0.3:
            image = cv2.GaussianBlur(image, (0, 0), blur)
        image = image * np.exp(rng.normal(0, 0.03)) * np.exp(rng.normal(0, 0.01, 3)) + rng.normal(0, noise, image.shape)
        image = _compressed(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), quality).astype(np.float32) / 255
        truths.append(depth)
        found.append(Photo(f"photo {number + 1}", image, np.ones(depth.shape, bool), jittered(rng, camera, off / camera.fx)))
    return found, truths


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """(H, W, 3) uint8 as a JPEG of this quality shows it; at 0 as it is. In plain surroundings little else tells photos apart."""
    if not quality:
        return image
    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]
