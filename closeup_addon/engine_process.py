"""Starting the engine's process, so that it cannot outlive Blender on any system unless that is wished. No bpy here."""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import sys
from pathlib import Path

from .environment import settings
from .errors import CloseUpError


def clean_environment() -> dict[str, str]:
    """The variables for a process in the engine's Python."""
    return {**settings.clean_environment(), "PYTHONUNBUFFERED": "1"}


class JobLimits(ctypes.Structure):
    """Windows' JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = [
        ("times", ctypes.c_int64 * 2),
        ("flags", ctypes.c_uint32),
        ("working_set", ctypes.c_size_t * 2),
        ("processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("classes", ctypes.c_uint32 * 2),
        ("io", ctypes.c_uint64 * 6),
        ("memory", ctypes.c_size_t * 4),
    ]


_KILL_ON_JOB_CLOSE = 0x2000
_EXTENDED_LIMITS = 9


class EngineProcess(subprocess.Popen):
    """``PYTHON -m engine serve``. Raises CloseUpError when it cannot be started.

    python: its interpreter. root: the extension's folder. device: None for the engine's own choice. outlive: when Blender ends
    without a word, the job that runs is finished.
    The thread that makes it must live as long as it does: on Linux its end is the engine's.
    """

    def __init__(self, python: Path, root: Path, device: str | None, outlive: bool = False, models: Path | None = None):
        options = [*(["--device", device] if device else []), *(["--outlive"] if outlive else [])]
        options += ["--models", str(models)] if models else []
        command = [str(python), "-m", "engine", "serve", *options]
        pipe = subprocess.PIPE
        flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
        try:
            super().__init__(
                command, cwd=root, env=clean_environment(), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, creationflags=flags
            )
        except OSError as error:
            raise CloseUpError(f"The engine could not be started ({error.strerror}: {python}); install it again.") from None
        self._tie = _tied(self) if sys.platform == "win32" and not outlive else None

    def close_stdin(self) -> None:
        """Tell it to end."""
        with contextlib.suppress(OSError):  # it may have gone already
            self.stdin.close()

    def untie(self) -> None:
        """It has ended: give Windows' job object back, which ends what it left running."""
        if self._tie:
            _kernel().CloseHandle(self._tie)
            self._tie = None


def _kernel():
    """Windows' functions for job objects."""
    kernel, handle = ctypes.WinDLL("kernel32", use_last_error=True), ctypes.c_void_p
    kernel.CreateJobObjectW.restype = handle
    kernel.CreateJobObjectW.argtypes = (handle, handle)
    kernel.SetInformationJobObject.argtypes = (handle, ctypes.c_int, handle, ctypes.c_uint32)
    kernel.AssignProcessToJobObject.argtypes = (handle, handle)
    kernel.CloseHandle.argtypes = (handle,)
    return kernel


def _tied(process: subprocess.Popen):
    """The handle of a Windows job object with ``process`` in it: when the last handle closes, as it does when Blender ends
    in any way, Windows ends the process and all its children. None where that is refused."""
    kernel, limits = _kernel(), JobLimits(flags=_KILL_ON_JOB_CLOSE)
    job = kernel.CreateJobObjectW(None, None)
    told = job and kernel.SetInformationJobObject(job, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits))
    if told and kernel.AssignProcessToJobObject(job, int(process._handle)):
        return job
    if job:
        kernel.CloseHandle(job)
    return None
