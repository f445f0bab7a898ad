"""What Linux shows of processes."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def used() -> dict[str, int]:
    """Of this process: resident kilobytes, open files, threads of ours, processes that any thread of it has started."""
    status = Path("/proc/self/status").read_text().splitlines()
    return {
        "memory": next(int(line.split()[1]) for line in status if line.startswith("VmRSS")),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": sum(thread.name.startswith("closeup") for thread in threading.enumerate()),
        "processes": sum(len(_children(task)) for task in Path("/proc/self/task").iterdir()),
    }


def kept_waiting() -> dict[str, float]:
    """Seconds that each thread of this process was ready to run but had no processor, by now; empty where that is not told."""
    found = {}
    for task in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            found[task.parent.name] = int(task.read_text().split()[1]) / 1e9
    return found


def _children(task: Path) -> list[str]:
    try:
        return (task / "children").read_text().split()
    except OSError:  # the thread has ended meanwhile
        return []
