"""A shot's frames as a movie file, written by the engine in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from . import preferences
from .engine_process import clean_environment
from .errors import CloseUpError
from .extension import ROOT, log


@dataclass
class Movie:
    """One movie that is being written; ``error`` is a sentence when it failed."""

    folder: Path
    target: Path
    running: bool = True
    error: str = ""


latest: Movie | None = None


def busy() -> bool:
    """Whether a movie is being written."""
    return latest is not None and latest.running


def write(folder: Path, target: Path, fps: float) -> Movie:
    """Begin to write the frames of a job's folder into an .mp4, .mov or .mkv. Raises CloseUpError."""
    global latest
    if target.suffix.lower() not in {".mp4", ".mov", ".mkv"}:
        raise CloseUpError(f"{target.name} is no name of a movie; let it end in .mp4, .mov or .mkv.")
    if busy():
        raise CloseUpError(f"{latest.target.name} is being written; wait until it is done.")
    command = [str(preferences.engine_python()), "-m", "engine", "movie", str(folder), str(target), "--fps", str(fps)]
    latest = Movie(Path(folder), Path(target))
    threading.Thread(target=_run, args=(latest, command), name="closeup-movie", daemon=True).start()
    return latest


def _run(movie: Movie, command: list[str]) -> None:
    """In a thread."""
    flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            creationflags=flags,
            check=False,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            movie.error = lines[-1] if lines else f"The movie was not written (exit code {done.returncode}); try again."
    except OSError as error:
        movie.error = f"The engine could not be started ({error.strerror}: {command[0]}); install it again."
    finally:
        movie.running = False
    if movie.error:
        log.error("%s", movie.error)
    else:
        log.info("Movie written: %s", os.fspath(movie.target))
