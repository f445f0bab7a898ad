"""The folder that an installation lives in: held by one installer at a time, with a log; its errors become sentences."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from . import places, state
from .errors import Cancelled, InstallError
from .reporter import Logged, Reporter

MAX_LOG = 1 << 20
"""Bytes of install.log that are kept."""


@contextlib.contextmanager
def locked(home: Path, reporter: Reporter) -> Iterator[tuple[Path, int]]:
    """Make the folder and hold it; yields its absolute path and the lock's descriptor. Raises InstallError, Cancelled."""
    home = Path(os.path.abspath(home))
    try:
        home.mkdir(parents=True, exist_ok=True)
        with state.lock(home, reporter) as lock:
            yield home, lock
    except OSError as error:
        raise InstallError(_disk_sentence(home, error)) from None


@contextlib.contextmanager
def opened(home: Path, reporter: Reporter) -> Iterator[tuple[Path, Reporter, int]]:
    """As :func:`locked`, and what is reported goes to its log too. Raises InstallError, Cancelled."""
    places.check_length(home)
    with locked(home, reporter) as (home, lock), _open_log(home / places.LOG) as stream:
        stream.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        logged = Logged(reporter, stream)
        try:
            yield home, logged, lock
        except (InstallError, Cancelled) as error:
            stream.write(f"{error}\n")
            raise


def _open_log(path: Path) -> TextIO:
    """The log, which grows until it is old enough to begin again."""
    grown = path.exists() and path.stat().st_size > MAX_LOG
    return open(path, "w" if grown else "a", encoding="utf-8", errors="replace")


def _disk_sentence(home: Path, error: OSError) -> str:
    if error.errno == 28:
        return f"The disk of {home} is full; free some space, then install again."
    return f"{error.filename or home} cannot be used ({error.strerror}); choose another folder for the engine."


def check_space(home: Path, needed: int) -> None:
    """Raise InstallError when there is too little room. What is there counts: an installation that continues needs less."""
    free = shutil.disk_usage(home).free + places.size(*(home / name for name in places.OURS))
    if free < needed:
        amounts = f"{free / 1e9:.1f} GB for the engine, which needs {needed / 1e9:.1f} GB"
        raise InstallError(f"{home} has {amounts}; free some space or choose another folder.")
