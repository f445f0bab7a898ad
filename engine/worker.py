"""``serve``: the process Blender talks to, one JSON line at a time (:mod:`engine.protocol`).

stdout belongs to the protocol: what libraries print goes to stderr. When stdin ends, the
process ends, whatever it is doing; every artifact is written atomically, so nothing is lost.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from typing import BinaryIO

from . import __version__, protocol
from .progress import Cancelled, Progress

EXIT_GRACE = 2.0
"""Seconds a running job gets to stop by itself when stdin ends."""


class Worker:
    """Reads requests on one thread, runs jobs on the main thread, one after the other."""

    def __init__(self, requests: BinaryIO, events: BinaryIO, device: str | None = None):
        self._requests = requests
        self._events = events
        self._device = device
        self._queue: queue.Queue[dict | None] = queue.Queue()
        self._cancelled: set[object] = set()
        self._sending = threading.Lock()
        self._ended = threading.Event()

    def send(self, event: dict) -> None:
        """One event; when nobody listens any more, the worker ends."""
        line = protocol.encode(event)
        try:
            with self._sending:
                self._events.write(line)
                self._events.flush()
        except (BrokenPipeError, ValueError):
            os._exit(0)

    def serve(self) -> None:
        """Until stdin ends or a quit request arrives."""
        from .device import pick

        threading.Thread(target=self._read, daemon=True).start()
        hello = {"event": "hello", "protocol": protocol.VERSION, "engine": __version__, "device": str(pick(self._device))}
        self.send(hello)
        while (request := self._queue.get()) is not None:
            self._run(request)

    def _read(self) -> None:
        buffer = b""
        while chunk := os.read(self._requests.fileno(), 1 << 16):
            buffer += chunk
            while b"\n" in buffer:
                line, buffer = buffer.split(b"\n", 1)
                self._accept(line)
            if len(buffer) > protocol.MAX_LINE:
                self.send({"event": "error", "code": "protocol", "message": "A request is too long."})
                break
        self._ended.set()
        self._queue.put(None)
        time.sleep(EXIT_GRACE)
        os._exit(0)

    def _accept(self, line: bytes) -> None:
        try:
            request = protocol.decode_request(line)
        except protocol.ProtocolError as error:
            self.send({"event": "error", "code": "protocol", "message": str(error)})
            return
        kind, number = request["request"], request.get("id")
        if kind == "ping":
            self.send({"event": "pong", "id": number})
        elif kind == "cancel":
            self._cancelled.add(number)
        elif kind == "quit":
            self._ended.set()
            self._queue.put(None)
        else:
            self._queue.put(request)

    def _run(self, request: dict) -> None:
        number = request.get("id")
        progress = Progress(
            lambda event: self.send({**event, "id": number}), lambda: number in self._cancelled or self._ended.is_set()
        )
        self.send({**run_job(request["job"], progress, self._device), "id": number})


def run_job(folder: str, progress: Progress, device: str | None) -> dict:
    """Run one job and say how it ended, as the last event: done, cancelled or error."""
    from . import pipeline
    from .job import JobError
    from .progress import EngineError

    try:
        report = pipeline.run(folder, progress, device)
        return {"event": "done", "folder": str(folder), "seconds": report["seconds"]}
    except Cancelled:
        return {"event": "cancelled", "folder": str(folder)}
    except JobError as error:
        return {"event": "error", "code": "job", "message": str(error)}
    except EngineError as error:
        return {"event": "error", "code": error.code, "message": str(error)}
    except MemoryError:
        message = "The memory of this machine is used up; choose a smaller resolution or fewer photos and run the job again."
        return {"event": "error", "code": "out-of-memory", "message": message}
    except Exception as error:  # noqa: BLE001 - the last line of defence: the log gets the traceback, the user a sentence
        traceback.print_exc(file=sys.stderr)
        return {"event": "error", "code": "internal", "message": _sentence(error)}


def _sentence(error: Exception) -> str:
    if "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower():
        return "The memory of the device is used up; choose a smaller resolution or fewer photos and run the job again."
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"The engine stopped unexpectedly ({type(error).__name__}: {first_line[:200]}); its log holds the details."


def claim_stdout() -> BinaryIO:
    """The real stdout for the protocol alone; from now on prints go to stderr."""
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return stream
