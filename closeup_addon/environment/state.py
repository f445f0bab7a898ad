"""engine.json, the one file of state, and the lock that lets one installer work at a time."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from .errors import Cancelled
from .reporter import Reporter

if os.name == "nt":
    import msvcrt
else:
    import fcntl

FILE, LOCK = "engine.json", "engine.lock"
STATES = ("absent", "incomplete", "ready", "broken", "removing")
"""absent -> incomplete -> ready; a check that fails: ready -> broken; broken or incomplete -> install -> ready;
any -> removing -> absent. Only ``ready`` runs jobs; an end at any moment leaves one of the others."""


@dataclass
class State:
    """What is known of an installation.

    state: one of :data:`STATES`. step: what was being done when it was written. fingerprint: of the plan it was made from.
    locks: of the lock files it was made from. build: torch's, or "mixed". accelerator: what it was made for.
    note: why the best accelerator is not used. found: what the last check found (device, versions). problems: its
    sentences. bytes: the size when it was finished.
    """

    state: str = "absent"
    step: str = ""
    fingerprint: str = ""
    locks: str = ""
    build: str = ""
    accelerator: str = ""
    note: str = ""
    found: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)
    bytes: int = 0


def read(home: Path) -> State:
    """The state of a home; what cannot be understood is as good as an interrupted installation."""
    try:
        text = (Path(home) / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return State()
    except (OSError, ValueError):
        return State("incomplete")
    try:
        known = {key: value for key, value in json.loads(text).items() if key in {item.name for item in fields(State)}}
        state = State(**known)
    except (ValueError, AttributeError):
        return State("incomplete")
    plain = all(isinstance(getattr(state, item.name), type(getattr(State(), item.name))) for item in fields(State))
    return state if plain and state.state in STATES else State("incomplete")


def write(home: Path, state: State) -> None:
    """Replace engine.json; after a power cut it holds either the old state or the new one."""
    temporary = Path(home) / f".{FILE}.tmp"
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump(asdict(state), stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    _replace(temporary, Path(home) / FILE)


def _replace(source: Path, target: Path) -> None:
    """Windows refuses for the moment in which another Blender reads the target."""
    for _ in range(50):
        try:
            return os.replace(source, target)
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(0.02)
    return os.replace(source, target)


@contextlib.contextmanager
def lock(home: Path, reporter: Reporter) -> Iterator[int]:
    """Hold a home for one installer; another one waits. The system releases it when its holders die.

    Yields the file descriptor: a child process that inherits it holds the home too, until it ends (not on Windows).
    Raises Cancelled when the user stops the waiting.
    """
    path, told = Path(home) / LOCK, False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if _try_lock(descriptor):
            if _is(descriptor, path):
                break
        elif not told:
            told = True
            reporter.line("Another Blender is working on the engine; waiting until it is done")
            reporter.progress(0.0, "Waiting for another Blender")
        os.close(descriptor)
        if reporter.cancelled():
            raise Cancelled("Stopped; another Blender is working on the engine.")
        time.sleep(0.2)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is(descriptor: int, path: Path) -> bool:
    """Whether the locked file is still the one at the path: who removed the engine removed it too."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
