#!/usr/bin/env python3
"""The manual's pictures, cut from those that the plays have taken.

Usage: CLOSEUP_APP_PICTURES=FOLDER python build.py test --app; then python tests/app/pictures.py FOLDER, with the engine's Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
PICTURES = {
    "drop.png": ("drive_clicks/clicks-1-dropped", (130, 600, 430, 690), 300),
    "sidebar-photos.png": ("drive_clicks/clicks-2-photos", (764, 104, 1022, 1180), 258),
    "sidebar-empty.png": ("drive/empty", (764, 104, 1022, 1180), 258),
    "sidebar-running.png": ("drive/running", (764, 104, 1022, 1180), 258),
    "sidebar-german.png": ("drive/german", (764, 104, 1022, 1180), 258),
    "shots.jpg": ("drive_demo/demo-camera", (0, 48, 1052, 1310), 792),
    "demo-camera.jpg": ("drive_demo/demo-camera", (0, 420, 770, 920), 1028),
    "demo-solid.jpg": ("drive_demo/demo-solid", (0, 320, 770, 820), 1028),
}
"""By file: the play and its picture, the part of the screen (left, top, right, bottom), and the width to show it at."""


def cut(folder: Path) -> None:
    """Write every picture whose play was run into docs/images."""
    for name, (source, box, width) in PICTURES.items():
        path = folder / f"{source}.png"
        if not path.is_file():
            print(f"{name} stays as it is: {source} was not played")
            continue
        with Image.open(path) as screen:
            part = screen.convert("RGB").crop(box)
        height = round(part.height * width / part.width)
        part.resize((width, height), Image.Resampling.LANCZOS).save(IMAGES / name, quality=90, optimize=True)


if __name__ == "__main__":
    cut(Path(sys.argv[1]))
