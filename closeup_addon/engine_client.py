"""The engine's process, seen from Blender: requests out, events in, and no way to outlive us. No bpy here.

Threads read and write its pipes; nothing that Blender's own thread calls here waits for the engine, except
:meth:`EngineClient.stop` for a moment.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
import time
from collections import deque
from pathlib import Path

from ..engine import protocol
from . import vitals
from .engine_process import EngineProcess
from .errors import CloseUpError
from .log_file import LogFile

HELLO_SECONDS = 180.0
"""How long an engine may take to start: a first import of torch from a slow disk."""
CANCEL_SECONDS = 10.0
"""How long the engine may take to stop a job after it was asked to, before it is terminated."""
TERMINATE_SECONDS = 3.0
"""How long it may take to end after that, before it is killed."""
MAX_WAITING = 200_000
"""Events that nobody has fetched yet; an engine that says more is ended."""
FLOOD, FLOOD_SECONDS = 50_000, 10.0
"""An engine that says so much within so short a time is ended, however fast it is fetched."""
BATCH = 256
"""Events after which the reader lets others work for BATCH_SECONDS: a flood must not slow Blender down."""
BATCH_SECONDS = 0.02
_CHUNK = 1 << 16


class EngineClient:
    """One engine process.

    python: its interpreter. root: the extension's folder. log: a file for what it prints. device: None for its own choice.
    outlive: when Blender ends without a word, the job that runs is finished. models: the folder of models that were fetched.
    """

    def __init__(
        self,
        python: Path,
        root: Path,
        log: Path,
        device: str | None = None,
        outlive: bool = False,
        models: Path | None = None,
    ):
        self.log = Path(log)
        self.hello: dict | None = None
        self._process: EngineProcess | None = None
        self._events: deque[dict] = deque()
        self._requests: queue.SimpleQueue[dict | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._stopped = self._idle = False
        self._breach: tuple[str, str] | None = None
        self._vitals: vitals.Vitals | None = None
        self._running: int | None = None
        self._preview: dict | None = None
        self._verdict = ""
        self._cancelled_at: float | None = None
        self._terminated_at: float | None = None
        self._deadline = time.monotonic() + HELLO_SECONDS
        arguments = (Path(python), Path(root), device, outlive, models)
        self._thread = threading.Thread(target=self._live, args=arguments, name="closeup-engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the process runs, or is about to."""
        return self._thread.is_alive() and (self._process is None or self._process.poll() is None)

    def run(self, folder: Path, number: int) -> None:
        """Ask for a job; its events carry ``id`` = number."""
        self._cancelled_at = None
        self._running, self._verdict = number, ""
        with self._lock:
            self._vitals = vitals.Vitals(time.monotonic()) if self.hello else None
        self._requests.put({"request": "run", "job": str(folder), "id": number})

    def preview(self, request: dict) -> None:
        """Ask for a live preview: the keys of protocol.REQUESTS["preview"]. Its answers are events, with the file's bytes as
        "pixels"; those to older requests have none."""
        self._preview = request
        self._requests.put({"request": "preview", **request})

    def cancel(self, number: int) -> None:
        """Ask to stop a job; :meth:`poll` terminates, then kills, an engine that does not."""
        if self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
            self._requests.put({"request": "cancel", "id": number})

    def poll(self) -> dict | None:
        """The next event, or None when there is none yet.

        Besides the protocol's events there are ``{"event": "stalled", "message": …, "id": …}`` when the running job seems to
        hang (the message is empty when it moves again), and ``{"event": "closed", "code": …, "message": …, "fix": …}``, the
        last one, when the engine has gone or was ended because it broke the protocol; its code is "idle" when it only had
        nothing to do.
        """
        self._press()
        with self._lock:
            event = self._events.popleft() if self._events else None
        if event is None:
            return self._stalled()
        kind = event["event"]
        if kind == "hello":
            self.hello = event
            with self._lock:
                self._vitals = vitals.Vitals(time.monotonic())
            if event["protocol"] != protocol.VERSION:
                self._end("version", _versions(event["protocol"]))
        elif kind == "error" and self.hello is None:
            self._end(event["code"], event["message"])
            return None  # said by the last event
        elif kind in {"done", "error", "cancelled"}:
            self._cancelled_at = self._running = None
        return event

    def stop(self) -> None:
        """End the engine: by request and end of stdin, then by force. Takes a second at most."""
        self._requests.put({"request": "quit"})
        self._requests.put(None)
        with self._lock:
            self._stopped = True
            process = self._process
        if process is None:
            return  # it is being started, and will be killed then
        for end in (process.terminate, process.kill):
            try:
                process.wait(0.5)
                return
            except subprocess.TimeoutExpired:
                end()

    def leave(self) -> None:
        """As :meth:`stop`, without waiting for it."""
        threading.Thread(target=self.stop, name="closeup-engine-end", daemon=True).start()

    def kill(self) -> None:
        """End the engine at once."""
        if self._process:
            self._process.kill()

    # --- deadlines and signs of life --------------------------------------------

    def _press(self) -> None:
        """Deadlines: of the first word, and of a cancelled job."""
        now = time.monotonic()
        if self.hello is None and now > self._deadline and self.alive:
            self._deadline = float("inf")
            self._end("start", f"The engine did not start within {HELLO_SECONDS:.0f} seconds; see {self.log}.")
        if self._cancelled_at is not None and now > self._cancelled_at + CANCEL_SECONDS:
            if self._terminated_at is None:
                self._terminated_at = now
                if self._process:
                    self._process.terminate()
            elif now > self._terminated_at + TERMINATE_SECONDS:
                self.kill()

    def _stalled(self) -> dict | None:
        """An event when the running job begins to hang or moves again; asked for when all events have been fetched."""
        with self._lock:
            signs = self._vitals
        if signs is None or self._running is None:
            return None
        verdict = signs.look(time.monotonic())
        if verdict == self._verdict:
            return None
        self._verdict = verdict
        if verdict == "dead":
            self._end("hung", "The engine had stopped answering and was ended; run the job again, it continues.")
            return None
        return {"event": "stalled", "message": vitals.sentence(verdict) if verdict else "", "id": self._running}

    def _end(self, code: str, message: str) -> None:
        """Kill the engine for a reason that the last event will tell."""
        with self._lock:
            self._breach = self._breach or (code, message)
            unheard, self._events = self._events, deque()
        self.kill()
        while unheard:  # one by one: Blender's thread gets its turn in between
            unheard.pop()

    # --- threads -----------------------------------------------------------------

    def _live(self, *arguments: object) -> None:
        """The engine's whole life, in a thread: starting a process can take longer than Blender may stand still."""
        try:
            process = EngineProcess(*arguments)
        except CloseUpError as error:
            self._events.append(_closed("start", str(error)))
            return
        with self._lock:
            self._process = process
            if self._stopped:
                process.kill()
        helpers = [
            threading.Thread(target=self._write, args=(process,), name="closeup-requests", daemon=True),
            threading.Thread(target=self._keep_log, args=(process,), name="closeup-log", daemon=True),
        ]
        for helper in helpers:
            helper.start()
        self._read(process)
        code = process.wait()
        process.untie()
        self._requests.put(None)
        for helper in helpers:
            helper.join(1.0)
        process.stdout.close()
        self._events.append(self._last_words(code))

    def _read(self, process: EngineProcess) -> None:
        """Events into the queue until the engine has gone or breaks the protocol."""
        rest, count, since = b"", 0, time.monotonic()
        while chunk := _chunk(process.stdout):
            *lines, rest = (rest + chunk).split(b"\n")
            try:
                for line in lines:
                    self._put(protocol.decode_event(line))
                    count += 1
                    if count % BATCH == 0:
                        time.sleep(BATCH_SECONDS)
                    if count % FLOOD == 0:
                        _check_pace(since)
                        since = time.monotonic()
                if len(rest) > protocol.MAX_LINE:
                    raise protocol.ProtocolError(f"A line of more than {protocol.MAX_LINE} bytes is too long.")
            except protocol.ProtocolError as error:
                self._end("protocol", f"The engine said something that was not understood ({error}); see {self.log}.")
                return

    def _picture(self, event: dict) -> bytes:
        """A preview's file, which is taken away; read here, in a thread, since even a quick disk may keep Blender too long."""
        asked, pixels = self._preview, b""
        if asked is None:
            return pixels
        path = Path(asked["pictures"], protocol.preview_file(event["id"], event["final"]))
        width, height = event["width"], event["height"]
        with contextlib.suppress(OSError):  # a picture that cannot be read is none
            fits = 0 < width <= asked["camera"]["width"] and 0 < height <= asked["camera"]["height"]
            if fits and event["id"] == asked["id"] and path.stat().st_size == protocol.PREVIEW_PIXEL * width * height:
                pixels = path.read_bytes()
            path.unlink(missing_ok=True)
        return pixels

    def _put(self, event: dict) -> None:
        """Into the queue; of progress and heartbeats only the newest counts."""
        if event["event"] == "preview":
            event["pixels"] = self._picture(event)
        with self._lock:
            if self._vitals:
                self._vitals.hear(event, time.monotonic())
            kind = event["event"]
            self._idle = kind == "goodbye"
            if kind == "heartbeat" or self._breach:
                return
            if kind == "progress" and self._events and self._events[-1]["event"] == kind:
                self._events.pop()
            self._events.append(event)
            full = len(self._events) > MAX_WAITING
        if full:
            raise protocol.ProtocolError(f"More than {MAX_WAITING} messages wait.")

    def _write(self, process: EngineProcess) -> None:
        """Requests into the engine's stdin, until None or its end; then that is closed."""
        with contextlib.suppress(OSError, ValueError):  # a dead engine is told by ``closed``
            while (request := self._requests.get()) is not None:
                line = memoryview(protocol.encode(request))
                while line:
                    line = line[process.stdin.write(line) :]
        process.close_stdin()

    def _keep_log(self, process: EngineProcess) -> None:
        log = LogFile(self.log)
        while chunk := _chunk(process.stderr):
            log.write(chunk)
        process.stderr.close()

    def _last_words(self, code: int) -> dict:
        if self._breach:
            return _closed(*self._breach)
        if self._idle:
            return _closed("idle", "The engine had nothing to do and ended.")
        if code == -9:
            reason = "it was killed, perhaps because the memory ran out"
            return _closed("killed", f"The engine ended unexpectedly ({reason}); see {self.log}.")
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        return _closed("crashed", f"The engine ended unexpectedly ({reason}); see {self.log}.")


def _chunk(stream) -> bytes:
    try:
        return os.read(stream.fileno(), _CHUNK)
    except (OSError, ValueError):
        return b""


def _check_pace(since: float) -> None:
    """Raises ProtocolError when FLOOD events took too short a time."""
    seconds = time.monotonic() - since
    if seconds < FLOOD_SECONDS:
        raise protocol.ProtocolError(f"{FLOOD} messages came in {seconds:.1f} seconds.")


def _closed(code: str, message: str) -> dict:
    return {"event": "closed", "code": code, "message": message, "fix": protocol.fix_of(code)}


def _versions(theirs: int) -> str:
    versions = f"{theirs} and this extension {protocol.VERSION}"
    return f"The engine speaks version {versions}; press Install Engine to bring it up to date."
