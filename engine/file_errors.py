"""What a failed read or write means, and what to tell the user about it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from .progress import EngineError

_GONE = (
    *("EIO", "ENXIO", "ENODEV", "ESTALE", "ETIMEDOUT", "ENOTCONN", "EREMOTEIO"),
    *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
)
GONE = {number for name in _GONE if (number := getattr(errno, name, None))}
"""What systems say when a drive or its network does not answer."""
_WINDOWS_GONE = {21, 53, 55, 59, 64, 67, 121, 1117, 1167, 1231, 1232, 1236}
"""The same, in Windows' own numbers: from "not ready" to "network unreachable" and "no such device"."""


def is_passing(error: Exception) -> bool:
    """Whether it may work a moment later: a network drive that hiccups; on Windows, a scanner that has the file open."""
    busy = os.name == "nt" and isinstance(error, PermissionError)
    return busy or is_gone(error)


def is_gone(error: Exception) -> bool:
    """Whether a drive, or the network to it, does not answer."""
    return _number_of(error) in GONE


def _number_of(error: Exception) -> int | None:
    """The errno, for Windows' network errors too."""
    if getattr(error, "winerror", None) in _WINDOWS_GONE:
        return errno.EIO
    return getattr(error, "errno", None)


def file_error(error: Exception, path: Path) -> EngineError:
    """What to tell the user about a failed read or write of ``path``."""
    number = _number_of(error)
    place = path.parent
    if number in (errno.ENOSPC, errno.EDQUOT):
        return EngineError(f"The disk of {place} is full; free some space and run the job again.", "disk-full")
    if number in GONE:
        advice = "check the drive or the network, and run the job again; finished frames are kept"
        return EngineError(f"The drive of {place} does not answer ({os.strerror(number)}); {advice}.", "drive-gone")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EngineError(f"{place} cannot be written; choose a folder with write permission.", "read-only")
    if number == errno.ENAMETOOLONG:
        return EngineError(
            f"The path of {path.name} is too long for this system; choose a folder with a shorter one.", "write-failed"
        )
    if isinstance(error, FileNotFoundError):
        return EngineError(f"{path.name} is missing in {place}; run the job again.", "missing")
    if number is None and _is_full(place):  # OpenEXR gives no number
        return EngineError(f"The disk of {place} is full; free some space and run the job again.", "disk-full")
    return EngineError(f"{path.name} could not be written ({error}); check the disk and run the job again.", "write-failed")


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < 1 << 20
    except OSError:
        return False
