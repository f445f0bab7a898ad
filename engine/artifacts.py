"""Files of a job folder: written whole or not at all, kept while their inputs are unchanged.

A file is first written under a temporary name in the same folder, flushed to the disk and
renamed. A stage leaves ``.closeup/<stage>.json`` behind when all its files stand; the hash in
it says from which inputs they were made.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import struct
import time
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import OpenEXR
from PIL import Image

from .color import linear_from_srgb, srgb_from_linear
from .file_errors import file_error, is_gone, is_passing
from .geometry.exr_header import check_size
from .progress import EngineError, Progress, is_out_of_memory

OUTPUTS = (".closeup", "geometry", "undistorted", "condition", "frames", "depth", "provenance")
"""The folders of a job folder that only the engine writes to, and empties."""
RETRY_SECONDS = (0.2, 1.0, 3.0)
"""Waits between the tries of a write that a drive refused in passing."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
MAX_WARNING = 1000
"""Characters of a stored warning that are said again."""
BROKEN = (
    *(ValueError, KeyError, IndexError, TypeError, EOFError, SyntaxError, ArithmeticError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, Image.DecompressionBombError),
)
"""What Python's, NumPy's and Pillow's readers raise on damaged files."""
SKY_Z = 1e10
"""z-depth that stands for sky in an EXR file; Blender writes the same."""


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write(temporary)`` and give the file its final name once its bytes are on the disk.

    A drive that hesitates is asked again. Raises EngineError with a sentence when the disk is full or the folder cannot be
    written.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    for wait in (*RETRY_SECONDS, None):
        try:
            _write_once(path, temporary, write)
            return
        except (OSError, RuntimeError) as error:  # RuntimeError: OpenEXR's
            if is_out_of_memory(error):
                raise
            if wait is None or not is_passing(error):
                raise file_error(error, path) from error
            time.sleep(wait)


