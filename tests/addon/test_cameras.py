"""Cameras and paths agree with Blender's own projection to a hundredth of a pixel."""

from __future__ import annotations

import itertools
import math

import bpy
import numpy as np
import pytest
from conftest import module
from mathutils import Euler, Matrix, Quaternion, Vector

POINTS = np.array([[0.4, -0.2, -3.0], [-1.1, 0.7, -5.0], [0.0, 0.0, -1.0], [2.0, 1.5, -9.0]])
"""In the camera's own space (Blender's axes)."""


def blenders_pixels(scene, obj, points: np.ndarray, width: int, height: int) -> np.ndarray:
    """Through calc_matrix_camera: pixels with y down, of points in the camera's space."""
    graph = bpy.context.evaluated_depsgraph_get()
    render = scene.render
    matrix = np.array(
        obj.calc_matrix_camera(graph, x=width, y=height, scale_x=render.pixel_aspect_x, scale_y=render.pixel_aspect_y)
    )
    clip = np.c_[points, np.ones(len(points))] @ matrix.T
    ndc = clip[:, :2] / clip[:, 3:]
    return np.stack([(ndc[:, 0] + 1) / 2 * width, (1 - ndc[:, 1]) / 2 * height], axis=1)


def our_pixels(camera, world: np.ndarray) -> np.ndarray:
    matrix = np.array(camera.world_from_camera)
    local = (world - matrix[:3, 3]) @ matrix[:3, :3]
    return np.stack([camera.fx * local[:, 0] / local[:, 2] + camera.cx, camera.fy * local[:, 1] / local[:, 2] + camera.cy], 1)


