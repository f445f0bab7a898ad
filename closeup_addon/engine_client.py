"""The engine's process, seen from Blender: requests out, events in, and no way to outlive us. No bpy here.

One thread reads stdout into a queue; nothing here waits for the engine, except :meth:`EngineClient.stop`
for a moment.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

from ..engine import protocol
from .errors import CloseUpError

HELLO_SECONDS = 180.0
"""How long an engine may take to start: a first import of torch from a slow disk."""
CANCEL_SECONDS = 10.0
"""How long the engine may take to stop a job after it was asked to, before it is terminated."""
TERMINATE_SECONDS = 3.0
"""How long it may take to end after that, before it is killed."""
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "VIRTUAL_ENV")
"""Variables that belong to Blender's Python and would mislead another one."""


class EngineClient:
    """One engine process.

    python: its interpreter. root: the extension's folder. log: a file for what it prints. device: None for its own choice.
    """

    def __init__(self, python: Path, root: Path, log: Path, device: str | None = None):
        self.log = Path(log)
        self.hello: dict | None = None
        self._process: subprocess.Popen | None = None
        self._events: queue.SimpleQueue[dict] = queue.SimpleQueue()
        self._outbox: list[bytes] = []
        self._sending = threading.Lock()
        self._stopped = False
        self._cancelled_at: float | None = None
        self._terminated_at: float | None = None
        self._deadline = time.monotonic() + HELLO_SECONDS
        arguments = (Path(python), Path(root), self.log, device)
        self._thread = threading.Thread(target=self._live, args=arguments, name="closeup-engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the process runs, or is about to."""
        return self._thread.is_alive() and (self._process is None or self._process.poll() is None)

    def run(self, folder: Path, number: int) -> None:
        """Ask for a job; its events carry ``id`` = number."""
        self._cancelled_at = None
        self._send({"request": "run", "job": str(folder), "id": number})

    def cancel(self, number: int) -> None:
        """Ask to stop a job; :meth:`poll` terminates, then kills, an engine that does not."""
        if self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
            self._send({"request": "cancel", "id": number})

    def poll(self) -> dict | None:
        """The next event, or None when there is none yet.

        Besides the protocol's events there is ``{"event": "closed", "message": …}``, the last one, when the engine has gone
        or was ended because it broke the protocol.
        """
        self._press()
        try:
            event = self._events.get_nowait()
        except queue.Empty:
            return None
        if event["event"] == "hello":
            self.hello = event
            if event["protocol"] != protocol.VERSION:
                self.kill()
                versions = f"{event['protocol']} and this extension {protocol.VERSION}"
                return _closed(f"The engine speaks version {versions}; press Install Engine to bring it up to date.")
        elif event["event"] in {"done", "error", "cancelled"}:
            self._cancelled_at = None
        return event

    def stop(self) -> None:
        """End the engine: by request and end of stdin, then by force. Takes a second at most."""
        self._send({"request": "quit"})
        with self._sending:
            self._stopped = True
            process = self._process
            if process is None:
                return  # it is being started, and will be killed then
            with contextlib.suppress(OSError):  # it may have gone already
                process.stdin.close()
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

    def _press(self) -> None:
        """Deadlines: of the first word, and of a cancelled job."""
        now = time.monotonic()
        if self.hello is None and now > self._deadline and self.alive:
            self._deadline = float("inf")
            self.kill()
            self._events.put(_closed(f"The engine did not start within {HELLO_SECONDS:.0f} seconds; see {self.log}."))
        if self._cancelled_at is not None and now > self._cancelled_at + CANCEL_SECONDS:
            if self._terminated_at is None:
                self._terminated_at = now
                if self._process:
                    self._process.terminate()
            elif now > self._terminated_at + TERMINATE_SECONDS:
                self.kill()

    def _send(self, request: dict) -> None:
        """Requests are far smaller than a pipe's buffer, so this does not wait; a dead engine is told by ``closed``."""
        with self._sending:
            self._outbox.append(protocol.encode(request))
            self._flush()

    def _flush(self) -> None:
        """Write what waits, once there is a process; the caller holds the lock."""
        if self._process is None:
            return
        with contextlib.suppress(OSError, ValueError):
            while self._outbox:
                self._process.stdin.write(self._outbox.pop(0))
            self._process.stdin.flush()

    def _live(self, python: Path, root: Path, log: Path, device: str | None) -> None:
        """The engine's whole life, in a thread: starting a process can take longer than Blender may stand still."""
        try:
            process = _start(python, root, log, device)
        except CloseUpError as error:
            self._events.put(_closed(str(error)))
            return
        with self._sending:
            self._process = process
            if self._stopped:
                process.kill()
            self._flush()
        message = self._read(self._process.stdout)
        code = self._process.wait()
        self._events.put(_closed(message or f"The engine ended unexpectedly ({_why(code)}); see {self.log}."))

    def _read(self, stream) -> str:
        """Events into the queue until the engine has gone; the sentence of a breach of the protocol."""
        while line := stream.readline(protocol.MAX_LINE + 1):
            try:
                self._events.put(protocol.decode_event(line))
            except protocol.ProtocolError as error:
                self.kill()
                return f"The engine said something that was not understood ({error}); see {self.log}."
        return ""


def _closed(message: str) -> dict:
    return {"event": "closed", "message": message}


def _why(code: int) -> str:
    if code == -9:
        return "it was killed, perhaps because the memory ran out"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _start(python: Path, root: Path, log: Path, device: str | None) -> subprocess.Popen:
    environment = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
    environment.update(PYTHONUTF8="1", PYTHONNOUSERSITE="1", PYTHONUNBUFFERED="1")
    command = [str(python), "-m", "engine", "serve", *(["--device", device] if device else [])]
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as errors:
            return subprocess.Popen(
                command,
                cwd=root,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
            )
    except OSError as error:
        raise CloseUpError(f"The engine could not be started ({error.strerror}: {python}); install it again.") from None
