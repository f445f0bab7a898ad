"""Lenses: focal lengths in millimetres and pixels, and straightening what they bend."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from .. import camera as pinhole
from ..records import Photo

DIAGONAL_35MM = float(np.hypot(36.0, 24.0))
"""mm; "35 mm equivalent" compares diagonals of the image (CIPA DCG-001)."""
_NEGLIGIBLE = 0.2


def focal_pixels(focal_35mm: float, width: int, height: int) -> float:
    """Focal length in pixels of a 35 mm equivalent one (mm) in an image of this size."""
    return focal_35mm / DIAGONAL_35MM * float(np.hypot(width, height))


def focal_35mm(pixels: float, width: int, height: int) -> float:
    """35 mm equivalent (mm) of a focal length in pixels."""
    return pixels * DIAGONAL_35MM / float(np.hypot(width, height))


def undistorted(photo: Photo, focal: float, radial: float, world_from_camera: np.ndarray) -> Photo:
    """The photo as a pinhole camera of the same size and focal length would have taken it.

    focal: pixels of the photo. radial: k of x_distorted = x (1 + k |x|²), principal point in the middle (COLMAP's SIMPLE_RADIAL).
    Pixels that nothing fills leave the mask. Lenses that bend less than a fifth of a pixel are left alone.
    """
    height, width = photo.image.shape[:2]
    matrix = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    camera = pinhole.from_arrays(width, height, matrix, world_from_camera)
    corner = np.hypot(width, height) / 2 / focal
    if abs(radial) * corner**3 * focal < _NEGLIGIBLE:
        return replace(photo, camera=camera)
    rays = pinhole.pixel_rays(camera)[..., :2]
    bent = rays * (1 + radial * (rays**2).sum(-1, keepdims=True)) * focal
    # OpenCV counts pixel centres from 0, not from one half.
    x, y = ((bent[..., i] + side / 2 - 0.5).astype(np.float32) for i, side in enumerate((width, height)))
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    image = cv2.remap(photo.image, x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.remap(photo.mask.astype(np.uint8), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT) > 0
    depth = photo.depth
    if depth is not None:
        depth = cv2.remap(depth, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return replace(photo, image=np.clip(image, 0, 1), mask=mask & inside, depth=depth, camera=camera)
