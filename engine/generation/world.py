"""A synthetic world to train on: textured boxes, ellipsoids and rods in front of walls or sky, ray-cast in torch.

Lengths are in units of what the target crop sees at its focus, the origin; so a scene looks alike at every zoom, and photos
are simply taken from ``zoom`` times farther away. Everything follows from a seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import from_arrays, pixel_rays, unproject, world_from_camera
from ..job import Camera
from ..records import SKY, UNKNOWN, View
from .textures import Bank, lookup

FAR = 1e6
BOX, ELLIPSOID, ROD = range(3)
FOCAL = 6.5
"""Focal length of the target, in widths of its crop: a 1024 wide frame's of 42 degrees looked at through a window of 1/5."""

MOVE = 0.02
"""How far a moving camera goes forward between two frames, share of its distance: from 1 to 5 times closer in about 80 frames."""


@dataclass
class Scene:
    """P primitives, sorted by kind, and the light.

    kind: (P,). center: (P, 3). rotation: (P, 3, 3), columns are the local axes. size: (P, 3) half lengths; a rod lies
    along its local z with the radius of x. texture: (P,) index into the bank. texel: (P,) length of a texel.
    offset: (P, 2) texels. tint: (P, 3, 3) colour matrix. gloss: (P,). light: (3,) unit vector toward the light.
    ambient: share of light in the shade. sky: (2, 3) linear colours at the nadir and the zenith, and sky_texture for its clouds.
    """

    kind: Tensor
    center: Tensor
    rotation: Tensor
    size: Tensor
    texture: Tensor
    texel: Tensor
    offset: Tensor
    tint: Tensor
    gloss: Tensor
    light: Tensor
    ambient: float
    sky: Tensor
    sky_texture: int


def random_rotation(rng: np.random.Generator, limit: float = math.pi) -> np.ndarray:
    """(3, 3) about a random axis by a random angle up to ``limit``."""
    axis = rng.normal(size=3)
    return cv2.Rodrigues(axis / np.linalg.norm(axis) * rng.uniform(-limit, limit))[0]


def random_scene(rng: np.random.Generator, textures: int, zoom: float, device: torch.device) -> Scene:
    """A main surface through the origin (mostly), objects and rods on it, an occluder at times, a wall or the sky behind."""
    items: list[tuple] = []

    def add(kind: int, center, size, rotation, detail: float = 1.0):
        items.append((kind, np.asarray(center, float), rotation, np.broadcast_to(np.asarray(size, float), 3), detail))

    if rng.random() < 0.7:
        add(BOX, [0, 0, 0.05], [rng.uniform(0.4, 6), rng.uniform(0.4, 6), 0.05], random_rotation(rng, 1.0))
    for _ in range(rng.integers(1, 9)):
        size = 0.6 * rng.uniform(0.08, 1) ** 1.5 * rng.uniform(0.4, 1, 3)
        center = [*rng.normal(0, 0.35, 2), rng.normal(-0.1, 0.4)]
        add(rng.choice([BOX, ELLIPSOID, ROD]), center, size, random_rotation(rng))
    for _ in range(rng.integers(0, 5) if rng.random() < 0.6 else 0):
        radius = np.exp(rng.uniform(np.log(0.004), np.log(0.05)))
        add(ROD, [*rng.normal(0, 0.3, 2), rng.normal(-0.3, 0.5)], [radius, radius, rng.uniform(0.3, 2)], random_rotation(rng))
    if rng.random() < 0.25:
        depth = FOCAL * rng.uniform(0.1, 0.5)
        size = rng.uniform(0.03, 0.25) * (1 - depth / FOCAL)
        place = [*rng.normal(0, 0.4, 2) * (1 - depth / FOCAL), -depth]
        add(rng.choice([BOX, ROD]), place, [size, size, 0.4], random_rotation(rng))
    behind = np.exp(rng.uniform(np.log(0.4), np.log(12)))
    if rng.random() < 0.75:
        detail = 1 + behind / FOCAL
        add(BOX, [0, 0, behind + 0.5], [30 * zoom, 30 * zoom, 0.5], random_rotation(rng, 0.4), detail * rng.uniform(1, 3))
    if rng.random() < 0.4:
        down = rng.uniform(0.2, 2)
        add(BOX, [0, down + 1, 0], [40 * zoom, 1, 40 * zoom], random_rotation(rng, 0.15), rng.uniform(1, 3))

    items.sort(key=lambda item: item[0])
    count = len(items)
    grey = np.full((3, 3), 1 / 3)
    tints = [np.eye(3) + rng.beta(1, 2) * (grey - np.eye(3)) for _ in items]
    tints = np.stack([rng.uniform(0.5, 1.2) * t * np.exp(rng.normal(0, 0.15, (3, 1))) for t in tints])
    # A texel is about a target pixel (of 128 across): fine enough to be lost in the far photos, coarse enough to be seen.
    texel = np.exp(rng.uniform(np.log(0.35), np.log(3), count)) / 128 * np.array([item[4] for item in items])
    light = np.array([rng.normal(0, 0.7), -1, rng.normal(-0.8, 0.5)])

    return assembled(
        items,
        device,
        texture=rng.integers(0, textures, count),
        texel=texel,
        offset=rng.uniform(0, 1024, (count, 2)),
        tint=tints,
        gloss=rng.beta(1, 4, count),
        light=light / np.linalg.norm(light),
        ambient=rng.uniform(0.25, 0.7),
        sky=rng.uniform(0.1, 1, (2, 3)) * rng.uniform(0.4, 1.2),
        sky_texture=rng.integers(textures),
    )


