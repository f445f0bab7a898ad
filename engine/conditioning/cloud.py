"""The fused cloud in the target's frame: global structure guidance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from .. import camera as cams
from ..job import Camera
from ..records import PointCloud
from . import surface
from .splat import Points, to_pixels

SAMPLE = 4000
"""Points whose neighbours are looked up to learn how dense the cloud is."""
MARGIN = 0.1
"""Points are kept this share of the frame beyond its border."""


@dataclass
class Cloud:
    """A point cloud on a device. points: (N, 3) float32 about ``origin`` (3,) float64, world; colors: (N, 3) float32 0..1;
    spacing: (N,) float32, distance to the neighbours, scene units."""

    points: Tensor
    colors: Tensor
    spacing: Tensor
    origin: np.ndarray

    @classmethod
    def of(cls, cloud: PointCloud, device: torch.device) -> Cloud:
        """Points that are not finite are left out."""
        points = np.asarray(cloud.points, np.float64)
        good = np.isfinite(points).all(1)
        points, colors = points[good], np.asarray(cloud.colors)[good]
        origin = np.median(points, axis=0) if len(points) else np.zeros(3)
        points = (points - origin).astype(np.float32)
        return cls(
            torch.from_numpy(points).to(device),
            torch.from_numpy(colors.astype(np.float32) / 255).to(device),
            torch.from_numpy(_spacing(points)).to(device),
            origin,
        )


def _spacing(points: np.ndarray) -> np.ndarray:
    """(N,) distance to the eighth neighbour, about 1.6 times the mean spacing on a surface and so wide enough to close it;
    measured at a sample of the points and taken from the nearest of these."""
    if len(points) <= 8:
        return np.full(len(points), 1e-3, np.float32)
    tree = cKDTree(points)
    some = points[:: max(1, len(points) // SAMPLE)]
    distance = tree.query(some, k=9)[0][:, 8]
    return distance[cKDTree(some).query(points)[1]].astype(np.float32)


def project_cloud(cloud: Cloud | None, camera: Camera, device: torch.device) -> tuple[Tensor, Tensor]:
    """The cloud splatted hierarchically, with suppression: colour (H, W, 3) and z-depth (H, W), 0 where it says nothing."""
    rgb = torch.zeros(camera.height, camera.width, 3, device=device)
    depth = torch.zeros(camera.height, camera.width, device=device)
    if cloud is None or not len(cloud.points):
        return rgb, depth
    points, kept = _in_view(cloud, camera, 1)
    if not len(points):
        return rgb, depth
    first = surface.splat_levels(points, camera, 0, typical(cloud, camera))
    known = first.index >= 0
    depth[known] = first.depth[known]
    rgb[known] = cloud.colors[kept][first.index[known]]
    return rgb, depth


def _in_view(cloud: Cloud, camera: Camera, step: int) -> tuple[Points, Tensor]:
    """Every ``step``-th of the cloud's points, as far as they fall in the target's widened frame, and their indices."""
    m = cams.camera_from_world(camera)
    device = cloud.points.device
    rotation = torch.as_tensor(m[:3, :3].astype(np.float32), device=device)
    offset = torch.as_tensor((m[:3, :3] @ cloud.origin + m[:3, 3]).astype(np.float32), device=device)
    px, py, pz = (cloud.points[::step] @ rotation.T + offset).unbind(1)
    return to_pixels(px, py, pz, cloud.spacing[::step], camera, MARGIN)


def typical(cloud: Cloud, camera: Camera) -> float:
    """The spacing, px, of the cloud's points in a target's frame (see ``surface.high_quantile``)."""
    step = max(1, len(cloud.points) // surface.SAMPLE)
    return surface.high_quantile(_in_view(cloud, camera, step)[0].footprint.cpu().numpy())
