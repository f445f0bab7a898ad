"""What goes wrong on Blender's side."""

from __future__ import annotations

MAX_SENTENCE = 1000
"""Characters; names in files of others can be endless."""


class CloseUpError(Exception):
    """A failure with one sentence for the user, on one line, whatever names are in it: what is wrong and what to do."""

    def __init__(self, message: str):
        line = " ".join(message.splitlines())
        super().__init__(line if len(line) <= MAX_SENTENCE else f"{line[:MAX_SENTENCE]}…")
