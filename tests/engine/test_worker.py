"""``serve``: the process Blender talks to."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jobs
import pytest

from engine import lifeline, protocol


class Engine:
    """A worker and its lines."""

    def __init__(self, *arguments: object):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = jobs.start("serve", *arguments, **pipes)

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

    def end(self) -> None:
        self.process.kill()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture
def engine():
    worker = Engine()
    yield worker
    worker.end()


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


def test_a_request_with_an_odd_number_is_answered_and_survived(engine):
    engine.event()
    engine.process.stdin.write(b'{"request": "cancel", "id": {"a": 1}}\n{"request": "run", "job": 3, "id": 1}\n')
    engine.process.stdin.flush()
    for _ in range(2):
        assert engine.event()["code"] == "protocol"
    engine.ask(request="ping")
    assert engine.event()["event"] == "pong"


def test_it_tells_that_it_lives_while_a_job_runs(engine, tmp_path):
    engine.event()
    engine.ask(request="run", job=str(jobs.make(tmp_path, frames=2, depth=False)), id=5)
    beats = [event for event in engine.until("done", "error") if event["event"] == "heartbeat"]
    assert beats and all(beat["id"] == 5 and 0 <= beat["quiet"] < 30 for beat in beats)
    assert [beat["cpu"] for beat in beats] == sorted(beat["cpu"] for beat in beats) and beats[-1]["cpu"] > 0.5


def test_without_work_it_says_goodbye_and_ends(tmp_path):
    engine = Engine("--idle", 1)
    try:
        engine.event()
        engine.ask(request="run", job=str(jobs.make(tmp_path, frames=1)), id=1)
        assert engine.until("done", "error")[-1]["event"] == "done"
        assert engine.event()["event"] == "goodbye"
        assert engine.process.wait(10) == 0
    finally:
        engine.end()


def test_a_device_that_is_not_there_is_said_instead_of_hello():
    engine = Engine("--device", "mps:7")
    try:
        event = engine.event()
        assert (event["event"], event["code"]) == ("error", "device") and "mps:7" in event["message"]
    finally:
        engine.end()


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
    _assert_gone(worker)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own signal is Linux'")
def test_it_dies_with_its_parent_even_when_the_interpreter_is_blocked():
    """A library that never returns and keeps the interpreter: no thread of ours can run any more."""
    blocked = "import ctypes, os; from engine import lifeline; lifeline.hold(os.getppid()); ctypes.PyDLL(None).sleep(60)"
    parent = (
        "import subprocess, sys, time\n"
        f"w = subprocess.Popen([sys.executable, '-c', {blocked!r}], stdin=subprocess.PIPE)\n"
        "print(w.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], cwd=jobs.ROOT, stdout=subprocess.PIPE) as process:
        worker = int(process.stdout.readline())
        time.sleep(1.0)
        assert _alive(worker)
        process.kill()
    _assert_gone(worker)


def test_the_lifeline_sees_a_process_end():
    """Without the kernel's signal, as on other systems: what waits returns when, and only when, the process has gone."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        waits = {"linux": lifeline._wait_for_pidfd, "darwin": lifeline._wait_for_kqueue}.get(sys.platform)
        if waits is None:
            pytest.skip("Windows' handles are tried with the job object")
        thread = threading.Thread(target=waits, args=(process.pid,), daemon=True)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        process.kill()
        thread.join(5)
        assert not thread.is_alive()


def test_a_parent_that_has_gone_already_ends_it():
    ended = []
    lifeline.hold(2**22 + 1, lambda: ended.append(True))
    assert ended


def _assert_gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _alive(pid):
        time.sleep(0.1)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    """A zombie that its new parent has not yet reaped is dead."""
    state = Path(f"/proc/{pid}/stat")
    if not state.parent.parent.joinpath("self").exists():
        return subprocess.run(["ps", "-p", str(pid)], stdout=subprocess.DEVNULL, check=False).returncode == 0
    return state.exists() and state.read_text().split()[2] != "Z"
