"""Files of a job folder: written whole or not at all, kept while their inputs are unchanged.

A file is first written under a temporary name in the same folder, flushed to the disk and
renamed. A stage leaves ``.closeup/<stage>.json`` behind when all its files stand; the hash in
it says from which inputs they were made.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import OpenEXR
from PIL import Image

from .color import linear_from_srgb, srgb_from_linear
from .progress import EngineError

SKY_Z = 1e10
"""z-depth that stands for sky in an EXR file; Blender writes the same."""


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write(temporary)`` and give the file its final name once its bytes are on the disk.

    Raises EngineError with a sentence when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise file_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def file_error(error: Exception, path: Path) -> EngineError:
    """What to tell the user about a failed read or write of ``path``."""
    code = getattr(error, "errno", None)
    try:
        full = code in (errno.ENOSPC, errno.EDQUOT) or shutil.disk_usage(path.parent).free < 1 << 20
    except OSError:
        full = False
    if full:
        return EngineError(f"The disk of {path.parent} is full; free some space and run the job again.", "disk-full")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EngineError(f"{path.parent} cannot be written; choose a folder with write permission.", "read-only")
    return EngineError(f"{path.name} could not be written ({error}); check the disk and run the job again.", "write-failed")


def write_bytes(path: Path, data: bytes) -> None:
    """``data`` into ``path``, whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def write_json(path: Path, data: object) -> None:
    """``data`` as indented JSON."""
    write_bytes(path, (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path, default: object = None) -> object:
    """The file's JSON; ``default``, when one is given, where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if default is None:
            raise EngineError(f"{path.name} is missing in {path.parent}; run the job again.", "missing") from None
        return default


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Named arrays; no pickle."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as stream:
            np.savez(stream, **arrays)

    write_atomically(path, write)


def write_png(path: Path, image: np.ndarray, palette: bytes | None = None) -> None:
    """(H, W), (H, W, 3) or (H, W, 4) float 0..1 or uint8. With ``palette`` (RGB bytes) the values are its indices."""
    picture = Image.fromarray(to_uint8(image))
    if palette is not None:
        picture.putpalette(palette)
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG", compress_level=4))


def write_exr(path: Path, channels: dict[str, np.ndarray]) -> None:
    """One channel per name, each (H, W) float16 or float32, ZIP-compressed."""
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    planes = {name: np.ascontiguousarray(plane) for name, plane in channels.items()}
    write_atomically(path, lambda temporary: OpenEXR.File(header, planes).write(str(temporary)))


def write_depth(path: Path, depth: np.ndarray) -> None:
    """z-depth (H, W) as an EXR with a channel Z; sky becomes 1e10 as in Blender's own files."""
    write_exr(path, {"Z": np.where(np.isinf(depth), np.float32(SKY_Z), depth).astype(np.float32)})


def write_frame(path: Path, image: np.ndarray) -> None:
    """A finished frame (H, W, 3), sRGB-coded 0..1: ``.png`` as it is, ``.exr`` linear half float."""
    if path.suffix == ".png":
        write_png(path, image)
        return
    linear = linear_from_srgb(image).astype(np.float16)
    write_exr(path, {name: linear[..., i] for i, name in enumerate("RGB")})


def read_frame(path: Path) -> np.ndarray:
    """A frame that :func:`write_frame` wrote, as (H, W, 3) float32, sRGB-coded."""
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"), np.float32) / 255
    with OpenEXR.File(str(path)) as file:
        linear = file.channels()["RGB"].pixels.astype(np.float32)
    return srgb_from_linear(linear)


def read_indices(path: Path) -> np.ndarray:
    """The palette indices (H, W) uint8 of a PNG."""
    with Image.open(path) as picture:
        return np.asarray(picture).astype(np.uint8)


def read_depth(path: Path) -> np.ndarray:
    """A z-depth that :func:`write_depth` wrote, (H, W) float32 with sky = inf."""
    with OpenEXR.File(str(path)) as file:
        depth = file.channels()["Z"].pixels.astype(np.float32)
    return np.where(depth >= SKY_Z, np.float32(np.inf), depth)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """0..1 floats to bytes, rounded; uint8 and bool pass."""
    image = np.asarray(image)
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    return (np.clip(np.nan_to_num(image.astype(np.float32)), 0, 1) * 255 + 0.5).astype(np.uint8)


class JobFolder:
    """The artifacts of one job.

    root: the folder that holds job.json.
    """

    def __init__(self, root: Path):
        self.root = Path(root)

    def path(self, *parts: str) -> Path:
        """A path inside the folder."""
        return self.root.joinpath(*parts)

    def is_done(self, stage: str, key: str) -> bool:
        """Whether ``stage`` finished from inputs of this very hash."""
        try:
            return json.loads(self._marker(stage).read_text())["key"] == key
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def begin(self, stage: str, key: str, outputs: tuple[str, ...]) -> None:
        """Start or continue ``stage``. What was made from other inputs is removed, what was made from these is kept."""
        started = self._marker(stage, ".started")
        try:
            same = started.read_text() == key
        except (OSError, ValueError):
            same = False
        if not same:
            self._marker(stage).unlink(missing_ok=True)
            try:
                for name in outputs:
                    shutil.rmtree(self.path(name)) if self.path(name).is_dir() else self.path(name).unlink(missing_ok=True)
            except OSError as error:
                raise file_error(error, self.path(outputs[0])) from error
            write_bytes(started, key.encode())

    def finish(self, stage: str, key: str) -> None:
        """All files of ``stage`` stand."""
        write_json(self._marker(stage), {"key": key})

    def _marker(self, stage: str, suffix: str = ".json") -> Path:
        return self.path(".closeup", stage + suffix)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder; another process is refused with a sentence. A crash releases it."""
        place = self.path(".closeup", "lock")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            stream = open(place, "a+b")  # noqa: SIM115 - held for as long as the lock is
        except OSError as error:
            raise file_error(error, place.parent) from error
        with stream:
            try:
                _lock_exclusively(stream)
            except OSError:
                raise EngineError(f"Another engine is at work in {self.root}; wait for it or cancel it.", "locked") from None
            self._remove_leftovers()
            yield

    def _remove_leftovers(self) -> None:
        """Temporary files of a killed run; nobody else writes here while the lock is held."""
        for folder in (self.root, *(p for p in self.root.iterdir() if p.is_dir())):
            for leftover in folder.glob(".[0-9]*.*.*"):
                leftover.unlink(missing_ok=True)


def _lock_exclusively(stream) -> None:
    if os.name == "nt":
        import msvcrt

        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def key_of(*parts: object) -> str:
    """A hash of anything JSON can say; arrays by their bytes."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.shape}{part.dtype}".encode() + np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
        digest.update(b"\0")
    return digest.hexdigest()
