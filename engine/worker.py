"""``serve``: the process Blender talks to, one JSON line at a time (:mod:`engine.protocol`).

stdout belongs to the protocol: what libraries print goes to stderr. When stdin ends, the process ends, whatever it is
doing; every artifact is written atomically, so nothing is lost. A worker that is to outlive Blender finishes its job first.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from . import __version__, lifeline, protocol
from .inbox import Inbox
from .progress import Cancelled, EngineError, Progress, is_out_of_memory

if TYPE_CHECKING:
    from .preview import Previewer

EXIT_GRACE = 2.0
"""Seconds a running job gets to stop by itself when stdin ends."""
IDLE_SECONDS = 900.0
"""Without any request for so long, the worker ends and gives its memory back; the next job starts a new one."""
KEEP_SECONDS = 300.0
"""Without any request for so long, the geometry of the live preview is dropped."""
DUMP_AFTER = 120.0
"""Seconds of silence of a job after which the log gets, once, the place where every thread stands."""
MAX_SENTENCE = 2000
"""Characters of a message for the user."""


class Worker:
    """Reads requests on one thread, tells on another that it lives; jobs and previews run on the main thread, one at a time."""

    def __init__(
        self,
        requests: BinaryIO,
        events: BinaryIO,
        device: str | None = None,
        idle: float = IDLE_SECONDS,
        outlive: bool = False,
    ):
        self._requests = requests
        self._events = events
        self._device = device
        self._idle = idle
        self._outlive = outlive
        self._inbox = Inbox()
        self._previewer: Previewer | None = None
        self._cancelled: set[int] = set()
        self._sending = threading.Lock()
        self._ended = threading.Event()
        self._job: tuple[int | None, Progress] | None = None

    def send(self, event: dict) -> None:
        """One event; nobody listens any more when that fails."""
        try:
            if event["event"] in {"error", "no_preview"}:
                say(f"error {event['code']}: {event['message']}")
            with self._sending:
                write_line(self._events, event)
        except (OSError, ValueError):
            self.left_alone()

    def left_alone(self) -> None:
        """Blender has gone, and did not say quit: the end, after the job that runs where that is wished."""
        if not (self._outlive and self._job) or self._ended.is_set():
            os._exit(0)
        self._inbox.close()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2, self._events.fileno()):  # libraries may print what they like
            os.dup2(nowhere, descriptor)

    def serve(self) -> None:
        """Until stdin ends, a quit request arrives or nobody has asked for anything in a long while."""
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        self.send(self._hello())
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        while (request := self._next()) is not None:
            if request["request"] == "preview":
                self._preview(request)
            else:
                self._forget_preview()
                self._run(request)

    def _hello(self) -> dict:
        """The first word; an error instead of it when nothing can be computed here."""
        try:
            from .device import pick

            device = str(pick(self._device))
        except EngineError as error:
            return _error(error.code, str(error))
        except (ImportError, OSError) as error:  # a package is missing, or a library of one cannot be loaded
            traceback.print_exc(file=sys.stderr)
            return _error("start", f"The engine's packages are not complete ({error}); press Install Engine to repair it.")
        return {"event": "hello", "protocol": protocol.VERSION, "engine": __version__, "device": device}

    def _next(self) -> dict | None:
        """The next request; a goodbye and None when nobody has asked for anything in a long while."""
        try:
            return self._inbox.take(min(KEEP_SECONDS, self._idle))
        except TimeoutError:
            self._forget_preview()
        try:
            return self._inbox.take(max(0.0, self._idle - KEEP_SECONDS))
        except TimeoutError:
            self.send({"event": "goodbye", "message": f"Nothing was asked for in {self._idle / 60:.0f} minutes."})
            return None

    # --- the other threads -----------------------------------------------------

    def _read(self) -> None:
        buffer = b""
        while chunk := os.read(self._requests.fileno(), 1 << 16):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                self._accept(line)
            if len(buffer) > protocol.MAX_LINE:
                self.send(_error("protocol", "A request is too long."))
                break
        if self._outlive and self._job and not self._ended.is_set():
            self.left_alone()
            return
        self._ended.set()
        self._inbox.close()
        time.sleep(EXIT_GRACE)
        os._exit(0)

    def _accept(self, line: bytes) -> None:
        try:
            request = protocol.decode_request(line)
        except protocol.ProtocolError as error:
            self.send(_error("protocol", str(error)))
            return
        kind, number = request["request"], request.get("id")
        if kind == "ping":
            self.send({"event": "pong", "id": number})
        elif kind == "cancel":
            self._cancelled.add(number)
        elif kind == "quit":
            self._ended.set()
            self._inbox.close()
        elif not self._inbox.put(request):
            sentence = "A close-up is being made; the live preview goes on when it is done."
            self.send({"event": "no_preview", "code": "busy", "message": sentence, "id": number})

    def _beat(self) -> None:
        """While a job runs: how long it has been silent, and how much it has computed. A process that is stopped, or a
        library that keeps the interpreter for itself, sends no beat at all."""
        dumped: Progress | None = None
        while not self._ended.wait(protocol.BEAT_SECONDS):
            job = self._job
            if job is None:
                continue
            number, progress = job
            quiet = progress.quiet
            self.send({"event": "heartbeat", "quiet": round(quiet, 1), "cpu": round(time.process_time(), 2), "id": number})
            if quiet > DUMP_AFTER and dumped is not progress:
                dumped = progress
                faulthandler.dump_traceback(all_threads=True)

    # --- live previews --------------------------------------------------------------

    def _preview(self, request: dict) -> None:
        from .preview import Previewer

        self._previewer = self._previewer or Previewer(self._device)
        number = request["id"]
        try:
            for picture in self._previewer.pictures(request, self._inbox.waits):
                self.send({"event": "preview", **picture, "id": number})
        except Exception as error:  # noqa: BLE001 - as for a job
            self._previewer.forget()
            said = explained(error, request["job"])
            self.send({"event": "no_preview", "code": said["code"], "message": said["message"], "id": number})

    def _forget_preview(self) -> None:
        """A job may need all the memory there is."""
        if self._previewer:
            self._previewer = None
            _give_memory_back()

    # --- jobs -------------------------------------------------------------------

    def _run(self, request: dict) -> None:
        number = request.get("id")
        progress = Progress(
            lambda event: self.send({**event, "id": number}), lambda: number in self._cancelled or self._ended.is_set()
        )
        self._job = (number, progress)
        try:
            last = run_job(request["job"], progress, self._device)
        finally:
            self._job = None
        self._cancelled.discard(number)
        _give_memory_back()
        self.send({**last, "id": number})


def run_job(folder: str, progress: Progress, device: str | None) -> dict:
    """Run one job and say how it ended, as the last event: done, cancelled or error."""
    from . import pipeline

    try:
        report = pipeline.run(folder, progress, device)
        return {"event": "done", "folder": str(folder), "seconds": report["seconds"]}
    except Cancelled:
        return {"event": "cancelled", "folder": str(folder)}
    except Exception as error:  # noqa: BLE001 - the last line of defence: the log gets the traceback, the user a sentence
        return explained(error, folder)


def explained(error: Exception, folder: str) -> dict:
    """The event that tells the user what went wrong with the job in ``folder``; what no sentence foresaw goes to the log."""
    from .file_errors import file_error
    from .job import JobError

    if isinstance(error, JobError):
        return _error("job", str(error))
    if isinstance(error, EngineError):
        return _error(error.code, str(error))
    traceback.print_exception(error, file=sys.stderr)
    if is_out_of_memory(error):
        advice = "close other programs, or choose a smaller resolution or fewer photos, and run the job again"
        return _error("memory", f"The memory of this machine or its device is used up; {advice}.")
    if isinstance(error, OSError):
        found = file_error(error, Path(os.fsdecode(error.filename or folder)))
        return _error(found.code, str(found))
    first_line = next(iter(str(error).strip().splitlines()), "")[:200]
    kind = type(error).__name__
    return _error("internal", f"The engine stopped unexpectedly ({kind}: {first_line}); its log holds the details.")


def _give_memory_back() -> None:
    """A job's arrays may hang in cycles of tracebacks; and what PyTorch keeps of the graphics card, Blender may need."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _error(code: str, message: str) -> dict:
    """The event of an error: its code, one sentence on one line, and which of protocol.FIXES helps."""
    sentence = " ".join(message.splitlines())[:MAX_SENTENCE]
    return {"event": "error", "code": code, "message": sentence, "fix": protocol.fix_of(code)}


def write_line(stream: BinaryIO, event: dict) -> None:
    """``event`` as one line; an unbuffered pipe may take a part of it only."""
    line = memoryview(protocol.encode(event))
    while line:
        line = line[stream.write(line) :]


def say(line: str) -> None:
    """A line for the log, with the time."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), line, file=sys.stderr, flush=True)


def claim_stdout() -> BinaryIO:
    """The real stdout for the protocol alone; from now on prints go to stderr."""
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return stream


def serve(device: str | None, idle: float, outlive: bool = False) -> None:
    """The whole life of a worker: never longer than its parent's, or than the job during which that ended (outlive)."""
    parent = os.getppid()
    worker = Worker(sys.stdin.buffer, claim_stdout(), device, idle, outlive)
    lifeline.hold(parent, worker.left_alone, at_once=not outlive)
    faulthandler.enable()
    say(f"engine {__version__} starts (process {os.getpid()})")
    worker.serve()
    sys.stderr.flush()
    os._exit(0)  # without waiting for threads of libraries: Blender is gone or said quit
