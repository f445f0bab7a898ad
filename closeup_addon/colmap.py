"""COLMAP's sparse models, text and binary: https://colmap.github.io/format.html. No bpy: any thread may call this.

COLMAP and the job agree on cameras: x right, y down, z forward, pixel centres at +0.5.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from ..engine.job import Camera
from . import reconstruction as known
from .errors import CloseUpError
from .reconstruction import Distortion, Reconstruction, View

MODELS = {
    "SIMPLE_PINHOLE": (0, 3), "PINHOLE": (1, 4), "SIMPLE_RADIAL": (2, 4), "RADIAL": (3, 5), "OPENCV": (4, 8),
    "OPENCV_FISHEYE": (5, 8), "FULL_OPENCV": (6, 12), "FOV": (7, 5), "SIMPLE_RADIAL_FISHEYE": (8, 4),
    "RADIAL_FISHEYE": (9, 5), "THIN_PRISM_FISHEYE": (10, 12), "RAD_TAN_THIN_PRISM_FISHEYE": (11, 16),
}  # fmt: skip
"""Number and count of parameters of each of COLMAP's lens models."""
_NAMES = {number: name for name, (number, _) in MODELS.items()}
_ONE_FOCAL = {"SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE"}
_UNSUPPORTED = {"FOV", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE"}
_SUBFOLDERS = ("", "sparse/0", "sparse", "0", "dense/sparse", "colmap/sparse/0")
_POINT2D = 24


# --- reading -------------------------------------------------------------------------


def read(folder: Path, images: Path | None = None) -> Reconstruction:
    """The model in a folder or where COLMAP puts it below. images: where the photos are; looked for when None.

    Raises CloseUpError for what is no model or a damaged one.
    """
    place = next((folder / name for name in _SUBFOLDERS if _suffix(folder / name)), None)
    if place is None:
        raise CloseUpError(f"{folder.name} holds no COLMAP model; choose the folder with cameras.bin or cameras.txt.")
    suffix = _suffix(place)
    try:
        source = (_Lines if suffix == ".txt" else _Bytes)(place)
        return _assembled(source, place, [images] if images else _image_folders(place))
    except OSError as error:
        raise CloseUpError(f"The model in {place} cannot be read ({error.strerror}); copy it again.") from None
    except (struct.error, ValueError, IndexError, UnicodeDecodeError, OverflowError):
        raise CloseUpError(f"The model in {place} is damaged or cut short; export it again.") from None


def _suffix(place: Path) -> str:
    return next((s for s in (".bin", ".txt") if all((place / f"{n}{s}").is_file() for n in ("cameras", "images"))), "")


def _image_folders(place: Path) -> list[Path]:
    parents = [place, *list(place.parents)[:3]]
    return [folder for parent in parents for folder in (parent / "images", parent) if folder.is_dir()]


def _assembled(source, place: Path, folders: list[Path]) -> Reconstruction:
    """The records of either format, put together."""
    lenses = dict(source.cameras())
    result = Reconstruction()
    for quaternion, translation, camera_id, name in source.images():
        if camera_id not in lenses:
            raise CloseUpError(f"The model in {place} has no camera for {name}; export it again.")
        if len(result.views) == known.MAX_VIEWS:
            raise CloseUpError(f"The model in {place} has more than {known.MAX_VIEWS} photos; take a part of it.")
        model, width, height, parameters = lenses[camera_id]
        matrix = _world_from_camera(quaternion, translation)
        camera = known.checked_camera(width, height, *_pinhole(model, parameters), matrix, name)
        view = View(name, camera, known.find_image(name, folders), distortion=_distortion(model, parameters))
        result.views.append(view)
    if not result.views:
        raise CloseUpError(f"The model in {place} has no photos; choose another.")
    result.views.sort(key=lambda view: view.name)
    result.positions, result.colors = source.points()
    return result


def _world_from_camera(quaternion, translation) -> list[list[float]]:
    r = known.rotation_of(quaternion)
    centre = [-sum(r[j][i] * translation[j] for j in range(3)) for i in range(3)]
    return [[r[0][i], r[1][i], r[2][i], centre[i]] for i in range(3)] + [[0.0, 0.0, 0.0, 1.0]]


def _pinhole(model: str, p) -> tuple[float, float, float, float]:
    return (p[0], p[0], p[1], p[2]) if model in _ONE_FOCAL else (p[0], p[1], p[2], p[3])


def _distortion(model: str, p) -> Distortion:
    if model in _UNSUPPORTED:
        return Distortion(unknown=model)
    rest = tuple(p[3:] if model in _ONE_FOCAL else p[4:])
    if model.endswith("FISHEYE"):
        return Distortion(fisheye=True, radial=rest)
    if model == "OPENCV":
        return Distortion(radial=rest[:2], tangential=rest[2:4])
    if model == "FULL_OPENCV":
        return Distortion(radial=(*rest[:2], rest[4]), divisor=rest[5:8], tangential=rest[2:4])
    return Distortion(radial=rest)


class _Bytes:
    """cameras.bin, images.bin and points3D.bin; every count is checked against the size of its file."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def _map(self, name: str):
        with open(self._place / name, "rb") as stream:
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    def cameras(self) -> Iterator:
        """(id, (model, width, height, parameters))."""
        with self._map("cameras.bin") as data:
            at = 8
            for _ in range(_count(data, 24)):
                number, model, width, height = struct.unpack_from("<iiQQ", data, at)
                if model not in _NAMES:
                    raise _unknown_lens(model)
                name = _NAMES[model]
                parameters = struct.unpack_from(f"<{MODELS[name][1]}d", data, at + 24)
                at += 24 + 8 * len(parameters)
                yield number, (name, width, height, parameters)

    def images(self) -> Iterator:
        """(quaternion w x y z, translation, camera id, name)."""
        with self._map("images.bin") as data:
            at = 8
            for _ in range(_count(data, 73)):
                values = struct.unpack_from("<i7di", data, at)
                end = data.find(b"\0", at + 64, at + 64 + 4096)
                if end < 0:
                    raise ValueError
                name = data[at + 64 : end].decode("utf-8")
                (points,) = struct.unpack_from("<Q", data, end + 1)
                at = end + 9 + _POINT2D * points
                if at > len(data):
                    raise ValueError
                yield values[1:5], values[5:8], values[8], name

    def points(self):
        """(N, 3) float64 positions and (N, 3) uint8 colours, or None twice."""
        import numpy as np

        path = self._place / "points3D.bin"
        if not path.is_file() or path.stat().st_size <= 8:
            return None, None
        with self._map(path.name) as data:
            count = _count(data, 51)
            if count > known.MAX_POINTS:
                raise CloseUpError(f"The model in {self._place} has {count} points; {known.MAX_POINTS} is the most.")
            positions, colors = np.empty((count, 3)), np.empty((count, 3), np.uint8)
            at, record = 8, struct.Struct("<Q3d3BdQ")
            for index in range(count):
                values = record.unpack_from(data, at)
                positions[index], colors[index] = values[1:4], values[4:7]
                at += 51 + 8 * values[8]
            if at > len(data):
                raise ValueError
        return positions, colors


def _unknown_lens(model: object) -> CloseUpError:
    return CloseUpError(f"The model has photos of a lens model that is not known ({model!s:.40}); undistort them in COLMAP.")


def _count(data, smallest: int) -> int:
    """How many records a file says it holds, which cannot be more than fit into it."""
    (count,) = struct.unpack_from("<Q", data, 0)
    if count * smallest > len(data):
        raise ValueError
    return count


class _Lines:
    """cameras.txt, images.txt and points3D.txt."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def _lines(self, name: str) -> Iterator[str]:
        with open(self._place / name, encoding="utf-8") as stream:
            for line in stream:
                if not line.startswith("#"):
                    yield line.strip()

    def cameras(self) -> Iterator:
        """(id, (model, width, height, parameters))."""
        for line in self._lines("cameras.txt"):
            if line:
                number, model, width, height, *parameters = line.split()
                if model not in MODELS:
                    raise _unknown_lens(model)
                if len(parameters) != MODELS[model][1]:
                    raise ValueError
                yield int(number), (model, int(width), int(height), tuple(map(float, parameters)))

    def images(self) -> Iterator:
        """(quaternion w x y z, translation, camera id, name)."""
        lines = self._lines("images.txt")
        for line in lines:
            if line:
                words = line.split(maxsplit=9)
                values = tuple(map(float, words[1:8]))
                yield values[:4], values[4:], int(words[8]), words[9]
                next(lines, None)  # the photo's features, which may be none

    def points(self):
        """(N, 3) float64 positions and (N, 3) uint8 colours, or None twice."""
        import numpy as np

        if not (self._place / "points3D.txt").is_file():
            return None, None
        rows = [line.split(maxsplit=7)[1:7] for line in self._lines("points3D.txt") if line]
        if not rows:
            return None, None
        values = np.array(rows, dtype=np.float64).reshape(len(rows), 6)
        return values[:, :3], np.clip(values[:, 3:6], 0, 255).astype(np.uint8)


# --- writing -------------------------------------------------------------------------


def write(place: Path, what: Reconstruction, binary: bool = True) -> None:
    """cameras, images and points3D in ``place``, which is made: a PINHOLE camera of its own per photo, points without tracks."""
    place.mkdir(parents=True, exist_ok=True)
    poses = [_camera_from_world(view.camera) for view in what.views]
    (_write_bytes if binary else _write_text)(place, what, poses)


def _camera_from_world(camera: Camera) -> tuple[tuple, tuple]:
    """(quaternion, translation) as COLMAP has them."""
    m = camera.world_from_camera
    r = [[m[j][i] for j in range(3)] for i in range(3)]
    return known.quaternion_of(r), tuple(-sum(r[i][j] * m[j][3] for j in range(3)) for i in range(3))


def _write_bytes(place: Path, what: Reconstruction, poses: list) -> None:
    import numpy as np

    with open(place / "cameras.bin", "wb") as stream:
        stream.write(struct.pack("<Q", len(what.views)))
        for number, view in enumerate(what.views, 1):
            c = view.camera
            stream.write(struct.pack("<iiQQ4d", number, MODELS["PINHOLE"][0], c.width, c.height, c.fx, c.fy, c.cx, c.cy))
    with open(place / "images.bin", "wb") as stream:
        stream.write(struct.pack("<Q", len(what.views)))
        for number, (view, (quaternion, translation)) in enumerate(zip(what.views, poses), 1):
            stream.write(struct.pack("<i7di", number, *quaternion, *translation, number))
            stream.write(view.name.encode("utf-8") + b"\0" + struct.pack("<Q", 0))
    count = 0 if what.positions is None else len(what.positions)
    layout = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track", "<u8")])
    records = np.zeros(count, layout)
    if count:
        records["id"], records["xyz"], records["rgb"] = np.arange(1, count + 1), what.positions, what.colors
    with open(place / "points3D.bin", "wb") as stream:
        stream.write(struct.pack("<Q", count))
        stream.write(records.tobytes())


def _write_text(place: Path, what: Reconstruction, poses: list) -> None:
    with open(place / "cameras.txt", "w", encoding="utf-8") as stream:
        for number, view in enumerate(what.views, 1):
            c = view.camera
            stream.write(f"{number} PINHOLE {c.width} {c.height} {c.fx!r} {c.fy!r} {c.cx!r} {c.cy!r}\n")
    with open(place / "images.txt", "w", encoding="utf-8") as stream:
        for number, (view, (quaternion, translation)) in enumerate(zip(what.views, poses), 1):
            stream.write(" ".join(map(repr, (number, *quaternion, *translation, number))) + f" {view.name}\n\n")
    with open(place / "points3D.txt", "w", encoding="utf-8") as stream:
        for number in range(0 if what.positions is None else len(what.positions)):
            x, y, z = (float(value) for value in what.positions[number])
            red, green, blue = (int(value) for value in what.colors[number])
            stream.write(f"{number + 1} {x!r} {y!r} {z!r} {red} {green} {blue} 0\n")
