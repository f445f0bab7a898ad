"""Cameras solved from real captures: whole ones, a few of their photos, pairs, and photos of two captures mixed."""

from __future__ import annotations

import functools
import itertools
import os
from pathlib import Path

import pytest
from solving import solve, worst_rotation

from engine import camera as cams
from engine import photos as photo_files
from engine.geometry import cameras, lens
from engine.job import GeometrySettings, Job, Source
from engine.progress import EngineError, Progress
from engine.records import Photo

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
SETS = {
    "berlin": ("berlin/*.jpg", None, 31.6),
    "flowerpot": ("flowerpot/photo_*.jpg", 29.5, 29.9),
    "flowerpot without focal length": ("flowerpot/photo_*.jpg", None, 29.9),
    "panel17": ("panel17/*.jpg", None, 27.1),
    "banana": ("banana/DSC_042[3-6].JPG", None, 62.3),
}
LARGE = {
    "all of banana": ("banana/*.JPG", None, 62.3),
    "lund": ("lund/0*.jpg", None, None),
    "flowerpot-80": ("flowerpot-80/P81019-1511[01]*.jpg", 29.5, 29.9),
}
"""Like SETS, more than a few photos: all around the banana, the first nine of a walk, twelve of a ring around the flowerpot."""
SIZES = {"all of banana": 1600}
UNSURE = {"lund", "panel17"}
"""A walk straight ahead, and a relief that is nearly flat: they tell little of the focal length, which is said."""
BELIEVED = {("all of banana", (1, 2, 3))}
"""These tell the focal length to 13 %: EXIF's is taken, 4 % off so near to the lens, which turns the cameras by a degree."""
FOUND = [name for name in SETS if CAPTURES.is_dir()]
FULL = os.environ.get("CLOSEUP_LAB") == "full" and bool(FOUND)


@functools.cache
def capture(name: str) -> tuple[Photo, ...]:
    """The photos of one of SETS or LARGE."""
    pattern, focal, _ = {**SETS, **LARGE}[name]
    sources = tuple(Source(str(path), focal_35mm=focal) for path in sorted(CAPTURES.glob(pattern)))
    return tuple(
        photo_files.load(Job(sources, (), geometry=GeometrySettings(max_size=SIZES.get(name, 1000))), CAPTURES, Progress())
    )


@functools.cache
def solved(name: str) -> cameras.Solve:
    result, warnings = solve(list(capture(name)))
    assert not [text for text in warnings if name not in UNSURE or "tell the focal length" not in text]
    return result


def focal_35mm(photo: Photo) -> float:
    return lens.focal_35mm(photo.camera.fx, photo.camera.width, photo.camera.height)


@pytest.mark.parametrize("name", [*FOUND, *(LARGE if FULL else ())])
def test_captures_are_solved(name):
    result = solved(name)
    assert len(result.photos) == len(capture(name)) >= 3 and not result.unplaced
    right = {**SETS, **LARGE}[name][2]
    for photo in result.photos:
        assert right is None or focal_35mm(photo) == pytest.approx(right, rel=0.04)
        assert result.errors[photo.name] < 1.0
        _, depth = cams.project(photo.camera, result.points)
        assert (depth > 0).mean() > 0.99 or (name == "lund" and photo is not result.photos[0])  # walking leaves things behind


def triples(name: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, chosen) for chosen in itertools.combinations(range(4), 3)]


def in_a_row(name: str, *starts: int) -> list[tuple[str, tuple[int, ...]]]:
    """Three and four photos that follow each other, from each of these on."""
    return [(name, tuple(range(start, start + count))) for start in starts for count in (3, 4)]


# the first three of the relief, nearly flat, fit a focal length of 49 mm almost as well as their own
SUBSETS = triples("panel17")[:1] if FOUND else []
if FULL:
    SUBSETS = [*triples("panel17"), *triples("flowerpot"), *triples("flowerpot without focal length")]
    SUBSETS += [*in_a_row("all of banana", 1, 2, 12), ("all of banana", (7, 8, 9)), ("all of banana", (4, 5, 14, 15))]
    SUBSETS += in_a_row("lund", 0, 3, 5) + in_a_row("flowerpot-80", 0, 4, 8)


@pytest.mark.parametrize(("name", "chosen"), SUBSETS)
def test_a_few_photos_are_solved_as_the_whole_capture_is(name, chosen):
    result, warnings = solve([capture(name)[i] for i in chosen])
    assert len(result.photos) == len(chosen)
    believed = (name, chosen) in BELIEVED
    assert worst_rotation(result.photos, solved(name).photos) < (1.1 if believed else 0.7)
    assert (warnings or not believed) and all("tell the focal length" in text for text in warnings)
    for photo in result.photos:
        assert focal_35mm(photo) == pytest.approx(focal_35mm(solved(name).photos[0]), rel=0.04)


@pytest.mark.skipif(not FULL, reason="minutes long; CLOSEUP_LAB=full runs it")
@pytest.mark.parametrize(
    ("name", "chosen"),
    [(name, pair) for name in FOUND if name != "banana" for pair in itertools.combinations(range(len(capture(name))), 2)]
    if FULL
    else [("berlin", (0, 2))],
)
def test_two_photos_are_solved_or_refused_by_name(name, chosen):
    pair = [capture(name)[i] for i in chosen]
    try:
        result, warnings = solve(pair)
    except EngineError as error:
        assert error.code == "no-cameras" and all(photo.name in str(error) for photo in pair)
        assert "add a photo" in str(error) or "take one" in str(error)
        return
    # the user is told that the focal length is believed, and the rotation can be no better than what is believed
    assert any("focal length" in text and all(photo.name in text for photo in pair) for text in warnings)
    given = pair[0].focal_35mm is not None
    assert worst_rotation(result.photos, solved(name).photos) < (1.4 if given else 3.0)
    off = abs(focal_35mm(result.photos[0]) / focal_35mm(solved(name).photos[0]) - 1)
    assert off < (0.13 if given else 0.15)


MIXES = [("panel17", "berlin"), ("flowerpot", "panel17"), ("banana", "panel17"), ("berlin", "flowerpot")]


@pytest.mark.skipif(not FULL, reason="minutes long; CLOSEUP_LAB=full runs it")
@pytest.mark.parametrize(("name", "other"), MIXES)
def test_a_photo_of_another_capture_is_named(name, other):
    mixed = [*capture(name), capture(other)[0]]
    result, warnings = solve(mixed)
    assert result.unplaced == [mixed[-1].name] and any(mixed[-1].name in text for text in warnings)
    assert worst_rotation(result.photos, solved(name).photos) < 0.7
