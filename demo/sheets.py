"""Contact sheets and films: pictures in rows, with quiet captions."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, SOFT, ACCENT = (250, 249, 246), (38, 37, 35), (128, 124, 118), (196, 78, 42)
MARGIN, GAP = 28, 6


def to_image(picture: np.ndarray) -> Image.Image:
    """(H, W, 3) float 0..1 to an 8-bit image."""
    return Image.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))


def fitted(picture: np.ndarray, width: int, height: int) -> Image.Image:
    """The whole picture, as large as fits, on an empty tile."""
    image = to_image(picture)
    scale = min(width / image.width, height / image.height)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (width, height), PAPER)
    tile.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return tile


def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own typeface, so that sheets look the same everywhere."""
    return ImageFont.load_default(size)


def plain(text: str) -> str:
    """Text in the letters that the typeface has: accents are dropped, what is left unknown becomes a question mark."""
    bare = unicodedata.normalize("NFKD", text.translate(str.maketrans("×–—", "x--")))
    letters = (c for c in bare if not unicodedata.combining(c))
    return "".join(c if c < "\x7f" or c == "·" else "?" for c in letters)


def stacked(images: Sequence[Image.Image]) -> Image.Image:
    """Sheets below one another."""
    sheet = Image.new("RGB", (max(i.width for i in images), sum(i.height for i in images)), PAPER)
    y = 0
    for image in images:
        sheet.paste(image, (0, y))
        y += image.height
    return sheet


def grid(
    title: str,
    rows: Sequence[tuple[str, str, Sequence[np.ndarray | None]]],
    columns: Sequence[str],
    footer: str = "",
    tile: tuple[int, int] = (384, 216),
) -> Image.Image:
    """A contact sheet. rows: (name, a small note, pictures; None leaves a tile empty). columns: captions above."""
    width, height = tile
    left = 190 if any(name for name, _, _ in rows) else MARGIN
    top = 104 if title else 40
    total = (left + len(columns) * (width + GAP) - GAP + MARGIN, top + len(rows) * (height + GAP) + (44 if footer else 22))
    sheet = Image.new("RGB", total, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 22), plain(title), INK, font(28))
    for column, caption in enumerate(columns):
        draw.text((left + column * (width + GAP), top - 28), plain(caption), SOFT, font(17))
    for row, (name, note, pictures) in enumerate(rows):
        y = top + row * (height + GAP)
        draw.text((MARGIN, y + 2), name, INK, font(21))
        draw.multiline_text((MARGIN, y + 34), note, SOFT, font(15), spacing=5)
        for column, picture in enumerate(pictures):
            if picture is not None:
                sheet.paste(fitted(picture, width, height), (left + column * (width + GAP), y))
    draw.text((MARGIN, total[1] - 34), footer, SOFT, font(15))
    return sheet


def overview(photo: np.ndarray, outline: np.ndarray, steps: Sequence[tuple[str, np.ndarray]], caption: str) -> Image.Image:
    """The picture that says it all: a photo with the close-up's frame drawn in, and beside it frames on the way there.

    outline: (4, 2) corners in the photo's pixels. steps: at most four (caption, picture).
    """
    big = to_image(photo)
    draw = ImageDraw.Draw(big)
    corners = [tuple(map(float, corner)) for corner in outline]
    draw.line([*corners, corners[0], corners[1]], PAPER, 4, joint="curve")
    draw.line([*corners, corners[0], corners[1]], ACCENT, 2, joint="curve")
    aspect = steps[0][1].shape[1] / steps[0][1].shape[0]
    height = (big.height - GAP) // 2
    width = round(height * aspect)
    sheet = Image.new("RGB", (big.width + 2 * (GAP + width), big.height + 34), PAPER)
    sheet.paste(big, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for index, (text, picture) in enumerate(steps[:4]):
        x, y = big.width + GAP + index % 2 * (width + GAP), index // 2 * (height + GAP)
        sheet.paste(to_image(picture).resize((width, height), Image.Resampling.LANCZOS), (x, y))
        box = draw.textbbox((x + 12, y + 9), text, font=font(18))
        draw.rectangle((x, y, box[2] + 10, box[3] + 8), PAPER)
        draw.text((x + 10, y + 6), text, INK, font(18))
    draw.text((2, big.height + 9), caption, SOFT, font(17))
    return sheet


def side_by_side(pictures: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Pictures of one size next to one another, named in their corners."""
    height, width = pictures[0].shape[:2]
    sheet = Image.new("RGB", (len(pictures) * (width + 4) - 4, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        x = index * (width + 4)
        sheet.paste(to_image(picture), (x, 0))
        box = draw.textbbox((x + 10, 6), name, font=font(18))
        draw.rectangle((x, 0, box[2] + 10, box[3] + 8), PAPER)
        draw.text((x + 10, 6), name, INK, font(18))
    return np.asarray(sheet, np.float32) / 255


def there_and_back(count: int, rest: int = 16) -> list[int]:
    """Frame indices of a film: in, rest, out again, and a short rest."""
    return [*range(count), *[count - 1] * rest, *reversed(range(count)), *[0] * (rest // 2)]


def film(path: Path, pictures: Sequence[np.ndarray], order: Sequence[int] | None = None, fps: int = 24) -> None:
    """An H.264 film that every player shows. Odd sizes lose their last row or column."""
    height, width = (side // 2 * 2 for side in pictures[0].shape[:2])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "16", "preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(len(pictures)) if order is None else order:
            pixels = np.ascontiguousarray(np.asarray(to_image(pictures[index]))[:height, :width])
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
