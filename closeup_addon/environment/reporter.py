"""Who hears how far an installation is, and may stop it."""

from __future__ import annotations

import re

_SECRET = re.compile(r"//[^/@\s]+@")


class Reporter:
    """Prints every line. Subclasses override what they need; all methods are called in the installing thread."""

    def line(self, text: str) -> None:
        """One line of the log."""
        print(text, flush=True)

    def progress(self, fraction: float, text: str) -> None:
        """How much is done, 0 to 1, and what is being done."""

    def cancelled(self) -> bool:
        """Whether to stop; asked a few times per second."""
        return False


class Logged(Reporter):
    """Hands everything to another reporter and keeps the lines in a file, without the passwords of mirrors."""

    def __init__(self, inner: Reporter, stream) -> None:
        self._inner, self._stream = inner, stream
        self.progress, self.cancelled = inner.progress, inner.cancelled

    def line(self, text: str) -> None:
        """One line, to both."""
        text = _SECRET.sub("//", text.rstrip())
        self._inner.line(text)
        self._stream.write(text + "\n")
        self._stream.flush()
