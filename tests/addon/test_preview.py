"""The live preview's state: what is asked for, what is shown, and when it goes off. Drawing is tested in tests/app."""

from __future__ import annotations

import math
import os
import struct
import time
from pathlib import Path
from types import SimpleNamespace

import addon_utils
import bpy
import numpy as np
import pytest
from conftest import PACKAGE, module
from mathutils import Matrix, Vector


def preview():
    return module("closeup_addon.preview")


def queue():
    return module("closeup_addon.jobs").queue


@pytest.fixture
def live():
    found = preview().live
    yield found
    found.stop()
    queue().shut_down()


@pytest.fixture
def shot(scene, photos, fake_engine):
    """A job whose cloud is in the scene."""
    return module("closeup_addon.api").generate(photos=photos, frames=[1], name="shot")


def view(x: float = 0.0, framed: bool = True, size: tuple[int, int] = (32, 24)):
    pose = ((1.0, 0.0, 0.0, x), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    camera = module("engine.job").Camera(*size, 30.0, 30.0, size[0] / 2, size[1] / 2, pose)
    return module("closeup_addon.preview_view").View(camera, (0.0, 0.0, *size), framed)


def pump_until(true, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, preview().live.status
        preview().live.pump()
        time.sleep(0.005)


def red(picture) -> int:
    """What the fake engine paints everywhere: the request's number, over 255."""
    return round(struct.unpack_from("f", picture.pixels)[0] * 255)


# --- what is asked for and shown -------------------------------------------------------


def test_a_view_gets_a_coarse_picture_then_the_final_one(live, shot, scene, monkeypatch):
    live.start(scene)
    folder = preview().source(scene)[0]
    assert folder == shot.folder and live.look(1, folder, view()) is None and live.awaited
    seen = []
    monkeypatch.setattr(preview(), "_redraw", lambda region=None: seen.append(live.look(region, folder, view())))
    pump_until(lambda: not live.awaited)
    assert [(item.width, item.height, item.final) for item in seen] == [(8, 6, False), (32, 24, True)]
    assert live.status == "" and not list(preview()._folder().iterdir())


def test_only_the_newest_camera_counts_and_stale_answers_are_ignored(live, shot, scene):
    live.start(scene)
    for x in range(5):
        live.look(1, shot.folder, view(x))
        live.pump()
    pump_until(lambda: not live.awaited)
    picture = live.look(1, shot.folder, view(4))
    assert picture.of.camera == view(4).camera and red(picture) == live._number
    live._hear({"event": "preview", "id": live._number - 1, "width": 32, "height": 24, "final": True, "pixels": b"x"})
    live._hear({"event": "no_preview", "id": live._number - 1, "code": "internal", "message": "No."})
    assert live.look(1, shot.folder, view(4)) is picture and live.on
    assert not list(preview()._folder().iterdir())


def test_every_view_has_its_turn(live, shot, scene):
    live.start(scene)
    for key in (1, 2, 3):
        live.look(key, shot.folder, view(key, framed=key == 1))
    pump_until(lambda: not live.awaited)
    assert [live.look(key, shot.folder, view(key, framed=key == 1)).of.camera for key in (1, 2, 3)] == [
        view(key).camera for key in (1, 2, 3)
    ]
    assert live.look(1, shot.folder, view(9)).of.camera == view(1).camera  # until the new one is there
    assert live.look(1, shot.folder, view(9, framed=False)) is None  # but not in another place


@pytest.mark.parametrize("width, height", [(32, 23), (-32, -24), (0, 0), (1 << 20, 1), (64, 48)])
def test_a_picture_of_a_wrong_size_is_none(live, shot, scene, width, height):
    """Whatever an engine says and writes, no more is read than was asked for."""
    protocol = module("engine.protocol")
    live.start(scene)
    live.look(1, shot.folder, view())
    live.pump()
    client, path = queue()._client, preview()._folder() / protocol.preview_file(99, True)
    client._preview = {**client._preview, "id": 99}
    path.write_bytes(bytes(32 * 24 * protocol.PREVIEW_PIXEL))
    event = {"event": "preview", "id": 99, "width": width, "height": height, "final": True, "seconds": 0.1}
    assert client._picture(event) == b"" and not path.exists()
    path.write_bytes(bytes(32 * 24 * protocol.PREVIEW_PIXEL))
    assert len(client._picture({**event, "width": 32, "height": 24})) == 32 * 24 * 16 and not path.exists()


def test_it_pauses_for_a_job_and_goes_on_afterwards(live, shot, scene, photos):
    live.start(scene)
    live.look(1, shot.folder, view(0))
    pump_until(lambda: not live.awaited)
    number, other = live._number, module("closeup_addon.api").generate(photos=photos, frames=[1], block=False)
    assert live.look(1, shot.folder, view(1)) is None  # what is not true any more is not shown meanwhile
    live.pump()
    assert live._number == number and live.status == "Paused while the engine makes a close-up" and not live.awaited
    module("closeup_addon.api").wait(other)
    assert other.state == "done" and live.awaited
    pump_until(lambda: not live.awaited)
    assert live.look(1, shot.folder, view(1)).of.camera == view(1).camera


# --- when it goes off ----------------------------------------------------------------------


@pytest.mark.parametrize("fault, words", [("no-preview", "The folder of"), ("preview-dies", "ended unexpectedly")])
def test_what_goes_wrong_switches_it_off_with_a_sentence(live, shot, scene, fake_engine, fault, words):
    queue().shut_down()
    fake_engine(fault)
    live.start(scene)
    live.look(1, shot.folder, view())
    pump_until(lambda: not live.on)
    assert words in live.status and live.status == live.error and live.status.endswith((".", "engine.log.")) and not live.awaited
    fake_engine("")
    live.start(scene)
    live.look(1, shot.folder, view())
    assert live.error == ""
    queue().shut_down()
    pump_until(lambda: not live.awaited)


def test_an_engine_that_had_nothing_to_do_is_started_again(live, shot, scene, fake_engine):
    queue().shut_down()
    fake_engine("tires")
    live.start(scene)
    for x in range(2):
        live.look(1, shot.folder, view(x))
        pump_until(lambda: not live.awaited)
        end = time.monotonic() + 10
        while queue()._client and queue()._client.alive:
            assert time.monotonic() < end
            time.sleep(0.05)
    assert live.on


def test_it_goes_off_with_the_file_and_with_the_extension(live, shot, scene):
    live.start(scene)
    live.look(1, shot.folder, view())
    bpy.ops.wm.read_homefile(use_empty=True)
    assert not live.on and not live.awaited and live.status == ""
    for _ in range(2):
        preview().live.on = True
        addon_utils.disable(PACKAGE)
        assert addon_utils.enable(PACKAGE, default_set=True)
        assert not preview().live.on


def test_the_button_is_grey_and_says_why(live, scene, photos, fake_engine):
    assert not bpy.ops.closeup.live_preview.poll()  # there is no window here
    source, error = preview().source, module("closeup_addon.errors").CloseUpError
    with pytest.raises(error, match="The cloud is not there yet; press Build Cloud or Generate Close-up first"):
        live.start(scene)
    module("closeup_addon.api").solve_cameras(photos=photos)
    with pytest.raises(error, match="holds only the solver's points"):
        source(scene)
    shot = module("closeup_addon.api").generate(photos=photos, frames=[1], name="a shot")
    assert source(scene) == (shot.folder, shot.placed.cloud)
    newer = module("closeup_addon.api").generate(photos=photos, frames=[1], name="another")
    assert source(scene)[0] == newer.folder
    module("closeup_addon.api").show(shot.folder)
    assert source(scene)[0] == shot.folder
    queue().shots.clear()
    module("closeup_addon.history").history.records.clear()
    with pytest.raises(error, match="is not at hand"):
        source(scene)


# --- where a view looks ------------------------------------------------------------------


LENSES = [
    {},
    {"sensor_fit": "VERTICAL", "lens": 35.0},
    {"shift_x": 0.3, "shift_y": -0.2},
    {"sensor_fit": "HORIZONTAL", "sensor_width": 20.0, "shift_x": -0.1},
]


@pytest.mark.parametrize("lens", LENSES, ids=str)
def test_a_view_through_a_camera_is_the_camera_the_job_would_have(scene, lens):
    """Blender's own projection, cut to the camera's frame, against cameras.job_camera, which is tested against renders."""
    views, cameras = module("closeup_addon.preview_view"), module("closeup_addon.cameras")
    camera = scene.camera
    for name, value in lens.items():
        setattr(camera.data, name, value)
    camera.matrix_world = Matrix.LocRotScale(Vector((1, -4, 2)), Matrix.Rotation(0.7, 3, "X").to_quaternion(), Vector((2, 2, 2)))
    bpy.context.view_layer.update()
    width, height = 900, 500
    graph = bpy.context.evaluated_depsgraph_get()
    own = camera.calc_matrix_camera(graph, x=scene.render.resolution_x, y=scene.render.resolution_y)
    zoom = Matrix.Diagonal((0.5 * 64 / 48 * height / width, 0.5, 1, 1))
    offset = Matrix.Translation((0.1, -0.05, 0.0))  # in clip space: the view is moved
    window = offset @ zoom @ own
    space = SimpleNamespace(use_local_camera=False, camera=None)
    rv3d = SimpleNamespace(
        is_perspective=True,
        view_perspective="CAMERA",
        window_matrix=window,
        view_matrix=camera.matrix_world.normalized().inverted(),
    )
    region = SimpleNamespace(width=width, height=height)
    found = views.of_region(space, region, rv3d, scene, Matrix(), False)
    left, bottom, right, top = found.rectangle
    assert found.framed and math.isclose((right - left) / (top - bottom), 64 / 48, rel_tol=1e-4)
    expected = cameras.job_camera(camera.matrix_world, cameras.Lens.of(camera.data), cameras.Frame(64, 48))
    across, down = found.camera.width / 64, found.camera.height / 48
    wanted = (expected.fx * across, expected.fy * down, expected.cx * across, expected.cy * down)
    assert (found.camera.fx, found.camera.fy, found.camera.cx, found.camera.cy) == pytest.approx(wanted, abs=0.05)
    np.testing.assert_allclose(found.camera.world_from_camera, expected.world_from_camera, atol=1e-5)


def test_a_frame_larger_than_the_region_is_cut_to_it_and_seen_larger(scene):
    views = module("closeup_addon.preview_view")
    own = scene.camera.calc_matrix_camera(bpy.context.evaluated_depsgraph_get(), x=64, y=48)
    rv3d = SimpleNamespace(
        is_perspective=True, view_perspective="CAMERA", window_matrix=Matrix.Diagonal((3, 3, 1, 1)) @ own, view_matrix=Matrix()
    )
    space, region = SimpleNamespace(use_local_camera=False), SimpleNamespace(width=640, height=480)
    found = views.of_region(space, region, rv3d, scene, Matrix(), False)
    assert found.rectangle == (0, 0, 640, 480) and (found.camera.width, found.camera.height) == (512, 384)
    assert found.camera.fx == pytest.approx(3 * own[0][0] * 256, rel=1e-6)


def test_there_is_no_preview_of_orthographic_views_nor_of_free_ones_unless_wanted(scene):
    views = module("closeup_addon.preview_view")
    space, region = SimpleNamespace(use_local_camera=False), SimpleNamespace(width=640, height=480)
    window = Matrix(((1.5, 0, 0, 0), (0, 2.0, 0, 0), (0, 0, -1, -0.2), (0, 0, -1, 0)))

    def seen(kind: str, flat: bool = False, everywhere: bool = False, place=region):
        rv3d = SimpleNamespace(is_perspective=not flat, view_perspective=kind, window_matrix=window, view_matrix=Matrix())
        return views.of_region(space, place, rv3d, scene, Matrix(), everywhere)

    assert seen("PERSP") is None and seen("ORTHO", True, True) is None
    free = seen("PERSP", everywhere=True)
    assert not free.framed and free.rectangle == (0, 0, 640, 480)
    assert (free.camera.fx, free.camera.fy, free.camera.cx, free.camera.cy) == (1.5 * 256, 2.0 * 192, 256, 192)
    assert seen("PERSP", everywhere=True, place=SimpleNamespace(width=640, height=9)) is None
    scene.camera.data.type = "ORTHO"
    assert seen("CAMERA") is None
    scene.camera = None
    assert seen("CAMERA") is None


def test_a_cloud_that_was_moved_takes_the_photos_with_it(scene):
    """What the view shows of the moved cloud is what it showed of the cloud before, from the place that moved with it."""
    views = module("closeup_addon.preview_view")
    move = Matrix.LocRotScale(Vector((3, 1, -2)), Matrix.Rotation(0.6, 3, "Z").to_quaternion(), Vector((2, 2, 2)))
    place = Matrix.LocRotScale(Vector((0, -4, 1)), Matrix.Rotation(1.2, 3, "X").to_quaternion(), None)
    window, rectangle = Matrix.Diagonal((1.5, 2.0, -1, 1)), (0.0, 0.0, 640.0, 480.0)

    def seen(matrix, cloud):
        return views.view_camera(window, views.in_cloud(matrix, cloud), 640, 480, rectangle, (512, 384)).world_from_camera

    np.testing.assert_allclose(seen(move @ place, move), seen(place, Matrix()), atol=1e-5)
    for stretched in (Matrix.Diagonal((1, 2, 1, 1)), Matrix.Diagonal((-1, 1, 1, 1)), Matrix.Diagonal((0, 0, 0, 1))):
        with pytest.raises(module("closeup_addon.errors").CloseUpError, match="stretched or mirrored"):
            views.in_cloud(place, stretched)


# --- pixels ---------------------------------------------------------------------------------


def test_the_real_engine_shows_what_its_job_shows(live, scene, photos, tmp_path, monkeypatch):
    """One job of the real engine, then a preview at its frame's camera: the same picture."""
    import small_job

    job, api = module("engine.job"), module("closeup_addon.api")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    folder = small_job.make(job, photos, tmp_path / "real", 1)
    path = job.load(folder)
    job.save(job.Job(path.sources, path.path, generator=job.GeneratorSettings("none")), folder)
    shot = api.resume(folder, scene)
    assert shot.state == "done"
    live.start(scene)
    seen = module("closeup_addon.preview_view").View(path.path[0].camera, (0, 0, 24, 16), True)
    live.look(1, preview().source(scene)[0], seen)
    pump_until(lambda: not live.awaited, 60)
    picture = live.look(1, folder, seen)
    pixels = np.frombuffer(picture.pixels, np.float32).reshape(16, 24, 4)
    image = bpy.data.images.load(str(Path(folder, "condition", "0001.png")))
    image.colorspace_settings.name = "Non-Color"
    made = np.array(image.pixels[:]).reshape(16, 24, 4)[::-1]
    assert ((pixels[..., 3] > 0) == (made[..., 3] > 0.5)).all()
    seen_there = made[..., 3] > 0.5
    assert seen_there.any() and np.abs(pixels[..., :3] - made[..., :3])[seen_there].max() < 2 / 255
    assert os.listdir(folder / ".closeup")  # only the engine's own marks: no picture of the preview lies in the job
    assert not list(Path(folder).rglob("*.rgba"))
