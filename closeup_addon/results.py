"""Job folder to scene: the frames, the cloud and the solved cameras, in the collection "Close-up".

:func:`read` touches no bpy and may run in any thread; :func:`place` is quick and makes what belongs to one undo step.
Placing a job again replaces what it placed before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import bpy

from ..engine import job as jobs
from ..engine.job import Camera, Job, JobError
from . import cameras, cloud
from .errors import CloseUpError
from .gather import SHOT_KEY, SIZE_KEY

COLLECTION = "Close-up"
COLLECTION_KEY = "closeup_results"
SPARSE_RADIUS = 0.08
SPARSE_KEY = "closeup_sparse"
"""Custom property of a solver's cloud, which steps back when a fused one arrives."""


@dataclass(frozen=True)
class SolvedCamera:
    """A photo whose camera the engine found. ``photo``: the file as the job names it; ``image``: what belongs to the camera."""

    name: str
    photo: Path
    image: Path
    camera: Camera


@dataclass
class Result:
    """What a job's folder holds for the scene."""

    folder: Path
    job: Job
    frames: dict[int, Path]
    points: cloud.Points | None = None
    solved: list[SolvedCamera] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Placed:
    """What :func:`place` made: datablocks, None where the job has no such thing."""

    image: object = None
    cloud: object = None
    cameras: list = field(default_factory=list)


def read(folder: Path) -> Result:
    """Everything a finished (or partly finished) job left behind. Raises CloseUpError."""
    folder = Path(folder)
    try:
        what = jobs.load(folder)
    except JobError as error:
        raise CloseUpError(str(error)) from None
    named = {item.frame: folder / "frames" / f"{item.frame:04d}.{what.output.format}" for item in what.path}
    result = Result(folder, what, {number: path for number, path in named.items() if path.is_file()})
    if (folder / "cloud.ply").is_file():
        try:
            result.points = cloud.read(folder / "cloud.ply")
        except ImportError:
            result.warnings.append("This Blender has no numpy, so the point cloud is not shown; use a build from blender.org.")
    result.solved = _solved(folder, what)
    if not (result.frames or result.points or result.solved):
        raise CloseUpError(f"{folder.name} holds no results yet; run the job first.")
    return result


def _solved(folder: Path, what: Job) -> list[SolvedCamera]:
    place = folder / "cameras.json"
    if not place.is_file() or all(source.camera for source in what.sources):
        return []
    try:
        rows = json.loads(place.read_text(encoding="utf-8"))
        pairs = [
            SolvedCamera(row["name"], folder / source.image, folder / row["image"], Camera(**row["camera"]))
            for row, source in zip(rows, what.sources)
            if source.camera is None
        ]
    except (OSError, ValueError, KeyError, TypeError):
        raise CloseUpError(f"{place} cannot be understood; run the job again.") from None
    return pairs


# --- into the scene ------------------------------------------------------------


def place(scene, result: Result, followed: Sequence = ()) -> Placed:
    """Bring a result into ``scene``.

    followed: the camera objects whose background shows the frames. The caller makes the undo step.
    """
    shot = result.folder.name
    placed = Placed()
    collection = _collection(scene)
    if result.frames:
        placed.image = _image(result, shot)
        for camera in followed:
            _show_behind(camera, placed.image, result)
    if result.points is not None:
        placed.cloud = _place_cloud(collection, result, shot)
    for solved in result.solved:
        obj = _place_camera(collection, solved, shot)
        placed.cameras.append(obj)
        for photo in scene.closeup.photos:
            if photo.absolute().resolve() == solved.photo.resolve():
                photo.camera, photo.problem = obj, ""
    return placed


def _collection(scene):
    for item in scene.collection.children_recursive:
        if item.get(COLLECTION_KEY) and item.library is None:
            return item
    result = bpy.data.collections.new(COLLECTION)
    result[COLLECTION_KEY] = True
    scene.collection.children.link(result)
    return result


def _of_shot(collection, shot: str, kind: str, name: str = ""):
    """The object that this shot placed before."""
    for obj in collection.objects:
        if obj.get(SHOT_KEY) == shot and (cloud.CLOUD_KEY in obj if kind == "cloud" else obj.get("closeup_photo") == name):
            return obj
    return None


