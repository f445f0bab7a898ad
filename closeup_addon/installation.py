"""The engine's installation, in a thread of its own: Blender stays free and shows the last line of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from . import environment
from .errors import CloseUpError
from .extension import ROOT, log


@dataclass
class State:
    """What the panels show of an installation."""

    running: bool = False
    line: str = ""
    error: str = ""


state = State()


def start(folder: Path) -> None:
    """Begin to install into ``folder``. Raises CloseUpError when an installation already runs."""
    if state.running:
        raise CloseUpError("The engine is being installed already; wait until it is done.")
    state.running, state.line, state.error = True, "Installing the engine", ""
    threading.Thread(target=_install, args=(folder,), name="closeup-install", daemon=True).start()


def _install(folder: Path) -> None:
    try:
        environment.install(folder, ROOT, _report)
    except environment.InstallError as error:
        state.error = str(error)
        log.error("%s", error)
    except Exception as error:  # noqa: BLE001 - nothing else would tell the user that the thread has ended
        state.error = f"The installation stopped ({error}); the console holds the details."
        log.exception("The installation stopped")
    finally:
        state.running = False


def _report(line: str) -> None:
    state.line = line.strip()[:200]
    log.info("%s", line)
