"""The large planes of a scene: tables, walls, floors. Fitted to sure depths, they go on behind what hides them."""

from __future__ import annotations

import numpy as np
import torch

from .. import camera as cams
from ..job import Camera
from . import patchmatch
from .matching import Planes, pixel_grid

MOST = 8
SAMPLE = 4000
"""Points of each photo that planes are looked for in."""
TRIES = 400
"""Points whose tangent planes are tried."""
OFF_PLANE = 0.006
"""Distance from a plane, relative to the distance from the camera, up to which a point belongs to it."""
TURNED = 0.9
"""Cosine of the angle up to which a surface is turned like a plane."""
LEAST_SHARE = 0.025
"""Of all points; a smaller plane is none."""


def oriented_points(w: torch.Tensor, sure: torch.Tensor, camera: Camera) -> np.ndarray:
    """(n, 7) world points, unit normals and distances to the camera: about SAMPLE of the pixels (H, W) that are ``sure``.

    w: (H, W) inverse depth.
    """
    index = sure.reshape(-1).nonzero()[:, 0]
    if not len(index):
        return np.zeros((0, 7))
    index = index[:: max(1, len(index) // SAMPLE)]
    width = w.shape[1]
    v, u = (index // width).double().cpu().numpy() + 0.5, (index % width).double().cpu().numpy() + 0.5
    value, du, dv = (part.reshape(-1)[index].double().cpu().numpy() for part in (w, *patchmatch.slopes(w, 4, 0.02)))
    # a plane n·X = d has inverse depth n·(x, y, 1) / d at the ray (x, y, 1)
    a, b = du * camera.fx, dv * camera.fy
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    normal = np.stack([a, b, value - a * x - b * y], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    point = np.stack([x, y, np.ones_like(x)], 1) / value[:, None]
    matrix = cams.world_from_camera(camera)
    return np.concatenate(
        [point @ matrix[:3, :3].T + matrix[:3, 3], normal @ matrix[:3, :3].T, np.linalg.norm(point, axis=1, keepdims=True)], 1
    )


def find(points: np.ndarray) -> np.ndarray:
    """(K, 4) the large planes n·X = d of a scene, largest first, as rows (n, d). points: (N, 7) of :func:`oriented_points`."""
    random = np.random.default_rng(0)
    least = max(20, int(LEAST_SHARE * len(points)))
    rest, found = points, []
    while len(found) < MOST and len(rest) >= least:
        tried = rest[random.permutation(len(rest))[:TRIES]]
        planes = np.concatenate([tried[:, 3:6], (tried[:, :3] * tried[:, 3:6]).sum(1, keepdims=True)], 1)
        plane = planes[_belongs(rest, planes).sum(0).argmax()]
        for _ in range(3):
            inside = _belongs(rest, plane[None])[:, 0]
            if inside.sum() < least:
                break
            plane = _fit(rest[inside])
        if inside.sum() < least:
            break
        found.append(plane)
        rest = rest[~inside]
    return np.array(found).reshape(-1, 4)


def _belongs(points: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """(N, K) bool: on the plane, and turned like it."""
    off = np.abs(points[:, :3] @ planes[:, :3].T - planes[:, 3]) / points[:, 6:]
    return (off < OFF_PLANE) & (np.abs(points[:, 3:6] @ planes[:, :3].T) > TURNED)


def _fit(points: np.ndarray) -> np.ndarray:
    """(4,) least squares, each point weighted by how exactly its depth is known."""
    weight = 1 / points[:, 6] ** 2
    middle = (points[:, :3] * weight[:, None]).sum(0) / weight.sum()
    scaled = (points[:, :3] - middle) * np.sqrt(weight)[:, None]
    normal = np.linalg.svd(scaled, full_matrices=False)[2][2]
    return np.append(normal, normal @ middle)


def seen_from(plane: np.ndarray, camera: Camera, size: tuple[int, int], device: torch.device) -> Planes:
    """A world plane as inverse depth (H, W) and its slopes per pixel; nowhere positive where it lies behind the camera."""
    matrix = cams.world_from_camera(camera)
    normal = matrix[:3, :3].T @ plane[:3]
    distance = plane[3] - plane[:3] @ matrix[:3, 3]
    distance = distance if abs(distance) > 1e-12 else 1e-12
    du, dv = normal[0] / distance / camera.fx, normal[1] / distance / camera.fy
    constant = normal[2] / distance - du * camera.cx - dv * camera.cy
    u, v, _ = pixel_grid(*size, device)
    w = (constant + u.double() * du + v.double() * dv).float()
    return Planes(w, torch.full_like(w, float(du)), torch.full_like(w, float(dv)))