def _write_once(path: Path, temporary: Path, write: Callable[[Path], None]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # never through a link that stood there
        write(temporary)
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # it must not hide what went wrong
            temporary.unlink(missing_ok=True)


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
    except FileNotFoundError as error:
        if default is None:
            raise file_error(error, path) from None
        return default
    except (ValueError, RecursionError):
        raise damaged(path) from None


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Named arrays; no pickle."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as stream:
            np.savez(stream, **arrays)

    write_atomically(path, write)


def read_npz(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The arrays of :func:`write_npz`, ``names`` among them. Nothing is unpickled or inflated: a file is never larger in
    memory than on the disk."""
    try:
        with zipfile.ZipFile(path) as packed:
            if any(
                item.compress_type != zipfile.ZIP_STORED or item.file_size > path.stat().st_size for item in packed.infolist()
            ):
                raise damaged(path)
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in {*names, *data.files}}
    except (OSError, *BROKEN) as error:
        raise unreadable(error, path) from None


def unreadable(error: Exception, path: Path) -> EngineError:
    """A stored file cannot be read: it is not there, its drive is not, or it is damaged."""
    if isinstance(error, (FileNotFoundError, PermissionError)) or is_gone(error):
        return file_error(error, path)
    return damaged(path)


def damaged(path: Path) -> EngineError:
    """For a file that we had stored whole, and that is not any more. It is put aside, so that it will be made again."""
    with contextlib.suppress(OSError):
        os.replace(path, path.with_name(f"{path.name}.damaged"))
    return EngineError(
        f"{path.parent.name}/{path.name} of the job is damaged; run the job again, it will be made anew.", "damaged"
    )


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


def write_frame(path: Path, image: np.ndarray, passes: dict[str, np.ndarray] | None = None) -> None:
    """A finished frame (H, W, 3), sRGB-coded 0..1: ``.png`` as it is, ``.exr`` linear half float with its ``passes``."""
    if path.suffix == ".png":
        write_png(path, image)
        return
    linear = linear_from_srgb(image).astype(np.float16)
    colour = {name: linear[..., i] for i, name in enumerate("RGB")}
    # with an alpha: programs that read four channels of a file would take the first pass for one
    write_exr(path, {**colour, "A": np.ones(linear.shape[:2], np.float16), **(passes or {})})


def read_frame(path: Path) -> np.ndarray:
    """A frame that :func:`write_frame` wrote, as (H, W, 3) float32, sRGB-coded."""
    if path.suffix == ".png":
        return _read_png(path, "RGB").astype(np.float32) / 255
    return srgb_from_linear(_read_exr(path, "RGBA")[..., :3])


def read_indices(path: Path) -> np.ndarray:
    """The palette indices (H, W) uint8 of a PNG."""
    return _read_png(path, "P")


def read_depth(path: Path) -> np.ndarray:
    """A z-depth that :func:`write_depth` wrote, (H, W) float32 with sky = inf."""
    depth = _read_exr(path, "Z")
    return np.where(depth >= SKY_Z, np.float32(np.inf), depth)


def _read_png(path: Path, mode: str) -> np.ndarray:
    """uint8 of a PNG in ``mode``; one that cannot be read, or is larger than Pillow's own bound, is damaged."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return np.asarray(picture if picture.mode == mode else picture.convert(mode))
    except (OSError, *BROKEN) as error:
        raise unreadable(error, path) from None


def _read_exr(path: Path, name: str) -> np.ndarray:
    """float32 of a channel, or of a group of channels such as RGB."""
    try:
        check_size(path)
        with OpenEXR.File(str(path)) as file:
            return file.channels()[name].pixels.astype(np.float32)
    except (OSError, *BROKEN) as error:
        raise unreadable(error, path) from None


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
        self._said = 0  # warnings of the stages before the one that runs

    def path(self, *parts: str) -> Path:
        """A path inside the folder."""
        return self.root.joinpath(*parts)

    def is_done(self, stage: str, key: str) -> bool:
        """Whether ``stage`` finished from inputs of this very hash."""
        try:
            return json.loads(self._marker(stage).read_text(encoding="utf-8"))["key"] == key
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False

    def begin(self, stage: str, key: str, outputs: tuple[str, ...]) -> None:
        """Start or continue ``stage``. What was made from other inputs is removed, what was made from these is kept.

        outputs: files and folders, or patterns of them.
        """
        started = self._marker(stage, ".started")
        try:
            same = started.read_text() == key
        except (OSError, ValueError):
            same = False
        if not same:
            self._marker(stage).unlink(missing_ok=True)
            try:
                for path in [path for pattern in outputs for path in self.root.glob(pattern)]:
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            except OSError as error:
                raise file_error(error, self.path(outputs[0])) from error
            write_bytes(started, key.encode())

    def finish(self, stage: str, key: str, progress: Progress) -> None:
        """All files of ``stage`` stand; what it has found wrong will be said again when it is skipped."""
        write_json(self._marker(stage), {"key": key, "warnings": progress.warnings[self._said :]})

    def is_kept(self, stage: str, key: str, progress: Progress) -> bool:
        """As :meth:`is_done`; what was said when the stage ran is said again, else it counts from here."""
        if not self.is_done(stage, key):
            self._said = len(progress.warnings)
            return False
        said = read_json(self._marker(stage)).get("warnings")
        for message in said if isinstance(said, list) else []:
            progress.warn(str(message)[:MAX_WARNING])
        return True

    def forget(self) -> None:
        """A stored file was damaged or missing: the next run makes the geometry again. Frames that stand are kept."""
        for stage in ("cameras", "depth", "cloud", "frames"):
            with contextlib.suppress(OSError):  # the sentence about the damage matters more
                self._marker(stage).unlink(missing_ok=True)

    def _marker(self, stage: str, suffix: str = ".json") -> Path:
        return self.path(".closeup", stage + suffix)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder; another process is refused with a sentence. A crash releases it.

        Raises EngineError also when one of the engine's own folders in it is a link to some other place.
        """
        self._refuse_links()
        place = self.path(".closeup", "lock")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            stream = open(place, "a+b")  # noqa: SIM115 - held for as long as the lock is
        except OSError as error:
            raise file_error(error, place.parent) from error
        with stream:
            try:
                _lock_exclusively(stream)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                    sentence = f"Another engine is at work in {self.root}; wait for it or cancel it."
                    raise EngineError(sentence, "locked") from None
                if error.errno in _NO_LOCKS:
                    sentence = (
                        f"The drive of {self.root} has no locks, and two engines could spoil the job; put it on another drive."
                    )
                    raise EngineError(sentence, "locked") from None
                raise file_error(error, place) from error
            self._remove_leftovers()
            yield

    def _refuse_links(self) -> None:
        """A job folder may come from a stranger: nothing is written to, or emptied at, a place it only points to."""
        root = os.path.realpath(self.root)
        for name in (*OUTPUTS, os.path.join(".closeup", "lock")):
            wanted = os.path.join(root, name)
            if os.path.normcase(os.path.realpath(wanted)) != os.path.normcase(wanted):
                raise EngineError(f"{name} in {self.root} is a link to another place; replace it by a folder.", "link")

    def _remove_leftovers(self) -> None:
        """Temporary files of a killed run; nobody else writes here while the lock is held."""
        for folder in (self.root, *(self.path(name) for name in OUTPUTS)):
            for leftover in folder.glob(".[0-9]*.*.*"):
                with contextlib.suppress(OSError):  # whatever it is, it is no file of ours
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
