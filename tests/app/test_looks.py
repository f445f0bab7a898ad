"""What looks.py sees and what it overlooks, on changed copies of a reference; no Blender is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import looks
import numpy as np
import pytest
from PIL import Image, ImageFilter

NAME = "running"
LEFT, TOP = 700, 60
ROW = 26
"""Pixels of the screen from one button to the next."""


@pytest.fixture
def screen() -> Image.Image:
    """A screen with the reference as the sidebar, at its own size."""
    with Image.open(looks.REFERENCES / f"{NAME}.png") as picture:
        sidebar = picture.convert("RGB").resize((looks.SHRINK * picture.width, looks.SHRINK * picture.height))
    result = Image.new("RGB", (1280, 1440), (60, 60, 60))
    result.paste(sidebar, (LEFT, TOP))
    return result


def played(screen: Image.Image, out: Path) -> dict:
    with Image.open(looks.REFERENCES / f"{NAME}.png") as picture:
        width, height = looks.SHRINK * picture.width, looks.SHRINK * picture.height
    screen.save(out / f"{NAME}.png")
    return {"out": out, "sidebars": {NAME: [LEFT, screen.height - TOP - height, width, height]}}


def noise(screen: Image.Image) -> Image.Image:
    """As another driver would dither it."""
    pixels = np.asarray(screen).astype(np.float32) + np.random.default_rng(1).normal(0, 3, (*screen.size[::-1], 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    "other",
    [
        lambda screen: screen,
        noise,
        lambda screen: screen.filter(ImageFilter.GaussianBlur(0.7)),  # letters drawn softer
        lambda screen: screen.transform(screen.size, Image.Transform.AFFINE, (1, 0, -3, 0, 1, 5)),  # another window border
        lambda screen: screen.point(lambda value: min(255, value + 4)),
    ],
    ids=["same", "noise", "soft", "shifted", "brighter"],
)
def test_other_drivers_and_window_managers_make_no_difference(screen, other, tmp_path):
    looks.check(played(other(screen), tmp_path), NAME)


ROWS = (LEFT + 10, TOP + 68, LEFT + 250, TOP + 96)
"""The list's selected row, a stripe of its own colour with letters on it, as a button has."""


def without_row(screen: Image.Image) -> Image.Image:
    screen.paste(screen.getpixel((ROWS[0] + 30, ROWS[3] + 10)), ROWS)
    return screen


def with_moved_row(screen: Image.Image) -> Image.Image:
    left, top, right, bottom = ROWS
    part = screen.crop(ROWS)
    screen.paste(screen.crop((left, bottom, right, bottom + ROW)), (left, top))
    screen.paste(part, (left, top + ROW))
    return screen


def without_panel(screen: Image.Image) -> Image.Image:
    """What stands below it moves up."""
    screen.paste(screen.crop((LEFT, TOP + 400, LEFT + 292, 1400)), (LEFT, TOP + 220))
    return screen


def with_other_word(screen: Image.Image) -> Image.Image:
    left, top, right, bottom = ROWS
    word = screen.crop((left + 70, top + 4, right - 70, bottom - 4))
    screen.paste(word.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (left + 70, top + 4))
    return screen


def with_alert(screen: Image.Image) -> Image.Image:
    """Red where it was not."""
    part = np.asarray(screen.crop(ROWS)).copy()
    part[..., 0] = np.minimum(255, part[..., 0].astype(int) + 60)
    screen.paste(Image.fromarray(part), ROWS[:2])
    return screen


@pytest.mark.parametrize("change", [without_row, with_moved_row, without_panel, with_other_word, with_alert])
def test_what_a_person_would_notice_fails_and_is_kept_as_a_picture(screen, change: Callable, tmp_path, monkeypatch):
    monkeypatch.delenv("CLOSEUP_APP_PICTURES", raising=False)
    with pytest.raises(AssertionError, match=r"does not look as in running\.png at \d+ places, the first .* CLOSEUP_APP_RENEW"):
        looks.check(played(change(screen), tmp_path), NAME)
    with Image.open(tmp_path / f"differs-{NAME}.png") as kept:
        assert kept.width > 3 * 100


def test_a_sidebar_of_another_size_fails(screen, tmp_path):
    found = played(screen, tmp_path)
    found["sidebars"][NAME][2] -= 20
    with pytest.raises(AssertionError, match="does not look as"):
        looks.check(found, NAME)


def test_renewing_writes_what_then_passes(screen, tmp_path, monkeypatch):
    monkeypatch.setattr(looks, "REFERENCES", tmp_path / "references")
    with Image.open(Path(looks.__file__).with_name("references") / f"{NAME}.png") as picture:
        width, height = looks.SHRINK * picture.width, looks.SHRINK * picture.height
    screen.save(tmp_path / f"{NAME}.png")
    found = {"out": tmp_path, "sidebars": {NAME: [LEFT, screen.height - TOP - height, width, height]}}
    monkeypatch.setenv("CLOSEUP_APP_RENEW", "1")
    looks.check(found, NAME)
    monkeypatch.delenv("CLOSEUP_APP_RENEW")
    looks.check(found, NAME)
