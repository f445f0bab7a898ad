"""The engine notices when its parent ends, on every system and whatever it is doing.

The end of stdin says so too (:mod:`engine.worker`), but a thread can only read that while the interpreter lets it run.
Linux: the kernel's own signal and a pidfd. macOS and BSD: kqueue. Windows: a handle of the parent; Blender's side also
puts the engine into a job object (closeup_addon/engine_process.py).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_SYNCHRONIZE = 0x00100000
_INFINITE = 0xFFFFFFFF


def hold(parent: int, end: Callable[[], None] = lambda: os._exit(0), at_once: bool = True) -> None:
    """Call ``end`` as soon as the process ``parent`` has gone, even when that was before this call.

    parent: ``os.getppid()``, asked at the very start. at_once: on Linux the kernel kills this process besides.
    """
    if at_once and sys.platform == "linux":
        _ask_the_kernel()
    if sys.platform != "win32" and os.getppid() != parent:
        end()  # it went while we started
        return
    threading.Thread(target=_wait, args=(parent, end), name="lifeline", daemon=True).start()


def _ask_the_kernel() -> None:
    """SIGKILL when the thread that started us ends; Blender's side keeps that thread as long as us."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _wait(parent: int, end: Callable[[], None]) -> None:
    waits = {"linux": _wait_for_pidfd, "darwin": _wait_for_kqueue, "win32": _wait_for_handle}
    try:
        waits.get(sys.platform, _look)(parent)
    except (OSError, AttributeError):
        if not _is_there(parent):
            end()
            return
        _look(parent)  # an old kernel, or a parent that may not be watched
    end()


def _wait_for_pidfd(parent: int) -> None:
    descriptor = os.pidfd_open(parent)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not poll.poll():
            pass
    finally:
        os.close(descriptor)


def _wait_for_kqueue(parent: int) -> None:
    queue = select.kqueue()
    try:
        event = select.kevent(parent, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT)
        while not queue.control([event], 1, None):
            pass
    finally:
        queue.close()


def _wait_for_handle(parent: int) -> None:
    import ctypes
    from ctypes import wintypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = wintypes.HANDLE
    kernel.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
    kernel.WaitForSingleObject.argtypes = (wintypes.HANDLE, wintypes.DWORD)
    handle = kernel.OpenProcess(_SYNCHRONIZE, False, parent)
    if not handle:
        raise ctypes.WinError(ctypes.get_last_error())
    kernel.WaitForSingleObject(handle, _INFINITE)


def _look(parent: int) -> None:
    """Where nothing better works: our parent is another one once the first has gone."""
    while _is_there(parent):
        time.sleep(1)


def _is_there(parent: int) -> bool:
    """On Windows getppid() keeps its first answer, so there this can only say yes; stdin and the job object remain."""
    return os.getppid() == parent
