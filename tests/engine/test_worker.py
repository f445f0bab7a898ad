"""``serve``: the process Blender talks to."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import jobs
import pytest

from engine import protocol


class Engine:
    """A worker and its lines."""

    def __init__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = jobs.start("serve", **pipes)

    def ask(self, **request) -> None:
        self.process.stdin.write(protocol.encode(request))
        self.process.stdin.flush()

    def event(self) -> dict:
        return protocol.decode_event(self.process.stdout.readline())

    def until(self, *kinds: str) -> list[dict]:
        events = [self.event()]
        while events[-1]["event"] not in kinds:
            events.append(self.event())
        return events


@pytest.fixture
def engine():
    worker = Engine()
    yield worker
    worker.process.kill()
    with contextlib.suppress(OSError):
        worker.process.stdin.close()
    worker.process.stdout.close()
    worker.process.wait()


def test_it_greets_runs_jobs_and_quits(engine, tmp_path):
    hello = engine.event()
    assert hello["event"] == "hello" and hello["protocol"] == protocol.VERSION
    engine.ask(request="ping", id=9)
    assert engine.event() == {"event": "pong", "id": 9}
    for number in (1, 2):
        engine.ask(request="run", job=str(jobs.make(tmp_path / str(number), frames=1)), id=number)
    for number in (1, 2):
        events = engine.until("done", "error")
        assert events[-1]["event"] == "done" and {event["id"] for event in events} == {number}
    engine.ask(request="quit")
    assert engine.process.wait(10) == 0


def test_a_job_that_fails_is_a_sentence_and_the_next_one_works(engine, tmp_path):
    engine.event()
    engine.ask(request="run", job=str(tmp_path / "nowhere"), id=1)
    failed = engine.until("error")[-1]
    assert "job.json" in failed["message"] and failed["id"] == 1
    engine.ask(request="run", job=str(jobs.make(tmp_path / "good", frames=1)), id=2)
    assert engine.until("done", "error")[-1]["event"] == "done"


def test_cancel_stops_the_job_and_keeps_what_is_finished(engine, tmp_path):
    engine.event()
    folder = jobs.make(tmp_path, frames=40, depth=True)
    engine.ask(request="run", job=str(folder), id=1)
    engine.until("frame")
    engine.ask(request="cancel", id=1)
    started = time.monotonic()
    assert engine.until("cancelled", "done", "error")[-1]["event"] == "cancelled"
    assert time.monotonic() - started < 10
    kept = {path.name: path.read_bytes() for path in (folder / "frames").iterdir()}
    assert kept and len(kept) < 40
    engine.ask(request="run", job=str(folder), id=2)
    assert engine.until("done", "error")[-1]["event"] == "done"
    assert all((folder / "frames" / name).read_bytes() == data for name, data in kept.items())


def test_a_waiting_job_can_be_cancelled_before_it_starts(engine, tmp_path):
    engine.event()
    engine.ask(request="run", job=str(jobs.make(tmp_path / "a", frames=1)), id=1)
    engine.ask(request="run", job=str(jobs.make(tmp_path / "b", frames=1)), id=2)
    engine.ask(request="cancel", id=2)
    assert engine.until("done", "error")[-1]["event"] == "done"
    assert engine.until("cancelled", "done", "error")[-1] == {"event": "cancelled", "folder": str(tmp_path / "b"), "id": 2}


def test_garbage_is_answered_and_survived(engine):
    engine.event()
    engine.process.stdin.write(b"garbage\n\xff\xfe\n{}\n")
    engine.process.stdin.flush()
    for _ in range(3):
        assert engine.event()["code"] == "protocol"
    engine.ask(request="ping")
    assert engine.event()["event"] == "pong"


@pytest.mark.parametrize("busy", [False, True])
def test_the_end_of_stdin_ends_it(engine, tmp_path, busy):
    engine.event()
    if busy:
        engine.ask(request="run", job=str(jobs.make(tmp_path, frames=40)), id=1)
        engine.until("frame")
    engine.process.stdin.close()
    engine.process.wait(10)
    assert not jobs.temporaries(tmp_path) or busy


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_it_dies_with_its_parent(tmp_path):
    """A stand-in for Blender starts a worker and is killed; the worker must not outlive it."""
    folder = jobs.make(tmp_path, frames=40)
    parent = (
        "import subprocess, sys, time\n"
        "w = subprocess.Popen([sys.executable, '-m', 'engine', 'serve'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        f'w.stdin.write(b\'{{"request": "run", "job": "{folder}", "id": 1}}\\n\'); w.stdin.flush()\n'
        "print(w.pid, flush=True)\n"
        "while b'frame' not in w.stdout.readline(): pass\n"
        "print('busy', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", parent]
    with subprocess.Popen(command, cwd=jobs.ROOT, env=jobs.environment(), stdout=subprocess.PIPE) as process:
        worker = int(process.stdout.readline())
        assert process.stdout.readline().strip() == b"busy"
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _alive(worker):
        time.sleep(0.1)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    """A zombie that its new parent has not yet reaped is dead."""
    state = Path(f"/proc/{pid}/stat")
    if not state.parent.parent.joinpath("self").exists():
        return subprocess.run(["ps", "-p", str(pid)], stdout=subprocess.DEVNULL, check=False).returncode == 0
    return state.exists() and state.read_text().split()[2] != "Z"
