"""Point clouds of other programs and scanners, as a stream of points: .ply, .las, .laz and .e57.

Readers yield (points (n, 3) float64, colours (n, 3) or None) a million at a time, in the file's own coordinates and numbers, so
that a scan of any size takes the memory of what is kept of it. The libraries of LAS and E57 are imported with the first such
file. Files are a stranger's: what they declare is checked against what they hold, and whatever their readers raise becomes one
sentence.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..progress import EngineError, is_out_of_memory
from . import ply

Chunk = tuple[np.ndarray, np.ndarray | None]
CHUNK = 1_000_000
"""Points read at a time."""
MAX_POINTS = 20_000_000_000
"""Points a file may declare; more is no scan."""
LEAST_BYTES = 0.01
"""Bytes a point at least takes in a compressed file."""
VLR, EVLR = 54, 60
"""Bytes that a variable length record of LAS takes at least, and an extended one."""
_NOISE = (7, 18)
"""ASPRS classes of points that are known to be wrong."""
_COLOURS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
_AXES = ("x", "y", "z")


def read(path: Path, check: Callable[[], None] = lambda: None) -> Iterator[Chunk]:
    """The points of a scan, in chunks; what is not finite is left out. ``check`` is called before every chunk.

    Raises EngineError, naming the file, when it is no scan or is damaged.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise EngineError(f"The scan {path.name} is none of {', '.join(READERS)}; export it as one of these.", "bad-scan")
    chunks = reader(path)
    while True:
        check()
        with _one_sentence(path):
            chunk = next(chunks, None)
            if chunk is None:
                return
            points, colours = chunk
            good = np.isfinite(points).all(1)
            if not good.all():
                points, colours = points[good], None if colours is None else colours[good]
        yield points, colours


