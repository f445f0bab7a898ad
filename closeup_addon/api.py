"""CloseUp from Python. What the buttons do, without context or waiting for an interface.

from bl_ext.user_default.closeup.closeup_addon import api
shot = api.generate(camera=bpy.data.objects["Camera"], photos=["a.jpg", "b.jpg", "c.jpg"], frames=range(1, 49))
print(shot.folder, shot.placed.image, shot.placed.cloud)
"""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import bpy

from ..engine import job as job_file
from . import cameras, folders, gather, history, preferences, pump, record, results
from .errors import CloseUpError
from .gather import Options
from .jobs import Shot, queue
from .record import Record

__all__ = [
    "CloseUpError",
    "Options",
    "Record",
    "Shot",
    "bring",
    "delete",
    "generate",
    "import_result",
    "preview_frame",
    "redo",
    "resume",
    "shots",
    "show",
    "solve_cameras",
    "wait",
]

RANDOM_SEEDS = 10_000
"""A seed at random is below this, so that a person can say and type it."""
PREVIEW_SIDE = 640
"""Pixels of a preview's long side, at most."""


def generate(
    scene: bpy.types.Scene | None = None,
    camera: bpy.types.Object | None = None,
    photos: Sequence[str | os.PathLike | bpy.types.Object] | None = None,
    *,
    frames: Sequence[float] | None = None,
    name: str = "",
    folder: str | os.PathLike | None = None,
    width: int = 0,
    height: int = 0,
    seed: int | None = None,
    steps: int | None = None,
    backend: str | None = None,
    output: str | None = None,
    focal_35mm: float | None = None,
    geometry: str | None = None,
    max_size: int | None = None,
    matcher: str | None = None,
    block: bool = True,
) -> Shot:
    """Make the frames that ``camera`` would have seen, and the fused cloud, and bring both into the scene.

    What is left out is taken from ``scene.closeup``, which the sidebar shows. scene: the context's when None.
    photos: files (their cameras are solved) and camera objects with a photo as background image (their cameras are known).
    frames: frame numbers; fractions are allowed. folder: an empty or new one for the job, else one beside the .blend.
    width, height: pixels, else the render size. geometry: "auto", "stereo", "given" or a learned model of depth; matcher: "sift"
    or a learned one (docs/job-format.md). block: wait until it is done.

    Raises CloseUpError with a sentence when something is missing or, with ``block``, when the job failed or was cancelled.
    """
    scene = scene or bpy.context.scene
    chosen = {"seed": seed, "steps": steps, "backend": backend, "output": output, "geometry": geometry, "matcher": matcher}
    options = Options(name, camera, photos, frames, width, height, focal_35mm=focal_35mm, max_size=max_size, **chosen)
    return _submit(scene, options, folder, block)


def solve_cameras(
    scene: bpy.types.Scene | None = None,
    photos: Sequence[str | os.PathLike | bpy.types.Object] | None = None,
    *,
    name: str = "",
    folder: str | os.PathLike | None = None,
    focal_35mm: float | None = None,
    max_size: int | None = None,
    dense: bool = False,
    geometry: str | None = None,
    matcher: str | None = None,
    block: bool = True,
) -> Shot:
    """Find the photos' cameras; they become camera objects with their photos, and the points found a sparse cloud.

    dense: measure depth too, and bring the fused cloud. The other arguments and the errors are those of :func:`generate`.
    """
    scene = scene or bpy.context.scene
    chosen = {"focal_35mm": focal_35mm, "max_size": max_size, "geometry": geometry, "matcher": matcher}
    options = Options(name=name, photos=photos, dense=dense, **chosen)
    return _submit(scene, options, folder, block, solve_only=True)


def preview_frame(
    scene: bpy.types.Scene | None = None,
    camera: bpy.types.Object | None = None,
    photos: Sequence[str | os.PathLike | bpy.types.Object] | None = None,
    *,
    frame: float | None = None,
    size: int = PREVIEW_SIDE,
    max_size: int | None = None,
    block: bool = True,
) -> Shot:
    """Make one frame, the current one when ``frame`` is None, with ``size`` pixels on its long side at most.

    It is shown over the camera's view at that frame and in Image Editors that are free, and is no shot of the history: the
    next preview replaces it. What it measures of the photos is used by the close-ups that follow. Errors as :func:`generate`.
    """
    scene = scene or bpy.context.scene
    number = scene.frame_current if frame is None else frame
    full = cameras.frame_of(scene.render)
    scale = min(1.0, size / max(full.width, full.height))
    width, height = max(1, round(full.width * scale)), max(1, round(full.height * scale))
    options = Options("Preview", camera, photos, [number], width, height, output="png", max_size=max_size)
    return _submit(scene, options, None, block, preview=True)


def _submit(scene, options: Options, folder, block: bool, solve_only: bool = False, preview: bool = False) -> Shot:
    preferences.engine_python()  # said before a folder is made
    if preview:
        folder = folders.preview_folder()
        if queue.running(folder):
            raise CloseUpError("A preview is being made already; wait for it or cancel it.")
    name = options.name or gather.default_name(scene, options, solve_only)
    place = Path(folder) if folder else folders.new_job_folder(name)
    try:
        job = gather.job_of(scene, place, options, solve_only)
        followed = [] if solve_only else gather.path_cameras(scene, options)
        parent = measured(place)
        if parent and not solve_only:
            folders.inherit(place, parent)
        shot = queue.submit(job, place, scene, followed, preview)
    except CloseUpError:
        if folder is None and place.is_dir() and not any(place.iterdir()):
            place.rmdir()
        raise
    return _go(shot, block)


