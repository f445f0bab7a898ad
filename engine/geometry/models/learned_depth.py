"""Depth that a learned model proposes: brought to the scene's scale, for stereo to try and the other photos to judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation

from ... import camera as cams
from ...job import Camera
from ...progress import EngineError, Progress
from ...records import Photo
from .. import ranges
from .depth_anything_3 import MEAN, PATCH, STD, DepthAnything3

LONGEST = 504
"""Longer side, in pixels, of what the network looks at; it was trained for this."""
MIN_POINTS = 12
"""Of fewer known points in a photo neither scale nor shift is read."""
STEPS = 20
SCATTER = 0.02
"""Relative error of inverse depth at which a point counts half in the alignment."""
_BROKEN = (OSError, SafetensorError, KeyError, ValueError, RuntimeError, IndexError, TypeError, AttributeError, ZeroDivisionError)


def load(folder: Path, device: torch.device) -> DepthAnything3:
    """The network of a models folder. Raises EngineError when its weights are no such network's."""
    path = folder / "model.safetensors"
    try:
        return DepthAnything3.from_state(load_file(path)).to(device)
    except _BROKEN as error:
        said = " ".join(str(error).split())[:120]
        raise EngineError(f"{path} holds no weights of Depth Anything 3 ({said}); fetch them again.", "bad-model") from None


def propose(net: DepthAnything3, photos: Sequence[Photo], device: torch.device, progress: Progress) -> list[np.ndarray]:
    """(H, W) float32 z-depth of every photo in scene units, 0 where it is unknown (sky, and behind infinity).

    photos: with cameras. Those of one size are shown to the network together.
    """
    points = ranges.sparse_points(list(photos), progress) if len(photos) > 1 else np.zeros((0, 3))
    result: list[np.ndarray | None] = [None] * len(photos)
    groups: dict[tuple[int, int], list[int]] = {}
    for index, photo in enumerate(photos):
        groups.setdefault(network_size(photo.camera), []).append(index)
    for size, members in groups.items():
        progress.check()
        group = [photos[index] for index in members]
        images = torch.stack([network_image(photo.image, size) for photo in group]).to(device)
        cameras, unit = network_cameras([photo.camera for photo in group])
        with torch.inference_mode():
            depths, confidences = (x.cpu().numpy() for x in net(images, cameras.to(device)))
        for index, depth, confidence in zip(members, depths, confidences):
            middle = None if len(photos) > 1 else ranges.middle(list(photos), index, np.zeros(0))
            result[index] = _in_scene(photos[index], depth * unit, confidence, points, middle)
    return result


def network_size(camera: Camera) -> tuple[int, int]:
    """(height, width) a photo is shown at: its longer side LONGEST, both the nearest multiples of PATCH."""
    scale = LONGEST / max(camera.width, camera.height)
    return tuple(max(PATCH, PATCH * int(side * scale / PATCH + 0.5)) for side in (camera.height, camera.width))


def network_image(image: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """(3, H, W), normalised, of an sRGB-coded picture."""
    smaller = size[0] < image.shape[0]
    small = cv2.resize(np.clip(image, 0, 1), size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return torch.from_numpy(((small - MEAN) / STD).transpose(2, 0, 1).astype(np.float32))


def network_cameras(cameras: Sequence[Camera]) -> tuple[torch.Tensor, float]:
    """What the network is told of cameras, (S, 9) float32, and how many scene units its unit of length is: the (lower) median of
    the cameras' distances from the first, as its authors take it, where that is not the first itself."""
    poses = np.linalg.inv(cams.world_from_camera(cameras[0])) @ np.stack([cams.world_from_camera(camera) for camera in cameras])
    distances = np.sort(np.linalg.norm(poses[:, :3, 3], axis=1))
    unit = next((float(d) for d in (distances[(len(distances) - 1) // 2], distances[-1]) if d > 1e-9), 1.0)
    rows = []
    for pose, camera in zip(poses, cameras):
        views = [2 * np.arctan(side / 2 / focal) for side, focal in ((camera.height, camera.fy), (camera.width, camera.fx))]
        rows.append([*(pose[:3, 3] / unit), *Rotation.from_matrix(pose[:3, :3]).as_quat(canonical=True), *views])
    return torch.tensor(rows, dtype=torch.float32), unit


def _in_scene(photo: Photo, depth: np.ndarray, confidence: np.ndarray, points: np.ndarray, middle: float | None) -> np.ndarray:
    """The network's depth at the photo's size and in scene units. middle: the median depth where nothing else is known."""
    height, width = photo.image.shape[:2]
    proposed = cv2.resize(1 / np.maximum(depth, 1e-12), (width, height), interpolation=cv2.INTER_LINEAR)
    pixel, z = cams.project(photo.camera, points)
    with np.errstate(invalid="ignore"):
        inside = (z > 0) & (pixel >= 0).all(-1) & (pixel < (width, height)).all(-1)
    x, y = pixel[inside].astype(int).T if inside.any() else np.zeros((2, 0), int)
    if len(x) >= MIN_POINTS:
        sure = cv2.resize(1 - 1 / confidence, (width, height))[y, x]
        scale, shift = aligned(proposed[y, x].astype(np.float64), 1 / z[inside], sure)
        proposed = scale * proposed + shift
    elif middle is not None:
        proposed = proposed / (np.median(proposed) * middle)
    known = (proposed > 1e-9) & np.isfinite(proposed)
    return np.where(known, 1 / np.where(known, proposed, 1), 0).astype(np.float32)


def aligned(proposed: np.ndarray, known: np.ndarray, sure: np.ndarray) -> tuple[float, float]:
    """Scale and shift that bring inverse depths (N,) to known ones (N,), whichever of these are right.

    Least squares of relative errors, reweighted (Cauchy), from the median scale. sure: (N,) 0..1. The scale stays positive:
    where the fit turns the picture inside out, the median scale is the answer.
    """
    start = float(np.median(known / np.maximum(proposed, 1e-12)))
    scale, shift = start, 0.0
    for _ in range(STEPS):
        off = (scale * proposed + shift - known) / known
        weight = (sure + 1e-3) / (1 + (off / SCATTER) ** 2) / known**2
        total = weight.sum()
        mean_p, mean_k = (weight * proposed).sum() / total, (weight * known).sum() / total
        spread = (weight * (proposed - mean_p) ** 2).sum()
        if spread <= 1e-9 * total * mean_p**2:
            return start, 0.0
        scale = float((weight * (proposed - mean_p) * (known - mean_k)).sum() / spread)
        shift = float(mean_k - scale * mean_p)
    return (scale, shift) if scale > 0 else (start, 0.0)