@contextlib.contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """Anything that goes wrong in a reader is told in a sentence that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise EngineError(f"The scan {path.name} is missing; put the file back or remove the scan.", "bad-scan") from None
    except BaseException as error:  # the readers are C++ and Rust, whose panics are no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, EngineError) or (is_out_of_memory(error) and not isinstance(error, MemoryError)):
            raise
        said = " ".join(str(error).split("****")[0].split()) or type(error).__name__  # E57's goes on with its source lines
        raise EngineError(
            f"The scan {path.name} cannot be read as {path.suffix[1:].upper()} ({said[:120]}); export it again.", "bad-scan"
        ) from None


def _declared(count: int, path: Path, least: float = LEAST_BYTES) -> None:
    """Raise ValueError when a file says that it has more points than it can hold."""
    if not 0 <= count <= MAX_POINTS or count * least > path.stat().st_size:
        raise ValueError(f"it declares {count} points")


def _ply(path: Path) -> Iterator[Chunk]:
    vertex = ply.vertices(path)
    if not ply.has_numbers(vertex, _AXES):
        raise ValueError("it has no vertices with x, y and z")
    colour = next((names for names in _COLOURS if ply.has_numbers(vertex, names)), None)
    for start in range(0, len(vertex), CHUNK):
        rows = vertex[start : start + CHUNK]
        points = np.stack([rows[name] for name in _AXES], 1).astype(np.float64)
        yield points, None if colour is None else np.stack([rows[name] for name in colour], 1)


def _check_las(path: Path) -> None:
    """Raise ValueError when the file declares more records beside the points, or more compressed chunks, than it can hold; its
    libraries would make room for them all. (Offsets: LAS specification 1.4, public header block; LAZ: chunk table.)"""
    size = path.stat().st_size
    with open(path, "rb") as stream:
        header = stream.read(375).ljust(375, b"\0")
        chunks = _laz_chunks(stream, struct.unpack_from("<I", header, 96)[0], size) if header[104] & 0x80 else 0
    if chunks > size:
        raise ValueError(f"it declares {chunks} chunks")
    header_size, points_at, records = struct.unpack_from("<HII", header, 94)
    if header_size + records * VLR > min(points_at, size) and records:
        raise ValueError(f"it declares {records} records")
    extended_at, extended = struct.unpack_from("<QI", header, 235)
    if header[25] >= 4 and extended and extended_at + extended * EVLR > size:
        raise ValueError(f"it declares {extended} extended records")


def _laz_chunks(stream, points_at: int, size: int) -> int:
    """How many chunks the table of a LAZ file says it has; 0 where there is no table."""
    for place in (points_at, size - 8):  # written at the end when the writer could not go back
        stream.seek(max(place, 0))
        at = int.from_bytes(stream.read(8), "little", signed=True)
        if at != -1:
            break
    if not 0 <= at <= size - 8:
        return 0
    stream.seek(at + 4)
    return int.from_bytes(stream.read(4), "little")


def _las(path: Path) -> Iterator[Chunk]:
    import laspy

    _check_las(path)
    # one thread: in a second one a spoiled file would end the whole process
    with laspy.open(path, laz_backend=laspy.LazBackend.Lazrs) as file:
        header = file.header
        compressed = bool(header.are_points_compressed)
        _declared(header.point_count, path, LEAST_BYTES if compressed else header.point_format.size)
        names = set(header.point_format.dimension_names)
        for rows in file.chunk_iterator(CHUNK):
            keep = np.ones(len(rows), bool)
            if "withheld" in names:
                keep &= ~np.asarray(rows["withheld"], bool)
            if "classification" in names:
                keep &= ~np.isin(np.asarray(rows["classification"]), _NOISE)
            points = np.stack([np.asarray(getattr(rows, name), np.float64) for name in _AXES], 1)
            colours = None
            if {"red", "green", "blue"} <= names:
                colours = np.stack([np.asarray(rows[name]) for name in ("red", "green", "blue")], 1)[keep]
            yield points[keep], colours


def _e57(path: Path) -> Iterator[Chunk]:
    import pye57

    with pye57.E57(os.fspath(path)) as file:
        for index in range(file.scan_count):
            yield from _e57_scan(file, file.get_header(index), path)


def _e57_scan(file, header, path: Path) -> Iterator[Chunk]:
    """The points of one standpoint, moved to where the file says that it stood. file, header: pye57's."""
    from pye57 import libe57
    from pye57.utils import convert_spherical_to_cartesian

    _declared(header.point_count, path)
    there = set(header.point_fields)
    kind = "cartesian" if "cartesianX" in there else "spherical"
    axes = [kind + name for name in (("X", "Y", "Z") if kind == "cartesian" else ("Range", "Azimuth", "Elevation"))]
    colour = [name for name in ("colorRed", "colorGreen", "colorBlue") if name in there]
    wanted = [*axes, *colour, *([f"{kind}InvalidState"] if f"{kind}InvalidState" in there else [])]
    if not set(axes) <= there:
        raise ValueError("a standpoint has no coordinates")
    capacity = max(1, min(CHUNK, header.point_count))
    arrays = {name: np.zeros(capacity) for name in wanted}
    buffers = libe57.VectorSourceDestBuffer()
    for name, array in arrays.items():
        buffers.append(libe57.SourceDestBuffer(file.image_file, name, array, capacity, True, True))
    rotation, translation = header.rotation_matrix, header.translation
    reader = header.points.reader(buffers)
    try:
        while count := reader.read():
            keep = arrays[f"{kind}InvalidState"][:count] == 0 if f"{kind}InvalidState" in arrays else np.ones(count, bool)
            points = np.stack([arrays[name][:count] for name in axes], 1)[keep]
            if kind == "spherical":
                points = convert_spherical_to_cartesian(points)
            colours = np.stack([arrays[name][:count] for name in colour], 1)[keep] if len(colour) == 3 else None
            yield points @ rotation.T + translation, colours
    finally:
        reader.close()


READERS: dict[str, Callable[[Path], Iterator[Chunk]]] = {".ply": _ply, ".las": _las, ".laz": _las, ".e57": _e57}