def assembled(items: list[tuple], device: torch.device, texture, ambient, sky_texture, **rest) -> Scene:
    """A scene of items (kind, centre, rotation, size, …); the rest as :class:`Scene` names it, as arrays."""

    def tensor(x, dtype=torch.float32) -> Tensor:
        return torch.as_tensor(np.asarray(x), dtype=dtype, device=device)

    return Scene(
        kind=tensor([item[0] for item in items], torch.long),
        center=tensor([item[1] for item in items]),
        rotation=tensor([item[2] for item in items]),
        size=tensor([item[3] for item in items]),
        texture=tensor(texture, torch.long),
        ambient=float(ambient),
        sky_texture=int(sky_texture),
        **{name: tensor(value) for name, value in rest.items()},
    )


# --- ray-casting -------------------------------------------------------------


def intersect(scene: Scene, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest hit of rays (N, 3): distance (N,) in lengths of ``direction`` (FAR where nothing is hit) and primitive (N,)."""
    o = torch.einsum("pij,pni->pnj", scene.rotation, origin[None] - scene.center[:, None])
    d = torch.einsum("pij,ni->pnj", scene.rotation, direction)
    distance = torch.full(o.shape[:2], FAR, device=o.device)
    for kind, test in ((BOX, _hit_box), (ELLIPSOID, _hit_ellipsoid), (ROD, _hit_rod)):
        rows = scene.kind == kind
        if rows.any():
            distance[rows] = test(o[rows], d[rows], scene.size[rows][:, None])
    return distance.min(0)


def _hit_box(o: Tensor, d: Tensor, size: Tensor) -> Tensor:
    d = torch.where(d.abs() < 1e-9, 1e-9, d)
    a, b = (-size - o) / d, (size - o) / d
    near, far = torch.minimum(a, b).amax(-1), torch.maximum(a, b).amin(-1)
    return torch.where((near < far) & (near > 1e-4), near, FAR)


def _quadratic(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    root = b * b - a * c
    t = (-b - root.clamp(min=0).sqrt()) / a
    return torch.where((root > 0) & (t > 1e-4), t, FAR)


def _hit_ellipsoid(o: Tensor, d: Tensor, size: Tensor) -> Tensor:
    o, d = o / size, d / size
    return _quadratic((d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1)


def _hit_rod(o: Tensor, d: Tensor, size: Tensor) -> Tensor:
    radius, half = size[..., 0], size[..., 2]
    xy, dxy = o[..., :2], d[..., :2]
    side = _quadratic((dxy * dxy).sum(-1) + 1e-12, (xy * dxy).sum(-1), (xy * xy).sum(-1) - radius**2)
    side = torch.where((o[..., 2] + side * d[..., 2]).abs() < half, side, FAR)
    dz = torch.where(d[..., 2].abs() < 1e-9, 1e-9, d[..., 2])
    cap = (-torch.sign(dz) * half - o[..., 2]) / dz
    inside = (xy + cap[..., None] * dxy).square().sum(-1) < radius**2
    return torch.minimum(side, torch.where(inside & (cap > 1e-4), cap, FAR))


def _normal(local: Tensor, kind: Tensor, size: Tensor) -> Tensor:
    """Unit normals in local coordinates at hits ``local`` (N, 3)."""
    scaled = local / size
    axis = scaled.abs().argmax(-1, keepdim=True)
    face = torch.zeros_like(local).scatter(1, axis, torch.sign(scaled.gather(1, axis)))
    cap = scaled[:, 2:].abs() > 1 - 1e-4
    along = torch.tensor([0, 0, 1.0], device=local.device)
    side = torch.where(cap, face * along, local * (1 - along))
    kind = kind[:, None]
    return F.normalize(torch.where(kind == BOX, face, torch.where(kind == ROD, side, local / size**2)), dim=-1)


def shade(scene: Scene, textures: Bank, origin: Tensor, direction: Tensor, pixel: float) -> tuple[Tensor, Tensor, Tensor]:
    """Linear colour (N, 3), distance (N,) and primitive (N,), -1 for sky, along rays. pixel: a pixel's width at distance 1."""
    distance, index = intersect(scene, origin, direction)
    hit = distance < FAR
    point = origin + distance[:, None] * direction
    local = torch.einsum("nij,ni->nj", scene.rotation[index], point - scene.center[index])
    normal = torch.einsum("nij,nj->ni", scene.rotation[index], _normal(local, scene.kind[index], scene.size[index]))
    view = F.normalize(direction, dim=-1)
    facing = (normal * view).sum(-1).abs().clamp(min=0.05)

    # The texture's plane is spanned by the two axes that the surface faces least.
    local_normal = torch.einsum("nij,ni->nj", scene.rotation[index], normal).abs()
    axes = torch.tensor([[1, 2], [0, 2], [0, 1]], device=local.device)[local_normal.argmax(-1)]
    uv = local.gather(1, axes)
    texel = scene.texel[index]
    footprint = distance * pixel / texel / facing.sqrt()
    color = lookup(textures, scene.texture[index], uv / texel[:, None] + scene.offset[index], footprint)
    color = torch.einsum("nij,nj->ni", scene.tint[index], color).clamp(min=0)

    lit = (normal * scene.light).sum(-1).clamp(min=0)
    shadow, _ = intersect(scene, point + 2e-3 * normal, scene.light.expand_as(point))
    lit = lit * (shadow >= FAR)
    reflected = view - 2 * (normal * view).sum(-1, keepdim=True) * normal
    gleam = scene.gloss[index] * (reflected * scene.light).sum(-1).clamp(min=0) ** 24 * (lit > 0)
    color = color * (scene.ambient + (1 - scene.ambient) * 1.3 * lit)[:, None] + 0.35 * gleam[:, None]

    up = (0.5 - 0.5 * view[:, 1])[:, None]
    clouds = lookup(textures, torch.full_like(index, scene.sky_texture), view[:, :2] * 150 + 256, torch.full_like(distance, 8.0))
    sky = scene.sky[0] + up * (scene.sky[1] - scene.sky[0]) + 0.3 * (clouds - 0.3) * up
    return torch.where(hit[:, None], color, sky), distance, torch.where(hit, index, -1)


@torch.no_grad()
def render(scene: Scene, textures: Bank, camera: Camera) -> tuple[Tensor, Tensor]:
    """What a camera sees: (H, W, 3) sRGB-coded 0..1, and (H, W) z-depth of the pixel centres, SKY = inf.

    One ray a pixel, and five where neighbouring rays hit different things; textures are filtered by their mip levels.
    """
    device = scene.center.device
    pose = torch.as_tensor(world_from_camera(camera), dtype=torch.float32, device=device)
    rays = torch.as_tensor(pixel_rays(camera), dtype=torch.float32, device=device).reshape(-1, 3)
    pixel = 1 / camera.fx

    def cast(local: Tensor):
        direction = local @ pose[:3, :3].T
        return shade(scene, textures, pose[:3, 3].expand_as(direction), direction, pixel)

    color, distance, index = cast(rays)
    image = index.reshape(camera.height, camera.width)
    edge = torch.zeros_like(image, dtype=torch.bool)
    for axis in (0, 1):
        change = image.diff(dim=axis) != 0
        edge.narrow(axis, 0, change.shape[axis]).logical_or_(change)
        edge.narrow(axis, 1, change.shape[axis]).logical_or_(change)
    rows = edge.flatten().nonzero()[:, 0]
    if len(rows):
        samples = [color[rows]]
        for dx, dy in ((-0.15, -0.35), (0.35, -0.15), (0.15, 0.35), (-0.35, 0.15)):
            shift = torch.tensor([dx / camera.fx, dy / camera.fy, 0], device=device, dtype=torch.float32)
            samples.append(cast(rays[rows] + shift)[0])
        color[rows] = torch.stack(samples).clamp(0, 1).mean(0)
    coded = color.clamp(0, 1) ** (1 / 2.2)
    depth = torch.where(distance < FAR, distance, float(SKY))
    return coded.reshape(camera.height, camera.width, 3), depth.reshape(camera.height, camera.width)


# --- samples -----------------------------------------------------------------


@dataclass
class Sample:
    """Photos of a scene with corrupted depth, and the close-up they should give: truth (H, W, 3) and its exact depth (H, W)."""

    views: list[View]
    camera: Camera
    truth: np.ndarray
    depth: np.ndarray
    zoom: float


def look_at(position: np.ndarray, target: np.ndarray, size: int, focal: float, center: float, roll: float = 0.0) -> Camera:
    """A square camera of ``size`` pixels at ``position`` that looks at ``target``, its principal point at ``center``."""
    z = (target - position) / np.linalg.norm(target - position)
    x = np.cross([math.sin(roll), math.cos(roll), 0.0], z)
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([x, np.cross(z, x), z], 1)
    pose[:3, 3] = position
    return from_arrays(size, size, np.array([[focal, 0, center], [0, focal, center], [0, 0, 1]]), pose)


def around(rng: np.random.Generator, distance: float, spread: float) -> np.ndarray:
    """(3,) a place at ``distance`` from the origin, ``spread`` radians (1 sigma) about the -z side."""
    angles = np.clip(rng.normal(0, spread, 2), -0.7, 0.7)
    direction = np.array([math.sin(angles[0]), math.sin(angles[1]), -1.0])
    return distance * direction / np.linalg.norm(direction)


def sample_views(
    seed: int, textures: Bank, size: int, device: torch.device, zoom: float | None = None, error: float | None = None
) -> Sample:
    """Sample number ``seed``: 1 to 4 photos, corrupted as ours are, and a target crop of ``size`` pixels at ``zoom`` (1 to 8).

    zoom, and depth's ``error`` (1 sigma, in a photo's pixels at a baseline as long as the distance; 0: exact), are drawn when
    left out.
    """
    return sample_move(seed, textures, size, device, 1, zoom, error)[0]


def sample_move(
    seed: int,
    textures: Bank,
    size: int,
    device: torch.device,
    frames: int,
    zoom: float | None = None,
    error: float | None = None,
    count: int | None = None,
) -> list[Sample]:
    """:func:`sample_views` from ``frames`` places of a moving camera, its own first; ``count`` photos, drawn when left out."""
    rng = np.random.default_rng([seed, 2])
    zoom = float(np.exp(rng.uniform(0, np.log(8)))) if zoom is None else zoom
    scene = random_scene(rng, len(textures), zoom, device)
    focal = FOCAL * size
    target = look_at(around(rng, FOCAL, 0.1), rng.normal(0, 0.05, 3), size, focal, size / 2)
    path = [_moved(target, number) for number in range(frames)]
    seen = [render(scene, textures, camera) for camera in path]
    drawn = int(rng.choice([1, 2, 3, 4], p=[0.1, 0.25, 0.35, 0.3]))
    points = _some_points(rng, target, seen[0][1])
    # Given depth is exact; stereo is off by a part of a photo's pixel: in depth, over a baseline of a third of the distance.
    off = 0.0 if rng.random() < 0.35 else rng.uniform(0.03, 0.5) / 0.3
    error = off if error is None else error
    names = [f"photo {i + 1}" for i in range(drawn if count is None else count)]
    views = [_photo(rng, scene, textures, size, zoom, points, error, name) for name in names]
    return [Sample(views, camera, *(x.cpu().numpy() for x in picture), zoom) for camera, picture in zip(path, seen)]


def _moved(camera: Camera, number: int) -> Camera:
    """The camera ``number`` frames later: each goes forward by a fiftieth of the way and aside by half of that."""
    pose = world_from_camera(camera)
    pose[:3, 3] += number * FOCAL * MOVE * (pose[:3, 2] + 0.5 * pose[:3, 0])
    return replace(camera, world_from_camera=tuple(map(tuple, pose.tolist())))


def _some_points(rng: np.random.Generator, camera: Camera, depth: Tensor) -> Tensor:
    """(K, 3) up to 32 of the surface points a camera sees."""
    depth = depth.cpu().numpy()
    finite = np.isfinite(depth)
    points = unproject(camera, np.where(finite, depth, 0))[finite]
    return torch.as_tensor(points[rng.integers(0, len(points), 32)] if len(points) else points, dtype=torch.float32)


def visible(scene: Scene, points: Tensor, position: np.ndarray) -> float:
    """Share of ``points`` that nothing hides from ``position``."""
    if not len(points):
        return 1.0
    origin = torch.as_tensor(position, dtype=torch.float32, device=scene.center.device).expand(len(points), 3)
    distance, _ = intersect(scene, origin, points.to(origin.device) - origin)
    return float((distance > 0.995).float().mean())


def _photo(
    rng: np.random.Generator, scene: Scene, textures: Bank, size: int, zoom: float, seen: Tensor, error: float, name: str
) -> View:
    """A far photo's window around the focus, with noise, exposure, and depth and pose as stereo would find them."""
    zoom = zoom * rng.uniform(0.85, 1.2)
    window = int(np.clip(size / zoom * 1.5 + size / 3, 64, 1.5 * size)) // 8 * 8
    focal = FOCAL * size * rng.uniform(0.8, 1.2)
    distance = FOCAL * zoom * focal / (FOCAL * size)
    for _ in range(8):  # a photographer walks around what stands in the way
        position = around(rng, distance, 0.28)
        if visible(scene, seen, position) > 0.4:
            break
    camera = look_at(position, rng.normal(0, 0.12, 3), window, focal, window / 2, rng.normal(0, 0.05))
    image, depth = (x.cpu().numpy() for x in render(scene, textures, camera))
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.7))
    image = image * np.exp(rng.normal(0, 0.02)) * np.exp(rng.normal(0, 0.006, 3))
    image = np.clip(image + rng.normal(0, rng.uniform(0, 0.01), image.shape), 0, 1).astype(np.float32)
    depth, confidence = corrupt_depth(rng, depth, error / focal)
    if error:
        camera = jittered(rng, camera, 0.4 / focal)
    return View(name, image, camera, np.ones(depth.shape, bool), depth, confidence)


