"""What users really have: each odd input gives the right result or one clear sentence, and nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import jobs
import numpy as np
import pytest
from PIL import Image

from engine import artifacts, job, worker
from engine.progress import EngineError, Progress

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def run(folder: Path) -> tuple[dict, list[dict]]:
    """The last event of a job run in this process, and all others."""
    events: list[dict] = []
    last = worker.run_job(str(folder), Progress(events.append), "cpu")
    assert not jobs.temporaries(folder) if folder.is_dir() else True
    return last, events


def assert_sentence(event: dict, *words: str) -> None:
    """An error that a person can read: one line, no traceback, with the words that help."""
    assert event["event"] == "error", event
    message = event["message"]
    assert "\n" not in message and "Traceback" not in message and event["code"] != "internal", message
    for word in words:
        assert word in message, message


def assert_frames(folder: Path, count: int = 1) -> None:
    """So many frames, each whole."""
    frames = sorted((folder / "frames").iterdir())
    assert len(frames) == count
    for frame in frames:
        with Image.open(frame) as picture:
            picture.load()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A good job of three photos with depth and one frame, to be spoiled."""
    return jobs.make(tmp_path / "job", frames=1)


def spoil(folder: Path, index: int, write) -> Path:
    """Replace a photo's file by what ``write(path, image)`` makes; its hash in the job goes."""
    place = folder / f"photo-{index}.png"
    with Image.open(place) as picture:
        image = np.asarray(picture.convert("RGB"))
    place.unlink()
    write(place, image)
    jobs.change(folder, lambda data: data["sources"][index].update(sha256=None))
    return place


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 64])
def test_photos_that_cannot_be_read_are_named(folder, content):
    spoil(folder, 1, lambda path, image: path.write_bytes(content))
    assert_sentence(run(folder)[0], "photo-1.png")


def test_a_truncated_photo_is_named(folder):
    def write(path, image):
        Image.fromarray(image).save(path)
        path.write_bytes(path.read_bytes()[:2000])

    spoil(folder, 0, write)
    assert_sentence(run(folder)[0], "photo-0.png")


def test_a_photo_of_one_pixel_is_named(folder):
    spoil(folder, 1, lambda path, image: Image.fromarray(image[:1, :1]).save(path))
    assert_sentence(run(folder)[0], "photo-1.png")


ODD = {
    "16-bit": lambda path, image: Image.fromarray(image[..., 1].astype(np.uint16) * 257).save(path),
    "grey": lambda path, image: Image.fromarray(image).convert("L").save(path),
    "CMYK": lambda path, image: Image.fromarray(image).convert("CMYK").save(path, "JPEG"),
    "alpha": lambda path, image: Image.fromarray(np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])).save(path),
    "palette": lambda path, image: Image.fromarray(image).convert("P").save(path),
}


@pytest.mark.parametrize("write", ODD.values(), ids=ODD)
def test_odd_photos_work(folder, write):
    spoil(folder, 1, write)
    last, _ = run(folder)
    assert last["event"] == "done", last
    assert_frames(folder)


def test_a_photo_of_a_hundred_megapixels_works(folder):
    def write(path, image):
        Image.fromarray(image).resize((11600, 8700)).save(path, compress_level=1)

    spoil(folder, 0, write)
    last, _ = run(folder)
    assert last["event"] == "done", last
    assert_frames(folder)


def test_photos_turned_by_exif_are_turned_upright(folder):
    def write(path, image):
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees
        Image.fromarray(np.ascontiguousarray(np.rot90(image))).save(path, exif=exif)

    spoil(folder, 1, write)
    last, _ = run(folder)
    assert last["event"] == "done", last
    assert artifacts.read_json(folder / "cameras.json")[1]["camera"]["width"] == jobs.SIZE[0]


def test_two_photos_of_the_same_name(folder):
    for index in (0, 1):
        (folder / str(index)).mkdir()
        (folder / f"photo-{index}.png").rename(folder / str(index) / "IMG_0001.png")
        jobs.change(folder, lambda data, index=index: data["sources"][index].update(image=f"{index}/IMG_0001.png"))
    last, _ = run(folder)
    assert last["event"] == "done", last
    names = [row["name"] for row in artifacts.read_json(folder / "cameras.json")]
    assert len(set(names)) == 3


