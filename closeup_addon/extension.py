"""Where the extension stands, what Blender calls it, and its log."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

PACKAGE = __package__.rpartition(".")[0]
"""The extension's name inside Blender, such as ``bl_ext.user_default.closeup``."""
ROOT = Path(__file__).resolve().parents[1]
"""The folder of blender_manifest.toml, where ``python -m engine`` works."""

log = logging.getLogger("closeup")


class _Console(logging.StreamHandler):
    """Writes to the stdout of the moment, which tests and Blender's console may have exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("CloseUp: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def open_log() -> None:
    """Progress and errors go to the console; Blender itself sets up no logging."""
    if not any(isinstance(handler, _Console) for handler in log.handlers):
        log.addHandler(_Console())
    log.setLevel(logging.INFO)
    log.propagate = False


def close_log() -> None:
    """Undo :func:`open_log`."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
