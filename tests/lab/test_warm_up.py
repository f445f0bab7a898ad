"""What is compiled on first use: the installer's warm-up compiles all of it, a job after that none."""

from __future__ import annotations

import errno
from pathlib import Path

import jobs

from engine import __main__ as command
from engine import warm_up


def compiled_in(folder: Path) -> dict[str, int]:
    """Every kept kernel, and when it was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}


def test_a_job_after_the_warm_up_compiles_nothing(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(cache))
    process = jobs.start("warm-up")
    assert process.wait(timeout=600) == 0
    known = compiled_in(cache)
    assert len(known) > 60
    assert jobs.run(jobs.make(tmp_path / "stereo", depth=False))[0] == 0
    assert jobs.run(jobs.make(tmp_path / "given"))[0] == 0
    assert compiled_in(cache) == known


def test_who_compiled_the_kernels_changes_no_byte(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    depths = []
    for name in ("compiles", "reads"):
        folder = jobs.make(tmp_path / name, depth=False)
        assert jobs.run(folder)[0] == 0
        depths.append([path.read_bytes() for path in sorted(folder.glob("geometry/depth-*.npz"))])
    assert depths[0] == depths[1] and len(depths[0]) > 1


def test_a_warm_up_that_fails_says_a_sentence(monkeypatch, capsys):
    def fail(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(warm_up.tempfile, "TemporaryDirectory", fail)
    assert command.main(["warm-up"]) == 1
    assert "No space left" in capsys.readouterr().err