@pytest.mark.parametrize("name", ["with space", 'quote\'s "double"', "äöü ñ 日本 😀", "percent %s {x} $HOME;ls"])
def test_odd_folder_names(tmp_path, name):
    folder = jobs.make(tmp_path / name, frames=1)
    assert run(folder)[0]["event"] == "done"
    assert_frames(folder)


def test_no_photos(folder):
    jobs.change(folder, lambda data: data.update(sources=[]))
    assert_sentence(run(folder)[0], "no photos")


@pytest.mark.parametrize("depth", [True, False])
def test_one_photo(tmp_path, depth):
    folder = jobs.make(tmp_path, photos=1, frames=1, depth=depth)
    last, events = run(folder)
    assert last["event"] == "done", last
    assert_frames(folder)
    assert depth or [event for event in events if event["event"] == "warning"]


def test_a_camera_inside_the_object(folder):
    def edit(data):
        for row, value in enumerate((-0.45, -0.1, 0.45)):
            data["path"][0]["camera"]["world_from_camera"][row][3] = value

    jobs.change(folder, edit)
    assert run(folder)[0]["event"] == "done"
    assert_frames(folder)


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (2, 400)])
def test_odd_frame_sizes(tmp_path, size):
    folder = jobs.make(tmp_path, frames=1, size=size)
    assert run(folder)[0]["event"] == "done"
    with Image.open(folder / "frames" / "0001.png") as picture:
        assert picture.size == size


def test_nan_and_unknown_keys(folder):
    text = (folder / "job.json").read_text()
    data = json.loads(text)
    width = json.dumps(data["sources"][0]["camera"]["fx"])
    (folder / "job.json").write_text(text.replace(width, "NaN", 1))
    assert_sentence(run(folder)[0], "finite")
    (folder / "job.json").write_text(text.replace('"path"', '"paht"', 1))
    assert_sentence(run(folder)[0], "paht")


def test_a_photo_that_is_not_the_one_of_the_job(folder):
    Image.new("RGB", jobs.SIZE).save(folder / "photo-0.png")
    assert_sentence(run(folder)[0], "photo-0.png")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY junk", b"x" * 100])
def test_depth_files_that_cannot_be_read_are_named(folder, content):
    (folder / "photo-2.npy").write_bytes(content)
    assert_sentence(run(folder)[0], "photo-2.npy")


def test_depth_full_of_nonsense_still_gives_frames(folder):
    depth = np.load(folder / "photo-2.npy")
    depth[:40], depth[40:60], depth[60:80] = np.nan, -1, 1e30
    np.save(folder / "photo-2.npy", depth)
    assert run(folder)[0]["event"] == "done"
    assert_frames(folder)


def test_a_pickle_is_never_opened(folder):
    np.save(folder / "photo-2.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert_sentence(run(folder)[0], "photo-2.npy")


@pytest.mark.parametrize("code, word", [(errno.ENOSPC, "full"), (errno.EROFS, "permission"), (errno.EACCES, "permission")])
@pytest.mark.parametrize("write", [0, 3, 9, 14])
def test_a_file_system_that_fails_at_any_write(folder, monkeypatch, code, word, write):
    """The failure is one sentence; when it is over, the same folder runs to its end."""
    calls, replace = [], os.replace

    def fails(source, target):
        calls.append(target)
        if len(calls) > write:
            raise OSError(code, os.strerror(code))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        last, _ = run(folder)
    assert_sentence(last, word)
    for place in folder.rglob("*.png"):
        with Image.open(place) as picture:
            picture.load()
    assert run(folder)[0]["event"] == "done"
    assert_frames(folder)


def test_a_read_only_folder(folder):
    """A folder without write permission; root may write there, but not into the kernel's own."""
    place = folder
    if os.name == "posix" and os.geteuid() == 0:
        place = Path("/sys/kernel")
    else:
        folder.chmod(0o555)
    with pytest.raises(EngineError, match="permission") as error:
        artifacts.write_bytes(place / "frames" / "0001.png", b"")
    assert "\n" not in str(error.value)


def test_the_folder_vanishes(folder):
    shutil.rmtree(folder)
    assert_sentence(run(folder)[0], "job.json")
    assert job.FILENAME in run(folder)[0]["message"]
