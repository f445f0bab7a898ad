"""One job's results on their way into the scene: read in a thread, then placed in steps that Blender can redraw between."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path

from . import results
from .errors import CloseUpError
from .extension import log
from .home import Home


class Arrival:
    """Call :meth:`step` until ``ended``.

    Then ``placed`` is there, or ``error`` is a sentence, or neither, when the file is not open.
    """

    def __init__(self, folder: Path, home: Home, preview: bool = False):
        self.folder, self.home, self.preview = folder, home, preview
        self.ended = False
        self.placed: results.Placed | None = None
        self.warnings: list[str] = []
        self.error = ""
        self._result: results.Result | None = None
        self._steps: Generator[None, None, results.Placed] | None = None
        self._thread = threading.Thread(target=self._read, name="closeup-results", daemon=True)
        self._thread.start()

    @property
    def placing(self) -> bool:
        """Whether there is something for Blender's main thread to do."""
        return self._result is not None and not self.ended

    def step(self, session: int) -> None:
        """One short step on Blender's main thread; none while the thread reads. session: see :class:`Home`."""
        if self._thread.is_alive():
            return
        try:
            self._place(session)
        except StopIteration as end:
            self.placed, self.ended = end.value, True
        except CloseUpError as error:
            self.error, self.ended = str(error), True
        except Exception as error:  # noqa: BLE001 - the frames are made and safe; only Blender's part of them failed
            log.exception("The results of %s cannot be placed", self.folder)
            self.error = f"The results are in {self.folder}, but cannot be brought into the scene ({error})."
            self.ended = True

    def begin_again(self) -> None:
        """Undo, redo or another file have made void what was placed so far."""
        self._steps = None

    def _place(self, session: int) -> None:
        if self.error:
            raise CloseUpError(self.error)
        if self._steps is None:
            home = self.home.find(session)
            if home is None:
                self.ended = True
                return
            place = results.place_preview if self.preview else results.place_in_steps
            self._steps = place(home[0], self._result, home[1])
        next(self._steps)

    def _read(self) -> None:
        """In the thread."""
        try:
            found = results.read(self.folder, with_cloud=not self.preview)
            self.warnings, self._result = found.warnings, found
        except CloseUpError as error:
            self.error = str(error)
        except Exception as error:  # noqa: BLE001 - a thread's error would be lost, and the shot never end
            log.exception("The results of %s cannot be read", self.folder)
            self.error = f"The results cannot be read ({error}); the console holds the details."
