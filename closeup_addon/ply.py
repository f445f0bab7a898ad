"""Reads the engine's point clouds: binary little-endian PLY with one ``vertex`` element."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import CloseUpError

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "<i2", "int16": "<i2", "ushort": "<u2", "uint16": "<u2",
    "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4", "float": "<f4", "float32": "<f4", "double": "<f8",
    "float64": "<f8",
}  # fmt: skip
_MAX_HEADER = 1 << 16
MAX_POINTS = 50_000_000


def read(path: Path):
    """A numpy record array with one field per property (x, y, z, red, …). Raises CloseUpError."""
    import numpy as np  # not at the top: some builds of Blender come without it, and must still enable the extension

    path = Path(path)
    try:
        with open(path, "rb") as stream:
            names, count = _header(stream, path)
            kind = np.dtype(names)
            if count * kind.itemsize > os.fstat(stream.fileno()).st_size - stream.tell():  # asked before any memory is
                raise CloseUpError(f"{path.name} ends too early; run the job again.")
            return np.fromfile(stream, dtype=kind, count=count)
    except OSError as error:
        raise CloseUpError(f"{path.name} cannot be read ({error.strerror}); run the job again.") from None


def _header(stream, path: Path) -> tuple[list[tuple[str, str]], int]:
    """The vertex's properties as a numpy dtype, and how many there are; the stream then stands at the first of them."""
    wrong = CloseUpError(f"{path.name} is not a point cloud of CloseUp; run the job again.")
    if stream.readline(8).strip() != b"ply":
        raise wrong
    names, count, element, form = [], None, "", ""
    while (line := stream.readline(_MAX_HEADER)).strip() != b"end_header":
        if not line or stream.tell() > _MAX_HEADER:
            raise wrong
        words = line.decode("ascii", "replace").split()
        if words[:1] == ["format"] and len(words) == 3:
            form = words[1]
        elif words[:1] == ["element"] and len(words) == 3 and words[2].isdigit() and len(words[2]) < 12:
            element = words[1]
            count = int(words[2]) if element == "vertex" else count
        elif words[:1] == ["property"] and element == "vertex":
            if len(words) != 3 or words[1] not in _TYPES:
                raise wrong
            names.append((words[2], _TYPES[words[1]]))
    known = {name for name, _ in names}
    if form != "binary_little_endian" or count is None or count > MAX_POINTS or not {"x", "y", "z"} <= known:
        raise wrong
    if len(known) != len(names):
        raise wrong
    return names, count
