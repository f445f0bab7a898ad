"""kill -9 at random moments of whole jobs: every job is continued, no finished frame is lost or changed, the bytes are equal."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jobs
import pytest

import engine.generation.embedded
import engine.pipeline  # noqa: F401 - what a fork would else have to import each time
from engine import job, worker
from engine.progress import Progress

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the killed engines are forks of this process")
FULL = os.environ.get("CLOSEUP_LAB") == "full"
KILLS = 200 if FULL else 20
FRAMES = 10
"""More than one segment, so that the memory between them is part of it."""


def start(folder: Path) -> int:
    """An engine that runs the job in ``folder``; a fork, because importing torch takes longer than such a job."""
    child = os.fork()
    if child == 0:
        last = worker.run_job(str(folder), Progress(), "cpu")
        os._exit(0 if last["event"] == "done" else 3)
    return child


def end_within(child: int, seconds: float) -> int | None:
    """The exit code when it ends in time, else None."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def frames(folder: Path) -> dict[str, str]:
    """Hash of every frame that stands under its final name."""
    places = (folder / "frames").glob("[0-9]*.png") if (folder / "frames").is_dir() else ()
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in places}


def test_killed_engines_lose_nothing(tmp_path):
    pristine = jobs.make(tmp_path / "pristine", frames=FRAMES, size=(24, 16), generator=job.GeneratorSettings(steps=1))
    whole = tmp_path / "whole"
    shutil.copytree(pristine, whole)
    started = time.monotonic()
    assert end_within(start(whole), 120) == 0
    duration = time.monotonic() - started
    wanted, wanted_frames = jobs.results(whole), frames(whole)

    chance, kills, resumed, round_number = random.Random(11), 0, 0, 0
    while kills < KILLS:
        round_number += 1
        folder = tmp_path / f"job {round_number}"
        shutil.copytree(pristine, folder)
        killed_here = 0
        while True:
            standing = frames(folder)
            child = start(folder)
            # Early and late moments alike: a job that was killed before has less left to do.
            code = end_within(child, chance.uniform(0.0, 1.0) ** 0.7 * duration) if killed_here < 6 else end_within(child, 120)
            if code is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                kills, killed_here = kills + 1, killed_here + 1
            else:
                assert code == 0
            now = frames(folder)
            assert all(now.get(name) == value for name, value in standing.items())
            assert all(wanted_frames[name] == value for name, value in now.items())
            if code == 0:
                break
        resumed += killed_here
        assert jobs.results(folder) == wanted
        assert not jobs.temporaries(folder)
        shutil.rmtree(folder)
    assert resumed == kills
    print(f"{kills} kills in {round_number} jobs of {duration:.1f} s, all continued to the same bytes")


BLENDER = """
import json, subprocess, sys
engine = subprocess.Popen(json.loads(sys.argv[1]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
said = (json.loads(line) for line in engine.stdout)
assert next(said)["event"] == "hello"
engine.stdin.write(json.dumps({"request": "run", "job": sys.argv[2], "id": 1}).encode() + b"\\n")
engine.stdin.flush()
while next(said).get("stage") != "frames":
    pass
print(engine.pid, flush=True)
for event in said:
    pass
"""
"""What a Blender does that is in the middle of a job."""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="watches processes that are not its children")
@pytest.mark.parametrize("outlive", [False, True])
def test_a_blender_that_crashes_leaves_its_job_resumable_or_running_as_it_was_wished(tmp_path, outlive):
    pristine = jobs.make(tmp_path / "pristine", frames=FRAMES, generator=job.GeneratorSettings(steps=4))
    folder = Path(shutil.copytree(pristine, tmp_path / "job"))
    command = [sys.executable, "-m", "engine", "serve", "--device", "cpu", *(["--outlive"] if outlive else [])]
    arguments = [sys.executable, "-c", BLENDER, json.dumps(command), str(folder)]
    blender = subprocess.Popen(arguments, cwd=jobs.ROOT, env=jobs.environment(), stdout=subprocess.PIPE)
    engine_process = os.pidfd_open(int(blender.stdout.readline()))
    assert not (folder / "report.json").exists()
    blender.kill()
    blender.wait()
    ended = select.poll()
    ended.register(engine_process, select.POLLIN)
    assert ended.poll(120_000 if outlive else 5_000), "an orphan"
    os.close(engine_process)
    assert (folder / "report.json").exists() == outlive
    for place in (folder, pristine):
        assert end_within(start(place), 120) == 0
    assert jobs.results(folder) == jobs.results(pristine)
