"""Spoiled files for every reader of files, in a process of its own: ``python tests/lab/fuzz.py READER FIRST COUNT FOLDER``.

Input number n of a reader is always the same bytes. A reader may answer, or refuse with its own kind of error and one
sentence; anything else ends this process with the traceback, a hang with the place it hangs at, a crash by its signal. The
input that did it then lies in FOLDER.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import importlib
import io
import random
import sys
import tempfile
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []
# Blender's side without Blender: its readers need none, only the extension's own package does.
if "closeup" not in sys.modules:
    sys.modules["closeup"] = types.ModuleType("closeup")
    sys.modules["closeup"].__path__ = [str(ROOT)]

import numpy as np  # noqa: E402
import OpenEXR  # noqa: E402
from PIL import Image  # noqa: E402
from spoil import spoiled  # noqa: E402

from engine import artifacts, image_files, job, protocol  # noqa: E402
from engine.geometry import depth_files, ply, scan_files  # noqa: E402
from engine.job import JobError  # noqa: E402
from engine.progress import EngineError  # noqa: E402
from engine.protocol import ProtocolError  # noqa: E402
from engine.records import PointCloud  # noqa: E402

addon = {
    name: importlib.import_module(f"closeup.closeup_addon.{name}") for name in ("ply", "colmap", "transforms", "reconstruction")
}
CloseUpError = importlib.import_module("closeup.closeup_addon.errors").CloseUpError

HANG_SECONDS = 5.0
MEMORY = 6 << 30
"""Bytes of address space; a bomb that is not refused runs into it."""


@dataclass(frozen=True)
class Reader:
    """What reads, what whole files look like, and what it may raise. together: one is spoiled, and the others lie beside it."""

    read: Callable[[Path], object]
    seeds: Callable[[], list[tuple[str, bytes]]]
    refuses: tuple[type[Exception], ...] = (EngineError,)
    text: bool = False
    together: bool = False


# --- whole files ------------------------------------------------------------------


def _rgb(size=(24, 18)) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def pictures() -> list[tuple[str, bytes]]:
    image, found = Image.fromarray(_rgb()), []
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [
        ("a.jpg", image, {"format": "JPEG", "exif": exif}),
        ("b.jpg", image.convert("CMYK"), {"format": "JPEG"}),
        ("a.png", image, {"format": "PNG"}),
        ("b.png", image.convert("P"), {"format": "PNG"}),
        ("c.png", Image.fromarray(_rgb()[..., 0].astype(np.uint16) * 257), {"format": "PNG"}),
        ("d.png", image.convert("RGBA"), {"format": "PNG"}),
        ("a.tif", image, {"format": "TIFF"}),
        ("b.tif", image, {"format": "TIFF", "compression": "tiff_lzw"}),
        ("c.tif", image, {"format": "TIFF", "compression": "tiff_adobe_deflate"}),
        ("d.tif", Image.fromarray(_rgb()[..., 0].astype(np.float32)), {"format": "TIFF"}),
        ("a.webp", image, {"format": "WEBP"}),
        ("a.bmp", image, {"format": "BMP"}),
        ("a.gif", image, {"format": "GIF"}),
        ("a.tga", image, {"format": "TGA"}),
        ("a.jp2", image, {"format": "JPEG2000"}),
        ("a.ppm", image, {"format": "PPM"}),
    ]
    for name, picture, options in kinds:
        stream = io.BytesIO()
        picture.save(stream, **options)
        found.append((name, stream.getvalue()))
    return found


def exrs() -> list[tuple[str, bytes]]:
    found = []
    planes = {name: _rgb()[..., i].astype(np.float16) / 255 for i, name in enumerate("RGB")}
    depth = {"Z": np.linspace(1, 9, 24 * 18, dtype=np.float32).reshape(18, 24)}
    layers = {**planes, "ViewLayer.Depth.Z": depth["Z"]}
    with tempfile.TemporaryDirectory() as folder:
        for index, channels in enumerate((planes, depth, layers)):
            for compression in (
                OpenEXR.ZIP_COMPRESSION,
                OpenEXR.NO_COMPRESSION,
                OpenEXR.PIZ_COMPRESSION,
                OpenEXR.RLE_COMPRESSION,
            ):
                path = Path(folder) / "a.exr"
                OpenEXR.File({"compression": compression, "type": OpenEXR.scanlineimage}, channels).write(str(path))
                found.append((f"{index}.exr", path.read_bytes()))
    return found


def _saved(write: Callable, *values: np.ndarray, **named: np.ndarray) -> bytes:
    stream = io.BytesIO()
    write(stream, *values, **named)
    return stream.getvalue()


def arrays() -> list[tuple[str, bytes]]:
    depth = np.linspace(1, 9, 48, dtype=np.float32).reshape(6, 8)
    kinds = [depth, depth.astype(">f8"), np.asfortranarray(depth), depth[..., None], np.array([{"a": 1}], dtype=object)]
    return [(f"{index}.npy", _saved(np.save, value)) for index, value in enumerate(kinds)]


def archives() -> list[tuple[str, bytes]]:
    depth = np.linspace(1, 9, 48, dtype=np.float32).reshape(6, 8)
    kinds = [_saved(np.savez, depth=depth, mask=depth > 3), _saved(np.savez_compressed, depth=depth)]
    return [(f"{index}.npz", data) for index, data in enumerate(kinds)]


def clouds() -> list[tuple[str, bytes]]:
    points = np.random.default_rng(2).random((20, 3)).astype(np.float32)
    cloud = PointCloud(points, (points * 255).astype(np.uint8), points, points[:, 0], np.zeros(20, np.int16))
    with tempfile.TemporaryDirectory() as folder:
        ply.write(Path(folder) / "a.ply", cloud)
        binary = (Path(folder) / "a.ply").read_bytes()
    text = b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty double z\n"
    text += b"element face 1\nproperty list uchar int vertex_indices\nend_header\n1 2 3\n4 5 6\n3 0 1 0\n"
    return [("a.ply", binary), ("b.ply", text)]


def scans_of(suffix: str) -> list[tuple[str, bytes]]:
    """A scan as its own library writes it."""
    points = np.random.default_rng(2).random((300, 3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        if suffix == ".e57":
            import pye57

            with pye57.E57(str(path), mode="w") as file:
                data = {f"cartesian{name}": points[:, axis].copy() for axis, name in enumerate("XYZ")}
                colours = {f"color{name}": np.arange(300, dtype=np.uint8) for name in ("Red", "Green", "Blue")}
                file.write_scan_raw({**data, **colours}, rotation=np.array([1.0, 0, 0, 0]), translation=np.zeros(3))
        else:
            import laspy

            found = laspy.LasData(laspy.LasHeader(point_format=2, version="1.2"))
            found.header.scales = np.full(3, 1e-4)
            found.xyz = points
            found.write(str(path))
        return [(path.name, path.read_bytes())]


def own_files() -> list[tuple[str, bytes]]:
    """What the engine stores and reads again; in a stranger's job folder it may be anything."""
    indices = Image.fromarray(_rgb()[..., 0] % 7)
    indices.putpalette(bytes(range(21)))
    stream = io.BytesIO()
    indices.save(stream, format="PNG")
    return [("p.png", stream.getvalue()), *[item for item in pictures() if item[0] in ("a.png", "c.png")], *exrs()[:5]]


