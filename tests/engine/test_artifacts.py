"""Files of a job folder: whole or not at all, and only what is out of date is made again."""

from __future__ import annotations

import errno
import multiprocessing
import os

import numpy as np
import pytest

from engine import artifacts
from engine.artifacts import JobFolder
from engine.progress import EngineError, Progress


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


@pytest.mark.parametrize(
    "code, word", [(errno.EACCES, "permission"), (errno.EROFS, "permission"), (errno.EIO, "check the drive")]
)
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
    store.finish("frames", "a", Progress())
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


# --- drives that hesitate, strangers' folders -----------------------------------


def test_a_drive_that_hesitates_is_asked_again(tmp_path, monkeypatch):
    tries, replace = [], os.replace

    def comes_back(source, target):
        tries.append(target)
        if len(tries) < 3:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        replace(source, target)

    monkeypatch.setattr(artifacts, "RETRY_SECONDS", (0.01, 0.01, 0.01))
    monkeypatch.setattr(os, "replace", comes_back)
    artifacts.write_bytes(tmp_path / "a.bin", b"whole")
    assert (tmp_path / "a.bin").read_bytes() == b"whole" and len(tries) == 3


def test_a_drive_that_stays_away_is_a_sentence(tmp_path, monkeypatch):
    def gone(source, target):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(artifacts, "RETRY_SECONDS", (0.01,))
    monkeypatch.setattr(os, "replace", gone)
    with pytest.raises(EngineError, match="does not answer") as caught:
        artifacts.write_bytes(tmp_path / "a.bin", b"whole")
    assert caught.value.code == "drive-gone" and not list(tmp_path.iterdir())


def test_a_full_disk_is_said_even_when_tidying_up_fails_too(tmp_path, monkeypatch):
    def full(temporary):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.unlink", lambda self, missing_ok=False: (_ for _ in ()).throw(OSError(errno.EIO, "gone")))
    monkeypatch.setattr(artifacts, "RETRY_SECONDS", ())
    with pytest.raises(EngineError):
        artifacts.write_atomically(tmp_path / "a.bin", full)


@pytest.mark.parametrize("name", artifacts.OUTPUTS)
def test_a_folder_that_is_a_link_is_refused_and_what_it_shows_stays(tmp_path, name):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "job"
    elsewhere.mkdir(), root.mkdir()
    (elsewhere / "0001.png").write_bytes(b"mine")
    (elsewhere / ".1.0001.png").write_bytes(b"mine too")
    (root / name).symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(EngineError, match="is a link to another place") as caught, JobFolder(root).lock():
        pass
    assert caught.value.code == "link"
    assert sorted(path.name for path in elsewhere.iterdir()) == [".1.0001.png", "0001.png"]


def test_other_folders_that_are_links_are_left_alone(tmp_path):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "job"
    elsewhere.mkdir(), root.mkdir()
    (elsewhere / ".1.photo.png").write_bytes(b"mine")
    (root / "my photos").symlink_to(elsewhere, target_is_directory=True)
    with JobFolder(root).lock():
        assert (elsewhere / ".1.photo.png").exists()


def test_a_link_at_the_temporary_name_is_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"mine")
    (tmp_path / f".{os.getpid()}.a.bin").symlink_to(secret)
    (tmp_path / "a.bin").symlink_to(secret)
    artifacts.write_bytes(tmp_path / "a.bin", b"ours")
    assert secret.read_bytes() == b"mine" and not (tmp_path / "a.bin").is_symlink()


def test_arrays_come_back_and_bombs_and_pickles_do_not(tmp_path):
    path = tmp_path / "a.npz"
    artifacts.write_npz(path, image=np.ones((3, 4), np.float16))
    assert artifacts.read_npz(path, "image")["image"].shape == (3, 4)
    with pytest.raises(EngineError, match="damaged"):
        artifacts.read_npz(path, "mask")
    for spoil in (
        lambda: np.savez_compressed(path, image=np.zeros(10_000_000)),
        lambda: np.savez(path, image=np.array([{"a": 1}], dtype=object)),
        lambda: path.write_bytes(b"PK\x03\x04 nonsense"),
        lambda: path.write_bytes(b""),
    ):
        spoil()
        with pytest.raises(EngineError, match="damaged") as caught:
            artifacts.read_npz(path)
        assert caught.value.code == "damaged" and not path.exists() and path.with_name("a.npz.damaged").exists()


def test_what_was_found_wrong_is_said_again_when_the_stage_is_skipped(tmp_path):
    store, first, second = JobFolder(tmp_path), Progress(), Progress()
    first.warn("The photo b.jpg is blurred.")
    store.begin("depth", "a", ())
    store.finish("depth", "a", first)
    assert store.is_kept("depth", "a", second) and second.warnings == ["The photo b.jpg is blurred."]
    assert not store.is_kept("depth", "b", second)
    artifacts.write_bytes(tmp_path / ".closeup" / "depth.json", b'{"key": "a", "warnings": 7}')
    assert store.is_kept("depth", "a", Progress())


@pytest.mark.parametrize(
    "code, words", [(errno.ENOLCK, "has no locks"), (errno.EWOULDBLOCK, "Another engine"), (errno.EIO, "not answer")]
)
def test_why_a_folder_cannot_be_locked(tmp_path, monkeypatch, code, words):
    def refuses(stream):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(artifacts, "_lock_exclusively", refuses)
    with pytest.raises(EngineError, match=words), JobFolder(tmp_path).lock():
        pass
