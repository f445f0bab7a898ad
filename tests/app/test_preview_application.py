"""The real application: the live preview over the camera's view, with the real engine."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_application import ROOT, play

for folder in (ROOT, ROOT / "tests" / "engine"):
    sys.path.insert(0, str(folder))
import jobs  # noqa: E402

from engine import job, pipeline, preview  # noqa: E402
from engine.artifacts import JobFolder  # noqa: E402
from engine.camera import resized  # noqa: E402
from engine.conditioning import Warper  # noqa: E402

SCREEN = 1440
"""Pixels of the screen's height."""
BORDER = 8
"""Pixels that the window manager's own border may take."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The play's folder: a finished job, and one that waits to be run."""
    work = tmp_path_factory.mktemp("preview-application")
    (work / "photos").mkdir()
    settings = {"geometry": job.GeometrySettings(cloud_points=40_000), "generator": job.GeneratorSettings("none")}
    made = jobs.make(work / "job", photos=4, frames=6, size=(64, 36), photo_size=(640, 480), **settings)
    assert jobs.run(made)[0] == 0
    shutil.copytree(made, work / "other", ignore=shutil.ignore_patterns("frames*", "report.json"))
    return work


@pytest.fixture(scope="module")
def played(folder) -> dict:
    engine = Path(os.environ["CLOSEUP_ENGINE_PYTHON"])
    return play(folder, "drive_preview.py", {"real": engine}, 900, binds=(engine.parents[1], engine.resolve().parents[1]))


def on_screen(folder: Path, played: dict, name: str, origin: tuple[int, int]) -> np.ndarray:
    """What the screen shows where the preview is drawn, (H, W, 3) 0..1, at the size of the preview's picture.

    origin: of Blender's window, from the left and the bottom of the screen.
    """
    camera, (left, bottom, right, top) = played["kept"][name]["camera"], played["kept"][name]["rectangle"]
    screen = Image.open(folder / "out" / f"{name}.png").convert("RGB")
    box = (left + origin[0], SCREEN - top - origin[1], right + origin[0], SCREEN - bottom - origin[1])
    return np.asarray(screen.resize((camera["width"], camera["height"]), Image.Resampling.BOX, box=box)) / 255


@pytest.fixture(scope="module")
def origin(folder, played) -> tuple[int, int]:
    """Where the window manager has put the window: found with the first picture, the same for all."""
    camera = played["kept"]["first"]["camera"]
    picture = np.fromfile(folder / "out" / "first.rgba", np.float32).reshape(camera["height"], camera["width"], 4)[..., :3]
    places = [(x, y) for x in range(BORDER) for y in range(BORDER)]
    return min(places, key=lambda place: np.abs(on_screen(folder, played, "first", place) - picture).mean())


def camera_of(played: dict, name: str) -> job.Camera:
    return job.camera_from_dict(played["kept"][name]["camera"], "camera")


def test_every_step_was_played_and_nothing_of_ours_raised(played):
    assert "traceback" not in played, played["traceback"]
    assert "extensions/user_default/closeup" not in played["said"]
    assert played["brought"] == "done"


def test_a_click_switches_it_on_and_another_off_and_the_button_is_grey_without_a_cloud(played):
    assert played["grey"] is False
    assert played["on"] and played["view"] == "CAMERA"
    assert played["off"] and played["off_with_file"]


@pytest.mark.parametrize("name", ["first", "moved", "scrubbed", "aside", "orbited"])
def test_the_screen_shows_what_the_photos_show_at_that_camera(played, folder, origin, name):
    """Against the condition itself, as a job would make it, in the same place and colours, under AgX."""
    camera = camera_of(played, name)
    condition = Warper(pipeline.warped_views(JobFolder(folder / "job")), "cpu").condition(camera)
    sure, seen = condition.confidence > 0.6, on_screen(folder, played, name, origin)
    assert sure.mean() > 0.25
    apart = np.abs(seen - condition.rgb)[sure] * 255
    assert np.median(apart) <= 3 and np.percentile(apart, 90) <= 12  # the screen is finer than the picture, and smooth
    moved = np.abs(np.roll(seen, 4, axis=1) - condition.rgb)[sure] * 255
    assert apart.mean() < 0.6 * moved.mean()


def test_the_cameras_frame_is_the_cameras_own(played, folder):
    """What was asked for while frame 3 was shown is the job's camera of that frame."""
    asked, path = camera_of(played, "scrubbed"), job.load(folder / "job", files=False).path
    given = resized(path[2].camera, asked.width, asked.height)
    assert [asked.fx, asked.fy, asked.cx, asked.cy] == pytest.approx([given.fx, given.fy, given.cx, given.cy], abs=0.02)
    np.testing.assert_allclose(asked.world_from_camera, given.world_from_camera, atol=2e-5)


def test_holes_are_hatched(played, folder, origin):
    """In holes the screen alternates between lighter and darker stripes, where the condition is smooth."""
    camera = camera_of(played, "orbited")
    pixels = np.fromfile(folder / "out" / "orbited.rgba", np.float32).reshape(camera.height, camera.width, 4)
    holes, seen = pixels[..., 3] == 0, on_screen(folder, played, "orbited", origin)
    assert holes.mean() > 0.2
    inner = holes & np.roll(holes, 3, 0) & np.roll(holes, -3, 0) & np.roll(holes, 3, 1) & np.roll(holes, -3, 1)
    steps = np.abs(np.diff(seen.mean(-1), axis=1))[inner[:, 1:]]
    smooth = np.abs(np.diff(pixels[..., :3].mean(-1), axis=1))[inner[:, 1:]]
    assert steps.mean() > 5 * smooth.mean()


def test_no_redraw_waits_for_it(played):
    """Wall time, or this thread's own where others had the processor meanwhile. Two draws compile, once and for all: the one that
    makes the shader, and the first that uses it (drivers without a cache of shaders on the disk take tens of milliseconds)."""
    assert played["draws"] > 60 and played["ticks"] > 100
    assert max(min(pair) for pair in played["draws_ms"][:-2]) <= 5.0
    assert max(min(pair) for pair in played["ticks_ms"]) <= 5.0


def test_a_picture_comes_soon_after_a_move(played):
    """What lies between our request and the engine's answer besides its computing: pipes, files, threads. The best of several,
    since other programs compute here too."""
    assert min(move["ways"] for move in played["moves"]) <= 30.0, played["moves"]
    assert played["pictures_while_moving"] >= 3


def test_it_pauses_for_a_job_and_goes_on(played):
    assert played["paused"] == "Paused while the engine makes a close-up"
    assert played["job"] == "done"


def test_confidence_reaches_blender(played, folder):
    camera = camera_of(played, "first")
    pixels = np.fromfile(folder / "out" / "first.rgba", np.float32).reshape(camera.height, camera.width, 4)
    expected = preview.rgba(Warper(pipeline.warped_views(JobFolder(folder / "job")), "cpu").condition(camera))
    np.testing.assert_allclose(pixels, expected, atol=2e-2)
