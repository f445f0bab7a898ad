"""Photos from a film: every n-th frame of a movie file or of a movie clip."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import ceil
from pathlib import Path

import bpy

from ..engine.job import Camera
from . import cameras, folders, photo_cameras, photos, sampling
from .errors import CloseUpError
from .rendering import Step, run

MAX_PHOTOS = 1000
BENT = "The film's lens bends straight lines, so the photo does not fit its camera; undistort the film first."


def add_frames(scene, clip, start: int, end: int, step: int, done: Callable[[str, int], None], camera=None) -> None:
    """Put frames start, start + step, … of a ``bpy.types.MovieClip`` on the list; frames count from 1, end 0 is the last.

    Frames of an image sequence are its files; those of a movie are written as PNG into a new folder. camera: the object
    that moves as the film's camera did, such as a tracked one; the photos' cameras are then known. done(error, number of
    photos that are new). Raises CloseUpError.
    """
    length = clip.frame_duration
    if length < 1 or not all(clip.size):
        raise CloseUpError(f"The film {clip.name} cannot be read; open it in the Movie Clip editor to see why.")
    last = min(end or length, length)
    numbers = range(start, last + 1, step)
    if not numbers:
        raise CloseUpError(f"The film has {length} frames; choose a start and an end among them.")
    if len(numbers) > MAX_PHOTOS:
        raise CloseUpError(f"These would be {len(numbers)} photos; choose a larger step, for {MAX_PHOTOS} at the most.")
    poses = _poses(scene, clip, numbers, camera) if camera else {}
    problem = BENT if poses and _bends(clip) else ""
    if clip.source == "SEQUENCE":
        done("", _listed(scene, _files(clip, numbers), poses, problem))
    else:
        _extract(scene, clip, numbers, lambda home, files: _listed(home, files, poses, problem), done)


def _poses(scene, clip, numbers: range, camera) -> dict[int, Camera]:
    """The film's camera by frame; the clip's first frame is shown at the scene's frame ``clip.frame_start``."""
    frames = [clip.frame_start + number - 1 for number in numbers]
    return dict(zip(numbers, sampling.sample(scene, camera, frames, cameras.Frame(*clip.size))))


def _bends(clip) -> bool:
    """Whether the clip's lens, as it was solved or entered, bends straight lines."""
    lens = clip.tracking.camera
    prefix = {"POLYNOMIAL": "k", "DIVISION": "division_k", "NUKE": "nuke_k", "BROWN": "brown_"}.get(lens.distortion_model, "k")
    names = (f"{prefix}{rest}" for rest in (*"1234", "k1", "k2", "k3", "k4", "p1", "p2"))
    return any(getattr(lens, name, 0.0) for name in names)


def _listed(scene, files: dict[int, Path], poses: dict[int, Camera], problem: str) -> int:
    """Frames by number onto the list, with their cameras where these are known; how many are new."""
    if not poses:
        return photos.add(scene, files.values())
    for number, path in files.items():
        item = photos.add_file(scene, path, camera=photo_cameras.new(scene, path.name, poses[number], path))
        item.problem = problem
    return len(files)


def _files(clip, numbers: range) -> dict[int, Path]:
    """The files of an image sequence by frame; the first is the clip's own."""
    first = Path(bpy.path.abspath(clip.filepath))
    found = re.fullmatch(r"(.*?)(\d+)(\D*)", first.name)
    if not found:
        return {1: first}
    stem, digits, rest = found.groups()
    paths = {n: first.with_name(f"{stem}{int(digits) + n - 1:0{len(digits)}d}{rest}") for n in numbers}
    return {number: path for number, path in paths.items() if path.is_file()}


def _extract(scene, clip, numbers: range, listed: Callable, done: Callable[[str, int], None]) -> None:
    """Through the sequencer of a scene made for it, which decodes films the same way in every version of Blender."""
    folder = folders.new_job_folder(Path(clip.filepath).stem or "Film")
    stem = bpy.path.clean_name(Path(clip.filepath).stem)
    uid = scene.session_uid

    def prepare(film) -> None:
        film.frame_start, film.frame_end, film.frame_step = numbers[0], numbers[-1], numbers.step
        film.render.filepath = str(folder / f"{stem}-######.png")

    def finish(film) -> None:
        if not any(folder.iterdir()):
            raise CloseUpError("No frame of the film could be written; open it in the Movie Clip editor to see why.")

    def finished(error: str) -> None:
        home = next((item for item in bpy.data.scenes if item.session_uid == uid), None)
        files = {int(path.stem[-6:]): path for path in photos.in_folder(folder)}
        done(error, listed(home, files) if home else 0)

    run(_film_scene(clip), [Step(prepare, finish, animation=True)], finished)


def _film_scene(clip):
    film = bpy.data.scenes.new("CloseUp film")
    render = film.render
    render.resolution_x, render.resolution_y = clip.size
    render.resolution_percentage = 100
    if clip.fps > 0:  # the sequencer would stretch a film of another rate
        render.fps = ceil(clip.fps)
        render.fps_base = render.fps / clip.fps
    render.use_sequencer, render.use_compositing = True, False
    render.use_file_extension = render.use_overwrite = True
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGB"
    film.view_settings.view_transform = "Standard"  # the film's own colours
    editor = film.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    strips.new_movie("film", bpy.path.abspath(clip.filepath), 1, 1)
    return film
