"""The demo's report: its measures against hand-made cases, its sheets and films read back."""

import sys
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "demo"))

import report
import revisit
import sheets

from engine import camera as cams
from engine import evaluation
from engine.job import Camera
from engine.records import View


def camera(x=0.0, z=0.0, size=(64, 48), focal=60.0):
    """A camera at (x, 0, z) that looks along +z."""
    pose = ((1.0, 0.0, 0.0, x), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, z), (0.0, 0.0, 0.0, 1.0))
    return Camera(*size, focal, focal, size[0] / 2, size[1] / 2, pose)


def view(where, depth, confidence=1.0):
    shape = (where.height, where.width)
    image = np.random.default_rng(1).random((*shape, 3)).astype(np.float32)
    ones = np.ones(shape, np.float32)
    return View("photo", image, where, np.ones(shape, bool), ones * depth, ones * confidence)


def texture(seed, shape=(120, 160)):
    rng = np.random.default_rng(seed)
    return np.kron(rng.random((shape[0] // 8, shape[1] // 8, 3)), np.ones((8, 8, 1))).astype(np.float32)


# --- depth ---------------------------------------------------------------------


def test_a_plane_is_seen_twice_where_the_pictures_overlap():
    cameras = [camera(0.0), camera(1.0)]
    depths = [np.full((48, 64), 5.0)] * 2
    seen = report.seen_twice(cameras, depths, 0)
    # The second camera stands one unit to the right: 60 / 5 = 12 pixels of the first have left its picture.
    assert not seen[:, :12].any() and seen[:, 12:].all()


def test_what_is_hidden_from_the_other_photo_or_sky_is_not_seen_twice():
    cameras = [camera(0.0), camera(1.0)]
    nearer = [np.full((48, 64), 5.0), np.full((48, 64), 3.0)]
    assert not report.seen_twice(cameras, nearer, 0).any()
    sky = [np.full((48, 64), np.inf)] * 2
    assert not report.seen_twice(cameras, sky, 0).any()


def test_depth_accuracy_counts_what_it_says():
    truth = [np.full((48, 64), 5.0)] * 2
    views = [view(camera(0.0), 5.05), view(camera(1.0), 5.5, 0.4)]
    found = report.depth_accuracy(views, truth)
    assert found.seen == pytest.approx(52 / 64)
    assert (found.measured, found.right, found.confident, found.confident_right) == (1.0, 0.5, 0.5, 1.0)
    assert found.median == pytest.approx(0.055, abs=1e-6)
    nothing = report.depth_accuracy([view(camera(0.0), 0.0), view(camera(1.0), 0.0)], truth)
    assert (nothing.measured, nothing.right) == (0.0, 0.0)


# --- zoom ------------------------------------------------------------------------


def test_magnification_is_measured_at_the_target_against_the_best_photo():
    target = report.target_of(camera(z=8.0), np.full((48, 64), 2.0))
    np.testing.assert_allclose(target, (0, 0, 10))
    zooms = report.magnification([camera(z=0.0), camera(z=8.0)], [camera(), camera(z=5.0)], target)
    np.testing.assert_allclose(zooms, (0.5, 2.5))


def test_a_frame_of_sky_has_a_target_all_the_same():
    assert np.isfinite(report.target_of(camera(), np.full((48, 64), np.inf))).all()


def test_the_outline_is_the_close_ups_frame_in_the_photo():
    corners = report.outline(camera(z=8.0), camera(), np.array([0.0, 0.0, 10.0]))
    middle, half = np.array([32.0, 24.0]), np.array([32.0, 24.0]) * 2 / 10
    np.testing.assert_allclose(corners, [middle - half, middle + half * (1, -1), middle + half, middle + half * (-1, 1)])


# --- tables ----------------------------------------------------------------------


def test_the_table_tells_means_gains_and_the_worst_frame():
    truth = [texture(0), texture(1)]
    noise = np.random.default_rng(2).normal(size=truth[0].shape)
    noisy = {name: [np.clip(t + s * noise, 0, 1) for t, s in zip(truth, sigmas)] for name, sigmas in
             {"naive": (0.2, 0.2), "condition": (0.1, 0.1), "result": (0.05, 0.1)}.items()}  # fmt: skip
    rows = {name: evaluation.compare(frames, truth) for name, frames in noisy.items()}
    gain = report.gains(rows)
    assert 0 < gain["smallest_psnr"] < gain["psnr"] and 0 < gain["smallest_haarpsi"] < gain["haarpsi"]
    accuracy = report.DepthAccuracy(0.9, 0.95, 0.7, 0.6, 0.97, 0.005)
    text, data = report.tables(rows, accuracy, [1.0, 4.2])
    assert "70.0% of the pixels" in text and "97.0%" in text and "4.2×" in text and f"{gain['psnr']:+.2f} dB" in text
    assert data["depth"]["right"] == 0.7 and len(data["frames"]["result"]) == 2


def test_the_naive_baseline_is_made_for_every_frame_in_order():
    views = [view(camera(0.0), 5.0)]
    frames = report.naive_frames(views, [camera(0.0), camera(0.0, size=(32, 24), focal=30.0)])
    assert [frame.shape for frame in frames] == [(48, 64, 3), (24, 32, 3)]
    np.testing.assert_allclose(frames[0], views[0].image, atol=1 / 255)


# --- pictures ----------------------------------------------------------------------


def wall(seed=3):
    """A camera before a patterned wall at z = 5, and its picture."""
    where = camera(size=(400, 300), focal=380.0)
    big = np.random.default_rng(seed).random((30, 40, 3)).astype(np.float32)
    picture = np.asarray(sheets.to_image(big).resize((400, 300), sheets.Image.Resampling.BICUBIC), np.float32) / 255
    return View(
        "wall", picture, where, np.ones((300, 400), bool), np.full((300, 400), 5.0, np.float32), np.ones((300, 400), np.float32)
    )


def test_the_viewpoint_of_a_close_photo_is_found():
    seen = wall()
    nearer = camera(x=0.3, z=2.5, size=(400, 300), focal=380.0)
    points = cams.unproject(nearer, np.full((300, 400), 2.5))
    pixels, _ = cams.project(seen.camera, points)
    picture = cv2.remap(seen.image, *(np.float32(pixels[..., k] - 0.5) for k in (0, 1)), cv2.INTER_CUBIC)
    found = revisit.pose_of(np.clip(picture, 0, 1), [seen])
    # One wall cannot tell focal length from distance, so what must be right is where its points stand in the picture.
    corners = np.array([[-0.5, -0.5, 5], [1.2, -0.5, 5], [1.2, 0.7, 5], [-0.5, 0.7, 5.0]])
    np.testing.assert_allclose(cams.project(found, corners)[0], cams.project(nearer, corners)[0], atol=1.5)


def test_a_photo_of_something_else_has_no_viewpoint():
    assert revisit.pose_of(wall(8).image, [wall(3)]) is None
    assert revisit.pose_of(np.full((48, 64, 3), 0.5, np.float32), [wall()]) is None


def test_captions_use_letters_that_the_typeface_has():
    assert sheets.plain("4.2× Blumentöpfe é – 東") == "4.2x Blumentopfe e - ?"


def test_stacked_sheets_keep_their_pixels():
    sheet = sheets.stacked([sheets.to_image(np.zeros((10, 20, 3))), sheets.to_image(np.ones((5, 30, 3)))])
    assert sheet.size == (30, 15) and sheet.getpixel((0, 0)) == (0, 0, 0) and sheet.getpixel((29, 14)) == (255, 255, 255)


def test_a_contact_sheet_holds_every_picture_unstretched():
    red, wide = np.zeros((30, 40, 3)), np.zeros((20, 80, 3))
    red[..., 0] = wide[..., 2] = 1.0
    sheet = sheets.grid("Title", [("row", "a note", [red, None]), ("other", "", [wide, red])], ["a", "b"], "footer", (80, 60))
    pixels = np.asarray(sheet)
    assert (pixels == (255, 0, 0)).all(-1).sum() == 2 * 80 * 60
    assert (pixels == (0, 0, 255)).all(-1).sum() == 80 * 20


def test_an_overview_draws_the_frame_into_the_photo():
    photo, step = np.zeros((120, 160, 3)), np.ones((36, 64, 3))
    corners = np.array([[40, 30], [120, 30], [120, 90], [40, 90]])
    image = np.asarray(sheets.overview(photo, corners, [("1×", step)] * 4, "caption"))
    assert (image[30, 60] == sheets.ACCENT).all() and (image[60, 60] == 0).all() and image.shape[1] > 160


def test_a_film_can_be_played_and_runs_there_and_back(tmp_path):
    frames = [np.full((35, 65, 3), level) for level in (0.1, 0.5, 0.9)]
    order = sheets.there_and_back(3, rest=4)
    assert order[:3] == [0, 1, 2] and order[-1] == 0
    sheets.film(tmp_path / "film.mp4", frames, order)
    with av.open(str(tmp_path / "film.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.width, stream.codec_context.height, stream.average_rate) == (64, 34, 24)
        levels = [frame.to_ndarray(format="rgb24").mean() / 255 for frame in film.decode(stream)]
    np.testing.assert_allclose(levels, [frames[i].mean() for i in order], atol=0.03)


def test_films_beside_each_other_keep_their_pixels():
    left, right = np.zeros((40, 60, 3)), np.ones((40, 60, 3))
    both = sheets.side_by_side([left, right], ["a", "b"])
    assert both.shape == (40, 124, 3) and both[39, 10].max() == 0 and both[39, 100].min() == 1


def test_a_camera_of_another_lens_counts_by_its_pixels():
    near = replace(camera(), fx=120.0)
    assert report.magnification([near], [camera()], np.array([0.0, 0.0, 4.0])) == [2.0]
