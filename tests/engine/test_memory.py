"""Segments, retrieval by visible contribution, and what is remembered between segments."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
import torch

from engine import memory
from engine.conditioning import Warper
from engine.records import View

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
