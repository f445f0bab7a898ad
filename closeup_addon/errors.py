"""What goes wrong on Blender's side."""

from __future__ import annotations


class CloseUpError(Exception):
    """A failure with one sentence for the user: what is wrong and what to do."""
