"""How large an OpenEXR file says its pictures are, read without decoding anything: bombs are refused by this."""

from __future__ import annotations

import struct
from pathlib import Path

MAX_PIXELS = 400_000_000
"""Of a picture, of any format; one that declares more is refused before anything is decoded."""
MAX_BYTES = 10 * MAX_PIXELS
"""Of all channels of all parts, decoded."""
BEST_RATIO = 2000
"""No compression of OpenEXR's makes a picture smaller than by this."""
MAX_HEADER = 1 << 20
"""Bytes; headers of Blender's multilayer files have a few thousand."""
MAX_PARTS = 256
MAX_CHANNELS = 1024
_MAGIC = 20000630
_MULTIPART = 0x1000
_SAMPLE_BYTES = {0: 4, 1: 2, 2: 4}


def check_size(path: Path) -> int:
    """How many parts a file has. Raises ValueError, saying what is wrong, unless each has a size that the file can hold and
    that we read."""
    with open(path, "rb") as stream:
        data = stream.read(MAX_HEADER)
        size = path.stat().st_size
    total, parts = 0, _parts(data)
    for part in parts:
        width, height = _extent(part)
        if width * height > MAX_PIXELS:
            raise ValueError(f"it declares {width} × {height} pixels")
        total += width * height * sum(_sample_bytes(part))
    if total > MAX_BYTES:
        raise ValueError(f"it declares {total / 1e9:.0f} GB")
    if total > BEST_RATIO * size + MAX_HEADER:
        raise ValueError("it is cut short")
    return len(parts)


def _parts(data: bytes) -> list[dict[str, bytes]]:
    """The attributes of every part's header, by name."""
    try:
        magic, version = struct.unpack_from("<iI", data)
        if magic != _MAGIC:
            raise ValueError("it is no OpenEXR file")
        parts, place = [], 8
        while len(parts) < MAX_PARTS:
            attributes, place = _header(data, place)
            if not attributes:
                break
            parts.append(attributes)
            if not version & _MULTIPART:
                break
    except (struct.error, IndexError):
        raise ValueError("its header is damaged") from None
    if not parts:
        raise ValueError("its header is damaged")
    return parts


def _header(data: bytes, place: int) -> tuple[dict[str, bytes], int]:
    """The attributes from ``place`` on, and where they end."""
    found: dict[str, bytes] = {}
    while data[place] != 0:
        name, place = _text(data, place)
        _, place = _text(data, place)
        (length,) = struct.unpack_from("<i", data, place)
        place += 4
        if not 0 <= length <= len(data) - place:
            raise ValueError("its header is damaged")
        found[name] = data[place : place + length]
        place += length
    return found, place + 1


def _text(data: bytes, place: int) -> tuple[str, int]:
    end = data.find(b"\0", place, place + 256)
    if end < 0:
        raise ValueError("its header is damaged")
    return data[place:end].decode("latin-1"), end + 1


def _extent(part: dict[str, bytes]) -> tuple[int, int]:
    if len(part.get("dataWindow", b"")) != 16:
        raise ValueError("its header is damaged")
    left, top, right, bottom = struct.unpack("<4i", part["dataWindow"])
    if right < left or bottom < top:
        raise ValueError("its header is damaged")
    return right - left + 1, bottom - top + 1


def _sample_bytes(part: dict[str, bytes]) -> list[int]:
    """Bytes per sample of each channel."""
    data, place, result = part.get("channels", b""), 0, []
    while place < len(data) and data[place] != 0:
        _, place = _text(data, place)
        if len(data) - place < 16:
            raise ValueError("its channels are damaged")
        kind, _, across, down = struct.unpack_from("<iiii", data, place)
        if kind not in _SAMPLE_BYTES or across < 1 or down < 1:
            raise ValueError("its channels are damaged")
        result.append(_SAMPLE_BYTES[kind])
        place += 16
        if len(result) > MAX_CHANNELS:
            raise ValueError(f"it has more than {MAX_CHANNELS} channels")
    return result
