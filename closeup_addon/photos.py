"""The scene's list of photos: what stands on it, and what is known of each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import bpy

from ..engine import job as jobs
from .errors import CloseUpError
from .gather import SHOT_KEY, is_file, photo_background
from .languages import iface, marked
from .photo_paths import relative

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
"""What a folder is searched for."""
ALL_SUFFIXES = (*SUFFIXES, ".exr")
"""What can be a photo when it is chosen; most .exr files beside photos are their depth."""
UNKNOWN, KNOWN, SOLVED, FAILED = "unknown", "known", "solved", "failed"
_SENTENCES = {
    UNKNOWN: marked("Its camera is not known yet; Solve Cameras finds it"),
    KNOWN: marked("Its camera is known"),
    SOLVED: marked("Its camera was solved"),
}


def in_folder(folder: Path) -> list[Path]:
    """The photos of a folder, by name."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


# --- adding and removing ---------------------------------------------------------


def add(scene, paths: Iterable[Path]) -> int:
    """Put files on the list, each once; returns how many are new. Paths become relative to a saved .blend."""
    known = {item.absolute() for item in scene.closeup.photos if item.filepath}
    added = 0
    for path in paths:
        if path in known or path.suffix.lower() not in ALL_SUFFIXES or not path.is_file():
            continue
        add_file(scene, path)
        known.add(path)
        added += 1
    return added


def unreadable(paths: Iterable[Path]) -> list[str]:
    """Names of files that are no photos which can be read, such as raw and HEIC files."""
    return [path.name for path in paths if path.suffix.lower() not in ALL_SUFFIXES]


def add_file(scene, path: Path, camera=None, mask=None, depth: Path | None = None):
    """Put one file on the list, with what is known of it; returns the item."""
    item = _new(scene, path.name)
    item.filepath = relative(path)
    item.camera, item.mask = camera, mask
    item.depth = relative(depth) if depth else ""
    return item


def add_images(scene, images: Iterable) -> int:
    """Put image datablocks on the list, each once; packed, painted and generated ones are written into the jobs."""
    known = {item.image for item in scene.closeup.photos if item.image}
    files, added = [], 0
    for image in images:
        if is_file(image):
            files.append(Path(bpy.path.abspath(image.filepath, library=image.library)))
        elif image.source in {"FILE", "GENERATED"} and image not in known:
            _new(scene, image.name).image = image
            known.add(image)
            added += 1
    return added + add(scene, files)


def add_cameras(scene, objects: Iterable) -> int:
    """Put the photos behind camera objects on the list, each camera once; their cameras are known by that."""
    listed = {item.camera for item in scene.closeup.photos if item.camera}
    added = 0
    for obj in objects:
        background = photo_background(obj, hidden=True)
        if background is None or obj in listed:
            continue
        item = _new(scene, background.image.name)
        item.camera = obj
        if is_file(background.image):
            item.filepath = background.image.filepath
        else:
            item.image = background.image
        listed.add(obj)
        added += 1
    return added


def _new(scene, name: str):
    settings = scene.closeup
    item = settings.photos.add()
    item.name = name
    settings.active_photo = len(settings.photos) - 1
    return item


def remove(scene, index: int) -> None:
    """Take one off the list; where it is a camera's background it is switched off, so that it is used no more."""
    settings = scene.closeup
    camera = settings.photos[index].camera
    background = photo_background(camera) if camera else None
    if background:
        background.show_background_image = False
    settings.photos.remove(index)
    settings.active_photo = max(0, min(index, len(settings.photos) - 1))


def forget_solve(scene) -> int:
    """Take away the cameras that were solved or imported for the photos on the list, so that they can be solved again.

    Returns how many. Cameras of the user's own stay.
    """
    solved = [item for item in scene.closeup.photos if item.camera and SHOT_KEY in item.camera]
    for camera in {item.camera for item in solved}:
        data = camera.data
        bpy.data.objects.remove(camera)
        if data.users == 0:
            bpy.data.cameras.remove(data)
    for item in scene.closeup.photos:
        item.problem = ""
    return len(solved)


# --- what is known ----------------------------------------------------------------


def state(item) -> str:
    """UNKNOWN, KNOWN, SOLVED or FAILED. Reads no file: panels ask at every redraw."""
    if item.problem:
        return FAILED
    if item.camera:
        return SOLVED if SHOT_KEY in item.camera else KNOWN
    return UNKNOWN


def sentence(item) -> str:
    """What the list says of a photo, for tooltips and the line below it."""
    return item.problem or iface(_SENTENCES[state(item)])


def mark(scene, folder: Path, error: str = "") -> None:
    """Write on the list what a job found out about its photos: the reason, where a camera could not be solved.

    folder: the job's. error: the sentence it ended with, when it failed. Photos whose cameras were found lose the
    reason of an earlier try. Never raises: the list is a convenience, the job's own report is what counts.
    """
    try:
        sources = [(source["image"], source["camera"] is None) for source in _json(folder / jobs.FILENAME)["sources"]]
        rows = [] if error else _json(folder / "cameras.json")
        warnings = [error] if error else [text for text in _json(folder / "report.json")["warnings"] if "camera" in text]
        placed = {source_of(row, len(sources)) for row in rows}
        files = {os.path.normpath(folder / image): index for index, (image, _) in enumerate(sources)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return
    for item in scene.closeup.photos:
        index = files.get(os.path.normpath(item.absolute())) if item.filepath else None
        if index is None or not sources[index][1]:
            continue
        name = PurePosixPath(sources[index][0].replace("\\", "/")).name
        if index in placed:
            item.problem = ""
        elif any(name in text for text in warnings):
            item.problem = next(text for text in warnings if name in text)
        elif not error:
            item.problem = "Its camera could not be found."


def _json(path: Path):
    """Without the checks of a whole job, which take long for a long path: Blender's main thread is waiting."""
    return json.loads(path.read_text(encoding="utf-8"))


def source_of(row: dict, count: int) -> int:
    """Which of a job's ``count`` photos a row of cameras.json is of. Raises ValueError, KeyError or TypeError for nonsense."""
    index = row["source"]
    if type(index) is not int or not 0 <= index < count:
        raise ValueError(f"there is no photo {index!r}")
    return index


def select_camera(context, index: int):
    """Make a photo's camera the active object. Raises CloseUpError when it has none, or none in this view layer."""
    item = context.scene.closeup.photos[index]
    if item.camera is None:
        raise CloseUpError(f"{item.name}: {sentence(item)}")
    if item.camera.name not in context.view_layer.objects:
        raise CloseUpError(f"The camera of {item.name} is not in this view layer; switch its collection on.")
    for obj in context.selected_objects:
        obj.select_set(False)
    item.camera.hide_set(False)
    item.camera.select_set(True)
    context.view_layer.objects.active = item.camera
    return item.camera
