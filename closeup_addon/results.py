"""Job folder to scene: the frames, the cloud and the solved cameras, in the collection "Close-up".

:func:`read` touches no bpy and may run in any thread; :func:`place` is quick and makes what belongs to one undo step.
Placing a job again replaces what it placed before.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import bpy

from ..engine import job as jobs
from ..engine.job import Camera, Job, JobError
from . import cloud, later, overlay, photo_cameras, photos, sequences
from .cloud import COLLECTION_KEY
from .errors import CloseUpError
from .gather import SHOT_KEY

SPARSE_RADIUS = 0.08


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


def read(folder: Path, with_cloud: bool = True) -> Result:
    """Everything a finished (or partly finished) job left behind; the cloud only when it is wanted. Raises CloseUpError."""
    folder = Path(folder)
    try:
        what = jobs.load(folder, files=False)
    except JobError as error:
        raise CloseUpError(str(error)) from None
    named = {item.frame: folder / "frames" / f"{item.frame:04d}.{what.output.format}" for item in what.path}
    result = Result(folder, what, {number: path for number, path in named.items() if path.is_file()})
    if with_cloud and (folder / "cloud.ply").is_file():
        try:
            result.points = cloud.read(folder / "cloud.ply")
            if result.points and not _is_surface(what):  # the solver's few points are no surface to be closed
                result.points.radius *= SPARSE_RADIUS
        except ImportError:
            result.warnings.append("This Blender has no numpy, so the point cloud is not shown; use a build from blender.org.")
    result.solved = _solved(folder, what)
    if not (result.frames or result.points or result.solved):
        raise CloseUpError(f"{folder.name} holds no results yet; run the job first.")
    return result


def _is_surface(job: Job) -> bool:
    """Whether a job's cloud is fused from depth; else it is the few points that its cameras were solved by."""
    return bool(job.path) or job.geometry.dense


def _solved(folder: Path, what: Job) -> list[SolvedCamera]:
    place = folder / "cameras.json"
    if not place.is_file() or all(source.camera for source in what.sources):
        return []
    try:
        rows = json.loads(place.read_text(encoding="utf-8"))
        pairs = [(what.sources[photos.source_of(row, len(what.sources))], row) for row in rows]
        return [
            SolvedCamera(
                str(row["name"]),
                folder / source.image,
                _picture(folder, source.image, row["image"]),
                jobs.camera_from_dict(row["camera"], place.name),
            )
            for source, row in pairs
            if source.camera is None
        ]
    except (OSError, ValueError, KeyError, TypeError):
        raise CloseUpError(f"{place} cannot be understood; run the job again.") from None


def _picture(folder: Path, photo: str, said: str) -> Path:
    """What a solved camera shows: the photo, or what the engine made of it; a stranger's folder may say anything."""
    return folder / photo if said == photo else folder / "undistorted" / Path(said).name


# --- into the scene ------------------------------------------------------------


def place(scene, result: Result, followed: Sequence = ()) -> Placed:
    """Bring a result into ``scene`` at once.

    followed: the camera objects whose background shows the frames. The caller makes the undo step.
    """
    return later.finish(place_in_steps(scene, result, followed))


def place_in_steps(scene, result: Result, followed: Sequence = ()) -> Generator[None, None, Placed]:
    """As :func:`place`, in steps that are short enough for Blender to redraw in between. Undo makes them void."""
    shot = result.folder.name
    placed = Placed()
    collection = photo_cameras.collection(scene)
    if result.points is not None:
        placed.cloud = yield from _place_cloud(collection, result, shot)
    for solved in result.solved:
        obj = _place_camera(scene, collection, solved, shot)
        placed.cameras.append(obj)
        for photo in scene.closeup.photos:
            if photo.absolute().resolve() == solved.photo.resolve():
                photo.camera, photo.problem = obj, ""
        yield
    if result.frames:
        placed.image = sequences.image_of(result.folder, result.job.name, result.frames)
        for camera in followed:
            sequences.show_behind(camera, placed.image, result.frames)
    return placed


