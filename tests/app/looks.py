"""Whether the sidebar still looks as it should: pictures of the plays against those in references/, half as large.

Where a change is meant, run the plays with CLOSEUP_APP_RENEW=1, look at the pictures in references/, and commit them.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

REFERENCES = Path(__file__).resolve().parent / "references"
SHRINK = 2
"""Letters are drawn a little otherwise by other graphics drivers; half as large they hardly differ."""
COLOURS = 256
"""Of a stored reference."""
BORDER = 8
"""Pixels that the window manager's own border may take."""
SAME = 1.0
"""Mean difference (0 to 255) at which pictures need not be shifted any more."""
TILE = 8
"""Pixels of the shrunk picture; a button is ten of them high."""
LEAST_SIMILARITY, MOST_COLOUR = 0.75, 18.0
"""Mean SSIM of a tile's grey, and difference of its mean colour (0 to 255), at which it still looks the same.

Noise, softer letters, and letters half a pixel aside leave 0.96 and 7; a word of other letters 0.63 and 25.
"""


def check(played: dict, name: str) -> None:
    """Fail when the sidebar in the play's picture NAME differs from the reference, and keep a picture that shows where."""
    path, reference = played["out"] / f"{name}.png", REFERENCES / f"{name}.png"
    left, bottom, width, height = played["sidebars"][name]
    with Image.open(path) as screen:
        top = screen.height - bottom - height
        box = (left - BORDER, top - BORDER, left + width + BORDER, top + height + BORDER)
        seen = np.asarray(screen.convert("RGB").crop(box))
    if os.environ.get("CLOSEUP_APP_RENEW"):
        _renew(seen[BORDER:-BORDER, BORDER:-BORDER], reference)
        return
    with Image.open(reference) as picture:
        wanted = np.asarray(picture.convert("RGB"))
    found = _aligned(seen, wanted)
    different = differing_tiles(found, wanted)
    if different.any():
        place = _keep(name, found, wanted, different, played["out"])
        raise AssertionError(
            f"The sidebar does not look as in {reference.name} at {different.sum()} places, the first {_where(different)}; see "
            f"{place}. If that is meant, run again with CLOSEUP_APP_RENEW=1 and look at tests/app/references."
        )


def differing_tiles(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(rows, columns) bool: the tiles in which two pictures (H, W, 3) uint8 do not look the same. Of other sizes, all of them."""
    if found.shape != wanted.shape:
        return np.ones((1, 1), bool)
    greys = [cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 0.8) for picture in (found, wanted)]
    similar = structural_similarity(*greys, win_size=7, full=True, data_range=255)[1]
    colours = np.abs(_tiles(found.astype(np.float32)) - _tiles(wanted.astype(np.float32))).max(axis=-1)
    return (_tiles(similar) < LEAST_SIMILARITY) | (colours > MOST_COLOUR)


def _tiles(values: np.ndarray) -> np.ndarray:
    """Means of TILE × TILE pixels; what is left over at the right and at the bottom belongs to the last tiles."""
    rows, columns = (np.arange(0, max(side - TILE, 0) + 1, TILE) for side in values.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(values.astype(np.float64), rows, axis=0), columns, axis=1)
    counts = np.add.reduceat(np.add.reduceat(np.ones(values.shape[:2]), rows, axis=0), columns, axis=1)
    return sums / (counts if values.ndim == 2 else counts[..., None])


def _aligned(seen: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The part of the picture that fits the reference best; the window's border may have moved it by some pixels."""
    height, width = seen.shape[0] - 2 * BORDER, seen.shape[1] - 2 * BORDER
    best, least = _shrunk(seen[BORDER:-BORDER, BORDER:-BORDER]), np.inf
    if best.shape != wanted.shape:
        return best
    shifts = range(-BORDER, BORDER + 1)
    for down, right in sorted(itertools.product(shifts, shifts), key=lambda shift: abs(shift[0]) + abs(shift[1])):
        part = _shrunk(seen[BORDER + down :, BORDER + right :][:height, :width])
        apart = np.abs(part.astype(np.int16) - wanted).mean()
        if apart < least:
            best, least = part, apart
        if least < SAME:
            break
    return best


def _shrunk(picture: np.ndarray) -> np.ndarray:
    size = picture.shape[1] // SHRINK, picture.shape[0] // SHRINK
    return cv2.resize(picture[: SHRINK * size[1], : SHRINK * size[0]], size, interpolation=cv2.INTER_AREA)


def _where(different: np.ndarray) -> str:
    row, column = np.argwhere(different)[0]
    return f"{SHRINK * TILE * row} pixels below its top and {SHRINK * TILE * column} right of its left edge"


def _keep(name: str, found: np.ndarray, wanted: np.ndarray, different: np.ndarray, out: Path) -> Path:
    """Reference, picture, and the picture with the differing tiles in red, side by side."""
    marked = found.copy()
    for row, column in np.argwhere(different):
        tile = marked[TILE * row :, TILE * column :][: TILE + 1, : TILE + 1]
        tile[...] = tile // 2 + np.array([127, 0, 0], np.uint8)
    folder = Path(os.environ.get("CLOSEUP_APP_PICTURES") or out)
    folder.mkdir(parents=True, exist_ok=True)
    height = max(found.shape[0], wanted.shape[0])
    parts = [np.pad(part, ((0, height - part.shape[0]), (0, 8), (0, 0))) for part in (wanted, found, marked)]
    path = folder / f"differs-{name}.png"
    Image.fromarray(np.hstack(parts)).save(path)
    return path


def _renew(seen: np.ndarray, reference: Path) -> None:
    reference.parent.mkdir(exist_ok=True)
    # the method that keeps colours of which there is little, such as those of thumbnails
    stored = Image.fromarray(_shrunk(seen)).quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    stored.save(reference, optimize=True)