def jittered(rng: np.random.Generator, camera: Camera, angle: float) -> Camera:
    """The camera turned by up to ``angle`` (radians), as solved poses are."""
    turn = np.eye(4)
    turn[:3, :3] = random_rotation(rng, angle)
    pose = world_from_camera(camera) @ turn
    return replace(camera, world_from_camera=tuple(map(tuple, pose.tolist())))


def corrupt_depth(rng: np.random.Generator, depth: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    """z-depth and confidence as our stereo gives them: noise, drift, edges that bleed, holes. ``error``: relative, 1 sigma."""
    if error == 0:
        return depth.astype(np.float32), np.ones_like(depth, np.float32)
    h, w = depth.shape
    sky = np.isinf(depth)
    d = np.where(sky, FAR, depth).astype(np.float32)
    if rng.random() < 0.6:  # a matching window gives the edge to its stronger side
        side = int(rng.choice([3, 5]))
        kernel = np.ones((side, side), np.uint8)
        grown = cv2.erode(d, kernel) if rng.random() < 0.6 else cv2.dilate(d, kernel)
        patches = cv2.resize(rng.random((h // 16 + 2, w // 16 + 2)).astype(np.float32), (w, h)) < rng.uniform(0.2, 0.7)
        d = np.where(patches, grown, d)
    if rng.random() < 0.4:  # flying pixels
        d = np.where((cv2.blur(d, (3, 3)) < FAR / 10) & (rng.random(d.shape) < 0.5), cv2.blur(d, (3, 3)), d)
    smooth = cv2.resize(rng.normal(size=(h // 12 + 2, w // 12 + 2)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.normal(size=(h, w)).astype(np.float32), (0, 0), 1.0) * 2
    off = 0.5 * smooth + 0.5 * fine
    d = d * (1 + error * (off + rng.normal(0, 0.3)))
    unsure = cv2.resize(rng.random((h // 8 + 2, w // 8 + 2)).astype(np.float32), (w, h))
    dropped = unsure > rng.uniform(0.75, 1.0)
    confidence = np.clip(1.1 - 0.25 * np.abs(off) - 0.4 * unsure + rng.normal(0, 0.05, d.shape), 0.05, 1)
    d = np.where(dropped, UNKNOWN, np.where(d > FAR / 2, SKY, d))
    return d.astype(np.float32), np.where(dropped, 0, confidence).astype(np.float32)
