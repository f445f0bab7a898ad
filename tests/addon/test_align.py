"""Aligning a solve to the scene, and picking points for it."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from conftest import module
from mathutils import Euler, Matrix, Vector

TRUE = Matrix.Translation((3, -2, 1)) @ Matrix.Scale(2.5, 4) @ Euler((0.4, -1.1, 2.0)).to_matrix().to_4x4()
"""What the aligning is to find."""
POINTS = [Vector((0.2, 0.1, 0.0)), Vector((1.5, -0.3, 0.4)), Vector((-0.5, 1.2, 0.9))]


def cloud_object(scene, count: int = 400):
    cloud = module("closeup_addon.cloud")
    position = np.random.default_rng(3).normal(size=(count, 3)).astype(np.float32)
    points = cloud.of_arrays(position, np.full((count, 3), 128, np.uint8))
    obj = module("closeup_addon.later").finish(cloud.build("cloud", points))
    obj[module("closeup_addon.gather").SHOT_KEY] = "Cameras-001"
    scene.collection.objects.link(obj)
    return obj


@pytest.fixture
def solve(scene):
    """Three solved cameras, whose job cameras are returned, and a cloud."""
    Camera, photo_cameras = module("engine.job").Camera, module("closeup_addon.photo_cameras")
    found = []
    for x in (-1.0, 0.0, 1.0):
        pose = Matrix.Translation((x, -4, 1)) @ Euler((1.4, 0.1, 0.3 * x)).to_matrix().to_4x4()
        matrix = module("closeup_addon.cameras").rigid(pose)
        camera = Camera(400, 300, 420.0, 425.0, 190.0, 155.0, matrix)
        photo_cameras.new(scene, f"photo {x}.jpg", camera, source="Cameras-001")
        found.append(camera)
    obj = cloud_object(scene)
    bpy.context.view_layer.update()
    return found, obj


def job_cameras(scene) -> list:
    gather, sampling, cameras = (module(f"closeup_addon.{name}") for name in ("gather", "sampling", "cameras"))
    objects = [obj for obj in scene.objects if gather.SIZE_KEY in obj]
    poses = sampling.sample_now(scene, objects)
    return [cameras.own_camera(matrix, lens, tuple(obj[gather.SIZE_KEY])) for obj, (matrix, lens) in zip(objects, poses)]


def pixels(camera, world: np.ndarray) -> np.ndarray:
    matrix = np.array(camera.world_from_camera)
    local = (world - matrix[:3, 3]) @ matrix[:3, :3]
    return np.stack([camera.fx * local[:, 0] / local[:, 2] + camera.cx, camera.fy * local[:, 1] / local[:, 2] + camera.cy], 1)


def world_points(obj) -> np.ndarray:
    position, _ = module("closeup_addon.cloud").arrays(obj)
    matrix = np.array(obj.matrix_world)
    return position @ matrix[:3, :3].T + matrix[:3, 3]


def test_three_points_bring_the_solve_to_the_scene_and_jobs_follow(scene, solve):
    before, cloud = solve
    old, pictures = world_points(cloud), [pixels(camera, world_points(cloud)) for camera in before]
    for number, point in enumerate(POINTS, 1):
        assert not bpy.ops.closeup.align_points.poll()
        bpy.ops.closeup.place_marker(marker=f"point-{number}", location=point)
        bpy.ops.closeup.place_marker(marker=f"target-{number}", location=TRUE @ point)
    assert bpy.ops.closeup.align_points() == {"FINISHED"}
    bpy.context.view_layer.update()
    new = world_points(cloud)
    matrix = np.array(TRUE)
    assert np.abs(new - (old @ matrix[:3, :3].T + matrix[:3, 3])).max() < 1e-4
    for camera, picture in zip(job_cameras(scene), pictures):  # every photo still sees the cloud at the same pixels
        assert np.abs(pixels(camera, new) - picture).max() < 0.01
        assert np.abs(np.linalg.det(np.array(camera.world_from_camera)[:3, :3]) - 1) < 1e-6
    assert bpy.ops.closeup.align_points() == {"FINISHED"}  # a second time changes nothing
    bpy.context.view_layer.update()
    assert np.abs(world_points(cloud) - new).max() < 1e-4


def test_points_that_fit_only_roughly_are_fitted_at_best(scene):
    align = module("closeup_addon.align")
    random = np.random.default_rng(1)
    targets = [TRUE @ p + Vector(random.normal(scale=0.1, size=3)) for p in POINTS]
    found = align.similarity(POINTS, targets)

    def error(matrix) -> float:
        return sum((matrix @ p - t).length_squared for p, t in zip(POINTS, targets))

    middle = sum(POINTS, Vector()) / 3
    for axis in range(3):
        for angle in (-0.01, 0.01):
            turn = Matrix.Rotation(angle, 4, "XYZ"[axis])
            other = found @ Matrix.Translation(middle) @ turn @ Matrix.Translation(-middle)
            assert error(found) <= error(other)
    for factor in (0.99, 1.01):
        assert error(found) <= error(found @ Matrix.Translation(middle) @ Matrix.Scale(factor, 4) @ Matrix.Translation(-middle))


@pytest.mark.parametrize("flip", [False, True])
def test_the_ground_is_level_below_the_cameras_and_of_the_true_size(scene, solve, flip):
    ground = [Vector((0, 0, -1)), Vector((1, 0.2, -1.1)), Vector((0.3, 1, -0.8))]
    if flip:  # the order of picking does not decide what is up
        ground[1], ground[2] = ground[2], ground[1]
    for number, point in enumerate(ground, 1):
        bpy.ops.closeup.place_marker(marker=f"point-{number}", location=point)
    assert bpy.ops.closeup.align_ground(distance=3.0) == {"FINISHED"}
    align = module("closeup_addon.align")
    after = align.marked(scene, align.POINTS)
    assert max(abs(point.z) for point in after) < 1e-5
    assert (after[0] - after[1]).length == pytest.approx(3.0, rel=1e-5)
    assert all(obj.matrix_world.translation.z > 0 for obj in align.solved_objects(scene) if obj.type == "CAMERA")
    middle = sum(ground, Vector()) / 3
    assert (sum(after, Vector()) / 3 - Vector((middle.x, middle.y, 0))).length < 1e-5


def test_what_cannot_be_aligned_is_a_sentence(scene, solve):
    align, error = module("closeup_addon.align"), module("closeup_addon.errors").CloseUpError
    line = [Vector((x, 0, 0)) for x in (0, 1, 3)]
    with pytest.raises(error, match="on one line"):
        align.similarity(line, POINTS)
    with pytest.raises(error, match="on one line"):
        align.onto_ground([Vector()] * 3, Vector())
    with pytest.raises(error, match="Point 1 is not set"):
        align.by_ground(scene)
    camera = align.solved_objects(scene)[0]
    camera.keyframe_insert("location", frame=1)
    with pytest.raises(error, match="is animated"):
        align.apply(scene, Matrix())
    scene.camera["unrelated"] = 1
    assert scene.camera not in align.solved_objects(scene)


def test_a_known_camera_of_the_scene_does_not_move(scene, solve):
    before = scene.camera.matrix_world.copy()
    module("closeup_addon.align").apply(scene, TRUE)
    bpy.context.view_layer.update()
    assert scene.camera.matrix_world == before


@pytest.mark.parametrize("ortho", [False, True])
def test_the_point_under_the_mouse_is_the_front_one(ortho):
    picking = module("closeup_addon.picking")
    view = Matrix.Translation((0, 0, -5))
    projection = Matrix(((2, 0, 0, 0), (0, 2, 0, 0), (0, 0, -1.02, -0.2), (0, 0, -1, 0)))
    if ortho:
        projection = Matrix(((0.4, 0, 0, 0), (0, 0.4, 0, 0), (0, 0, -0.02, -1), (0, 0, 0, 1)))
    matrix = projection @ view
    points = np.array([[0, 0, -3], [0.05, 0, 1.0], [0.02, 0, 1.01], [2, 2, 0], [0, 0, 40]], np.float32)
    _, found = picking.nearest_of(points, matrix, 800, 800, 400, 400)
    assert tuple(found) == pytest.approx((0.02, 0, 1.01))
    assert picking.nearest_of(points, matrix, 800, 800, 100, 100) is None
