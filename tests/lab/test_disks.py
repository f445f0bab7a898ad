"""Real file systems that are full, read-only or gone in the middle of a job (Linux, root: they are mounted for it)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jobs
import pytest

from engine import job, worker
from engine.generation import embedded
from engine.progress import EngineError, Progress

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None, reason="mounts file systems"
)


def mount(*arguments: object) -> None:
    if subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=8m", "closeup-lab", place)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def run(folder: Path) -> dict:
    return worker.run_job(str(folder), Progress(), "cpu")


def assert_done(folder: Path, wanted: dict[str, str]) -> None:
    assert run(folder)["event"] == "done"
    assert jobs.results(folder) == wanted
    assert not jobs.temporaries(folder)


@pytest.mark.parametrize("output", ["png", "exr"])
def test_a_disk_that_fills_up(disk, tmp_path, output):
    """At several fillings: the sentence names the disk, nothing half is left, and with more room the bytes are the same."""
    settings = {"output": job.OutputSettings(output), "generator": job.GeneratorSettings(steps=1)}
    whole = jobs.make(tmp_path / "whole", frames=2, size=(48, 32), **settings)
    assert run(whole)["event"] == "done"
    wanted = jobs.results(whole)
    needed = sum(path.stat().st_blocks * 512 for path in whole.rglob("*") if path.is_file())
    folder = jobs.make(disk / "job", frames=2, size=(48, 32), **settings)
    inputs = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    codes = []
    for share in (0.05, 0.35, 0.6, 0.8, 0.9, 0.97):
        mount("-o", f"remount,size={inputs + int(share * (needed - inputs)) // 4096 * 4096}", disk)
        last = run(folder)
        codes.append(last.get("code"))
        assert last["event"] == "error" and "is full" in last["message"], last
        assert not jobs.temporaries(folder)
    assert set(codes) == {"disk-full"}
    mount("-o", "remount,size=16m", disk)
    assert_done(folder, wanted)


def test_a_disk_that_becomes_read_only(disk, tmp_path):
    whole = jobs.make(tmp_path / "whole", frames=1, size=(24, 16))
    assert run(whole)["event"] == "done"
    folder = jobs.make(disk / "job", frames=1, size=(24, 16))
    mount("-o", "remount,ro", disk)
    last = run(folder)
    assert last["code"] == "read-only" and "permission" in last["message"]
    mount("-o", "remount,rw", disk)
    assert_done(folder, jobs.results(whole))


def test_a_drive_that_is_gone(disk, tmp_path):
    folder = jobs.make(disk / "job", frames=1, size=(24, 16))
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    subprocess.run(["umount", "-l", str(disk)], check=True)
    last = run(folder)
    assert last["code"] == "job" and "There is no job.json in" in last["message"]
    mount("-t", "tmpfs", "closeup-lab", disk)
    shutil.copytree(kept, folder)
    assert run(folder)["event"] == "done"


def test_memory_that_runs_out_for_real(tmp_path):
    """A process with too little address space: a sentence, or the system's own end of it, but never a traceback for a user."""
    folder = jobs.make(tmp_path / "job", frames=1, size=(4000, 3000))
    script = (
        "import resource, sys\n"
        "from engine import worker, pipeline, progress\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)\n"
        "print(worker.run_job(sys.argv[1], progress.Progress(), 'cpu'))\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(
        command, cwd=jobs.ROOT, env=jobs.environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert "'code': 'memory'" in done.stdout and "used up" in done.stdout, done.stdout + done.stderr[-2000:]


def test_without_memory_for_a_segment_fewer_frames_are_made_at_a_time(tmp_path, monkeypatch):
    """The bytes are the same; and where not even one fits, the user is told so."""
    settings = {"frames": 5, "size": (24, 16), "generator": job.GeneratorSettings(steps=1)}
    whole, folder = jobs.make(tmp_path / "whole", **settings), jobs.make(tmp_path / "job", **settings)
    assert run(whole)["event"] == "done"
    generate, asked, room = embedded.EmbeddedBackend.generate, [], 2

    def short_of_memory(self, conditions, settings, progress):
        asked.append(len(conditions))
        if len(conditions) > room:
            raise EngineError("The device has no memory left.", "memory")
        return generate(self, conditions, settings, progress)

    monkeypatch.setattr(embedded.EmbeddedBackend, "generate", short_of_memory)
    assert_done(folder, jobs.results(whole))
    assert asked == [5, 2, 3, 1, 2]
    assert "fewer are made at a time" in (folder / "report.json").read_text()
    shutil.rmtree(folder / "frames")
    room = 0
    assert run(folder)["code"] == "memory"