def requests() -> list[tuple[str, bytes]]:
    messages = [
        {"event": "hello", "protocol": 2, "engine": "1", "device": "cpu"},
        {"event": "progress", "stage": "frames", "done": 1.5, "total": 4, "seconds_left": None, "id": 3},
        {"event": "error", "code": "job", "message": "No.", "fix": "", "id": 3},
        {"event": "heartbeat", "quiet": 0.2, "cpu": 3.5, "id": 1},
        {"request": "run", "job": "/tmp/ein Ordner/ü", "id": 1},
        {"request": "cancel", "id": 1},
        {"request": "preview", "job": "/tmp/job", "camera": {"width": 8, "fx": 1.5}, "pictures": "/tmp", "id": 2},
        {"event": "preview", "width": 8, "height": 6, "final": True, "seconds": 0.05, "id": 2},
        {"event": "no_preview", "code": "busy", "message": "No.", "id": 2},
    ]
    return [("line", protocol.encode(message)) for message in messages]


def job_files() -> list[tuple[str, bytes]]:
    import json

    pose = [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]]
    camera = {"width": 64, "height": 48, "fx": 60.0, "fy": 60.0, "cx": 32, "cy": 24, "world_from_camera": pose}
    data = {
        "format": "closeup.job", "version": 1, "name": "push-in",
        "sources": [{"image": "a.png", "mask": None, "depth": "a.npy", "camera": camera}, {"image": "b.png", "focal_35mm": 28}],
        "path": [{"frame": 1, "camera": camera}, {"frame": 2, "camera": camera}],
        "geometry": {"method": "auto"}, "generator": {"backend": "embedded", "steps": 4, "seed": 0}, "output": {"format": "png"},
    }  # fmt: skip
    return [("job.json", json.dumps(data).encode())]


