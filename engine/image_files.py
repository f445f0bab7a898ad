"""Image files of any kind to sRGB-coded floats, with bounded memory and errors that name the file."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms

from .color import srgb_from_linear
from .file_errors import file_error, is_gone
from .geometry.depth_files import read_exr_planes
from .geometry.exr_header import MAX_PIXELS
from .progress import EngineError

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "BMP", "DIB", "TGA", "JPEG2000", "PPM", "GIF", "SGI", "DDS", "PSD")
"""What Pillow is let open. Not PostScript, for which it starts another program, and no rarely tried ones."""
_LARGE = 40_000_000
"""Pixels; above, a picture is box-averaged while Pillow holds it, before any copy of it is made."""
_DEEP = 50_000_000
"""Pixels; above, 16-bit files are read with 8 bits, to bound the memory."""
_FLAT_MODES = {
    "1": "L",
    "P": "RGB",
    "LA": "RGBA",
    "La": "RGBA",
    "PA": "RGBA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
}
# What orientation 2..8 of EXIF says must be done to the stored pixels.
_TURNS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF_IFD, _ORIENTATION = 0x8769, 0x0112
_FOCAL, _FOCAL_35MM, _PLANE_X, _PLANE_Y, _PLANE_UNIT, _PIXELS_X = 0x920A, 0xA405, 0xA20E, 0xA20F, 0xA210, 0xA002
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_DIAGONAL_35MM = float(np.hypot(36.0, 24.0))


@dataclass(frozen=True)
class Picture:
    """A decoded image file, as stored (not turned).

    rgb: (H, W, 3) float32, sRGB-coded, 0..1. usable: (H, W) bool, alpha at least one half. full_size: (width, height) before
    it was shrunk. orientation: EXIF's 1..8. focal_35mm: 35 mm equivalent focal length from EXIF (mm), or None.
    """

    rgb: np.ndarray
    usable: np.ndarray
    full_size: tuple[int, int]
    orientation: int = 1
    focal_35mm: float | None = None

    @property
    def swaps_sides(self) -> bool:
        """Whether turning it upright exchanges width and height."""
        return self.orientation >= 5

    def upright(self) -> Picture:
        """Turned as EXIF says."""
        if self.orientation == 1:
            return self
        turn = _TURNS[self.orientation]
        size = self.full_size[::-1] if self.swaps_sides else self.full_size
        rgb, usable = (np.ascontiguousarray(turn(a)) for a in (self.rgb, self.usable))
        return replace(self, rgb=rgb, usable=usable, full_size=size, orientation=1)


def read_picture(path: Path, name: str, max_size: int | None, kind: str = "photo") -> Picture:
    """Read an image file, its longest side area-averaged down to ``max_size`` pixels (None: as it is).

    name and kind are for messages. Raises EngineError with one sentence for what cannot be read.
    """
    try:
        if path.suffix.lower() == ".exr":
            return _read_exr(path, name, max_size, kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own size and EXIF warnings; we have our bound
            return _read_with_pillow(path, name, max_size, kind)
    except FileNotFoundError:
        raise EngineError(f"The {kind} {name} is missing; put the file back or remove it.", "bad-photo") from None
    except MemoryError:
        raise EngineError(f"There is not enough memory to read the {kind} {name}; make it smaller.", "memory") from None
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, ArithmeticError, cv2.error) as error:
        # Pillow's plug-ins raise any of these on damaged files.
        if is_gone(error):
            raise file_error(error, path) from None
        raise EngineError(f"The {kind} {name} {_complaint(path, error)}", "bad-photo") from None


def _complaint(path: Path, error: Exception) -> str:
    if path.is_file() and path.stat().st_size == 0:
        return "is an empty file; copy it again."
    if isinstance(error, PermissionError):
        return "cannot be opened; check its permissions."
    if isinstance(error, Image.UnidentifiedImageError) or not isinstance(error, OSError):
        return "is not an image that can be read; save it as JPEG, PNG, TIFF or EXR."
    return "is damaged or cut short; copy it again or save it anew."


def _read_with_pillow(path: Path, name: str, max_size: int | None, kind: str) -> Picture:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path, formats=FORMATS) as image:
            full_size = image.size
            if full_size[0] * full_size[1] > MAX_PIXELS:
                raise EngineError(
                    f"The {kind} {name} has {full_size[0] * full_size[1] / 1e6:.0f} megapixels; "
                    f"{MAX_PIXELS / 1e6:.0f} is the most, make it smaller.",
                    "large-photo",
                )
            # Asked first: reading EXIF makes Pillow decode a PNG and forget how it was stored.
            deep = ";16" in repr(image.tile) and image.format in ("PNG", "TIFF") and full_size[0] * full_size[1] <= _DEEP
            exif = image.getexif()
            orientation = exif.get(_ORIENTATION, 1)
            focal = _focal_35mm(exif, full_size)
            pixels = _read_deep(path, full_size) if deep else None
            if pixels is None:
                pixels = _decoded(image, target_size(full_size, max_size))
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    rgb, alpha = _shrunk(pixels, target_size(full_size, max_size))
    usable = np.ones(rgb.shape[:2], bool) if alpha is None else alpha >= 0.5
    return Picture(rgb, usable, full_size, orientation if orientation in _TURNS else 1, focal)


def target_size(size: tuple[int, int], max_size: int | None) -> tuple[int, int]:
    """(width, height) with the longest side at most ``max_size``."""
    longest = max(size)
    if max_size is None or longest <= max_size:
        return size
    return tuple(max(1, round(side * max_size / longest)) for side in size)


def _decoded(image: Image.Image, target: tuple[int, int]) -> np.ndarray:
    """(H, W), (H, W, 3) or (H, W, 4) uint8 or uint16; sRGB-coded."""
    if image.size[0] * image.size[1] > _LARGE:
        # JPEG can decode at a fraction of its size; twice the target is left for the averaging.
        image.draft(None, (target[0] * 2, target[1] * 2))
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey_numbers(np.asarray(image))
    if (image.mode == "P" and "transparency" in image.info) or (image.mode in ("L", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA")
    elif image.mode in _FLAT_MODES:
        image = image.convert(_FLAT_MODES[image.mode])
    roomy = (target[0] * 2, target[1] * 2)
    if image.size[0] * image.size[1] > _LARGE and image.width > roomy[0] and image.height > roomy[1]:
        image = image.resize(roomy, Image.Resampling.BOX)
    return np.asarray(_in_srgb(image))


def _in_srgb(image: Image.Image) -> Image.Image:
    """Colours through the embedded ICC profile, when there is a usable one; CMYK and Lab without one by the plain formula."""
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "LAB"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                flat = image.convert("RGB") if alpha is not None else image
                image = ImageCms.profileToProfile(flat, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a damaged profile: the plain conversion below is what viewers show
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGB")
    if alpha is not None and image.mode != "RGBA":
        image.putalpha(alpha)
    return image


def _read_deep(path: Path, size: tuple[int, int]) -> np.ndarray | None:
    """16-bit files keep their depth through OpenCV; None when it cannot read them (Pillow then can, with 8 bits)."""
    data = np.fromfile(path, np.uint8)  # OpenCV opens no path with letters outside the system's code page
    if not _holds_its_chunks(data):
        return None
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape[1::-1] != size or pixels.shape[2:] not in ((), (3,), (4,)):
        return None
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _holds_its_chunks(data: np.ndarray) -> bool:
    """Whether no chunk of a PNG is longer than the file: OpenCV takes the memory that a chunk declares before it looks."""
    if data[:8].tobytes() != _PNG:
        return True
    place = 8
    while place + 12 <= len(data):
        place += 12 + int.from_bytes(data[place : place + 4].tobytes(), "big")
    return place <= len(data)


def _grey_numbers(values: np.ndarray) -> np.ndarray:
    """Single-channel 16-bit, 32-bit or float pixels as uint16; floats count from 0 to 1 when none is above 1."""
    values = np.asarray(values)
    if values.dtype == np.uint16:
        return values
    finite = np.nan_to_num(values.astype(np.float32), nan=0, posinf=0, neginf=0)
    top = finite.max(initial=0)
    scale = 65535.0 if values.dtype.kind == "f" and top <= 1 else (1.0 if top > 255 else 257.0)
    return np.clip(finite * scale + 0.5, 0, 65535).astype(np.uint16)


def _shrunk(pixels: np.ndarray, target: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
    """rgb (H, W, 3) float32 0..1 and alpha (H, W) or None, area-averaged to ``target``."""
    scale = np.float32(1 / np.iinfo(pixels.dtype).max)
    if pixels.shape[1::-1] != tuple(target):
        if pixels.size <= 3 * _LARGE:
            pixels = pixels.astype(np.float32)  # averaging in floats keeps what averaging in bytes would round away
        pixels = cv2.resize(pixels, target, interpolation=cv2.INTER_AREA)
    values = pixels.astype(np.float32) * scale
    if values.ndim == 2:
        return np.repeat(values[..., None], 3, axis=2), None
    alpha = values[..., 3] if values.shape[2] == 4 else None
    return np.ascontiguousarray(values[..., :3]), alpha


def _read_exr(path: Path, name: str, max_size: int | None, kind: str) -> Picture:
    """An OpenEXR picture: linear, coded to sRGB here; values above 1 are clipped."""
    if path.stat().st_size == 0:
        raise OSError("empty")
    planes = read_exr_planes(path, kind)
    layers: dict[str, dict[str, np.ndarray]] = {}
    for key, plane in planes.items():
        layer, _, channel = key.rpartition(".")
        layers.setdefault(layer, {})[channel.upper()] = plane
    ordered = sorted(layers.items(), key=lambda item: (item[0] != "", "combined" not in item[0].lower(), item[0]))
    wanted = next((layer for _, layer in ordered if {"R", "G", "B"} <= set(layer)), None)
    wanted = wanted or next(({c: grey[c] for c in "RGB"} for grey in map(_grey_layer, planes.values()) if len(planes) == 1), None)
    if wanted is None:
        raise EngineError(f"The {kind} {name} has no channels R, G and B; save a colour image.", "bad-photo")
    linear = np.stack([wanted[c] for c in "RGB"], axis=-1).astype(np.float32)
    alpha = wanted.get("A")
    full_size = linear.shape[1::-1]
    target = target_size(full_size, max_size)
    usable = np.isfinite(linear).all(axis=2) & (np.ones(linear.shape[:2], bool) if alpha is None else alpha >= 0.5)
    linear = np.clip(np.nan_to_num(linear, nan=0, posinf=1, neginf=0), 0, 1)
    if target != full_size:
        linear = cv2.resize(linear, target, interpolation=cv2.INTER_AREA)
        usable = cv2.resize(usable.astype(np.float32), target, interpolation=cv2.INTER_AREA) >= 0.5
    return Picture(srgb_from_linear(linear), usable, full_size)


def _grey_layer(plane: np.ndarray) -> dict[str, np.ndarray]:
    return dict.fromkeys("RGB", plane)


def _focal_35mm(exif: Image.Exif, size: tuple[int, int]) -> float | None:
    """35 mm equivalent focal length (mm): the tag of that name, or the lens's focal length on the sensor's size."""
    try:
        tags = exif.get_ifd(_EXIF_IFD)
        equivalent = float(tags.get(_FOCAL_35MM) or 0)
        if not equivalent and tags.get(_FOCAL) and tags.get(_PLANE_X):
            unit = _UNIT_MM.get(int(tags.get(_PLANE_UNIT) or 2), 25.4)
            # The tag counts pixels of the original; a shrunk copy keeps it beside the original's width.
            pitch = unit / float(tags[_PLANE_X])
            across = float(tags.get(_PIXELS_X) or max(size))
            diagonal = pitch * across * np.hypot(*size) / max(size)
            equivalent = float(tags[_FOCAL]) * _DIAGONAL_35MM / diagonal
    except (TypeError, ValueError, ArithmeticError, KeyError, SyntaxError, OSError):
        return None
    return equivalent if 4 <= equivalent <= 2000 else None
