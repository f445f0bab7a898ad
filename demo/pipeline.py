"""The demo from its parts: still life (or a folder of photos) → Blender with the extension → report. Standard library only.

Every part runs in its own process and prints what it does; see :func:`run`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FRAMES = 24
OUTPUTS = (
    ("frames", "job/frames"),
    ("contact sheet", "contact-sheet.png"),
    ("overview", "overview.png"),
    ("real close-ups", "real-close-ups.png"),
    ("film", "close-up.mp4"),
    ("point cloud", "job/cloud.ply"),
    ("table", "table.md"),
    ("Blender file", "demo.blend"),
)


class DemoError(RuntimeError):
    """A part of the demo failed; its own message stands above."""


def blender_command(blender: Path, script: Path, arguments: list[str]) -> list[str]:
    """How to run a script: in a Blender application, or with a Python that has Blender as a module."""
    if Path(blender).stem.lower().startswith("python"):
        return [str(blender), str(script), *arguments]
    return [str(blender), "--background", "--python-exit-code", "1", "--python", str(script), "--", *arguments]


def run(
    engine_python: os.PathLike,
    blender: os.PathLike,
    zip_path: os.PathLike,
    out: os.PathLike,
    photos: os.PathLike | None = None,
    focal_35mm: float | None = None,
    frames: int = FRAMES,
) -> Path:
    """Run the whole demo into ``out`` and return demo.blend.

    engine_python: interpreter with the engine's packages. blender: a Blender, or a Python that has bpy. zip_path: the extension.
    photos: a folder of photos instead of the still life; focal_35mm: their focal length where EXIF does not tell it.
    Raises DemoError.
    """
    out, started = Path(out).resolve(), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    env = {
        **os.environ,
        "BLENDER_USER_RESOURCES": str(out / "profile"),  # nothing touches the user's own Blender
        "CLOSEUP_ENGINE_PYTHON": str(engine_python),
        "PYTHONUNBUFFERED": "1",
    }
    (out / "profile").mkdir(exist_ok=True)
    job = ["--zip", str(Path(zip_path).resolve()), "--out", str(out), "--frames", str(frames)]
    report = ["--out", str(out)]
    if photos is None:
        arguments = ["--out", str(out / "scene"), "--frames", str(frames)]
        _part("Still life: four photos and the true close-ups", blender_command(blender, HERE / "still_life.py", arguments), env)
        job += ["--start", str(out / "scene" / "start.blend")]
        report += ["--scene", str(out / "scene")]
    else:
        photos = Path(photos).resolve()
        job += ["--photos", str(photos)] + (["--focal-35mm", str(focal_35mm)] if focal_35mm else [])
        report += ["--photos", str(photos)]
    _part("Close-up: the installed extension", blender_command(blender, HERE / "run_job.py", job), env)
    _part("Report", [str(engine_python), str(HERE / "report.py"), *report], env)
    print(f"\nThe demo took {(time.monotonic() - started) / 60:.1f} minutes. Its results:")
    for name, where in OUTPUTS:
        if (out / where).exists():
            print(f"  {name:14} {out / where}")
    sys.stdout.flush()
    return out / "demo.blend"


def _part(title: str, command: list[str], env: dict) -> None:
    """Run one process, passing on the lines that are ours; the whole of its output is shown when it fails."""
    print(f"\n== {title}", flush=True)
    started, kept = time.monotonic(), []
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, env=env, text=True, encoding="utf-8", errors="replace", **pipes) as process:
        for line in process.stdout:
            kept = [*kept[-199:], line]
            if line.startswith(("· ", "| ")):
                print(line, end="", flush=True)
    if process.returncode:
        print("".join(kept), flush=True)
        raise DemoError(f"{title} failed; what it said stands above.")
    print(f"  {time.monotonic() - started:.0f} s", flush=True)
