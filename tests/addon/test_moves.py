"""Camera moves, and what is told of them before anything is generated."""

from __future__ import annotations

import math

import bpy
import numpy as np
import pytest
from conftest import module
from mathutils import Vector


@pytest.fixture
def photo_at(scene):
    """A camera with a photo as background, eight units before the origin."""
    obj = bpy.data.objects.new("photo", bpy.data.cameras.new("photo"))
    scene.collection.objects.link(obj)
    obj.location, obj.rotation_euler = (0, -8, 0), (math.pi / 2, 0, 0)
    obj.data.background_images.new().image = bpy.data.images.new("photo", 40, 30)
    return obj


def add_cloud(scene, points, radius: float):
    """A cloud as a job would have brought it."""
    cloud, photo_cameras, later = (module(f"closeup_addon.{name}") for name in ("cloud", "photo_cameras", "later"))
    points = np.ascontiguousarray(points, np.float32)
    n = len(points)
    coded = np.full((n, 4), 255, np.uint8)
    made = cloud.Points(points, np.ones((n, 4), np.float32), coded, np.ones(n, np.float32), np.zeros(n, np.int32), radius)
    obj = later.finish(cloud.build("cloud", made))
    photo_cameras.collection(scene).objects.link(obj)
    return obj


def wall(width: float, spacing: float = 0.05, y: float = 0.0):
    """Points of an upright wall around the origin."""
    x, z = np.meshgrid(np.arange(-width / 2, width / 2, spacing), np.arange(-3, 3, spacing))
    return np.stack([x.ravel(), np.full(x.size, y), z.ravel()], axis=-1)


def path_of(scene, camera, frames):
    cameras, sampling = module("closeup_addon.cameras"), module("closeup_addon.sampling")
    return [np.array(c.world_from_camera) for c in sampling.sample(scene, camera, frames, cameras.frame_of(scene.render))]


def test_a_move_goes_around_its_target_and_ends_at_the_distance_asked_for(scene, photo_at):
    scene.cursor.location = (0.5, 0, 0.2)
    arguments = {"target": "CURSOR", "distance": 2.0, "arc": math.radians(60), "frames": 25, "ease": "LINEAR"}
    assert bpy.ops.closeup.add_move(**arguments) == {"FINISHED"}
    target = np.array(scene.cursor.location)
    first, middle, last = path_of(scene, scene.camera, (1, 13, 25))
    away = [item[:3, 3] - target for item in (first, middle, last)]
    assert np.linalg.norm(away[0]) == pytest.approx(np.linalg.norm((0.5, 8, 0.2)), rel=1e-5)
    assert np.linalg.norm(away[2]) == pytest.approx(2.0, rel=1e-5)
    angles = [math.degrees(math.atan2(a[0], -a[1])) for a in away]
    assert angles[2] - angles[0] == pytest.approx(60, abs=0.01) and angles[1] - angles[0] == pytest.approx(30, abs=0.5)
    forward = last[:3, 2]
    assert forward @ -away[2] == pytest.approx(2.0, rel=1e-4)  # it looks at the target
    assert scene.closeup.camera == scene.camera and scene.frame_end == 25


def test_the_readout_tells_zoom_and_what_is_seen(scene, photo_at):
    scene.render.resolution_x, scene.render.resolution_y = 40, 30
    add_cloud(scene, wall(12.0), 0.035)
    bpy.ops.closeup.add_move(target="CURSOR", zoom=4.0, frames=25)
    coverage = module("closeup_addon.coverage")
    assert bpy.ops.closeup.check_move() == {"FINISHED"}
    rows = coverage.latest.rows
    assert (rows[0].frame, rows[-1].frame, len(rows)) == (1, 25, 24)
    assert rows[0].zoom == pytest.approx(1.0, rel=0.01) and rows[-1].zoom == pytest.approx(4.0, rel=0.01)
    assert min(row.seen for row in rows) > 0.95
    assert coverage.summary(rows) == ["Frame 1: 1.0× zoom, 100% seen", "Frame 25: 4.0× zoom, 100% seen"]
    assert coverage.belongs_to(scene)


def test_half_a_wall_is_half_seen_and_what_is_hidden_does_not_count(scene, photo_at):
    moves, coverage = module("closeup_addon.moves"), module("closeup_addon.coverage")
    (seen,) = moves.photo_cameras(scene)
    bpy.context.view_layer.update()
    frame = moves.photo_cameras(scene)[0].camera
    points = wall(12.0)
    half = coverage.measure(1, frame, [seen.camera], points[points[:, 0] > 0], 0.035)
    assert half.seen == pytest.approx(0.5, abs=0.04)
    behind = np.concatenate([wall(12.0), wall(30.0, y=10.0)])
    assert coverage.measure(1, frame, [seen.camera], behind, 0.035).zoom == pytest.approx(1.0, rel=0.01)
    assert coverage.measure(1, frame, [seen.camera], points - (0, 100, 0), 0.035) == coverage.Row(1, 0.0, 0.0)


def test_a_solvers_few_points_are_enough_to_tell_what_the_photos_show(scene, photo_at):
    moves, coverage = module("closeup_addon.moves"), module("closeup_addon.coverage")
    bpy.context.view_layer.update()
    camera = moves.photo_cameras(scene)[0].camera
    few = wall(12.0)[::97]
    assert coverage.measure_sparse(1, camera, [camera], few, 0.001) == coverage.Row(1, pytest.approx(1.0), 1.0)
    photo_at.location.x += 36 / 50 * 8 / 2  # half a frame to the right
    bpy.context.view_layer.update()
    row = coverage.measure_sparse(1, camera, [moves.photo_cameras(scene)[0].camera], few, 0.001)
    assert row.seen == pytest.approx(0.5, abs=0.1) and row.zoom == pytest.approx(1.0, rel=0.01)


def test_what_a_move_lacks_is_a_sentence(scene, photo_at):
    coverage, error = module("closeup_addon.coverage"), module("closeup_addon.errors").CloseUpError
    assert not bpy.ops.closeup.check_move.poll()
    with pytest.raises(error, match="There is no point cloud"):
        coverage.begin(scene)
    with pytest.raises(RuntimeError, match="no camera named Nobody"):
        bpy.ops.closeup.add_move(target="CURSOR", camera="Nobody")
    photo_at.data.background_images.clear()
    assert not bpy.ops.closeup.add_move.poll()


def test_the_cursor_becomes_the_target_that_was_picked(scene):
    assert bpy.ops.closeup.pick_target(location=(1, 2, 3)) == {"FINISHED"}
    assert scene.cursor.location == Vector((1, 2, 3)) and scene.closeup.move_target == "CURSOR"