@pytest.mark.parametrize("fit", ["AUTO", "HORIZONTAL", "VERTICAL"])
@pytest.mark.parametrize("size", [(1920, 1080, 100), (1080, 1920, 67), (333, 777, 33), (640, 640, 100)], ids=str)
@pytest.mark.parametrize("aspect", [(1.0, 1.0), (2.0, 1.0), (1.0, 1.46)], ids=str)
def test_intrinsics(scene, fit, size, aspect):
    obj, render = scene.camera, scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = size
    render.pixel_aspect_x, render.pixel_aspect_y = aspect
    data = obj.data
    data.sensor_fit = fit
    obj.matrix_world = Matrix.Translation((3, -2, 1)) @ Euler((1.1, 0.2, -0.7)).to_matrix().to_4x4()
    world = (np.c_[POINTS, np.ones(len(POINTS))] @ np.array(obj.matrix_world).T)[:, :3]
    for lens, sensor, shift in itertools.product((18.0, 85.0), ((36.0, 24.0), (23.5, 30.0)), ((0.0, 0.0), (0.13, -0.21))):
        data.lens, (data.sensor_width, data.sensor_height) = lens, sensor
        data.shift_x, data.shift_y = shift
        bpy.context.view_layer.update()
        frame = module("closeup_addon.cameras").frame_of(render)
        (camera,) = module("closeup_addon.sampling").sample(scene, obj, [1], frame)
        assert (camera.width, camera.height) == (size[0] * size[2] // 100, size[1] * size[2] // 100)
        expected = blenders_pixels(scene, obj, POINTS, camera.width, camera.height)
        assert np.abs(our_pixels(camera, world) - expected).max() < 0.01


def test_a_solved_camera_survives_the_way_through_blender(scene):
    cameras, Camera = module("closeup_addon.cameras"), module("engine.job").Camera
    matrix = Matrix.Translation((1, 2, 3)) @ Euler((0.3, 1.2, -2.0)).to_matrix().to_4x4()
    for width, height in ((4000, 3000), (3000, 4000)):
        before = Camera(width, height, 3100.0, 3100.0, width / 2 + 40, height / 2 - 25, tuple(map(tuple, matrix)))
        data = bpy.data.cameras.new("solved")
        cameras.apply(before, data)
        after = cameras.own_camera(cameras.blender_matrix(before), cameras.Lens.of(data), (width, height))
        for name in ("fx", "fy", "cx", "cy"):
            assert getattr(after, name) == pytest.approx(getattr(before, name), abs=0.005), name
        assert np.allclose(after.world_from_camera, before.world_from_camera, atol=1e-6)


@pytest.mark.parametrize("method", ["FIT", "CROP", "STRETCH"])
@pytest.mark.parametrize("photo_size", [(400, 300), (300, 400), (640, 160)], ids=str)
def test_a_background_photo_has_the_camera_that_its_place_in_the_frame_gives_it(scene, method, photo_size):
    """The photo's corners, as Blender lays them into the frame, are the same rays as the render's pixels there."""
    cameras = module("closeup_addon.cameras")
    render, data = scene.render, scene.camera.data
    render.resolution_x, render.resolution_y = 1000, 600
    data.shift_x = 0.1
    image = bpy.data.images.new("photo", *photo_size)
    background = data.background_images.new()
    background.image, background.frame_method = image, method
    background.scale = 0.8
    frame = cameras.frame_of(render)
    lens = cameras.Lens.of(data)
    photo = cameras.photo_camera(Matrix(), lens, frame, background, photo_size)
    whole = cameras.job_camera(Matrix(), lens, frame)
    scale_x, scale_y = 1000 / photo_size[0], 600 / photo_size[1]
    if method != "STRETCH":
        scale_x = scale_y = (min if method == "FIT" else max)(scale_x, scale_y)
    for u, v in itertools.product((0, photo_size[0]), (0, photo_size[1])):
        x, y = 500 + 0.8 * scale_x * (u - photo_size[0] / 2), 300 + 0.8 * scale_y * (v - photo_size[1] / 2)
        assert (u - photo.cx) / photo.fx == pytest.approx((x - whole.cx) / whole.fx, abs=1e-6)
        assert (v - photo.cy) / photo.fy == pytest.approx((y - whole.cy) / whole.fy, abs=1e-6)


def animated_rig(scene):
    """A camera with a parent, a Track To constraint and an animated lens, shift and place."""
    camera = scene.camera
    target = bpy.data.objects.new("target", None)
    parent = bpy.data.objects.new("parent", None)
    for obj in (target, parent):
        scene.collection.objects.link(obj)
    camera.parent = parent
    parent.scale = (2.0, 2.0, 2.0)
    constraint = camera.constraints.new("TRACK_TO")
    constraint.target, constraint.track_axis, constraint.up_axis = target, "TRACK_NEGATIVE_Z", "UP_Y"
    for frame, place, lens, shift in ((1, (0, -6, 1), 30.0, 0.0), (21, (4, -2, 2), 80.0, 0.2)):
        parent.location, camera.data.lens, camera.data.shift_x = place, lens, shift
        parent.keyframe_insert("location", frame=frame)
        camera.data.keyframe_insert("lens", frame=frame)
        camera.data.keyframe_insert("shift_x", frame=frame)
    driver = target.driver_add("location", 2).driver
    driver.expression = "frame / 20"
    return camera


def test_a_path_is_what_stepping_the_scene_shows_and_the_scene_stays(scene):
    camera = animated_rig(scene)
    scene.frame_set(7)
    names = {collection: set(getattr(bpy.data, collection).keys()) for collection in ("scenes", "objects", "cameras", "actions")}
    cameras, sampling = module("closeup_addon.cameras"), module("closeup_addon.sampling")
    frame = cameras.frame_of(scene.render)
    numbers = [1, 4.5, 11, 21]
    path = sampling.sample(scene, camera, numbers, frame)
    assert scene.frame_current == 7
    assert names == {collection: set(getattr(bpy.data, collection).keys()) for collection in names}
    for number, item in zip(numbers, path):
        scene.frame_set(math.floor(number), subframe=number % 1)
        evaluated = camera.evaluated_get(bpy.context.evaluated_depsgraph_get())
        expected = cameras.job_camera(evaluated.matrix_world, cameras.Lens.of(evaluated.data), frame)
        assert item.fx == pytest.approx(expected.fx, rel=1e-6)
        assert item.cx == pytest.approx(expected.cx, abs=1e-3)
        assert np.allclose(item.world_from_camera, expected.world_from_camera, atol=1e-5)
    assert path[0].fx < 0.5 * path[3].fx


def test_markers_switch_the_camera(scene):
    other = bpy.data.objects.new("Other", bpy.data.cameras.new("Other"))
    other.location = (9, 0, 0)
    scene.collection.objects.link(other)
    for number, camera in ((5, scene.camera), (10, other)):
        scene.timeline_markers.new("m", frame=number).camera = camera
    sampling, frame = module("closeup_addon.sampling"), module("closeup_addon.cameras").frame_of(scene.render)
    path = sampling.sample(scene, None, [1, 9, 10, 12], frame)
    assert [item.world_from_camera[0][3] for item in path] == [0, 0, 9, 9]


def test_what_no_pinhole_is_gets_a_sentence(scene):
    cameras, sampling = module("closeup_addon.cameras"), module("closeup_addon.sampling")
    error, frame = module("closeup_addon.errors").CloseUpError, cameras.frame_of(scene.render)
    scene.camera.scale.x = -1
    with pytest.raises(error, match="mirrored"):
        sampling.sample(scene, scene.camera, [1], frame)
    scene.camera.scale.x = 1
    scene.camera.data.type = "ORTHO"
    with pytest.raises(error, match="perspective"):
        sampling.sample(scene, scene.camera, [1], frame)
    scene.camera = None
    with pytest.raises(error, match="no camera"):
        sampling.sample(scene, None, [1], frame)
    assert len(bpy.data.scenes) == 1


def test_a_move_ends_as_close_as_asked_and_looks_at_its_target(scene):
    moves = module("closeup_addon.moves")
    image = bpy.data.images.new("photo", 40, 30)
    for x in (-2.0, 0.0, 2.0):
        obj = bpy.data.objects.new("photo", bpy.data.cameras.new("photo"))
        scene.collection.objects.link(obj)
        obj.location = (x, -8, 0)
        obj.rotation_euler = Vector((-x, 8, 0)).to_track_quat("-Z", "Y").to_euler()
        obj.data.background_images.new().image = image
    target = moves.target_point(scene, "AUTO")
    assert target.length < 1e-4
    camera = moves.add_move(scene, Vector((0.3, 0, 0.2)), zoom=4.0, frames=25)
    path = module("closeup_addon.sampling").sample(scene, camera, [1, 25], module("closeup_addon.cameras").frame_of(scene.render))
    ends = [np.array(item.world_from_camera) for item in path]
    distances = [np.linalg.norm(end[:3, 3] - (0.3, 0, 0.2)) for end in ends]
    assert distances[0] / distances[1] == pytest.approx(4.0, rel=1e-4)
    look = ends[1][:3, :3].T @ (np.array((0.3, 0, 0.2)) - ends[1][:3, 3])
    assert look[2] / np.linalg.norm(look) == pytest.approx(1.0, abs=1e-6)


def test_a_solved_camera_goes_back_into_a_job_as_it_was_solved_until_it_is_moved(scene, tmp_path):
    """To the last bit, though Blender rounds it: so depth that was measured with it serves the next job."""
    gather, job = module("closeup_addon.gather"), module("engine.job")
    path, chance = tmp_path / "photo.png", np.random.default_rng(3)
    bpy.data.images.new("photo", 40, 30).save(filepath=str(path))
    turns = [Quaternion(chance.normal(size=4)).normalized() for _ in range(20)]
    turns += [Euler((x, 0, 0.3)).to_quaternion() for x in (0, math.pi)]  # straight down and up
    solved = []
    for index, turn in enumerate(turns):
        place = chance.normal(size=3) * 10.0 ** (index % 5 - 1)
        rotation = np.linalg.qr(np.array(turn.to_matrix()))[0]
        rotation *= np.sign(np.linalg.det(rotation))
        pose = (*((*map(float, row), float(x)) for row, x in zip(rotation, place)), (0.0, 0.0, 0.0, 1.0))
        focal = float(chance.uniform(20, 200))
        solved.append(job.Camera(40, 30, focal, focal * (1 + index % 2 / 1000), 20 + float(chance.normal()), 15.1, pose))
        scene.closeup.photos.add().name = "photo"
        item = scene.closeup.photos[-1]
        item.filepath = str(path)
        item.camera = module("closeup_addon.photo_cameras").new(scene, "photo", solved[-1], path, "Cameras-001")
    cameras = [source.camera for source in gather.sources(scene, tmp_path, gather.Options())]
    assert cameras == solved
    scene.closeup.photos[0].camera.rotation_euler.x += 1e-4
    scene.closeup.photos[1].camera.data.lens *= 1.0001
    scene.closeup.photos[2].camera["closeup_camera"] = (1.0, 2.0)  # a stranger's file
    moved = [source.camera for source in gather.sources(scene, tmp_path, gather.Options())]
    assert [a == b for a, b in zip(moved, solved)] == [False] * 3 + [True] * (len(solved) - 3)
    assert moved[1].fx == pytest.approx(solved[1].fx * 1.0001, rel=1e-6)
