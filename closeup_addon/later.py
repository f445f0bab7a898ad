"""Work that would keep the interface waiting, written as a generator: what it yields is done elsewhere, or after a redraw.

def steps():
    data = yield lambda: read(path)   # in a thread; no bpy in there
    place(data)                       # on the main thread
    yield                             # let Blender redraw
    finish()
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

import bpy

from .errors import CloseUpError
from .extension import log

SECONDS = 0.02


def run(steps: Generator, done: Callable[[str], None]) -> None:
    """Go through the steps: at once in background mode, raising CloseUpError; from a timer in the interface.

    done is called at the end with an error's sentence, or an empty text.
    """
    if bpy.app.background:
        finish(steps)
        done("")
    else:
        bpy.app.timers.register(_Run(steps, done).tick, persistent=True)


def finish(steps: Generator):
    """Go through all steps now, and return what the generator returns."""
    result = None
    while True:
        try:
            work = steps.send(result)
        except StopIteration as end:
            return end.value
        result = work() if work else None


class _Run:
    """One generator between two ticks of its timer."""

    def __init__(self, steps: Generator, done: Callable[[str], None]) -> None:
        self._steps, self._done = steps, done
        self._thread: threading.Thread | None = None
        self._result, self._error = None, None

    def tick(self) -> float | None:
        if self._thread and self._thread.is_alive():
            return SECONDS
        self._thread = None
        error, self._error = self._error, None
        result, self._result = self._result, None
        try:
            work = self._steps.throw(error) if error else self._steps.send(result)
        except StopIteration:
            self._done("")
            return None
        except CloseUpError as problem:
            self._done(str(problem))
            return None
        except ReferenceError:
            self._done("That was stopped by an undo or by another file; start it again.")
            return None
        except Exception as problem:  # noqa: BLE001 - a timer that raises ends silently
            log.exception("A step failed")
            self._done(f"That failed ({problem}); the console holds the details.")
            return None
        if work:
            self._thread = threading.Thread(target=self._work, args=(work,), name="closeup-later", daemon=True)
            self._thread.start()
        return SECONDS

    def _work(self, work: Callable) -> None:
        try:
            self._result = work()
        except Exception as error:  # noqa: BLE001 - raised again on the main thread
            self._error = error
