"""What is done to the engine's environment from Blender, in a thread of its own: Blender stays free and shows how far it is."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import environment
from .environment import Accelerator, Finding, Options
from .errors import CloseUpError
from .extension import ROOT, log

KEPT_LINES = 200


@dataclass
class State:
    """What the panels show. changing: nothing may run in the environment. line: the latest news. factor: 0 to 1.
    lines: the log's last ones. ended: how often something was done.
    """

    running: bool = False
    changing: bool = False
    line: str = ""
    factor: float = 0.0
    error: str = ""
    ended: int = 0
    lines: deque = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    stop: threading.Event = field(default_factory=threading.Event)
    existing: tuple[Path, Finding] | None = None
    """The interpreter that was checked last, and what was found."""


state = State()
_accelerator: list[Accelerator] = []
_looking: list[threading.Thread] = []
_working: list[threading.Thread] = []
LAST_SECONDS = 2.0
"""How long Blender waits at its end for an installation to stop."""


def install(folder: Path, options: Options, repair: bool = False, first: Callable[[], None] = lambda: None) -> None:
    """Install, continue, update; with ``repair``, look at every file. ``first`` is called before, in the thread."""
    _start("Repairing the engine" if repair else "Installing the engine", first, _install, folder, options, repair)


def _install(folder: Path, options: Options, repair: bool) -> None:
    environment.install(folder, ROOT, _Watcher(), options, repair)


def verify(folder: Path) -> None:
    """Check an installation; what is wrong is in its state then."""
    _start("Checking the engine", None, environment.verify, folder, ROOT, _Watcher())


def remove(folder: Path, first: Callable[[], None] = lambda: None) -> None:
    """Delete an installation."""
    _start("Removing the engine", first, environment.remove, folder, _Watcher())


def check_existing(python: Path) -> None:
    """Check a studio's own environment; the finding is in ``state.existing`` then."""
    _start("Checking the engine's Python", None, _check_existing, python)


def _check_existing(python: Path) -> None:
    state.existing = None
    finding = environment.existing(python, ROOT, _Watcher())
    state.existing = (python, finding)
    if finding.problems:
        raise environment.InstallError(f"{python}: {' '.join(finding.problems)}")


def cancel() -> None:
    """Ask what runs to stop."""
    state.stop.set()
    if state.running:
        state.line = "Stopping"


def wait(seconds: float | None = None) -> None:
    """Until nothing runs any more. Not for Blender's interface."""
    for thread in _working[-1:]:
        thread.join(seconds)


def shut_down() -> None:
    """Blender quits, or the extension goes: stop; what is downloaded is kept."""
    cancel()
    wait(LAST_SECONDS)


def accelerator() -> Accelerator | None:
    """What this machine computes on, None while it is being looked for; drivers may take seconds to answer."""
    if not _looking:
        _looking.append(threading.Thread(target=_look, name="closeup-accelerator", daemon=True))
        _looking[0].start()
    return _accelerator[0] if _accelerator else None


def _look() -> None:
    _accelerator.append(environment.find_accelerator())


def _start(what: str, first: Callable[[], None] | None, function: Callable, *arguments: object) -> None:
    """Begin. first: None when nothing is changed, else what must be done before. Raises CloseUpError when something runs."""
    if state.running:
        raise CloseUpError("The engine is being worked on already; wait until it is done.")
    state.running, state.changing, state.line, state.factor, state.error = True, first is not None, what, 0.0, ""
    state.lines.clear()
    state.stop.clear()
    arguments = (first or (lambda: None), function, *arguments)
    _working[:] = [threading.Thread(target=_run, args=arguments, name="closeup-install", daemon=True)]
    _working[0].start()


def _run(first: Callable[[], None], function: Callable, *arguments: object) -> None:
    try:
        first()
        function(*arguments)
    except environment.Cancelled as error:
        state.line = str(error)
        log.info("%s", error)
    except environment.InstallError as error:
        state.error = str(error)
        log.error("%s", error)
    except Exception as error:  # noqa: BLE001 - nothing else would tell the user that the thread has ended
        state.error = f"The work on the engine stopped ({error}); the console holds the details."
        log.exception("The work on the engine stopped")
    finally:
        state.ended += 1
        state.running = state.changing = False


class _Watcher(environment.Reporter):
    """News for the panels and the console."""

    def line(self, text: str) -> None:
        state.line = text.strip()[:200]
        state.lines.append(state.line)
        log.info("%s", text)

    def progress(self, fraction: float, text: str) -> None:
        state.factor, state.line = max(state.factor, fraction), text

    def cancelled(self) -> bool:
        return state.stop.is_set()
