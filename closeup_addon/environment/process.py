"""Programs that an installation runs: their lines go to the log, cancelling ends them, their errors become sentences."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from .errors import Cancelled, InstallError
from .reporter import Reporter

TICK_SECONDS = 0.2
END_SECONDS = 5.0
"""How long a program that is asked to end may take, before it is killed."""

_FIXES = (
    (("no space left", "os error 28", "os error 112"), "free some space on the disk"),
    (("access is denied", "os error 5", "os error 32"), "close every other Blender, which may be using the engine"),
    (("no interpreter found",), "install Python 3.11 on this computer, or see docs/engine.md"),
    (("ensurepip is not",), "install your system's python3-venv package, or Blender from blender.org"),
    (("permission denied", "os error 13", "read-only"), "choose a folder for the engine where you may write"),
    (
        ("hash mismatch", "do not match the hashes"),
        "a file is not the one that CloseUp's lock files name; clean the mirror or the folder",
    ),
    (
        ("network was disabled", "no-index", "from versions: none"),
        "the folder of wheels lacks something (see docs/engine.md)",
    ),
    (("no solution", "no matching", "not found in", "unsatisfiable"), "the index lacks a package; check the mirrors' settings"),
)
_NETWORK = "check the network, the proxy and the mirrors' settings"


class Programs:
    """Runs programs for one installation.

    home: their working folder, so that no stray configuration file is read. lock: a descriptor that they inherit.
    """

    def __init__(self, home: Path, reporter: Reporter, lock: int | None = None) -> None:
        self._home, self._reporter, self._lock = home, reporter, lock

    def run(
        self,
        command: list,
        failure: str,
        env: Mapping[str, str],
        each: Callable[[str], None] = lambda line: None,
        tick: Callable[[], None] = lambda: None,
        quiet: bool = False,
    ) -> list[str]:
        """Run one and return its lines; ``each`` gets every line, ``tick`` is called a few times per second.

        quiet: its lines are an answer to us, not for the log.

        Raises InstallError, which begins with ``failure``, and Cancelled.
        """
        try:
            process = self._start([str(part) for part in command], env)
        except OSError as error:
            raise InstallError(f"{failure}: {error.strerror}: {command[0]}.") from None
        said: list[str] = []
        try:
            for line in self._lines(process):
                if line is None:
                    tick()
                elif line.strip():
                    said.append(line.strip())
                    if not quiet:
                        self._reporter.line(line)
                    each(line.strip())
        finally:
            _end(process)
        if process.returncode:
            raise InstallError(_sentence(failure, said))
        return said

    def _start(self, command: list[str], env: Mapping[str, str]) -> subprocess.Popen:
        system: dict = {"creationflags": subprocess.CREATE_NO_WINDOW} if os.name == "nt" else {}
        if os.name != "nt" and self._lock is not None:
            system["pass_fds"] = (self._lock,)
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        text = {"text": True, "encoding": "utf-8", "errors": "replace"}
        return subprocess.Popen(command, env=dict(env), cwd=str(self._home), **pipes, **text, **system)

    def _lines(self, process: subprocess.Popen):
        """Lines as they come, and None whenever there has been none for a moment. Raises Cancelled."""
        waiting: queue.SimpleQueue = queue.SimpleQueue()

        def read() -> None:
            with process.stdout:
                for line in process.stdout:
                    waiting.put(line)
            waiting.put(None)

        threading.Thread(target=read, name="closeup-install-output", daemon=True).start()
        while True:
            if self._reporter.cancelled():
                raise Cancelled("Stopped; what is downloaded is kept, and Install continues.")
            try:
                line = waiting.get(timeout=TICK_SECONDS)
            except queue.Empty:
                yield None
                continue
            if line is None:
                return
            yield line


def _end(process: subprocess.Popen) -> None:
    """Wait for a program that has said its last word; end one that has not."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(TICK_SECONDS)
        return
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _sentence(failure: str, said: list[str]) -> str:
    """What failed, why in the program's own words, and what to do."""
    errors = [index for index, line in enumerate(said) if line.lower().startswith(("error", "× "))]
    reason = " ".join(said[errors[0] : errors[0] + 3]) if errors else " ".join(said[-1:]) or "no reason given"
    everything = " ".join(said).lower()
    fix = next((fix for signs, fix in _FIXES if any(sign in everything for sign in signs)), _NETWORK)
    return f"{failure} ({reason[:300]}); {fix}, then install again."
