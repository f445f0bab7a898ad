"""What other programs know of photos: cameras, lenses and points. No bpy; numpy only where it is used."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..engine.job import MAX_SIDE, Camera
from .errors import CloseUpError

MAX_VIEWS = 100_000
MAX_POINTS = 50_000_000
FARTHEST = 1e9
"""Scene units; a camera further away is refused."""
Y_DOWN = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
"""Turns a world whose y points down (COLMAP's habit) into Blender's, whose z points up; its transpose turns back."""


@dataclass(frozen=True)
class Distortion:
    """How a lens bends what a pinhole camera would show, in OpenCV's terms, for x, y on the plane z = 1 and r² = x² + y².

    Not fisheye: x (1 + radial₀ r² + radial₁ r⁴ …) / (1 + divisor₀ r² + …) plus the tangential p₁, p₂.
    Fisheye: r becomes θ (1 + radial₀ θ² + radial₁ θ⁴ …) with θ = atan r.
    unknown: the name of a lens model that is none of these; such photos cannot be straightened.
    """

    fisheye: bool = False
    radial: tuple[float, ...] = ()
    divisor: tuple[float, ...] = ()
    tangential: tuple[float, float] = (0.0, 0.0)
    unknown: str = ""

    @property
    def bends(self) -> bool:
        """Whether it does anything."""
        return self.fisheye or bool(self.unknown) or any((*self.radial, *self.divisor, *self.tangential))


@dataclass(frozen=True)
class View:
    """A photo and its camera. image: the file where it was found, None when it is missing; name: as the program calls it."""

    name: str
    camera: Camera
    image: Path | None = None
    mask: Path | None = None
    distortion: Distortion = Distortion()


@dataclass
class Reconstruction:
    """Views and points; positions: (N, 3) float64, or None, and colors: (N, 3) uint8, sRGB. A point may be no number."""

    views: list[View] = field(default_factory=list)
    positions: object = None
    colors: object = None
    warnings: list[str] = field(default_factory=list)

    def turned(self, rotation) -> Reconstruction:
        """The same in a world turned by a 3×3 rotation."""
        import numpy as np

        turn = np.array(rotation)
        views = []
        for view in self.views:
            matrix = np.array(view.camera.world_from_camera)
            matrix[:3] = turn @ matrix[:3]
            views.append(replace(view, camera=replace(view.camera, world_from_camera=rows(matrix))))
        with np.errstate(invalid="ignore"):
            positions = None if self.positions is None else self.positions @ turn.T
        return replace(self, views=views, positions=positions)


def rows(matrix) -> tuple[tuple[float, ...], ...]:
    """A matrix as the job's cameras hold it."""
    return tuple(tuple(float(x) for x in row) for row in matrix)


def checked_camera(width: float, height: float, fx: float, fy: float, cx: float, cy: float, matrix, name: str) -> Camera:
    """A camera of a stranger's file. Raises CloseUpError naming the photo when it is none."""
    values = (width, height, fx, fy, cx, cy, *(x for row in matrix for x in row))
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
        raise CloseUpError(f"The camera of {name} holds something that is no number; write the file again.")
    if any(abs(row[3]) > FARTHEST for row in matrix):
        raise CloseUpError(f"The camera of {name} is further away than anything can be; write the file again.")
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise CloseUpError(f"The camera of {name} is {width:g} × {height:g} pixels; {MAX_SIDE} a side is the most.")
    if not (1e-3 <= fx <= 1e9 and 1e-3 <= fy <= 1e9):
        raise CloseUpError(f"The camera of {name} has no focal length; write the file again.")
    return Camera(int(width), int(height), float(fx), float(fy), float(cx), float(cy), rows(matrix))


def rotation_of(quaternion) -> list[list[float]]:
    """3×3 rotation of a quaternion (w, x, y, z), of any length but zero."""
    w, x, y, z = quaternion
    n = w * w + x * x + y * y + z * z
    if not (math.isfinite(n) and n > 1e-12):
        raise CloseUpError("A camera's rotation is empty; write the file again.")
    s = 2.0 / n
    return [
        [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
        [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
        [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
    ]


def quaternion_of(r) -> tuple[float, float, float, float]:
    """(w, x, y, z) of a 3×3 rotation, w not negative (Shepperd's method)."""
    trace = r[0][0] + r[1][1] + r[2][2]
    diagonal = (trace, r[0][0], r[1][1], r[2][2])
    largest = max(range(4), key=lambda i: diagonal[i])
    if largest == 0:
        q = [1 + trace, r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]]
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        q = [0.0] * 4
        q[0] = r[k][j] - r[j][k]
        q[1 + i] = 1 + r[i][i] - r[j][j] - r[k][k]
        q[1 + j] = r[j][i] + r[i][j]
        q[1 + k] = r[k][i] + r[i][k]
    length = math.copysign(math.sqrt(sum(x * x for x in q)), q[0] if q[0] else 1.0)
    return tuple(x / length for x in q)


def find_image(name: str, folders) -> Path | None:
    """The file of a photo that a stranger's file names: below one of the folders, or beside it; never a pipe or device."""
    if not name or "\0" in name or len(name) > 1024:
        return None
    for folder in folders:
        try:
            path = folder / name.replace("\\", "/")
            if path.is_file():
                return path
        except (OSError, ValueError):
            continue
    return None
