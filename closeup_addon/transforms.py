"""transforms.json, as nerfstudio and instant-ngp read and write it. No bpy: any thread may call this.

Cameras there are OpenGL's, which are Blender's too: x right, y up, looking along -z; pixel centres at +0.5.
https://docs.nerf.studio/quickstart/data_conventions.html
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from . import ply
from . import reconstruction as known
from .errors import CloseUpError
from .reconstruction import Distortion, Reconstruction, View

MAX_BYTES = 256 << 20
POINTS = "points.ply"
_FLIP = (1.0, -1.0, -1.0, 1.0)
_SUFFIXES = ("", ".png", ".jpg", ".jpeg")
"""Synthetic scenes leave the suffix out."""
_LENSES = {"PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"}


# --- reading -------------------------------------------------------------------------


def read(path: Path) -> Reconstruction:
    """The photos and points that a transforms.json names. Raises CloseUpError for what is none or a damaged one."""
    data = _load(path)
    frames = data.get("frames")
    if not isinstance(frames, list) or not frames:
        raise CloseUpError(f"{path.name} has no frames; choose a transforms.json of nerfstudio or instant-ngp.")
    if len(frames) > known.MAX_VIEWS:
        raise CloseUpError(f"{path.name} has more than {known.MAX_VIEWS} photos; take a part of it.")
    result = Reconstruction()
    for frame in frames:
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise CloseUpError(f"{path.name} has a frame without a file_path; write it again.")
        result.views.append(_view({**data, **frame}, path))
    if isinstance(data.get("ply_file_path"), str):
        _read_points(result, known.find_image(data["ply_file_path"], [path.parent]))
    return result


def _load(path: Path) -> dict:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CloseUpError(f"{path.name} is larger than {MAX_BYTES >> 20} MB; take a part of it.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CloseUpError(f"{path.name} cannot be read ({error.strerror}); choose another file.") from None
    except (ValueError, RecursionError):
        raise CloseUpError(f"{path.name} is not valid JSON; write it again.") from None
    if not isinstance(data, dict):
        raise CloseUpError(f"{path.name} is no transforms.json; choose another file.")
    return data


def _view(data: dict, path: Path) -> View:
    """One frame, its own values before those of the whole file."""
    name = data["file_path"]
    image = next((found for s in _SUFFIXES if (found := known.find_image(name + s, [path.parent]))), None)
    width, height = _size(data, image, name)
    fx = _focal(data, "x", width)
    fy = _focal(data, "y", height) or fx
    fx = fx or fy
    if not fx:
        raise CloseUpError(f"{path.name} does not tell the focal length of {name}; write it again.")
    cx, cy = (_number(data, key, side / 2) for key, side in (("cx", width), ("cy", height)))
    camera = known.checked_camera(width, height, fx, fy, cx, cy, _matrix(data.get("transform_matrix"), name), name)
    mask = data.get("mask_path")
    mask = known.find_image(mask, [path.parent]) if isinstance(mask, str) else None
    return View(name.replace("\\", "/").rpartition("/")[2], camera, image, mask, _distortion(data))


def _number(data: dict, key: str, default: float = 0.0) -> float:
    value = data.get(key, default)
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an integer of hundreds of digits
        pass
    raise CloseUpError(f"{key} in transforms.json is no number; write the file again.")


def _focal(data: dict, axis: str, side: int) -> float:
    """Pixels; 0 when neither a focal length nor an angle of view is there."""
    focal, angle = _number(data, f"fl_{axis}"), _number(data, f"camera_angle_{axis}")
    if focal <= 0 and 0 < angle < math.pi:
        focal = side / 2 / math.tan(angle / 2)
    return focal


def _size(data: dict, image: Path | None, name: str) -> tuple[int, int]:
    width, height = _number(data, "w"), _number(data, "h")
    if width >= 1 and height >= 1:
        return int(width), int(height)
    found = image_size(image) if image else None
    if not found:
        raise CloseUpError(f"transforms.json does not tell the size of {name}, and the photo cannot be read; put it beside it.")
    return found


def _matrix(value, name: str) -> list[list[float]]:
    """``world_from_camera`` in the job's convention; a rotation that is scaled or not quite one is made one."""
    import numpy as np

    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.zeros(0)
    if matrix.shape not in {(4, 4), (3, 4)} or not np.isfinite(matrix).all():
        raise CloseUpError(f"The transform_matrix of {name} is no 4×4 matrix; write the file again.")
    left, scales, right = np.linalg.svd(matrix[:3, :3])
    rotation = left @ right
    if np.linalg.det(rotation) < 0 or scales[2] < 0.9 * scales[0] or scales[2] <= 0:
        raise CloseUpError(f"The transform_matrix of {name} is mirrored or stretched; write the file again.")
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = rotation, matrix[:3, 3]
    return (result * np.array(_FLIP)).tolist()