def measured(folder: Path) -> Path | None:
    """The job folder beside ``folder`` whose depth was measured last, of those that are known."""
    known = {shot.folder for shot in queue.shots} | {item.folder for item in history.history.records.values()}
    beside = [path for path in {*known, folder.parent / record.PREVIEW} if path.parent == folder.parent and path != folder]
    done = [path / ".closeup" / "depth.json" for path in beside]
    newest = max((path for path in done if path.is_file()), key=lambda path: path.stat().st_mtime, default=None)
    return newest.parents[1] if newest else None


# --- shots that stand in folders -------------------------------------------------


def shots() -> list[Record]:
    """The open file's shots, newest first, read from their folders. Raises CloseUpError when these cannot be read."""
    return history.history.wait()


def resume(folder: str | os.PathLike, scene: bpy.types.Scene | None = None, *, block: bool = True) -> Shot:
    """Run or continue the job in a folder; what is finished of it is kept. Raises CloseUpError.

    Its frames are shown by the cameras that it was made for, else by the scene's.
    """
    scene = scene or bpy.context.scene
    folder = Path(folder).absolute()
    return _go(queue.enqueue(folder, _load(folder), scene, followed_by(folder, scene)), block)


def redo(folder: str | os.PathLike, scene: bpy.types.Scene | None = None, *, seed: int | None = None, block: bool = True) -> Shot:
    """Run a job again as it was, photos, cameras and settings, in a new folder beside the old one. Raises CloseUpError.

    seed: another one, or None for the same; -1 for one at random.
    """
    scene = scene or bpy.context.scene
    folder = Path(folder).absolute()
    job = _load(folder)
    if seed is not None:
        chosen = random.randrange(RANDOM_SEEDS) if seed < 0 else seed
        job = dataclasses.replace(job, generator=dataclasses.replace(job.generator, seed=chosen))
    place = folders.beside(folder)
    folders.inherit(place, folder)
    return _go(queue.submit(job, place, scene, followed_by(folder, scene)), block)


def show(folder: str | os.PathLike, scene: bpy.types.Scene | None = None, *, block: bool = True) -> Shot | None:
    """Let the cameras' backgrounds and the cloud be those of a shot. Raises CloseUpError.

    Returns None when the .blend holds its results, else the shot that brings them from the folder.
    """
    scene = scene or bpy.context.scene
    folder = Path(folder).absolute()
    if results.show(scene, folder, record.frames_of(folder), followed_by(folder, scene)):
        return None
    return bring(folder, scene, block=block)


def bring(folder: str | os.PathLike, scene: bpy.types.Scene | None = None, *, block: bool = True) -> Shot:
    """Bring a job's results into the scene, wherever it was run, without the interface waiting. Raises CloseUpError."""
    scene = scene or bpy.context.scene
    folder = Path(folder).absolute()
    found = record.read(folder)
    if found is None:
        _load(folder)  # says what is wrong
        raise CloseUpError(f"{folder} is no folder of a job; choose another.")
    return _go(queue.bring(found, scene, followed_by(folder, scene)), block)


def delete(folder: str | os.PathLike) -> None:
    """Delete a shot's folder. What it brought into the scene stays, but for its frames, which are gone. Raises CloseUpError."""
    folder = Path(folder).absolute()
    if queue.running(folder):
        raise CloseUpError(f"{folder.name} is running; cancel it first.")
    history.delete(folder)
    results.forget(folder)


def followed_by(folder: Path, scene) -> list:
    """The camera objects of the scene that a shot was made for; the scene's camera when they are gone."""
    found = record.read(folder)
    named = [scene.objects[name] for name in (found.cameras if found else ()) if name in scene.objects]
    named = [item for item in named if item.type == "CAMERA"]
    return named or ([scene.camera] if scene.camera else [])


def _load(folder: Path) -> job_file.Job:
    try:
        return job_file.load(folder)
    except job_file.JobError as error:
        raise CloseUpError(str(error)) from None


# --- waiting ----------------------------------------------------------------------


def _go(shot: Shot, block: bool) -> Shot:
    if not block:
        pump.start()
        return shot
    wait(shot)
    if shot.state in {"failed", "cancelled"}:
        raise CloseUpError(shot.error or "The close-up was cancelled.")
    return shot


def wait(shot: Shot) -> Shot:
    """Block until a shot has ended. Ctrl-C cancels it."""
    try:
        while not shot.ended:
            queue.pump(0.1)
            time.sleep(0.01)
    except KeyboardInterrupt:
        queue.cancel(shot)
        raise CloseUpError("The close-up was cancelled.") from None
    return shot


def import_result(folder: str | os.PathLike, scene: bpy.types.Scene | None = None, cameras: Sequence = ()) -> results.Placed:
    """Bring the results of a job's folder into the scene, wherever it was run. Raises CloseUpError.

    cameras: objects whose background shows the frames; the scene's camera when empty.
    """
    scene = scene or bpy.context.scene
    followed = list(cameras) or ([scene.camera] if scene.camera else [])
    return results.place(scene, results.read(Path(folder)), followed)
