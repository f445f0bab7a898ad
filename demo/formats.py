"""Blender's EXR and PNG files, read without a library (its Python brings none)."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

SKY = 1e9
"""Blender writes 1e10 where no surface is."""


def read_depth(path: Path) -> np.ndarray:
    """(H, W) float32 z-depth, inf where there is sky, from an uncompressed EXR of 32-bit channels in one part."""
    data = Path(path).read_bytes()
    if data[:4] != b"\x76\x2f\x31\x01":
        raise ValueError(f"{path} is not an EXR file")
    at, channels, window = 8, [], None
    while data[at]:
        name, at = _text(data, at)
        kind, at = _text(data, at)
        size = struct.unpack_from("<i", data, at)[0]
        value, at = data[at + 4 : at + 4 + size], at + 4 + size
        if kind == b"chlist":
            channels = _channels(value)
        elif name == b"dataWindow":
            window = struct.unpack("<4i", value)
        elif name == b"compression" and value != b"\0":
            raise ValueError(f"{path} is compressed")
    width, height = window[2] - window[0] + 1, window[3] - window[1] + 1
    row = 8 + 4 * width * len(channels)
    start = at + 1 + 8 * height
    rows = np.frombuffer(data, np.uint8, row * height, start).reshape(height, row)[:, 8:]
    planes = rows.copy().view("<f4").reshape(height, len(channels), width)
    depth = planes[:, next(i for i, name in enumerate(channels) if name.endswith(b"Depth.Z"))].copy()
    depth[depth > SKY] = np.inf
    return depth


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.index(b"\0", at)
    return data[at:end], end + 1


def _channels(value: bytes) -> list[bytes]:
    names, at = [], 0
    while value[at]:
        name, at = _text(value, at)
        if struct.unpack_from("<i", value, at)[0] != 2:
            raise ValueError("a channel is not of 32-bit floats")
        names.append(name)
        at += 16
    return names


def pixels_only(png: bytes) -> bytes:
    """A PNG without its notes: Blender writes some twice, which readers complain about, and render times, which differ."""
    kept, at = [png[:8]], 8
    while at < len(png):
        size = struct.unpack_from(">I", png, at)[0] + 12
        if png[at + 4 : at + 8] in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            kept.append(png[at : at + size])
        at += size
    return b"".join(kept)
