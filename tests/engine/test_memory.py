"""Segments, retrieval by visible contribution, and what is remembered between segments."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
import torch

from engine import memory
from engine.conditioning import Warper
from engine.memory import captured, temporal
from engine.records import CAPTURED, Condition, View

CPU = torch.device("cpu")


def view_at(position, target=(0.0, 0.15, 0.35), size=(80, 60)) -> View:
    """A photo of the synthetic scene with exact depth."""
    camera = synthetic.look_at(position, target, *size)
    image, depth = synthetic.cast(camera)
    return View("view", image, camera, np.ones(depth.shape, bool), depth, np.ones_like(depth))


def test_segments_cover_the_path_in_order():
    assert [list(part) for part in memory.segments(list(range(7)), 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(memory.segments([], 3)) == []


def test_the_views_that_see_the_target_are_retrieved():
    seeing = [view_at((x, -3.0, 1.2)) for x in (-0.4, 0.0, 0.4)]
    blind = [view_at((x, -3.0, 1.2), target=(x, -9.0, 1.0)) for x in (-0.4, 0.0, 0.4)]
    views = [blind[0], seeing[0], blind[1], seeing[1], seeing[2], blind[2]]
    target = synthetic.look_at((0.0, -2.0, 1.0), (0.0, 0.15, 0.35), 64, 48)
    assert memory.retrieve(Warper(views, CPU), [target], most=3) == [1, 3, 4]


def test_a_view_behind_an_occluder_contributes_nothing():
    """Counting projected points without an occlusion test would prefer the view whose points all lie hidden in the frame."""
    target = synthetic.look_at((-0.45, -2.0, 0.5), (-0.45, -0.1, 0.45), 64, 48, fov=20)
    front = view_at((-0.4, -2.6, 0.6), (-0.45, -0.1, 0.45))
    hidden = view_at((-0.45, 1.2, 0.5), (-0.45, 1.6, 0.45))  # the wall behind the sphere, seen from behind the sphere
    share = Warper([hidden, front], CPU).visible_contribution(target)
    assert share[1] > 0.5 and share[0] < 0.1


def test_few_views_are_all_taken():
    assert memory.retrieve(Warper([view_at((0, -3, 1))], CPU), []) == [0]


def test_only_holes_with_a_depth_become_memory():
    camera = synthetic.look_at((0, -3, 1), (0, 0, 0.3), 8, 4)
    frame, depth = np.full((4, 8, 3), 0.5, np.float32), np.full((4, 8), 2.0, np.float32)
    holes = np.zeros((4, 8), bool)
    assert memory.generated_view("frame 1", camera, frame, depth, holes) is None
    holes[:, :3] = True
    depth[0, 0] = np.inf
    view = memory.generated_view("frame 1", camera, frame, depth, holes)
    assert view.generated and view.depth[0, 0] == 0 and view.mask.sum() == 11
    assert view.confidence.max() == pytest.approx(memory.GENERATED_CONFIDENCE)
    assert (view.depth[:, 3:] == 0).all() and (view.confidence[:, 3:] == 0).all()


def test_the_memory_is_bounded_and_forgets_the_oldest():
    remembered = []
    for number in range(memory.MAX_REMEMBERED + 2):
        remembered = memory.remember(remembered, number)
    assert remembered == list(range(2, memory.MAX_REMEMBERED + 2))
    assert memory.remember(remembered, None) == remembered


def test_what_was_generated_stays_the_same_when_the_camera_moves_on():
    """A hole filled in one segment shows the same colour in the next, where without memory it is a hole again."""
    photo = view_at((0.0, -3.0, 1.0))
    photo.depth[:, :30] = 0
    photo.mask[:, :30] = False
    camera = synthetic.look_at((-0.4, -2.6, 0.9), (-0.6, 0.1, 0.3), 64, 48)
    warper = Warper([photo], CPU)
    holes = warper.condition(camera).level == 0
    assert holes.mean() > 0.1
    _, depth = synthetic.cast(camera)
    painted = np.zeros((48, 64, 3), np.float32)
    painted[..., 0] = 1
    view = memory.generated_view("frame", camera, painted, depth, holes)
    moved = synthetic.look_at((-0.42, -2.5, 0.9), (-0.6, 0.1, 0.3), 64, 48)
    without, given = warper.condition(moved), warper.choose([0], [view]).condition(moved)
    was_hole = (without.level == 0) & (given.source == 1)
    assert was_hole.mean() > 0.08
    assert np.median(given.rgb[was_hole], axis=0) == pytest.approx([1, 0, 0], abs=0.05)
    assert given.confidence[was_hole].max() < 0.5


# --- the captured views as a frame sees them ---------------------------------


FRAME = synthetic.look_at((-0.35, -2.2, 0.8), (-0.45, -0.1, 0.45), 64, 48)


def said(*positions, size=(80, 60), most=captured.MOST, depth=None):
    """What photos of the sphere from these positions say at FRAME, or at another depth of it."""
    warper = Warper([view_at(position, (-0.45, -0.1, 0.45), size) for position in positions], CPU)
    depth = synthetic.cast(FRAME)[1] if depth is None else depth
    return captured.captured(warper, FRAME, depth, most).astype(np.float32)


def test_every_view_says_by_itself_what_the_frame_shows():
    picture, _ = synthetic.cast(FRAME)
    views = said((-0.6, -3.0, 1.0), (-0.2, -3.0, 1.0), size=(320, 240))
    assert views.shape == (2, CAPTURED, 48, 64)
    for view in views:
        visible = view[4] > 0
        assert 0.5 < visible.mean() < 1
        assert np.median(np.abs(np.moveaxis(view[:3], 0, 2) - picture)[visible]) < 0.03
        assert view.min() >= 0 and view.max() <= 1 and not view[:, view[3] == 0].any()


def test_views_differ_by_resolution_direction_and_occlusion():
    views = said((-0.35, -1.9, 0.8), (-0.35, -4.0, 0.8), (-2.0, -2.4, 0.8))
    everyone = (views[:, 4] > 0).all(0)
    assert everyone.mean() > 0.2
    resolution, parallax, phase = np.moveaxis(views[:, 5:, everyone], 1, 0)
    assert np.median(resolution[0]) > 1.5 * np.median(resolution[1])
    assert np.median(parallax[0]) > 0.99 > 0.95 > np.median(parallax[2])
    assert phase.std() > 0.1
    hidden = (views[0, 4] > 0) & (views[2, 3] == 0)  # behind the sphere, as one sees it from aside
    assert hidden.mean() > 0.01


def test_nothing_is_said_of_sky_and_of_the_unknown():
    depth = synthetic.cast(FRAME)[1]
    depth[:10], depth[10:20] = np.inf, 0
    views = said((-0.35, -3.0, 0.8), depth=depth)
    assert not views[:, :, :20].any() and views[:, 4, 20:].any() and np.isfinite(views).all()


def test_of_many_views_those_are_asked_that_see_most():
    behind, front = [(-0.45, 3.0, 0.8), (0.3, 3.0, 0.8)], [(-0.5, -3.0, 0.8), (-0.3, -3.0, 0.8)]
    positions = (behind[0], front[0], behind[1], front[1])
    all_of_them, best = said(*positions), said(*positions, most=2)
    assert len(all_of_them) == 4 and np.array_equal(best, all_of_them[[1, 3]])


# --- from frame to frame -----------------------------------------------------


def still(camera, depth, level=2, confidence=0.5, rgb=0.5) -> Condition:
    """A condition that says the same everywhere."""
    shape = depth.shape
    planes = [np.full(shape, value, np.float32) for value in (confidence, 0, 0)]
    return Condition(
        camera,
        np.full((*shape, 3), rgb, np.float32),
        np.full(shape, level, np.uint8),
        depth,
        planes[0],
        planes[1],
        planes[2],
        planes[2],
    )


def moving(frames: int, size=(96, 72)):
    """Cameras of a slow push-in, and what they see: pictures and depths."""
    cameras = [
        synthetic.look_at((-0.3 + 0.01 * i, -2.2 + 0.03 * i, 0.8), (-0.3 + 0.01 * i, -0.1, 0.45), *size) for i in range(frames)
    ]
    return cameras, [synthetic.cast(camera) for camera in cameras]


def test_a_frame_is_seen_again_where_the_new_one_shows_the_same_surface():
    (a, b), ((picture, depth), (expected, new_depth)) = moving(2)
    colours, share = temporal.seen_again(temporal.Shown(a, picture, depth), b, new_depth)
    seen = share > 0.5
    assert 0.8 < seen.mean() < 1
    assert np.abs(colours - expected)[seen].mean() < 0.5 * np.abs(picture - expected)[seen].mean()
    elsewhere = temporal.seen_again(temporal.Shown(a, picture, depth), b, new_depth * 1.1)[1]
    assert (elsewhere > 0).mean() < 0.1


def test_sky_the_unknown_and_what_grows_too_fast_are_not_seen_again():
    (a, _), ((picture, depth), _) = moving(2)
    depth[:10], depth[10:20] = np.inf, 0
    share = temporal.seen_again(temporal.Shown(a, picture, depth), a, depth)[1]
    assert (share[:20] == 0).all() and np.allclose(share[20:], 1, atol=1e-4)
    near = synthetic.look_at((-0.3, -1.2, 0.8), (-0.3, -0.1, 0.45), 96, 72)
    assert temporal.seen_again(temporal.Shown(a, picture, depth), near, synthetic.cast(near)[1])[1][30:, 24:72].max() < 0.05


def test_noise_of_single_frames_is_averaged_away():
    """Flicker falls, and so does the error: a mean errs less than what it is made of."""
    cameras, seen = moving(8)
    rng = np.random.default_rng(0)
    noisy = [np.clip(picture + rng.normal(0, 0.08, picture.shape), 0, 1).astype(np.float32) for picture, _ in seen]
    frames = temporal.steadied(noisy, [still(camera, depth) for camera, (_, depth) in zip(cameras, seen)], None)

    def error(pictures, index):
        return np.abs(pictures[index] - seen[index][0]).mean()

    assert all(error(frames, index) < 0.6 * error(noisy, index) for index in range(8))
    assert error(frames, 4) < min(error(frames, 0), error(frames, 7)), "in the middle more frames are known"
    before = [temporal.Shown(cameras[6], pictures[6], seen[6][1]) for pictures in (noisy, frames)]
    flicker = []
    for shown, frame in zip(before, (noisy[7], frames[7])):
        colours, share = temporal.seen_again(shown, cameras[7], seen[7][1])
        flicker.append(np.abs(colours - frame)[share > 0.5].mean())
    assert flicker[1] < 0.4 * flicker[0]


@pytest.mark.parametrize(
    ("level", "confidence", "share"), [(1, 1.0, 0.0), (1, 0.5, 0.5), (1, 0.0, 1.0), (2, 1.0, 1.0), (0, 0.0, 1.0)]
)
def test_what_a_photo_saw_at_full_resolution_is_left_alone(level, confidence, share):
    (camera, _), ((_, depth), _) = moving(2)
    new, old = np.full((72, 96, 3), 0.5, np.float32), np.full((72, 96, 3), 0.51, np.float32)
    (steady,) = temporal.steadied([new], [still(camera, depth, level, confidence)], temporal.Shown(camera, old, depth))
    weight = temporal.KEPT * share
    assert np.allclose(steady[np.isfinite(depth)], 0.5 + 0.01 * weight / (1 + weight), atol=2e-4)


def test_the_mean_along_the_path_and_the_mean_back_count_every_frame_once():
    """Against the plain sum: a still camera, where frame j counts KEPT ** |i - j| in frame i, and the one before the path as many
    frames as it is the mean of."""
    (camera, _), ((_, depth), _) = moving(2)
    depth = np.where(np.isfinite(depth), depth, 2).astype(np.float32)
    values = np.array([0.50, 0.52, 0.47, 0.51, 0.49])
    frames = [np.full((72, 96, 3), value, np.float32) for value in values]
    before = temporal.Shown(camera, np.full((72, 96, 3), 0.48, np.float32), depth, 3.0)
    tied = temporal.steadied(frames, [still(camera, depth)] * 5, before)
    for index, frame in enumerate(tied):
        counts = temporal.KEPT ** np.abs(np.arange(5) - index)
        first = 3 * temporal.KEPT ** (index + 1)
        assert np.allclose(frame, (counts @ values + first * 0.48) / (counts.sum() + first), atol=3e-3)


def test_a_finer_frame_tells_a_coarser_one_whichever_comes_first():
    (far, *_, near), ((_, far_depth), *_, (_, near_depth)) = moving(6)
    new = np.full((72, 96, 3), 0.5, np.float32)

    def told(camera, depth, other, other_depth):
        shown = temporal.Shown(other, new + 0.02, other_depth)
        return (temporal.steadied([new], [still(camera, depth)], shown)[0] - new)[20:60, 24:72].mean()

    assert told(far, far_depth, near, near_depth) > 1.1 * told(near, near_depth, far, far_depth) > 0


def test_other_colours_are_taken_for_another_thing():
    (camera, _), ((_, depth), _) = moving(2)
    new, old = np.full((72, 96, 3), 0.1, np.float32), np.full((72, 96, 3), 0.9, np.float32)
    (alone,) = temporal.steadied([new], [still(camera, depth)], temporal.Shown(camera, old, depth))
    assert np.abs(alone - new).max() < 0.01
    assert np.array_equal(temporal.steadied([new], [still(camera, depth)], None)[0], new)
