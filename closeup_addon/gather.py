"""Scene to job: the photos, their cameras and the path of the move, as :class:`engine.job.Job`."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import bpy

from ..engine.job import (
    Camera,
    GeneratorSettings,
    GeometrySettings,
    Job,
    OutputSettings,
    PathFrame,
    Source,
)
from . import cameras, sampling, scans
from .errors import CloseUpError
from .photo_paths import portable

SIZE_KEY = "closeup_size"
"""Custom property of a solved camera object: its photo's width and height in pixels."""
CAMERA_KEY = "closeup_camera"
"""Custom property of a solved camera object: :func:`cameras.numbers` of what was solved, in double precision."""
SHOT_KEY = "closeup_shot"
"""Custom property of everything that came from a job: the name of the job's folder."""
_EXTENSIONS = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif", "BMP": ".bmp", "TARGA": ".tga", "WEBP": ".webp"}
_KEPT_SECONDS = 0.05
_counted: list = [0, None, 0.0]
"""The last answer of :func:`count_camera_photos`, what it was asked about, and until when it holds."""


@dataclass(frozen=True)
class Options:
    """What a close-up is made of; None means: as the scene's settings say.

    camera: the camera object to follow (None: the settings' camera, else the scene's and its markers).
    photos: paths or camera objects with a photo as background image, instead of the scene's list.
    frames: frame numbers, fractions allowed (fractional ones are numbered 1, 2, 3 … in the result).
    width, height: pixels. geometry: where depth comes from, matcher: what finds common points (engine.job has the names).
    dense: the fused cloud also of a job without frames.
    """

    name: str = ""
    camera: object = None
    photos: Sequence | None = None
    frames: Sequence[float] | None = None
    width: int = 0
    height: int = 0
    seed: int | None = None
    steps: int | None = None
    backend: str | None = None
    output: str | None = None
    focal_35mm: float | None = None
    geometry: str | None = None
    max_size: int | None = None
    dense: bool = False
    matcher: str | None = None


@dataclass(frozen=True)
class _Photo:
    """A photo before its camera is evaluated: a file, or an image datablock; ``background`` belongs to ``camera``.

    item: where it stands on the scene's list, or None.
    """

    path: Path | None = None
    image: object = None
    camera: object = None
    background: object = None
    item: object = None


def job_of(scene, folder: Path, options: Options, solve_only: bool = False) -> Job:
    """The job that ``options`` describe; photos that are no files of their own are written into ``folder``.

    Raises CloseUpError.
    """
    path = () if solve_only else _path(scene, options)
    settings = scene.closeup
    found = sources(scene, folder, options, retry=solve_only)
    measured = bool(path) or options.dense

    def chosen(value, setting):
        return setting if value is None else value

    geometry = GeometrySettings(
        method=chosen(options.geometry, settings.depth_method),
        matcher=chosen(options.matcher, settings.matcher),
        max_size=options.max_size or settings.photo_size,
        dense=options.dense,
    )
    return Job(
        sources=tuple(found),
        path=path,
        scans=scans.of_job(scene, folder) if measured else (),
        name=options.name or default_name(scene, options, solve_only),
        geometry=geometry,
        generator=GeneratorSettings(
            backend=chosen(options.backend, settings.backend),
            steps=chosen(options.steps, settings.steps),
            seed=chosen(options.seed, settings.seed),
        ),
        output=OutputSettings(format=chosen(options.output, settings.output)),
    )


def default_name(scene, options: Options, solve_only: bool = False) -> str:
    """The name of a close-up that was given none."""
    if solve_only:
        return "Cloud" if options.dense else "Cameras"
    camera = path_camera(scene, options) or scene.camera
    return camera.name if camera else "close-up"


# --- the path ------------------------------------------------------------------


def path_camera(scene, options: Options):
    """The one camera the path follows, or None for the scene's with its markers."""
    return options.camera or scene.closeup.camera


def path_cameras(scene, options: Options) -> list:
    """Every camera object the path follows."""
    camera = path_camera(scene, options)
    found = [camera] if camera else [sampling.camera_at(scene, frame) for frame in _frames(scene, options)]
    return [item for item in dict.fromkeys(found) if item]


def _frames(scene, options: Options) -> list[float]:
    if options.frames is not None:
        frames = list(options.frames)
    else:
        start, end, step = scene.closeup.frame_range()
        frames = list(range(start, end + 1, step))
    if not frames:
        raise CloseUpError("The frame range is empty; its end must not lie before its start.")
    return frames


