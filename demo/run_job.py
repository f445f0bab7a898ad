"""The main job through the installed extension: photos and a camera in, frames and a cloud in demo.blend.

    bpy-python demo/run_job.py --zip closeup.zip --out DIR --start DIR/scene/start.blend
    bpy-python demo/run_job.py --zip closeup.zip --out DIR --photos FOLDER [--focal-35mm 28]

Runs in Blender, as an application or as a module. CLOSEUP_ENGINE_PYTHON names the engine's interpreter.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import bpy

addon_utils = importlib.import_module("addon_utils")  # Blender's own, there only once bpy is imported
PACKAGE = "bl_ext.user_default.closeup"
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
TRUTH = "truth_"
"""Pictures of a photo folder whose name begins so are true close-ups, for comparison; the job never sees them."""
WIDTH = 640


class JobFailed(Exception):
    """The sentence to end with."""


def say(message: str) -> None:
    """A line for the user; the dot tells it from Blender's own messages."""
    print(f"· {message}", flush=True)


def install(archive: Path) -> None:
    """Install and enable the extension in the profile that BLENDER_USER_RESOURCES names."""
    bpy.ops.extensions.package_install_files(filepath=str(archive), repo="user_default", enable_on_install=True)
    if not addon_utils.check(PACKAGE)[1]:
        addon_utils.enable(PACKAGE, default_set=True)
    if not addon_utils.check(PACKAGE)[1]:
        raise JobFailed(f"{archive.name} could not be installed; Blender's messages say why.")
    say(f"CloseUp is installed in Blender {bpy.app.version_string}")


def photo_files(folder: Path) -> list[str]:
    """Names of the photos in a folder, without the true close-ups."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return [name for name in names if not name.startswith((TRUTH, "."))]


# --- progress ----------------------------------------------------------------


class Watcher:
    """Tells on the console how far the job is, while the operator blocks."""

    def __enter__(self):
        self._queue = importlib.import_module(f"{PACKAGE}.closeup_addon.jobs").queue
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        stage, line, told = "", "", 0.0
        while not self._over.wait(0.5):
            shot = self._queue.active
            if shot is None:
                continue
            due = shot.message != stage or time.monotonic() - told > 10
            if due and self._line(shot) != line:
                stage, line, told = shot.message, self._line(shot), time.monotonic()
                say(line)

    @staticmethod
    def _line(shot) -> str:
        line = shot.message
        if shot.frames:
            line += f" · frame {len(shot.frames)} of {shot.frame_total}"
        if shot.total:
            line += f" · {100 * shot.factor:.0f}%"
        if shot.seconds_left:
            line += f" · about {shot.seconds_left:.0f} s left"
        return line


def operate(operator, **options) -> None:
    """Call an operator that blocks; its error report becomes the sentence to end with."""
    with Watcher():
        try:
            result = operator(**options)
        except RuntimeError as error:
            raise JobFailed(str(error).removeprefix("Error: ").strip()) from None
    if result != {"FINISHED"}:
        raise JobFailed(f"{operator.idname_py()} was cancelled; Blender's messages say why.")


# --- the job -----------------------------------------------------------------


def fresh(folder: Path) -> Path:
    """A job folder of an earlier run of the demo is dropped: the photos may be others."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def save(target: Path) -> None:
    """Save the scene with paths relative to it, so that the folder can be moved."""
    bpy.ops.wm.save_as_mainfile(filepath=str(target), check_existing=False)
    with contextlib.suppress(RuntimeError):  # a photo on another drive keeps its absolute path
        bpy.ops.file.make_paths_relative()
    bpy.ops.wm.save_as_mainfile(filepath=str(target), check_existing=False)


def from_scene(start: Path, out: Path, given: dict) -> None:
    """Photos and camera stand in the scene: one call."""
    bpy.ops.wm.open_mainfile(filepath=str(start))
    save(out / "demo.blend")
    operate(bpy.ops.closeup.generate, name="push-in", folder=str(fresh(out / "job")), **given)


