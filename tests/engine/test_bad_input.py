"""What users really have: each odd input gives the right result or one clear sentence, and nothing half-written."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import struct
import tempfile
import time
import tracemalloc
import zlib
from pathlib import Path

import jobs
import numpy as np
import pytest
from PIL import Image

from engine import artifacts, image_files, job, worker
from engine.geometry import depth_files
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


# --- bombs ---------------------------------------------------------------------------


def _png(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds nothing of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IEND", b"")


def _tiff(width: int, height: int) -> bytes:
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, height), (279, 4, 10)]
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + rows + b"\0\0\0\0"


def _webp(width: int, height: int) -> bytes:
    extended = struct.pack("<I", 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", len(extended)) + extended
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _exr(width: int, height: int) -> bytes:
    import OpenEXR

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.exr"
        channels = {name: np.zeros((4, 4), np.float32) for name in "RGBZ"}
        OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, channels).write(str(path))
        data = path.read_bytes()
    for name in (b"dataWindow", b"displayWindow"):
        at = data.index(name) + len(name) + 1 + len(b"box2i\0") + 4
        data = data[:at] + struct.pack("<4i", 0, 0, width - 1, height - 1) + data[at + 16 :]
    return data


def _npy(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (height, width)})
    return stream.getvalue()


BOMBS = {"bomb.png": _png, "bomb.tif": _tiff, "bomb.webp": _webp, "bomb.exr": _exr}


def _heaviest(action) -> int:
    """Bytes that Python and NumPy took at most while ``action`` ran and was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(EngineError) as caught:
            action()
        assert "\n" not in str(caught.value)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (19_000, 20_000)])
@pytest.mark.parametrize("name", BOMBS)
def test_pictures_that_declare_more_than_they_hold_are_refused_before_memory_is_taken(tmp_path, name, size):
    """The last size is one that a real photo might have: then the file must be as large as it says."""
    width, height = (min(side, 2**24) for side in size) if name.endswith("webp") else size
    (tmp_path / name).write_bytes(BOMBS[name](width, height))
    heaviest = _heaviest(lambda: image_files.read_picture(tmp_path / name, name, 1600))
    if size != (19_000, 20_000) or name.endswith("exr"):  # Pillow prepares the picture before it misses the pixels
        assert heaviest < 4 << 20


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**40, 2**40), (19_000, 20_000)])
def test_depth_that_declares_more_than_it_holds_is_refused_before_memory_is_taken(tmp_path, size):
    (tmp_path / "bomb.npy").write_bytes(_npy(*size))
    assert _heaviest(lambda: depth_files.read(tmp_path / "bomb.npy")) < 4 << 20
    if max(size) < 2**31:
        (tmp_path / "bomb.exr").write_bytes(_exr(*size))
        assert _heaviest(lambda: depth_files.read(tmp_path / "bomb.exr")) < 4 << 20


def test_a_chunk_that_declares_more_than_the_file_holds_takes_no_time(tmp_path):
    """OpenCV, which reads 16-bit pictures, would take a gigabyte and seconds for it."""
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((18, 24), 7000, np.uint16)).save(path)
    data = bytearray(path.read_bytes())
    data[33:37] = struct.pack(">I", 1_500_000_000)
    path.write_bytes(data)
    started = time.process_time()
    picture = image_files.read_picture(path, path.name, 100)  # its pixels are all there
    assert picture.rgb.shape == (18, 24, 3) and time.process_time() - started < 0.5


