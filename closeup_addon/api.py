"""CloseUp from Python. What the buttons do, without context or waiting for an interface.

from bl_ext.user_default.closeup.closeup_addon import api
shot = api.generate(camera=bpy.data.objects["Camera"], photos=["a.jpg", "b.jpg", "c.jpg"], frames=range(1, 49))
print(shot.folder, shot.placed.image, shot.placed.cloud)
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import bpy

from ..engine import job as job_file
from . import folders, gather, pump, results
from .errors import CloseUpError
from .gather import Options
from .jobs import Shot, queue

__all__ = ["CloseUpError", "Options", "Shot", "generate", "import_result", "resume", "solve_cameras", "wait"]


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
    geometry: str = "auto",
    max_size: int | None = None,
    block: bool = True,
) -> Shot:
    """Make the frames that ``camera`` would have seen, and the fused cloud, and bring both into the scene.

    What is left out is taken from ``scene.closeup``, which the sidebar shows. scene: the context's when None.
    photos: files (their cameras are solved) and camera objects with a photo as background image (their cameras are known).
    frames: frame numbers; fractions are allowed. folder: an empty or new one for the job, else one beside the .blend.
    width, height: pixels, else the render size. geometry: "auto", "stereo" or "given". block: wait until it is done.

    Raises CloseUpError with a sentence when something is missing or, with ``block``, when the job failed or was cancelled.
    """
    scene = scene or bpy.context.scene
    options = Options(name, camera, photos, frames, width, height, seed, steps, backend, output, focal_35mm, geometry, max_size)
    return _submit(scene, options, folder, block, solve_only=False)


def solve_cameras(
    scene: bpy.types.Scene | None = None,
    photos: Sequence[str | os.PathLike | bpy.types.Object] | None = None,
    *,
    name: str = "",
    folder: str | os.PathLike | None = None,
    focal_35mm: float | None = None,
    max_size: int | None = None,
    block: bool = True,
) -> Shot:
    """Find the photos' cameras; they become camera objects with their photos, and the points found a sparse cloud.

    Arguments and errors are those of :func:`generate`.
    """
    scene = scene or bpy.context.scene
    options = Options(name=name, photos=photos, focal_35mm=focal_35mm, max_size=max_size)
    return _submit(scene, options, folder, block, solve_only=True)


def _submit(scene, options: Options, folder, block: bool, solve_only: bool) -> Shot:
    from . import preferences

    preferences.engine_python()  # said before a folder is made
    name = options.name or gather.default_name(scene, options, solve_only)
    place = Path(folder) if folder else folders.new_job_folder(name)
    try:
        job = gather.job_of(scene, place, options, solve_only)
        followed = [] if solve_only else gather.path_cameras(scene, options)
        shot = queue.submit(job, place, scene, followed)
    except CloseUpError:
        if folder is None and place.is_dir() and not any(place.iterdir()):
            place.rmdir()
        raise
    return _go(shot, block)


def resume(folder: str | os.PathLike, scene: bpy.types.Scene | None = None, *, block: bool = True) -> Shot:
    """Run or continue the job in a folder; its frames are shown by the scene's camera. Raises CloseUpError."""
    scene = scene or bpy.context.scene
    try:
        job = job_file.load(folder)
    except job_file.JobError as error:
        raise CloseUpError(str(error)) from None
    shot = queue.enqueue(Path(folder), job, scene, [scene.camera] if scene.camera else [])
    return _go(shot, block)


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
