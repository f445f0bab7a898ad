"""Depth a user gives with a photo: .npy arrays and Blender's (or anyone's) OpenEXR passes."""

from __future__ import annotations

import math
import tokenize
from pathlib import Path

import cv2
import numpy as np
import OpenEXR

from ..progress import EngineError
from .exr_header import MAX_PIXELS, check_size

SKY_FROM = 1e9
"""z-depth from which on a pixel is sky; Blender writes 1e10."""
_BROKEN = (ValueError, KeyError, TypeError, EOFError, SyntaxError, OverflowError, RecursionError, tokenize.TokenError)
"""What NumPy raises on damaged headers, which it reads as Python."""
_CHANNELS = ("Z", "V", "Y", "R")


def read(path: Path) -> np.ndarray:
    """z-depth (H, W) float32 in scene units; unknown = 0 (also NaN and negative), sky = inf (also 1e9 and more).

    Raises EngineError naming the file when it is no depth.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        values = _read_npy(path)
    elif suffix == ".exr":
        values = _read_exr(path)
    else:
        raise EngineError(f"The depth {path.name} is neither .npy nor .exr; save it as one of these.", "bad-depth")
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values.reshape(values.shape[1:] if values.shape[0] == 1 else values.shape[:2])
    if values.ndim != 2 or values.size == 0:
        shape = " × ".join(map(str, values.shape)) or "a single value"
        raise EngineError(f"The depth {path.name} has the shape {shape}; it must be height × width.", "bad-depth")
    return clean(values)


def clean(values: np.ndarray) -> np.ndarray:
    """Any numbers to the engine's convention: 0 unknown, inf sky, float32."""
    with np.errstate(over="ignore"):
        depth = np.array(values, dtype=np.float32)
    depth[~(depth > 0)] = 0  # NaN compares false, so it becomes unknown too
    depth[depth >= SKY_FROM] = np.inf
    return depth


def fitted(depth: np.ndarray, width: int, height: int, name: str) -> np.ndarray:
    """``depth`` at another size of the same aspect; the nearest sample, so that no depth between two surfaces is made up.

    Raises EngineError when the aspect is another one.
    """
    rows, columns = depth.shape
    if not same_aspect(columns, rows, width, height):
        raise EngineError(
            f"The depth {name} is {columns} × {rows} and its photo {width} × {height}; give a depth of the photo's proportions.",
            "bad-depth",
        )
    if (columns, rows) == (width, height):
        return depth
    return cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def same_aspect(width: int, height: int, other_width: int, other_height: int) -> bool:
    """Whether two sizes show the same picture: equal proportions but for rounding to whole pixels (or 0.5 %)."""
    across, down = width / other_width, height / other_height
    rounding = max(1 / min(other_width, other_height), 1 / min(width, height))
    return abs(across / down - 1) <= max(0.005, min(rounding, 0.05))


def _read_npy(path: Path) -> np.ndarray:
    try:
        _check_npy(path)
        values = np.load(path, allow_pickle=False)
    except (OSError, MemoryError, *_BROKEN) as error:
        raise EngineError(
            f"The depth {path.name} cannot be read as .npy ({_short(error)}); save it again.", "bad-depth"
        ) from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise EngineError(f"The depth {path.name} does not hold real numbers; save it as a float32 array.", "bad-depth")
    return values


def _check_npy(path: Path) -> None:
    """Raise ValueError when the header declares more than the file holds or than is read."""
    with open(path, "rb") as stream:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError("its version is not known")
        shape, _, dtype = readers[version](stream)
        held = path.stat().st_size - stream.tell()
    count = math.prod(shape)
    if count > MAX_PIXELS:
        raise ValueError(f"it declares {count / 1e6:.0f} million values")
    if not dtype.hasobject and count * dtype.itemsize > held:
        raise ValueError("it is cut short")


def _read_exr(path: Path) -> np.ndarray:
    planes = read_exr_planes(path, "depth")
    # Blender's multilayer files hold Normal.Z and Position.Z too: what is called depth comes first.
    names = sorted(planes, key=lambda name: ("." in name, "depth" not in name.lower()))
    for wanted in _CHANNELS:
        for name in names:
            parts = name.upper().split(".")
            if parts[-1] == wanted and not {"NORMAL", "POSITION", "VECTOR", "COMBINED"} & set(parts):
                return planes[name]
    known = ", ".join(planes) or "none"
    raise EngineError(f"The depth {path.name} has no channel Z, V, Y or R (it has {known}); save the Z pass.", "bad-depth")


def read_exr_planes(path: Path, kind: str) -> dict[str, np.ndarray]:
    """Every channel of every part of an EXR, each (H, W), depth channels first as they stand in the file.

    Raises EngineError naming the file, with ``kind`` ("depth", "photo") telling what it was to be.
    """
    try:
        count = check_size(path)
        with OpenEXR.File(str(path), separate_channels=True) as file:
            if len(file.parts) < count:  # of what it cannot decode, OpenEXR only warns
                raise ValueError("it is damaged or cut short")
            planes = {}
            for part in file.parts:
                prefix = part.header.get("name", "")
                for name, channel in part.channels.items():
                    key = name if name not in planes else f"{prefix}.{name}"
                    planes[key] = np.array(channel.pixels)
    except (OSError, RuntimeError, ValueError, MemoryError, TypeError, KeyError, IndexError) as error:
        raise EngineError(
            f"The {kind} {path.name} cannot be read as OpenEXR ({_short(error)}); save it again.", f"bad-{kind}"
        ) from None
    return planes


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "…"
