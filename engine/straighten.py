"""``python -m engine.straighten LIST``: photos of bent lenses as pinhole cameras would have taken them.

LIST is a JSON list of objects: image (a file), mask (a file or null), target (the .png to write), width, height, fx, fy,
cx, cy (the camera, in pixels of the photo), fisheye, radial, divisor and tangential (its lens, in OpenCV's terms as
closeup_addon/reconstruction.py explains them). The pictures keep their size and focal length; what no pixel fills is
transparent. For every photo one JSON line: {"index", "image", "mask"} or {"index", "error"}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from .artifacts import write_png
from .image_files import read_picture
from .progress import EngineError


def bent_pixels(lens: dict, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """(height, width) float32 x and y: where in the photo, in OpenCV's pixels (centres at 0), each straight pixel is found.

    width, height: the photo's size, which may be another than that of the camera. What the lens cannot have seen is -1e6.
    """
    scale_x, scale_y = width / lens["width"], height / lens["height"]
    fx, fy, cx, cy = lens["fx"] * scale_x, lens["fy"] * scale_y, lens["cx"] * scale_x, lens["cy"] * scale_y
    x = ((np.arange(width) + 0.5 - cx) / fx)[None, :]
    y = ((np.arange(height) + 0.5 - cy) / fy)[:, None]
    bent_x, bent_y, possible = _bent(lens, x, y)
    u, v = bent_x * fx + cx - 0.5, bent_y * fy + cy - 0.5
    return (np.where(possible, value, -1e6).astype(np.float32) for value in (u, v))


def _bent(lens: dict, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r2 = x * x + y * y
    if lens["fisheye"]:
        r = np.sqrt(r2)
        angle = np.arctan(r)
        bent = angle * (1 + _polynomial(lens["radial"], angle * angle))
        factor = np.where(r > 1e-9, bent / np.maximum(r, 1e-9), 1.0)
        return x * factor, y * factor, _rising(bent, r2)
    factor = (1 + _polynomial(lens["radial"], r2)) / (1 + _polynomial(lens["divisor"], r2))
    p1, p2 = lens["tangential"]
    bent_x = x * factor + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent_y = y * factor + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return bent_x, bent_y, _rising(np.sqrt(r2) * factor, r2)


def _polynomial(coefficients: list[float], t: np.ndarray) -> np.ndarray:
    """c₀ t + c₁ t² + …"""
    result = np.zeros_like(t)
    for value in reversed(coefficients):
        result = (result + value) * t
    return result


def _rising(bent: np.ndarray, r2: np.ndarray) -> np.ndarray:
    """Where the bent radius still grows with the true one: beyond its first fall a polynomial folds the picture back."""
    order = np.argsort(r2, axis=None)
    radii = bent.ravel()[order]
    falls = np.flatnonzero(radii < np.maximum.accumulate(radii) - 1e-9)
    limit = r2.ravel()[order[falls[0]]] if len(falls) else np.inf
    return r2 < limit


def straighten(entry: dict) -> dict[str, str | None]:
    """Write the straight picture, and mask, of one entry of the list; the files' names. Raises EngineError."""
    source, target = Path(entry["image"]), Path(entry["target"])
    picture = read_picture(source, source.name, max_size=None)
    height, width = picture.rgb.shape[:2]
    x, y = bent_pixels(entry, width, height)
    rgb = cv2.remap(picture.rgb, x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    usable = cv2.remap(picture.usable.astype(np.uint8), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    write_png(target, np.dstack([np.clip(rgb, 0, 1), usable.astype(np.float32)]))
    mask = None
    if entry["mask"]:
        given = read_picture(Path(entry["mask"]), Path(entry["mask"]).name, max_size=None, kind="mask")
        white = cv2.resize(given.rgb.mean(axis=2), (width, height), interpolation=cv2.INTER_NEAREST)
        mask = target.with_name(f"{target.stem}-mask.png")
        write_png(mask, cv2.remap(white, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT))
    return {"image": str(target), "mask": str(mask) if mask else None}


def main(place: str) -> int:
    """Every photo of the list; one that cannot be read does not stop the others."""
    for index, entry in enumerate(json.loads(Path(place).read_text(encoding="utf-8"))):
        try:
            said = straighten(entry)
        except (EngineError, OSError, MemoryError) as error:
            said = {"error": str(error)}
        print(json.dumps({"index": index, **said}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
