"""A long day of two Blenders in one profile, in short: nothing is lost, and no file, handle, process or memory leaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import bpy
import proc
import pytest
import small_job
from conftest import HERE, PROFILE, module

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counts what Linux shows of a process"),
    pytest.mark.skipif(bpy.app.version >= (4, 3), reason="no matter of Blender's version, and it takes a minute"),
]
JOBS = 500 if os.environ.get("CLOSEUP_LAB") == "full" else 24
"""Of both together."""
MEMORY = 1.1
"""A Blender's at the end, by that after its fifth job."""


def test_two_blenders_work_all_day_and_leave_nothing_behind(photos, tmp_path):
    """Each runs half of the jobs, beside the other, with the real engine; engines die and files are opened in between."""
    pristine = small_job.make(module("engine.job"), photos, tmp_path / "pristine", 1)
    before = listed(Path(PROFILE))
    places = [tmp_path / "one", tmp_path / "two"]
    blenders = [start(JOBS // 2, pristine, place) for place in places]
    for blender in blenders:
        said, errors = blender.communicate(timeout=60 + 20 * JOBS)
        assert blender.returncode == 0, said[-500:] + errors[-3000:]
        check(json.loads(next(line for line in said.splitlines() if line.startswith("SOAK ")).removeprefix("SOAK ")))
    assert [list(place.iterdir()) for place in places] == [[], []]
    assert {name for name in listed(Path(PROFILE)) - before if "engine.log" not in name} == set()


def start(jobs: int, pristine: Path, place: Path) -> subprocess.Popen:
    """A Blender of its own, in the profile of this one."""
    place.mkdir()
    command = [sys.executable, str(HERE / "soak_blender.py"), str(jobs), str(pristine), str(place)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check(found: dict) -> None:
    """What one Blender used."""
    warm, end, after = found["warm"], found["end"], found["after"]
    print(f"{found['jobs']} jobs, {found['killed']} engines killed: after 5 jobs {warm}, at the end {end}, then {after}")
    assert end["memory"] <= MEMORY * warm["memory"]
    assert end["files"] <= warm["files"] and end["threads"] <= warm["threads"] and end["processes"] == 1
    assert after["processes"] == after["threads"] == 0 and after["files"] <= found["before"]["files"]
    assert len(found["engines"]) > found["killed"] and not any(proc.alive(engine) for engine in found["engines"])


def listed(folder: Path) -> set[str]:
    """Every file below a folder but Python's compiled ones."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
