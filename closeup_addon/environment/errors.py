"""What can go wrong with the engine's environment, as sentences for the user."""

from __future__ import annotations


class InstallError(Exception):
    """The environment could not be made, checked or removed; the message is one sentence for the user."""


class Cancelled(Exception):
    """The user stopped it; the next installation continues."""
