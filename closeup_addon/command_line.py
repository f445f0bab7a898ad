"""``blender FILE --command closeup generate|solve``: jobs without an interface, for farms and scripts."""

from __future__ import annotations

import argparse
import json
import re
import sys

import bpy

from . import api
from .errors import CloseUpError

NAME = "closeup"
_handle = None


def main(argv: list[str]) -> int:
    """Run one command on the open file; prints one JSON line about the result. Returns the exit code."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as end:  # argparse has said what is wrong
        return int(end.code or 0)
    try:
        shot = arguments.run(arguments)
        if arguments.save:
            bpy.ops.wm.save_mainfile()
    except (CloseUpError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    placed = shot.placed or api.results.Placed()
    result = {
        "folder": str(shot.folder),
        "frames": sorted(shot.frames),
        "image": placed.image.name if placed.image else None,
        "cloud": placed.cloud.name if placed.cloud else None,
        "cameras": [camera.name for camera in placed.cameras],
        "warnings": shot.warnings,
    }
    print(json.dumps(result), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="blender FILE --command closeup")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    generate = commands.add_parser("generate", help="make the close-up's frames and bring them into the file")
    generate.add_argument("--camera", help="name of the camera object to follow; the scene's settings when left out")
    generate.add_argument("--frames", type=frames, help="1-48, 1-48x2 or 1,5,9")
    generate.add_argument("--seed", type=int)
    generate.add_argument("--backend", choices=("embedded", "none"))
    generate.add_argument("--output", choices=("png", "exr"))
    generate.set_defaults(run=_generate)
    solve = commands.add_parser("solve", help="find the photos' cameras")
    solve.set_defaults(run=_solve)
    for command in (generate, solve):
        command.add_argument("--photos", nargs="+", help="files, instead of the scene's photos")
        command.add_argument("--name", default="")
        command.add_argument("--folder", help="folder of the job; one beside the file when left out")
        command.add_argument("--focal-35mm", type=float)
        command.add_argument("--save", action="store_true", help="save the file with the results in it")
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


def _generate(arguments: argparse.Namespace) -> api.Shot:
    camera = bpy.context.scene.objects.get(arguments.camera) if arguments.camera else None
    if arguments.camera and (camera is None or camera.type != "CAMERA"):
        raise CloseUpError(f"The scene has no camera named {arguments.camera}; choose another.")
    chosen = {name: getattr(arguments, name) for name in ("frames", "seed", "backend", "output")}
    return api.generate(camera=camera, **chosen, **_common(arguments))


def _solve(arguments: argparse.Namespace) -> api.Shot:
    return api.solve_cameras(**_common(arguments))


def _common(arguments: argparse.Namespace) -> dict:
    return {name: getattr(arguments, name) for name in ("photos", "name", "folder", "focal_35mm")}


def register() -> None:
    """Make the command known to Blender."""
    global _handle
    _handle = bpy.utils.register_cli_command(NAME, main)


def unregister() -> None:
    """Take it back."""
    global _handle
    bpy.utils.unregister_cli_command(_handle)
    _handle = None
