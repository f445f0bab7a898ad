"""How far uv is: from its own lines, and from the files that it is writing."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from . import places
from .packages import normalised
from .plan import Pin
from .reporter import Reporter

LOOK_SECONDS = 1.0
UNPACKED = 2
"""How many bytes of files a byte of these large downloads makes, roughly."""
ROUNDED = 0.05
"""How far uv's figures may be from the truth, of which it shows two digits or more."""
_LINE = re.compile(r"(Downloading|Downloaded|Prepared|Installed) (\S+)(?: \(([\d.]+)(B|KiB|MiB|GiB)\))?")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Downloads:
    """Progress of the packages that are still missing. cache: uv's; share: of the whole installation, (from, to)."""

    def __init__(self, missing: list[Pin], cache: Path, reporter: Reporter, share: tuple[float, float]) -> None:
        self._bytes = {pin.name: pin.bytes for pin in missing}
        self._cache, self._reporter, self._share = cache, reporter, share
        self._running: dict[str, None] = {}
        self._done: set[str] = set()
        self._looked, self._written, self._shown = 0.0, 0, 0

    def line(self, text: str) -> None:
        """A line of uv's."""
        found = _LINE.match(text)
        if not found:
            return
        what, name = found[1], normalised(found[2])
        if what == "Downloading":
            self._running[name] = None
            size = int(float(found[3] or 0) * _UNITS[found[4] or "B"])
            if size and abs(size - self._bytes.get(name, 0)) > ROUNDED * size:
                self._bytes[name] = size  # it was not known, or a guess
        elif what == "Downloaded":
            self._running.pop(name, None)
            self._done.add(name)
        else:  # everything is here, from the network or from what was kept
            self._running.clear()
            self._done.update(self._bytes)
        self._tell("Installing packages" if what in ("Prepared", "Installed") else "Downloading packages")

    def tick(self) -> None:
        """Look at what is being written, now and then."""
        if self._running and time.monotonic() > self._looked + LOOK_SECONDS:
            self._written = places.size(*(Path(path) for path in self._unfinished()))
            self._looked = time.monotonic()
            self._tell("Downloading packages")

    def _unfinished(self) -> list[str]:
        """uv unpacks a wheel while it downloads, into a folder that it renames at the end."""
        try:
            return [entry.path for entry in os.scandir(self._cache) if entry.name.startswith(".tmp")]
        except OSError:
            return []

    def _tell(self, what: str) -> None:
        total = sum(self._bytes.values())
        done = sum(self._bytes.get(name, 0) for name in self._done)
        if self._running:
            names = ", ".join(list(self._running)[-2:])
            done += min(self._written // UNPACKED, sum(self._bytes.get(name, 0) for name in self._running))
            what = f"Downloading {names}"
        done = self._shown = max(done, self._shown)
        start, end = self._share
        factor = min(1.0, done / total) if total else 0.0
        packages = f"{len(self._done)} of {len(self._bytes)} packages"
        self._reporter.progress(start + (end - start) * factor, f"{what}: {packages}, {done >> 20} of {total >> 20} MB")