def from_photos(folder: Path, out: Path, options: argparse.Namespace, given: dict) -> None:
    """Only photos: solve their cameras, add a push-in toward the best-seen surface, generate."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    if not addon_utils.check(PACKAGE)[1]:
        addon_utils.enable(PACKAGE, default_set=True)
    scene = bpy.context.scene
    scene.view_settings.view_transform = "Standard"
    scene.render.fps = 24
    save(out / "demo.blend")
    names = photo_files(folder)
    if not names:
        raise JobFailed(f"{folder} holds no photos; name a folder with at least three that overlap.")
    bpy.ops.closeup.add_photos(directory=str(folder), files=[{"name": name} for name in names])
    say(f"{len(names)} photos of {folder.name}")
    operate(bpy.ops.closeup.solve_cameras, folder=str(fresh(out / "solve")), focal_35mm=options.focal_35mm)
    for photo in scene.closeup.photos:
        photo.use = photo.camera is not None  # what could not be placed would be tried again, in vain
    width, height = next(photo.camera for photo in scene.closeup.photos if photo.camera)["closeup_size"]
    scene.render.resolution_x = WIDTH if width >= height else 2 * round(WIDTH * width / height / 2)
    scene.render.resolution_y = WIDTH if height > width else 2 * round(WIDTH * height / width / 2)
    scene.frame_start = 1
    bpy.ops.closeup.add_move(zoom=options.zoom, frames=options.frames)
    operate(bpy.ops.closeup.generate, name="push-in", folder=str(fresh(out / "job")), **given)


def check(out: Path) -> None:
    """What the user is promised must be in the scene and in the folder."""
    job = json.loads((out / "job" / "job.json").read_text(encoding="utf-8"))
    missing = [item["frame"] for item in job["path"] if not (out / "job" / "frames" / f"{item['frame']:04d}.png").is_file()]
    if missing:
        raise JobFailed(f"Frame {missing[0]} was not made.")
    scene = bpy.context.scene
    if not any(image.source == "SEQUENCE" and image.filepath for image in bpy.data.images):
        raise JobFailed("The frames are not in the scene.")
    background = scene.camera.data.background_images
    if not any(item.image and item.image.source == "SEQUENCE" for item in background):
        raise JobFailed("The camera does not show the frames.")
    clouds = [item for item in scene.objects if item.type in {"MESH", "POINTCLOUD"}]
    if not clouds:
        raise JobFailed("The point cloud is not in the scene.")
    points = max(len(getattr(item.data, "vertices", None) or item.data.points) for item in clouds)
    say(f"{len(job['path'])} frames and a cloud of {points:,} points are in the scene")


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="run_job.py", description=__doc__.splitlines()[0])
    parser.add_argument("--zip", required=True, type=Path, help="the built extension")
    parser.add_argument("--out", required=True, type=Path)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--start", type=Path, help="a .blend with photos on cameras and an animated camera")
    given.add_argument("--photos", type=Path, help="a folder of photos")
    parser.add_argument("--focal-35mm", type=float, default=0.0)
    parser.add_argument("--frames", type=int, default=24, help="length of the push-in, with --photos")
    parser.add_argument("--zoom", type=float, default=4.0, help="of the push-in, with --photos")
    parser.add_argument("--max-size", type=int, default=0, help="shrink photos to this many pixels on the long side")
    parser.add_argument("--backend", default="", help="generator: embedded (default) or none")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Install, run, check, save. Returns the exit code."""
    options = parse(argv)
    out = options.out.resolve()
    given = {"max_size": options.max_size, "backend": options.backend}
    try:
        install(options.zip.resolve())
        if options.start:
            from_scene(options.start.resolve(), out, given)
        else:
            from_photos(options.photos.resolve(), out, options, given)
        check(out)
        save(out / "demo.blend")
    except JobFailed as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    code = main(arguments)
    addon_utils.disable(PACKAGE)  # ends the engine
    sys.stdout.flush()
    os._exit(code)  # leaving through Blender's own exit can hang some versions of the module
