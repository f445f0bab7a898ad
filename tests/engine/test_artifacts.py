"""Files of a job folder: whole or not at all, and only what is out of date is made again."""

from __future__ import annotations

import errno
import multiprocessing
import os

import numpy as np
import pytest

from engine import artifacts
from engine.artifacts import JobFolder
from engine.progress import EngineError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "frames" / "0001.png"
    artifacts.write_bytes(target, b"old")

    def breaks(temporary):
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(EngineError, match=r"disk .* is full") as error:
        artifacts.write_atomically(target, breaks)
    assert error.value.code == "disk-full"
    assert target.read_bytes() == b"old"
    assert [path.name for path in target.parent.iterdir()] == ["0001.png"]


@pytest.mark.parametrize("code, word", [(errno.EACCES, "permission"), (errno.EROFS, "permission"), (errno.EIO, "check the disk")])
def test_errors_of_the_file_system_are_sentences(tmp_path, code, word):
    message = str(artifacts.file_error(OSError(code, os.strerror(code)), tmp_path / "a.png"))
    assert word in message and "\n" not in message


@pytest.mark.parametrize("suffix, tolerance", [("png", 0.5 / 255 + 1e-6), ("exr", 1e-3)])
def test_frames_come_back(tmp_path, suffix, tolerance):
    image = np.random.default_rng(0).random((7, 11, 3), dtype=np.float32)
    path = tmp_path / f"0001.{suffix}"
    artifacts.write_frame(path, image)
    assert np.abs(artifacts.read_frame(path) - image).max() <= tolerance


def test_depth_comes_back_with_its_sky(tmp_path):
    depth = np.random.default_rng(0).random((7, 11), dtype=np.float32)
    depth[0, 0], depth[1, 1] = np.inf, 0
    artifacts.write_depth(tmp_path / "d.exr", depth)
    assert np.array_equal(artifacts.read_depth(tmp_path / "d.exr"), depth)


def test_palette_indices_come_back(tmp_path):
    indices = np.arange(6, dtype=np.uint8).reshape(2, 3)
    artifacts.write_png(tmp_path / "p.png", indices, bytes(range(18)))
    assert np.array_equal(artifacts.read_indices(tmp_path / "p.png"), indices)


def test_a_stage_is_kept_while_its_key_stays_and_removed_when_it_changes(tmp_path):
    store = JobFolder(tmp_path)
    store.begin("frames", "a", ("frames",))
    artifacts.write_bytes(store.path("frames", "0001.png"), b"1")
    assert not store.is_done("frames", "a")
    store.begin("frames", "a", ("frames",))  # a run that was killed goes on
    assert store.path("frames", "0001.png").exists()
    store.finish("frames", "a")
    assert store.is_done("frames", "a") and not store.is_done("frames", "b")
    store.begin("frames", "b", ("frames",))
    assert not store.path("frames").exists() and not store.is_done("frames", "a")


def test_a_broken_marker_means_not_done(tmp_path):
    store = JobFolder(tmp_path)
    artifacts.write_bytes(tmp_path / ".closeup" / "frames.json", b"{")
    assert not store.is_done("frames", "a")


def _hold(folder, held, release):
    with JobFolder(folder).lock():
        held.set()
        release.wait(30)


def test_two_processes_never_run_one_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, release))
    other.start()
    assert held.wait(30)
    with pytest.raises(EngineError, match="Another engine"), JobFolder(tmp_path).lock():
        pass
    other.kill()  # a crash releases the lock
    other.join()
    with JobFolder(tmp_path).lock():
        pass


def test_leftovers_of_a_killed_run_are_removed_under_the_lock(tmp_path):
    leftover = tmp_path / "frames" / ".4711.0001.png"
    artifacts.write_bytes(tmp_path / "frames" / "0001.png", b"1")
    leftover.write_bytes(b"half")
    with JobFolder(tmp_path).lock():
        assert not leftover.exists()
    assert (tmp_path / "frames" / "0001.png").exists()


def test_keys_tell_inputs_apart():
    array = np.arange(4)
    assert artifacts.key_of("a", array) == artifacts.key_of("a", array.copy())
    assert artifacts.key_of("a", array) != artifacts.key_of("a", array.reshape(2, 2))
    assert artifacts.key_of("ab", "c") != artifacts.key_of("a", "bc")