def _distortion(data: dict) -> Distortion:
    lens = data.get("camera_model") or ("OPENCV_FISHEYE" if data.get("is_fisheye") is True else "OPENCV")
    if not isinstance(lens, str) or lens not in _LENSES:
        return Distortion(unknown=str(lens)[:40])
    radial = tuple(_number(data, f"k{i}") for i in range(1, 5))
    if lens == "OPENCV_FISHEYE":
        return Distortion(fisheye=True, radial=radial)
    return Distortion(radial=radial, tangential=(_number(data, "p1"), _number(data, "p2")))


def _read_points(result: Reconstruction, path: Path | None) -> None:
    """The cloud beside the file; one that cannot be read is a warning, since the cameras are worth having without it."""
    import numpy as np

    if path is None:
        result.warnings.append("The point cloud that transforms.json names is missing.")
        return
    try:
        data = ply.read(path)
    except CloseUpError:
        result.warnings.append(f"The points in {path.name} cannot be read; only binary little-endian PLY files can.")
        return
    result.positions = np.stack([data[axis] for axis in "xyz"], axis=-1).astype(np.float64)
    channels = [data[name] if name in data.dtype.names else 255 for name in ("red", "green", "blue")]
    result.colors = np.stack(np.broadcast_arrays(data["x"], *channels)[1:], axis=-1).astype(np.uint8)


def image_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a PNG or JPEG as stored, from its header; None for anything else."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(26)
            if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 24:
                return struct.unpack(">II", head[16:24])
            return _jpeg_size(stream) if head[:2] == b"\xff\xd8" else None
    except (OSError, struct.error):
        return None


def _jpeg_size(stream) -> tuple[int, int] | None:
    """From the first start-of-frame segment."""
    stream.seek(2)
    for _ in range(1000):
        marker, kind, length = struct.unpack(">BBH", stream.read(4))
        if marker != 0xFF:
            return None
        if 0xC0 <= kind <= 0xCF and kind not in {0xC4, 0xC8, 0xCC}:
            _, height, width = struct.unpack(">BHH", stream.read(5))
            return width, height
        stream.seek(length - 2, 1)
    return None


# --- writing -------------------------------------------------------------------------


def write(path: Path, what: Reconstruction, images: str = "images", masks: str = "masks") -> None:
    """transforms.json and the points beside it; the photos' and masks' files are named as if they lay in these folders."""
    import numpy as np

    frames = []
    for view in what.views:
        c = view.camera
        frame = {
            "file_path": f"{images}/{view.name}",
            "w": c.width, "h": c.height, "fl_x": c.fx, "fl_y": c.fy, "cx": c.cx, "cy": c.cy,
            "transform_matrix": (np.array(c.world_from_camera) * np.array(_FLIP)).tolist(),
        }  # fmt: skip
        if view.mask:
            frame["mask_path"] = f"{masks}/{view.name}.png"
        frames.append(frame)
    data = {"camera_model": "PINHOLE", "frames": frames}
    if what.positions is not None and len(what.positions):
        data["ply_file_path"] = POINTS
        _write_points(path.with_name(POINTS), what)
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")


def _write_points(path: Path, what: Reconstruction) -> None:
    import numpy as np

    layout = np.dtype([*((axis, "<f4") for axis in "xyz"), *((name, "u1") for name in ("red", "green", "blue"))])
    records = np.empty(len(what.positions), layout)
    for index, (axis, name) in enumerate(zip("xyz", ("red", "green", "blue"))):
        records[axis], records[name] = what.positions[:, index], what.colors[:, index]
    kinds = {"<f4": "float", "|u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(records)}"]
    header += [f"property {kinds[layout[name].str]} {name}" for name in layout.names]
    with open(path, "wb") as stream:
        stream.write("\n".join([*header, "end_header", ""]).encode("ascii"))
        stream.write(records.tobytes())
