"""Point clouds as PLY files (binary, little endian), as MeshLab, Blender and trimesh read them."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from plyfile import PlyData, PlyElement, PlyParseError

from ..progress import EngineError
from ..records import PointCloud

MAX_HEADER = 1 << 16
BROKEN = (PlyParseError, KeyError, ValueError, IndexError, MemoryError, OverflowError, TypeError)
"""What is raised for a file that is no PLY."""
_LAYOUT = [
    *((name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")),
    *((name, "u1") for name in ("red", "green", "blue")),
    ("confidence", "<f4"),
    ("source", "<i2"),
]


def write(path: str | os.PathLike, cloud: PointCloud) -> None:
    """Write ``cloud`` to ``path``, exactly there; renaming into place is the caller's concern."""
    rows = np.empty(len(cloud), dtype=_LAYOUT)
    vectors = np.concatenate([cloud.points, cloud.normals], axis=1)
    for axis, (name, _) in enumerate(_LAYOUT[:6]):
        rows[name] = vectors[:, axis]
    for axis, name in enumerate(("red", "green", "blue")):
        rows[name] = cloud.colors[:, axis]
    rows["confidence"], rows["source"] = cloud.confidence, cloud.source
    PlyData([PlyElement.describe(rows, "vertex")], text=False, byte_order="<").write(os.fspath(path))


def read(path: str | os.PathLike) -> PointCloud:
    """The cloud of a PLY file. Colours default to grey, confidence to 1, normals and source to 0.

    Raises EngineError when the file is missing, is no PLY file or holds no vertices with x, y and z.
    """
    try:
        vertex = vertices(path)
    except FileNotFoundError:
        raise EngineError(f"There is no point cloud at {path}; run the job again to make it.", "cloud") from None
    except OSError as error:
        raise EngineError(f"The point cloud {path} cannot be read ({error.strerror}); check the file.", "cloud") from None
    except BROKEN:
        raise EngineError(
            f"{path} is not a point cloud in PLY format; run the job again, or export it as .ply with vertices.", "cloud"
        ) from None
    names = vertex.dtype.names or ()
    if not has_numbers(vertex, ("x", "y", "z")) or not has_numbers(vertex, [name for name in names if name in dict(_LAYOUT)]):
        raise EngineError(
            f"{path} has no vertices with x, y and z; run the job again, or export it as .ply with vertices.", "cloud"
        )

    def columns(wanted: tuple[str, ...], dtype, default) -> np.ndarray:
        if set(wanted) <= set(names):
            return np.stack([np.asarray(vertex[name]) for name in wanted], axis=1).astype(dtype)
        return np.full((len(vertex), len(wanted)), default, dtype)

    return PointCloud(
        points=columns(("x", "y", "z"), np.float32, 0),
        colors=columns(("red", "green", "blue"), np.uint8, 128),
        normals=columns(("nx", "ny", "nz"), np.float32, 0),
        confidence=columns(("confidence",), np.float32, 1)[:, 0],
        source=columns(("source",), np.int16, 0)[:, 0],
    )


def vertices(path: str | os.PathLike) -> np.ndarray:
    """The vertices of a PLY file as they stand in it, one record each; those of a binary file stay on the disk until they are
    used. Raises OSError, or one of BROKEN."""
    _check_counts(path)
    return PlyData.read(os.fspath(path))["vertex"].data


def has_numbers(vertex: np.ndarray, names: Iterable[str]) -> bool:
    """Whether records have all these fields, with a number in each."""
    known = vertex.dtype.names or ()
    return all(name in known and vertex.dtype[name].kind in "iuf" for name in names)


def _check_counts(path: str | os.PathLike) -> None:
    """Raise ValueError when the header is endless or declares more rows than the file has bytes."""
    with open(path, "rb") as stream:
        size, declared = os.fstat(stream.fileno()).st_size, 0
        while (line := stream.readline(MAX_HEADER)).strip() != b"end_header":
            if not line or stream.tell() > MAX_HEADER:
                raise ValueError("The header does not end.")
            words = line.split()
            if words[:1] == [b"element"]:
                declared += int(words[-1])
                if not 0 <= declared <= size:
                    raise ValueError("The file is cut short.")