@pytest.mark.parametrize("header", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", b"\xd7\xcd\xc6\x9a" + b"\0" * 80])
def test_formats_that_start_other_programs_are_not_opened(tmp_path, header):
    """Pillow gives PostScript to Ghostscript, and Windows' metafiles to Windows."""
    (tmp_path / "photo.jpg").write_bytes(header + b"\0" * 200)
    with pytest.raises(EngineError, match="is not an image that can be read"):
        image_files.read_picture(tmp_path / "photo.jpg", "photo.jpg", 100)


def test_a_depth_cut_short_is_said_to_be(tmp_path):
    artifacts.write_depth(tmp_path / "a.exr", np.random.default_rng(0).random((90, 120), np.float32))
    whole = (tmp_path / "a.exr").read_bytes()
    (tmp_path / "a.exr").write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(EngineError, match=r"a\.exr .*cut short"):
        depth_files.read(tmp_path / "a.exr")


# --- drives that go, and stored files that were damaged ---------------------------------


@pytest.mark.parametrize("moment", [1, 6, 12])
def test_a_network_drive_that_goes_and_comes_back(folder, monkeypatch, moment):
    """Gone for a moment: nothing is noticed. Gone for good: a sentence, and the job goes on when it is back."""
    calls, replace = [], os.replace

    def fails_for(number: int):
        def gone(source, target):
            calls.append(target)
            if moment <= len(calls) < moment + number:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            replace(source, target)

        return gone

    monkeypatch.setattr(artifacts, "RETRY_SECONDS", (0.01, 0.01))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails_for(99))
        last, _ = run(folder)
    assert last["code"] == "drive-gone" and last["fix"] == "continue"
    assert_sentence(last, "does not answer", "finished frames are kept")
    calls.clear()
    shutil.rmtree(folder / ".closeup")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails_for(2))
        last, _ = run(folder)
    assert last["event"] == "done", last
    assert_frames(folder)


def test_photos_on_a_drive_that_went_are_a_sentence(folder, monkeypatch):
    def gone(*arguments, **more):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", gone)
        last, _ = run(folder)
    assert last["code"] == "drive-gone"
    assert run(folder)[0]["event"] == "done"


@pytest.mark.parametrize("name", ["geometry/photo-01.npz", "geometry/depth-01.npz", "cameras.json", "cloud.ply"])
@pytest.mark.parametrize("spoil", ["cut", "gone"])
def test_a_stored_file_that_is_damaged_is_made_again_and_frames_stay(folder, name, spoil):
    jobs.change(folder, lambda data: data.update(path=jobs_path(data, 2)))
    assert run(folder)[0]["event"] == "done"
    kept = (folder / "frames" / "0001.png").read_bytes()
    (folder / "frames" / "0002.png").unlink()
    (folder / ".closeup" / "frames.json").unlink()
    place = folder / name
    place.write_bytes(place.read_bytes()[:60]) if spoil == "cut" else place.unlink()
    last, _ = run(folder)
    assert_sentence(last, "run the job again")
    assert last["fix"] == "continue"
    assert run(folder)[0]["event"] == "done"
    assert_frames(folder, 2)
    assert (folder / "frames" / "0001.png").read_bytes() == kept


def jobs_path(data: dict, frames: int) -> list:
    """The job's first frame, so many times."""
    return [{**data["path"][0], "frame": index + 1} for index in range(frames)]


def test_memory_that_runs_out_is_a_sentence(folder, monkeypatch):
    def too_much(*arguments, **more):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried …")

    with monkeypatch.context() as patch:
        patch.setattr("engine.pipeline.fusion.fuse", too_much)
        last, _ = run(folder)
    assert (last["code"], last["fix"]) == ("memory", "smaller")
    assert run(folder)[0]["event"] == "done"


def test_warnings_of_skipped_stages_are_said_again(tmp_path):
    folder = jobs.make(tmp_path / "job", photos=1, frames=1, depth=False)
    first = [event["message"] for event in run(folder)[1] if event["event"] == "warning"]
    second = [event["message"] for event in run(folder)[1] if event["event"] == "warning"]
    assert first and sorted(second) == sorted(first)


def test_folders_of_the_users_in_the_job_folder_stay(folder):
    """A job that begins anew empties the engine's folders, and no other."""
    (folder / "photos").mkdir()
    shutil.move(folder / "photo-0.png", folder / "photos" / "photo-0.png")
    jobs.change(folder, lambda data: data["sources"][0].update(image="photos/photo-0.png"))
    for size in (1600, 128):
        jobs.change(folder, lambda data, size=size: data.update(geometry={"max_size": size}))
        assert run(folder)[0]["event"] == "done"
    assert [path.name for path in (folder / "photos").iterdir()] == ["photo-0.png"]
