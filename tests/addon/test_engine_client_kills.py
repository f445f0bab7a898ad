"""Blender itself is killed with -9 while the real engine works: no process stays behind, and the job is continued."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import bpy
import proc
import pytest
import small_job
from conftest import module

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes where Linux shows them"),
    pytest.mark.skipif(bpy.app.version >= (4, 3), reason="no matter of Blender's version, and it takes a minute"),
]
KILLS = 200 if os.environ.get("CLOSEUP_LAB") == "full" else 4
FRAMES = 24
ORPHAN_SECONDS = 5.0

BLENDER = """
import importlib, sys, time, types
from pathlib import Path
root, python, folder, log = map(Path, sys.argv[1:])
for name in ("closeup", "closeup.closeup_addon", "closeup.engine"):
    package = types.ModuleType(name)
    package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
    sys.modules[name] = package
import bpy
client = importlib.import_module("closeup.closeup_addon.engine_client").EngineClient(python, root, log)
while client._process is None:
    time.sleep(0.001)
print("process", client._process.pid, flush=True)
client.run(folder, 1)
while True:
    event = client.poll()
    if event is None:
        time.sleep(0.005)
        continue
    print(event["event"], client._process.pid, flush=True)
    if event["event"] in ("done", "error", "closed"):
        print(event, flush=True)
        break
client.stop()
"""
"""A Blender that runs one job with the extension's own client, and says what it hears."""


def test_killed_blenders_leave_no_engine_and_lose_no_frame(photos, tmp_path):
    root, python = module("closeup_addon.extension").ROOT, os.environ["CLOSEUP_ENGINE_PYTHON"]
    pristine = small_job.make(module("engine.job"), photos, tmp_path / "pristine", FRAMES)

    def arguments(folder: Path) -> list[str]:
        return [sys.executable, "-c", BLENDER, str(root), python, str(folder), str(tmp_path / "engine.log")]

    whole = shutil.copytree(pristine, tmp_path / "whole")
    said = subprocess.run(arguments(whole), stdout=subprocess.PIPE, text=True, check=True).stdout
    wanted = small_job.frames(whole)
    assert "'event': 'done'" in said and len(wanted) == FRAMES, said[-500:]
    chance, moments, jobs = random.Random(3), Counter(), 0
    while moments.total() < KILLS:
        jobs += 1
        folder, moment = shutil.copytree(pristine, tmp_path / f"job {jobs}"), ""
        while moment != "done":
            standing = small_job.frames(folder)
            enough = moments.total() >= KILLS
            moment, engine = run_and_kill(arguments(folder), random.Random(0) if enough else chance, never=enough)
            assert gone_within(engine, ORPHAN_SECONDS)
            now = small_job.frames(folder)
            assert all(now.get(name) == value for name, value in standing.items())
            assert all(wanted[name] == value for name, value in now.items())
            moments.update([moment] if moment != "done" else [])
        assert now == wanted and not [path for path in folder.rglob(".[0-9]*") if path.is_file()]
        shutil.rmtree(folder)
    print(f"{moments.total()} kills in {jobs} jobs, all continued to the same bytes; killed after: {dict(moments)}")
    assert KILLS < 200 or len(moments) >= 4


def run_and_kill(command: list[str], chance: random.Random, never: bool) -> tuple[str, int]:
    """What was heard last before the kill, "done" when the job was faster, and the engine's process."""
    early = None if never or chance.random() > 0.25 else chance.uniform(0, 2)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as blender:
        engine, kind = 0, ""
        for line in blender.stdout:
            kind, _, pid = line.partition(" ")
            if not engine:  # the process is there; the first kills come while it still imports its libraries
                engine = int(pid)
                if early is not None:
                    timer = threading.Timer(early, blender.kill)
                    timer.start()
            assert kind not in ("error", "closed"), line
            if kind == "done" or (not never and early is None and chance.random() < 0.06):
                break
        if early is not None:
            timer.cancel()
        if kind != "done":
            time.sleep(chance.uniform(0, 0.1))
            blender.send_signal(signal.SIGKILL)
        else:
            blender.stdout.read()
    assert engine
    return kind, engine


def gone_within(process: int, seconds: float) -> bool:
    """Whether a process ends in time."""
    deadline = time.monotonic() + seconds
    while proc.alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not proc.alive(process)
