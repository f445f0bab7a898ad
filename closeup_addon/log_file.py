"""The engine's log: one file that is bounded, and two older ones. No bpy here."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MAX_BYTES = 1 << 20
KEPT = 3
"""Files, the one that is being written included: engine.log, engine.log.1, engine.log.2."""


class LogFile:
    """Bytes in the order they come. A log that cannot be written is given up silently: it must not stop any work."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES):
        self._path = Path(path)
        self._max = max_bytes

    def write(self, data: bytes) -> None:
        """Append ``data``; a file that would grow too large makes room first."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._size() and self._size() + len(data) > self._max:
                with contextlib.suppress(OSError):  # on Windows another Blender may have it open just now
                    self._rotate()
            with open(self._path, "ab") as stream:  # opened each time: two Blenders may write, and one rotate
                stream.write(data[-self._max :])

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def _rotate(self) -> None:
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{i}") for i in range(1, KEPT))]
        for older, newer in zip(reversed(names), reversed(names[:-1])):
            if newer.exists():
                os.replace(newer, older)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log; none when it cannot be read."""
    try:
        with open(path, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 400 * lines))
            return stream.read().decode("utf-8", "replace").splitlines()[-lines:]
    except OSError:
        return []