def _place_cloud(collection, result: Result, shot: str):
    if not result.job.path:  # the solver's few points are no surface to be closed
        result.points.radius *= SPARSE_RADIUS
    obj = cloud.build(f"{result.job.name} cloud", result.points)
    obj[SHOT_KEY] = shot
    if result.job.path:
        for other in collection.objects:
            other.hide_viewport = other.hide_viewport or SPARSE_KEY in other
    else:
        obj[SPARSE_KEY] = True
    before = _of_shot(collection, shot, "cloud")
    if before:  # keep the object with all the user did to it, exchange what it shows
        old, before.data = before.data, obj.data if before.type == obj.type else before.data
        if before.data != old:
            cloud.set_radius(before, result.points.radius)
            bpy.data.objects.remove(obj)
            _remove_data(old)
            return before
        bpy.data.objects.remove(before)
    collection.objects.link(obj)
    return obj


def _remove_data(data) -> None:
    if data.users == 0:
        bpy.data.batch_remove([data])


def _place_camera(collection, solved: SolvedCamera, shot: str):
    obj = _of_shot(collection, shot, "camera", solved.name)
    if obj is None:
        stem = Path(solved.name).stem
        obj = bpy.data.objects.new(stem, bpy.data.cameras.new(stem))
        obj[SHOT_KEY], obj["closeup_photo"] = shot, solved.name
        collection.objects.link(obj)
    cameras.apply(solved.camera, obj.data)
    obj.matrix_world = cameras.blender_matrix(solved.camera)
    obj[SIZE_KEY] = (solved.camera.width, solved.camera.height)
    obj.data.display_size = 0.2
    image = bpy.data.images.load(_path(solved.image), check_existing=True)
    existing = [item for item in obj.data.background_images if item.image]
    background = existing[0] if existing else obj.data.background_images.new()
    background.image = image
    background.alpha = 1.0
    # the camera's width is the photo's, so the photo fills the frame's width whatever the scene's proportions are
    frame = cameras.frame_of(bpy.context.scene.render)
    flatter = frame.width * frame.aspect_x * solved.camera.height > frame.height * frame.aspect_y * solved.camera.width
    background.frame_method = "CROP" if flatter else "FIT"
    obj.data.show_background_images = True
    return obj


# --- the frames ----------------------------------------------------------------


def _image(result: Result, shot: str):
    """The sequence as one image datablock."""
    first = result.frames[min(result.frames)]
    image = next((item for item in bpy.data.images if item.get(SHOT_KEY) == shot), None)
    if image is None:
        image = bpy.data.images.load(str(first), check_existing=False)
        image.name = result.job.name
        image[SHOT_KEY] = shot
    image.filepath = _path(first)
    image.source = "SEQUENCE"
    image.reload()
    return image


def _path(path: Path) -> str:
    """Relative to the .blend where that is in the same tree, so that the project can move."""
    base = Path(bpy.data.filepath).parent if bpy.data.filepath else None
    if base and path.is_relative_to(base):
        return bpy.path.relpath(str(path))
    return str(path)


def _show_behind(camera, image, result: Result) -> None:
    """The frames over the camera's view, each at its own frame; sequences of earlier shots are switched off."""
    data = camera.data
    background = next((item for item in data.background_images if item.image == image), None)
    for item in data.background_images:
        if item.image and item.image.get(SHOT_KEY) and item.image.source == "SEQUENCE":
            item.show_background_image = False
    if background is None:
        background = data.background_images.new()
        background.image = image
    background.show_background_image = True
    background.alpha = 1.0
    background.display_depth = "FRONT"
    background.frame_method = "FIT"
    fit_user(background.image_user, result, bpy.context.scene.frame_current)
    data.show_background_images = True


def fit_user(user, result: Result, now: int) -> None:
    """Let an image user show the file of number n at the scene's frame n; ``now``: the scene's current frame."""
    first, last = min(result.frames), max(result.frames)
    user.frame_start = first
    user.frame_offset = first - 1
    user.frame_duration = last - first + 1
    user.use_auto_refresh = True
    user.use_cyclic = False
    user.frame_current = min(max(now, first), last)  # Blender itself looks again only when the frame changes
