"""One Blender's long day, in short: ``python soak_blender.py JOBS PRISTINE FOLDER`` in a profile that has the extension.

Runs copies of the job PRISTINE with the real engine, through the add-on's queue, and brings each into the scene. Some engines
are killed at work, and now and then another file is opened. Prints one line of JSON: what was used after a few jobs and at
the end, and the engines' processes.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

import bpy  # it brings addon_utils
import small_job
from proc import used

import addon_utils  # isort: skip

PACKAGE = "bl_ext.user_default.closeup"
WARM = 5
"""Jobs after which what is used is remembered."""
NEW_FILE, KILL = 8, 10
"""Every so many jobs another file is opened, and the engine dies at work."""


def new_file() -> None:
    """An empty scene with a camera."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    if not addon_utils.check(PACKAGE)[1]:
        addon_utils.enable(PACKAGE, default_set=True)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera


def kill_at_work(queue, api, folder: Path) -> int:
    """Start a job and kill its engine; returns its process."""
    shot = api.resume(folder, block=False)
    while shot.state == "queued" or not shot.stage:
        queue.pump()
        time.sleep(0.002)
    engine = queue._client._process.pid
    queue._client.kill()
    while not shot.ended:
        queue.pump()
        time.sleep(0.002)
    assert shot.state == "done" or shot.error_code == "killed", shot.error
    return engine


def main(jobs: int, pristine: Path, place: Path) -> None:
    """All jobs; ends with an error when one of them is not as the first."""
    new_file()
    api, queue = (importlib.import_module(f"{PACKAGE}.closeup_addon.{name}") for name in ("api", "jobs"))
    queue = queue.queue
    before, warm, wanted, engines, failed = used(), {}, {}, [], 0
    for number in range(1, jobs + 1):
        folder = shutil.copytree(pristine, place / str(number))
        if number % KILL == 0:
            engines.append(kill_at_work(queue, api, folder))
            failed += 1
        shot = api.resume(folder)
        assert shot.state == "done" and shot.placed, shot.error
        wanted = wanted or small_job.frames(folder)
        assert wanted and small_job.frames(folder) == wanted, f"job {number}"
        shutil.rmtree(folder)
        if queue._client._process.pid not in engines:
            engines.append(queue._client._process.pid)
        if number == WARM:
            warm = used()
        if number % NEW_FILE == 0:
            new_file()
    end = used()
    queue.shut_down()
    deadline = time.monotonic() + 5
    while (after := used())["threads"] + after["processes"] and time.monotonic() < deadline:
        time.sleep(0.05)
    result = {"before": before, "warm": warm, "end": end, "after": after, "engines": engines, "killed": failed, "jobs": jobs}
    print("SOAK", json.dumps(result), flush=True)
    os._exit(0)  # without Blender's own exit, which old versions do not survive as a module


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