def _model():
    """Two photos and three points, as other programs export them."""
    known = addon["reconstruction"]
    pose = ((1.0, 0.0, 0.0, 0.5), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    camera = job.Camera(64, 48, 60.0, 60.0, 32.0, 24.0, pose)
    views = [known.View(name, camera, Path(name)) for name in ("a.png", "b.png")]
    return known.Reconstruction(views, np.random.default_rng(3).random((3, 3)), np.full((3, 3), 128, np.uint8))


def _written(write: Callable[[Path], object]) -> list[tuple[str, bytes]]:
    """The files that ``write`` makes in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return [(path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir())]


# --- readers ------------------------------------------------------------------------


def _read_own(path: Path) -> None:
    if path.suffix == ".exr":
        artifacts.read_depth(path) if path.stat().st_size % 2 else artifacts.read_frame(path)
    elif path.stat().st_size % 2:
        artifacts.read_indices(path)
    else:
        artifacts.read_frame(path)


def _read_line(path: Path) -> None:
    line = path.read_bytes()
    with contextlib.suppress(ProtocolError):
        protocol.decode_request(line)
    protocol.decode_event(line)


READERS = {
    "pictures": Reader(lambda path: image_files.read_picture(path, path.name, 16).upright(), pictures),
    "exr-pictures": Reader(lambda path: image_files.read_picture(path, path.name, 16), exrs),
    "exr-depth": Reader(depth_files.read, exrs),
    "npy": Reader(depth_files.read, arrays),
    "npz": Reader(lambda path: artifacts.read_npz(path, "depth"), archives),
    "own": Reader(_read_own, own_files),
    "ply": Reader(ply.read, clouds, text=True),
    **{
        suffix: Reader(lambda path: list(scan_files.read(path)), functools.partial(scans_of, suffix))
        for suffix in (".las", ".laz", ".e57")
    },
    "addon-ply": Reader(addon["ply"].read, clouds, (CloseUpError,), text=True),
    "colmap": Reader(
        lambda path: addon["colmap"].read(path.parent),
        lambda: _written(lambda folder: addon["colmap"].write(folder, _model(), True)),
        (CloseUpError,),
        together=True,
    ),
    "colmap-text": Reader(
        lambda path: addon["colmap"].read(path.parent),
        lambda: _written(lambda folder: addon["colmap"].write(folder, _model(), False)),
        (CloseUpError,),
        text=True,
        together=True,
    ),
    "transforms": Reader(
        lambda path: addon["transforms"].read(path.with_name("transforms.json")),
        lambda: _written(lambda folder: addon["transforms"].write(folder / "transforms.json", _model())),
        (CloseUpError,),
        text=True,
        together=True,
    ),
    "job": Reader(job.load, job_files, (JobError,), text=True),
    "protocol": Reader(_read_line, requests, (ProtocolError,), text=True),
}


def try_one(reader: Reader, path: Path) -> bool:
    """Read a file; False when it was refused. Raises AssertionError for a refusal that is no sentence, and whatever else it
    raises."""
    try:
        reader.read(path)
        return True
    except reader.refuses as error:
        message = str(error)
        assert message and "\n" not in message and "Traceback" not in message and len(message) < 2000, message
        return False


def main(name: str, first: int, count: int, folder: Path) -> None:
    """Inputs ``first`` to ``first + count`` of a reader; prints how many were read and how many refused."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    reader, read = READERS[name], 0
    seeds = reader.seeds()
    if name == "job":
        for photo in ("a.png", "b.png", "a.npy"):
            (folder / photo).write_bytes(b"a file")
    before = {path.name for path in folder.iterdir()}
    for number in range(first, first + count):
        chance = random.Random(f"{name} {number}")
        spoiled_name, whole = chance.choice(seeds)
        for other, data in seeds if reader.together else ():
            (folder / other).write_bytes(data)
        path = folder / spoiled_name
        path.write_bytes(spoiled(whole, chance, reader.text))
        (folder.parent / f"{folder.name}.number").write_text(str(number))
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        read += try_one(reader, path)
        faulthandler.cancel_dump_traceback_later()
        ours = {path.name, f"{path.name}.damaged", *(other for other, _ in seeds if reader.together)}
        found = {other.name for other in folder.iterdir()} - before
        assert found <= ours, f"files appeared: {found - ours}"
        for other in found:
            (folder / other).unlink()
    print(f"{read} read, {count - read} refused")


if __name__ == "__main__":
    faulthandler.enable()
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
