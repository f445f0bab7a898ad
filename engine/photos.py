"""Photos as a user has them, read into :class:`engine.records.Photo`: upright, sRGB-coded, of bounded size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from . import camera as cameras
from .geometry import depth_files
from .image_files import Picture, read_picture
from .job import Camera, Job, Source, sha256_of
from .progress import EngineError, Progress
from .records import Photo

MIN_SIDE = 16
"""Pixels; nothing can be matched in a photo smaller than this."""


def load(job: Job, folder: Path, progress: Progress) -> list[Photo]:
    """Every source of ``job``, in its order.

    folder: what relative paths are relative to. Photos larger than ``job.geometry.max_size`` (longest side, pixels) are
    area-averaged down to it and their cameras with them. Raises EngineError naming the file that is wrong.
    """
    folder = Path(folder)
    names = unique_names([source.image for source in job.sources])
    photos = []
    for index, (source, name) in enumerate(zip(job.sources, names)):
        progress.step(index, len(names))
        photos.append(_load_one(source, name, folder, job.geometry.max_size))
    progress.step(len(names), len(names))
    return photos


def unique_names(paths: list[str]) -> list[str]:
    """A short name per path for messages: the file's name, with folders before it (then a number) where two are the same."""
    parts = [Path(path.replace("\\", "/")).parts for path in paths]
    names = [p[-1] if p else path for p, path in zip(parts, paths)]
    for depth in range(2, max(map(len, parts), default=1) + 1):
        twice = {name for name in names if names.count(name) > 1}
        names = ["/".join(p[-depth:]) if name in twice else name for name, p in zip(names, parts)]
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            names[index] = f"{name} ({seen[name]})"
    return names


def _load_one(source: Source, name: str, folder: Path, max_size: int) -> Photo:
    path = folder / source.image
    if source.sha256 is not None and _hash(path, name) != source.sha256.lower():
        raise EngineError(
            f"The photo {name} has changed since the job was made; put the original back or make the job again.", "changed-photo"
        )
    stored = read_picture(path, name, max_size)
    picture = _turned(stored, source.camera)
    height, width = picture.rgb.shape[:2]
    _check_size(picture, name)
    camera = None if source.camera is None else _fitted_camera(source.camera, width, height, picture.full_size, name)
    mask = picture.usable
    if source.mask is not None:
        mask = mask & _read_mask(folder / source.mask, width, height)
    depth = None
    if source.depth is not None:
        depth_path = folder / source.depth
        depth = depth_files.fitted(depth_files.read(depth_path), width, height, depth_path.name)
    focal = source.focal_35mm or picture.focal_35mm
    return Photo(name, picture.rgb, mask, camera, depth, focal, turned=picture is not stored)


def _hash(path: Path, name: str) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise EngineError(f"The photo {name} cannot be read ({error.strerror}); check the file.", "bad-photo") from None


def _check_size(picture: Picture, name: str) -> None:
    width, height = picture.full_size
    if min(width, height, *picture.rgb.shape[:2]) < MIN_SIDE:
        raise EngineError(
            f"The photo {name} is only {width} × {height} pixels; use photos of at least {MIN_SIDE} pixels a side.", "small-photo"
        )


def _turned(picture: Picture, camera: Camera | None) -> Picture:
    """Upright as EXIF says, unless a camera was given for the picture as it is stored.

    Blender ignores EXIF's orientation, so a camera from there belongs to the stored pixels; only when the camera has the
    proportions of the upright picture alone did its maker turn the picture.
    """
    if camera is not None:
        width, height = picture.full_size
        fits_stored = depth_files.same_aspect(camera.width, camera.height, width, height)
        fits_upright = picture.swaps_sides and depth_files.same_aspect(camera.width, camera.height, height, width)
        if fits_stored or not fits_upright:
            return picture
    return picture.upright()


def _fitted_camera(camera: Camera, width: int, height: int, full_size: tuple[int, int], name: str) -> Camera:
    if not depth_files.same_aspect(camera.width, camera.height, *full_size):
        raise EngineError(
            f"The camera given for {name} is for {camera.width} × {camera.height} pixels, but the photo has "
            f"{full_size[0]} × {full_size[1]}; give the camera the photo's proportions.",
            "camera-size",
        )
    return cameras.resized(camera, width, height)


def _read_mask(path: Path, width: int, height: int) -> np.ndarray:
    """(height, width) bool from an image file: white and opaque is usable."""
    picture = read_picture(path, path.name, max_size=None, kind="mask").upright()
    usable = (picture.rgb.mean(axis=2) >= 0.5) & picture.usable
    return cv2.resize(usable.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT) > 0