def place_preview(scene, result: Result, followed: Sequence = ()) -> Generator[None, None, Placed]:
    """One frame over the camera's view and in the Image Editors that show nothing else; it is seen at its own frame only."""
    if not result.frames:
        raise CloseUpError("The preview has no frame; try again.")
    placed = Placed(image=sequences.image_of(result.folder, "Close-up Preview", result.frames))
    yield
    for camera in followed:
        sequences.show_behind(camera, placed.image, result.frames, others=True)
    sequences.show_in_editors(placed.image, result.frames)
    return placed


def show(scene, folder: Path, frames: dict[int, Path], followed: Sequence) -> bool:
    """Switch the cameras' backgrounds and the clouds to a shot that the .blend holds already; False when it does not."""
    held = [item for item in (*bpy.data.images, *bpy.data.objects) if item.get(SHOT_KEY) == folder.name and not item.library]
    if not held:
        return False
    image = next((item for item in held if isinstance(item, bpy.types.Image)), None)
    if frames:
        if image is None:
            return False
        for camera in followed:
            sequences.show_behind(camera, image, frames)
        for collection in scene.collection.children_recursive:
            if collection.get(COLLECTION_KEY) and _of_shot(collection, folder.name, "cloud"):
                show_cloud(collection, folder.name)
    return True


def collection_objects(scene) -> list:
    """What close-ups brought into the scene, oldest first; quick, since panels ask at every redraw."""
    for collection in scene.collection.children_recursive:
        if collection.get(COLLECTION_KEY):
            return list(collection.objects)
    return []


def cloud_of(scene, shot: str):
    """The object of a shot's cloud, or None."""
    return next((obj for obj in collection_objects(scene) if obj.get(SHOT_KEY) == shot and cloud.CLOUD_KEY in obj), None)


def _of_shot(collection, shot: str, kind: str, name: str = ""):
    """The object that this shot placed before."""
    for obj in collection.objects:
        if obj.get(SHOT_KEY) == shot and (cloud.CLOUD_KEY in obj if kind == "cloud" else obj.get("closeup_photo") == name):
            return obj
    return None


def _place_cloud(collection, result: Result, shot: str) -> Generator[None, None, object]:
    points = result.points
    obj = yield from cloud.build(f"{result.job.name} cloud", points)
    obj[SHOT_KEY] = shot
    if not _is_surface(result.job):
        obj[cloud.SPARSE_KEY] = True
    yield from overlay.prepare(obj, points.position, points.coded)
    if _is_surface(result.job):
        show_cloud(collection, shot)
    before = _of_shot(collection, shot, "cloud")
    if before:  # keep the object with all the user did to it, exchange what it shows
        old, before.data = before.data, obj.data if before.type == obj.type else before.data
        if before.data != old:
            cloud.set_radius(before, points.radius)
            bpy.data.objects.remove(obj)
            _remove_data(old)
            return before
        bpy.data.objects.remove(before)
    collection.objects.link(obj)
    return obj


def show_cloud(collection, shot: str) -> None:
    """One shot's cloud is seen, the others' are not: they are of the same things."""
    for obj in collection.objects:
        if cloud.CLOUD_KEY in obj:
            obj.hide_viewport = obj.hide_render = obj.get(SHOT_KEY) != shot


def forget(folder: Path) -> None:
    """Take a deleted shot's frames out of the .blend; its cloud and cameras need no file and stay."""
    keys = {folder.name, *(f"{folder.name}/{kind}" for kind in ("depth", "provenance", "condition"))}
    gone = [image for image in bpy.data.images if image.get(SHOT_KEY) in keys and image.library is None]
    for camera in bpy.data.cameras:
        for background in reversed(camera.background_images):
            if background.image in gone:
                camera.background_images.remove(background)
    for image in gone:
        bpy.data.images.remove(image)


def _remove_data(data) -> None:
    if data.users == 0:
        bpy.data.batch_remove([data])


def _place_camera(scene, collection, solved: SolvedCamera, shot: str):
    obj = _of_shot(collection, shot, "camera", solved.name) or photo_cameras.new(scene, solved.name, solved.camera, source=shot)
    photo_cameras.place(obj, solved.camera)
    if not solved.image.is_file():  # such as a result that was made on another machine
        return obj
    image = bpy.data.images.load(sequences.portable(solved.image), check_existing=True)
    existing = [item for item in obj.data.background_images if item.image]
    if existing:  # with all the user did to it
        existing[0].image = image
    else:
        photo_cameras.show(scene, obj, image)
    return obj
