"""Blender itself is killed with -9 while the real engine works: no process stays behind, and the job is continued."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import bpy
import pytest
from conftest import module

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes where Linux shows them"),
    pytest.mark.skipif(bpy.app.version >= (4, 3), reason="no matter of Blender's version, and it takes a minute"),
]
KILLS = 20 if os.environ.get("CLOSEUP_LAB") == "full" else 3
FRAMES = 24

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


def alive(pid: int) -> bool:
    place = Path(f"/proc/{pid}/stat")
    try:
        return place.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started(arguments: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-c", BLENDER, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def frames(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "frames").glob("[0-9]*.png")}


def test_a_killed_blender_leaves_no_engine_and_loses_no_frame(photos, tmp_path):
    folder = a_job(photos)
    root, python = module("closeup_addon.extension").ROOT, os.environ["CLOSEUP_ENGINE_PYTHON"]
    arguments = [str(root), python, str(folder), str(tmp_path / "engine.log")]
    chance, kills, standing = random.Random(3), 0, {}
    while kills < KILLS:
        killed, engine = run_and_kill(arguments, chance)
        kills += killed
        deadline = time.monotonic() + 5
        while alive(engine) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert engine and not alive(engine)
        now = frames(folder)
        assert all(now[name] == data for name, data in standing.items())
        assert killed or len(now) == FRAMES
        standing = now
        if not killed:  # it was through: from the beginning
            shutil.rmtree(folder / ".closeup")
            standing = {}
    with started(arguments) as blender:
        said = blender.stdout.read()
    assert "'event': 'done'" in said, said[-500:]
    now = frames(folder)
    assert len(now) == FRAMES and all(now[name] == data for name, data in standing.items())


def run_and_kill(arguments: list[str], chance: random.Random) -> tuple[bool, int]:
    """Whether Blender was killed before its job was done, and the engine's process."""
    with started(arguments) as blender:
        engine, kind = 0, ""
        for line in blender.stdout:
            kind, _, pid = line.partition(" ")
            engine = engine or int(pid)
            assert kind not in ("error", "closed"), line
            if kind == "done" or chance.random() < 0.1:
                break
        if kind != "done":
            time.sleep(chance.uniform(0, 0.1))
        blender.send_signal(signal.SIGKILL)
    return kind != "done", engine


def a_job(photos: list[Path]) -> Path:
    """A job of photos with cameras and depth, and many small frames."""
    import numpy as np

    job = module("engine.job")
    folder = photos[0].parent / "job"
    sources = []
    for index, path in enumerate(photos):
        np.save(path.with_suffix(".npy"), np.full((30, 40), 4.0, np.float32))
        camera = job.Camera(40, 30, 40.0, 40.0, 20.0, 15.0, pose(0.1 * index))
        sources.append(job.Source(str(path), depth=str(path.with_suffix(".npy")), camera=camera))
    small = job.Camera(24, 16, 30.0, 30.0, 12.0, 8.0, pose(0.0))
    path = tuple(job.PathFrame(number, small) for number in range(1, FRAMES + 1))
    job.save(job.Job(tuple(sources), path, generator=job.GeneratorSettings(steps=1)), folder)
    return folder


def pose(x: float) -> tuple:
    """At (x, 0, 0), looking along +z."""
    return ((1.0, 0.0, 0.0, x), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
