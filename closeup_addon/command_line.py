"""``blender FILE --command closeup …``: jobs without an interface, for farms and scripts.

The last line of stdout is JSON. The exit code is 0 when it is done, 1 when it failed (the sentence is on stderr, and under
"error" in the JSON), 2 for arguments that are wrong, 130 when it was cancelled with Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path

import bpy

from . import api, movies
from .errors import CloseUpError
from .jobs import queue

NAME = "closeup"
_handle = None


def main(argv: list[str]) -> int:
    """Run one command on the open file; prints one JSON line about the result. Returns the exit code."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as end:  # argparse has said what is wrong
        return int(end.code or 0)
    try:
        result = arguments.run(arguments)
        if getattr(arguments, "save", False):
            bpy.ops.wm.save_mainfile()
    except (CloseUpError, RuntimeError) as error:
        shot = queue.latest
        cancelled = shot is not None and shot.state == "cancelled"
        print(error, file=sys.stderr)
        print(json.dumps({"error": str(error), "folder": str(shot.folder) if shot else None}), flush=True)
        return 130 if cancelled else 1
    print(json.dumps(result), flush=True)
    return 0


def _told(shot: api.Shot) -> dict:
    """A shot as JSON says it."""
    placed = shot.placed or api.results.Placed()
    return {
        "folder": str(shot.folder),
        "frames": sorted(api.record.frames_of(shot.folder)),
        "seconds": round(shot.seconds, 3),
        "image": placed.image.name if placed.image else None,
        "cloud": placed.cloud.name if placed.cloud else None,
        "cameras": [camera.name for camera in placed.cameras],
        "warnings": shot.warnings,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="blender FILE --command closeup")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str, save: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        if save:
            made.add_argument("--save", action="store_true", help="save the file with the results in it")
        return made

    generate = command("generate", _generate, "make the close-up's frames and bring them into the file")
    generate.add_argument("--camera", help="name of the camera object to follow; the scene's settings when left out")
    generate.add_argument("--frames", type=frames, help="1-48, 1-48x2 or 1,5,9; the scene's range when left out")
    generate.add_argument("--width", type=int, help="of the frames, in pixels")
    generate.add_argument("--height", type=int, help="of the frames, in pixels")
    generate.add_argument("--steps", type=int, help="of the generator")
    generate.add_argument("--seed", type=int)
    generate.add_argument("--backend", choices=("embedded", "none"))
    generate.add_argument("--output", choices=("png", "exr"))
    solve = command("solve", _solve, "find the photos' cameras")
    solve.add_argument("--dense", action="store_true", help="measure depth too, and make the fused cloud")
    for made in (generate, solve):
        made.add_argument("--photos", nargs="+", help="files, instead of the scene's photos")
        made.add_argument("--name", help="of the shot and its folder")
        made.add_argument("--folder", help="folder of the job; a new one beside the file when left out")
        made.add_argument("--focal-35mm", type=float)
        made.add_argument("--max-size", type=int, help="pixels of a photo's long side")
        made.add_argument("--geometry", help="where depth comes from: auto, stereo, given or a learned model")
        made.add_argument("--matcher", help="what finds the points that photos have in common: sift or a learned model")
    command("continue", _continue, "go on with a shot that was interrupted").add_argument("folder")
    redo = command("redo", _redo, "make a shot again with the settings it was made with")
    redo.add_argument("folder")
    redo.add_argument("--seed", type=int, help="another seed; -1 for one at random")
    command("import", _import, "bring a job's results into the file").add_argument("folder")
    command("shots", _shots, "list the file's shots", save=False)
    movie = command("movie", _movie, "write a shot's frames as a movie file", save=False)
    movie.add_argument("folder")
    movie.add_argument("target", help="an .mp4, .mov or .mkv file")
    movie.add_argument("--fps", type=float, help="the scene's when left out")
    return parser


def frames(text: str) -> list[int]:
    """The frame numbers of 1-48, 1-48x2, 7 or a list of such with commas."""
    result = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+)(?:x([1-9]\d*))?)?", part.strip())
        if not found:
            raise argparse.ArgumentTypeError(f"{part!r} is no range of frames; write 1-48, 1-48x2 or 1,5,9")
        first, last, step = (int(item) if item else None for item in found.groups())
        result += range(first, (first if last is None else last) + 1, step or 1)
    return result


def _generate(arguments: argparse.Namespace) -> dict:
    camera = bpy.context.scene.objects.get(arguments.camera) if arguments.camera else None
    if arguments.camera and (camera is None or camera.type != "CAMERA"):
        raise CloseUpError(f"The scene has no camera named {arguments.camera}; choose another.")
    names = ("frames", "width", "height", "steps", "seed", "backend", "output")
    return _told(api.generate(camera=camera, **_given(arguments, names), **_common(arguments)))


def _solve(arguments: argparse.Namespace) -> dict:
    return _told(api.solve_cameras(dense=arguments.dense, **_common(arguments)))


def _common(arguments: argparse.Namespace) -> dict:
    return _given(arguments, ("photos", "name", "folder", "focal_35mm", "max_size", "geometry", "matcher"))


def _given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict:
    """What was not left out."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def _continue(arguments: argparse.Namespace) -> dict:
    return _told(api.resume(arguments.folder))


def _redo(arguments: argparse.Namespace) -> dict:
    return _told(api.redo(arguments.folder, seed=arguments.seed))


def _import(arguments: argparse.Namespace) -> dict:
    return _told(api.bring(arguments.folder))


def _shots(arguments: argparse.Namespace) -> dict:
    names = ("name", "state", "frames", "made", "seed", "seconds", "message")
    rows = [{"folder": str(item.folder), **{name: getattr(item, name) for name in names}} for item in api.shots()]
    return {"shots": rows}


def _movie(arguments: argparse.Namespace) -> dict:
    render = bpy.context.scene.render
    fps = arguments.fps or render.fps / render.fps_base
    movie = movies.write(Path(arguments.folder).absolute(), Path(arguments.target).absolute(), fps)
    while movie.running:
        time.sleep(0.02)
    if movie.error:
        raise CloseUpError(movie.error)
    return {"movie": str(movie.target), "fps": fps}


def register() -> None:
    """Make the command known to Blender."""
    global _handle
    _handle = bpy.utils.register_cli_command(NAME, main)


def unregister() -> None:
    """Take it back."""
    global _handle
    bpy.utils.unregister_cli_command(_handle)
    _handle = None