def _path(scene, options: Options) -> tuple[PathFrame, ...]:
    frames = _frames(scene, options)
    percentage = scene.closeup.percentage
    size = cameras.frame_of(scene.render, options.width, options.height)
    if not (options.width or options.height) and percentage != 100:
        width, height = max(1, size.width * percentage // 100), max(1, size.height * percentage // 100)
        size = cameras.Frame(width, height, size.aspect_x, size.aspect_y)
    sampled = sampling.sample(scene, path_camera(scene, options), frames, size)
    numbers = [int(frame) for frame in frames]
    if any(number != frame for number, frame in zip(numbers, frames)):
        numbers = list(range(1, len(frames) + 1))
    if min(numbers) < 0:
        raise CloseUpError("A frame below 0 cannot be numbered; move the shot to frame 0 or later.")
    return tuple(PathFrame(number, camera) for number, camera in zip(numbers, sampled))


# --- the photos ----------------------------------------------------------------


def photo_background(camera, hidden: bool = False):
    """The background of a camera object that is a photo, or None; sequences, films and our own results are none.

    hidden: also one that is switched off.
    """
    if camera.type != "CAMERA":
        return None
    for background in camera.data.background_images:
        image, shown = background.image, background.show_background_image or hidden
        if shown and background.source == "IMAGE" and image and image.source in {"FILE", "GENERATED"}:
            return background
    return None


def cameras_with_photos(scene, besides: Sequence = ()) -> list:
    """Camera objects of the scene whose background is a photo, without the list's own and ``besides``."""
    if not any(len(data.background_images) for data in bpy.data.cameras):
        return []  # panels ask at every redraw, and a scene may have very many objects
    listed = {photo.camera for photo in scene.closeup.photos if photo.camera}
    found = [item for item in scene.objects if item.type == "CAMERA" and item not in listed and item not in besides]
    return [item for item in found if photo_background(item)]


def count_photos(scene) -> tuple[int, int]:
    """How many photos a close-up would use, and how many of them have a camera."""
    listed = [photo for photo in scene.closeup.photos if photo.use]
    known = sum(photo.camera is not None for photo in listed)
    besides = count_camera_photos(scene) if scene.closeup.use_camera_photos else 0
    return len(listed) + besides, known + besides


def count_camera_photos(scene) -> int:
    """How many cameras besides the list have a photo; for panels, several of which ask at every redraw.

    Looking through all objects of a large scene takes milliseconds, so the answer is kept for a moment, while the same
    cameras have the same photos.
    """
    behind = [b for data in bpy.data.cameras for b in data.background_images]
    photos = [(b.image.session_uid if b.image else 0, b.show_background_image) for b in behind]
    listed = [photo.camera.session_uid for photo in scene.closeup.photos if photo.camera]
    state = (scene.session_uid, len(bpy.data.objects), len(bpy.data.cameras), photos, listed)
    count, kept, until = _counted
    if state != kept or time.monotonic() > until:
        count = len(cameras_with_photos(scene))
        _counted[:] = count, state, time.monotonic() + _KEPT_SECONDS
    return count


def sources(scene, folder: Path, options: Options, retry: bool = True) -> list[Source]:
    """The photos of a job in ``folder``, with their cameras as they are at the scene's frame. Raises CloseUpError.

    retry: also those of the list whose cameras could not be found before.
    """
    photos = _listed(scene, options, retry) if options.photos is None else [_given(item) for item in options.photos]
    if not photos and any(item.use and item.problem for item in scene.closeup.photos):
        raise CloseUpError("No photo has a place yet; the list says why: change the photos, then press Solve Cameras.")
    if not photos:
        raise CloseUpError("There are no photos; add some in the Close-up tab, or give cameras photos as background images.")
    known = [photo for photo in photos if photo.camera]
    poses = dict(zip((id(photo) for photo in known), sampling.sample_now(scene, [photo.camera for photo in known])))
    frame = cameras.frame_of(scene.render)
    focal = scene.closeup.focal_35mm if options.focal_35mm is None else options.focal_35mm
    found = []
    for index, photo in enumerate(photos):
        path = _image_file(photo.image, folder, index) if photo.image else photo.path
        if not path.is_file():
            raise CloseUpError(f"The photo {path.name} is missing: {path}; put the file back or remove the photo.")
        camera = _camera(photo, poses[id(photo)], frame) if photo.camera else None
        focal_35mm = focal or None if camera is None else None
        extras = _extras(photo.item, folder, index) if photo.item else {}
        found.append(Source(portable(path, folder), camera=camera, focal_35mm=focal_35mm, **extras))
        if photo.item and photo.item.image and photo.image == photo.item.image:
            photo.item.filepath = str(path)  # so that the job's results find their photo on the list
    return found


def _extras(item, folder: Path, index: int) -> dict[str, str | float]:
    """What the list adds to a photo: mask, depth and exposure. Raises CloseUpError for files that are missing."""
    found = {}
    if item.mask:
        found["mask"] = _image_file(item.mask, folder, index, "mask-")
    if item.depth:
        found["depth"] = Path(bpy.path.abspath(item.depth))
    for kind, path in found.items():
        if not path.is_file():
            raise CloseUpError(f"The {kind} of {item.name} is missing: {path}; put the file back, or clear the photo's {kind}.")
    return {"exposure": item.exposure, **{kind: portable(path, folder) for kind, path in found.items()}}


def _listed(scene, options: Options, retry: bool) -> list[_Photo]:
    settings = scene.closeup
    photos = []
    for item in settings.photos:
        if item.use and (retry or item.camera or not item.problem):
            background = photo_background(item.camera, hidden=True) if item.camera else None
            image = background.image if background else item.image
            if image is None and not item.filepath:
                raise CloseUpError(f"The image of {item.name} is not in the file any more; remove the photo from the list.")
            photos.append(_Photo(item.absolute(), image, item.camera, background, item))
    if settings.use_camera_photos:
        photos += [_given(item) for item in cameras_with_photos(scene, path_cameras(scene, options))]
    return photos


def _given(item) -> _Photo:
    """A path, or a camera object with a photo as its background."""
    if isinstance(item, (str, os.PathLike)):
        return _Photo(Path(bpy.path.abspath(os.fspath(item))))
    background = photo_background(item)
    if background is None:
        raise CloseUpError(f"{item.name} has no photo; give it one as its background image, or leave it out.")
    return _Photo(image=background.image, camera=item, background=background)


def _camera(photo: _Photo, pose: tuple, frame: cameras.Frame) -> Camera:
    matrix, lens = pose
    size = photo.camera.get(SIZE_KEY)
    if size is not None:
        own = cameras.own_camera(matrix, lens, tuple(size))
        return cameras.unrounded(own, photo.camera.get(CAMERA_KEY, ()))  # so depth that was measured with it is used again
    background = photo.background
    if background:
        return cameras.photo_camera(matrix, lens, frame, background, size_of(background.image))
    image = photo.image or bpy.data.images.load(str(photo.path))
    try:
        fitted = SimpleNamespace(
            image=image, rotation=0, offset=(0, 0), scale=1, use_flip_x=False, use_flip_y=False, frame_method="FIT"
        )
        return cameras.photo_camera(matrix, lens, frame, fitted, size_of(image))
    finally:
        if image != photo.image:
            bpy.data.images.remove(image)


def size_of(image) -> tuple[int, int]:
    """Width and height in pixels. Raises CloseUpError for an image that cannot be read."""
    width, height = image.size
    if not width or not height:
        raise CloseUpError(f"The photo {image.name} cannot be read; open it in an Image Editor to see why.")
    return width, height


def is_file(image) -> bool:
    """Whether an image datablock is what its file is: not packed, painted on or generated."""
    return image.source == "FILE" and not image.packed_file and not image.is_dirty and bool(image.filepath)


def _image_file(image, folder: Path, index: int, kind: str = "") -> Path:
    """The file of an image datablock; one that is packed or unsaved is written into the job's folder."""
    if is_file(image):
        return Path(bpy.path.abspath(image.filepath, library=image.library))
    stem = bpy.path.clean_name(Path(image.filepath or image.name).stem)
    target = folder / "photos-in" / f"{index:02d}-{kind}{stem}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if image.packed_file and not image.is_dirty:
            target = target.with_name(target.name + _EXTENSIONS.get(image.file_format, ".png"))
            target.write_bytes(image.packed_file.data)
        else:
            target = target.with_name(target.name + ".png")
            _save_pixels(image, target)
    except (OSError, RuntimeError) as error:
        raise CloseUpError(f"The photo {image.name} could not be written into the job ({error}); save it as a file.") from None
    return target


def _save_pixels(image, target: Path) -> None:
    """The image as it is now, as a PNG; saving the datablock itself would change it."""
    width, height = size_of(image)
    pixels = array("f", bytes(16 * width * height))
    image.pixels.foreach_get(pixels)
    copy = bpy.data.images.new(image.name, width, height, alpha=True, float_buffer=image.is_float)
    try:
        copy.pixels.foreach_set(pixels)
        copy.filepath_raw, copy.file_format = str(target), "PNG"
        copy.save()
    finally:
        bpy.data.images.remove(copy)
