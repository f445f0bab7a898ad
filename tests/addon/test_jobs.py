"""Whole jobs through bpy.ops and the API, with an engine that only speaks the protocol."""

from __future__ import annotations

import json
import time
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module


def queue():
    return module("closeup_addon.jobs").queue


def api():
    return module("closeup_addon.api")


def add(scene, photos: list[Path]) -> None:
    module("closeup_addon.photos").add(scene, photos)


def shown_files(user, image, frames) -> list[str]:
    """The file that Blender shows at each frame of the scene."""
    numbers = [min(max(f - user.frame_start + 1, 1), user.frame_duration) + user.frame_offset for f in frames]
    folder = Path(bpy.path.abspath(image.filepath)).parent
    return [name for number in numbers if (folder / (name := f"{number:04d}.png")).is_file()]


def test_generate_blocks_in_background_and_brings_everything_into_the_scene(scene, photos, fake_engine, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a scene ü.blend"))
    bpy.ops.closeup.add_photos(directory=str(tmp_path), files=[{"name": path.name} for path in photos])
    assert bpy.ops.closeup.generate(frame_start=3, frame_end=6) == {"FINISHED"}
    shot = queue().latest
    assert shot.state == "done"
    assert shot.folder.parent == tmp_path / "closeup"
    image = shot.placed.image
    assert image.source == "SEQUENCE"
    assert image.filepath.startswith("//")
    assert image.colorspace_settings.name == "sRGB"
    (background,) = scene.camera.data.background_images
    assert background.image == image
    assert background.alpha == 1.0 and scene.camera.data.show_background_images
    files = shown_files(background.image_user, image, range(2, 8))
    assert files == ["0003.png", "0003.png", "0004.png", "0005.png", "0006.png", "0006.png"]
    assert shot.placed.cloud.users_collection[0].name == "Close-up"
    assert [photo.camera for photo in scene.closeup.photos] == shot.placed.cameras


def test_the_job_says_what_the_scene_says(scene, photos, fake_engine):
    add(scene, photos)
    scene.render.pixel_aspect_x = 1.5
    scene.closeup.percentage = 50
    scene.closeup.seed = 7
    shot = api().generate(frames=range(1, 8, 3), name="push in: ü", backend="none", focal_35mm=28.0)
    job = module("engine.job").load(shot.folder)
    assert job.name == "push in: ü"
    assert [item.frame for item in job.path] == [1, 4, 7]
    camera = job.path[0].camera
    assert (camera.width, camera.height) == (32, 24)
    assert camera.fx * 1.5 == pytest.approx(camera.fy)
    assert job.generator.backend == "none" and job.generator.seed == 7
    assert [source.focal_35mm for source in job.sources] == [28.0] * 3
    assert [Path(source.image).name for source in job.sources] == [path.name for path in photos]


def test_fractional_frames_are_numbered_from_one(scene, photos, fake_engine):
    shot = api().generate(photos=photos, frames=[2.0, 2.5, 3.0])
    assert [item.frame for item in module("engine.job").load(shot.folder).path] == [1, 2, 3]


def test_cameras_with_photos_are_sources_and_packed_photos_become_files(scene, photos, fake_engine):
    for index, path in enumerate(photos):
        obj = bpy.data.objects.new(f"photo {index}", bpy.data.cameras.new("photo"))
        scene.collection.objects.link(obj)
        obj.location.x = index
        obj.data.background_images.new().image = bpy.data.images.load(str(path))
    scene.objects["photo 1"].data.background_images[0].image.pack()
    generated = bpy.data.images.new("made", 20, 10)
    scene.objects["photo 2"].data.background_images[0].image = generated
    before = {obj.name for obj in scene.objects}
    shot = api().generate(frames=[1])
    job = module("engine.job").load(shot.folder)
    assert [source.camera.world_from_camera[0][3] for source in job.sources] == [0, 1, 2]
    assert (job.sources[0].camera.width, job.sources[2].camera.width) == (40, 20)
    assert Path(job.sources[0].image) == photos[0]
    assert (shot.folder / job.sources[1].image).read_bytes() == photos[1].read_bytes()
    assert (shot.folder / job.sources[2].image).is_file()
    assert not shot.placed.cameras
    assert {obj.name for obj in scene.objects} - before == {shot.placed.cloud.name}
    again = api().generate(frames=[1])  # the result on the camera's background is no photo
    assert len(module("engine.job").load(again.folder).sources) == 3


def test_solved_cameras_show_their_photos_and_are_known_from_then_on(scene, photos, fake_engine):
    add(scene, photos)
    assert bpy.ops.closeup.solve_cameras() == {"FINISHED"}
    shot = queue().latest
    assert shot.placed.image is None and shot.placed.cloud
    camera = shot.placed.cameras[2]
    assert tuple(camera.matrix_world.translation) == pytest.approx((1, -4, 0))
    assert camera.matrix_world.to_3x3().col[2].y == pytest.approx(-1)  # Blender's cameras look along -z: toward +y
    assert camera.data.lens == pytest.approx(50 * 36 / 40)
    assert Path(bpy.path.abspath(camera.data.background_images[0].image.filepath)) == photos[2]
    job = module("engine.job").load(api().generate(frames=[1]).folder)
    given = job.sources[2].camera
    assert (given.width, given.height, given.world_from_camera[0][3]) == (40, 30, pytest.approx(1))
    assert (given.fx, given.cx, given.cy) == (pytest.approx(50), pytest.approx(21, abs=1e-4), pytest.approx(14, abs=1e-4))


def test_a_photo_that_was_taken_off_the_list_is_not_used_by_its_camera_either(scene, photos, fake_engine):
    add(scene, photos)
    api().solve_cameras()
    gather = module("closeup_addon.gather")
    assert gather.count_photos(scene) == (3, 3)
    scene.closeup.photos[0].use = False
    assert gather.count_photos(scene) == (2, 2)
    scene.closeup.active_photo = 1
    bpy.ops.closeup.remove_photo()
    assert gather.count_photos(scene) == (1, 1)
    assert len(module("engine.job").load(api().generate(frames=[1]).folder).sources) == 1


def test_the_cloud_has_its_colours_and_shows_in_every_way(scene, photos, fake_engine):
    cloud = module("closeup_addon.cloud")
    shot = api().generate(photos=photos, frames=[1])
    obj = shot.placed.cloud
    position, coded = cloud.arrays(obj)
    assert len(position) == 500
    assert np.abs(np.linalg.norm(position, axis=1) - 1).max() < 1e-5
    assert np.abs(coded[:, :3] / 255 - (position + 1) / 2).max() < 2 / 255
    assert obj.data.materials[0].node_tree.nodes["Attribute"].attribute_name == "Col"
    if obj.type == "MESH" and bpy.app.version >= (4, 5):  # what the modifier makes can be looked at only since then
        geometry = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).evaluated_geometry()
        assert len(geometry.pointcloud.points) == 500
    assert 0.02 < obj[cloud.CLOUD_KEY] < 0.2


def test_the_cloud_is_filtered_by_confidence_and_photo(scene, photos, fake_engine):
    cloud = module("closeup_addon.cloud")
    obj = api().generate(photos=photos, frames=[1]).placed.cloud
    modifier = cloud.modifier_of(obj)
    assert [label for _, _, label in cloud.filter_controls(modifier)] == ["Least Confidence", "Only Photo"]
    for confidence, photo, left in ((0.0, 0, 500), (0.95, 0, 0), (0.5, 2, 167), (0.5, 4, 0)):
        cloud._set_input(modifier, "Confidence", confidence)
        cloud._set_input(modifier, "Photo", photo)
        keep = cloud.shown(obj)
        assert (500 if keep is None else keep.sum()) == left  # what Solid shading paints
        if bpy.app.version >= (4, 5):
            obj.update_tag()
            geometry = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).evaluated_geometry()
            assert (len(geometry.pointcloud.points) if geometry.pointcloud else 0) == left


def test_cycles_renders_the_cloud_in_its_colours(scene, photos, fake_engine, tmp_path):
    api().generate(photos=photos, frames=[1])
    scene.camera.location = (0, -6, 0)
    scene.camera.rotation_euler = (np.pi / 2, 0, 0)
    scene.camera.data.show_background_images = False
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 4, "CPU"
    scene.view_settings.view_transform = "Standard"
    scene.render.filepath = str(tmp_path / "render.png")
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    pixels = np.array(image.pixels[:]).reshape(48, 64, 4)[..., :3]
    middle = pixels[22:26, 30:34].mean((0, 1))
    assert np.abs(middle - (0.5, 0.0, 0.5)).max() < 0.2  # the points leave small holes
    assert pixels[24, 42, 0] > pixels[24, 22, 0] + 0.2


def test_placing_a_job_again_replaces_it(scene, photos, fake_engine):
    add(scene, photos)
    shot = api().generate(frames=range(1, 4))
    names = {kind: sorted(getattr(bpy.data, kind).keys()) for kind in ("objects", "images", "cameras", "collections")}
    shot.placed.cloud.location.x = 3.0
    placed = api().import_result(shot.folder)
    assert bpy.ops.closeup.import_result(directory=str(shot.folder)) == {"FINISHED"}
    assert names == {kind: sorted(getattr(bpy.data, kind).keys()) for kind in names}
    assert placed.cloud.location.x == 3.0
    assert len(scene.camera.data.background_images) == 1


def test_a_newer_shot_hides_the_older_frames(scene, photos, fake_engine):
    for _ in range(2):
        api().generate(photos=photos, frames=[1, 2])
    shown = [item.show_background_image for item in scene.camera.data.background_images]
    assert shown == [False, True]


@pytest.mark.parametrize(
    "fault, sentence",
    [
        ("error", "The photo a.jpg cannot be read; save it again."),
        ("dies", "The engine ended unexpectedly (exit code 3); see "),
        ("dies-mid-job", "The engine ended unexpectedly (exit code 7); see "),
        ("garbage", "The engine said something that was not understood (A line is not JSON.); see "),
        ("huge-line", "The engine said something that was not understood (A line of "),
        ("old-protocol", "The engine speaks version 99 and this extension "),
        ("no-frames", ""),
    ],
)
def test_faults_of_the_engine_become_sentences_and_the_next_job_works(scene, photos, fake_engine, fault, sentence):
    add(scene, photos)
    fake_engine(fault)
    if sentence:
        with pytest.raises(RuntimeError, match="Error: ") as caught:
            bpy.ops.closeup.generate(frame_start=1, frame_end=3)
        assert sentence in str(caught.value)
        assert "Traceback" not in str(caught.value)
        assert queue().latest.state == "failed"
    else:
        assert bpy.ops.closeup.generate(frame_start=1, frame_end=3) == {"FINISHED"}
        assert queue().latest.placed.image is None
    fake_engine("")
    queue().shut_down()
    assert bpy.ops.closeup.generate(frame_start=1, frame_end=3) == {"FINISHED"}


def test_a_silent_engine_is_given_up(scene, photos, fake_engine, monkeypatch):
    monkeypatch.setattr(module("closeup_addon.engine_client"), "HELLO_SECONDS", 0.5)
    fake_engine("silent")
    with pytest.raises(api().CloseUpError, match="did not start within"):
        api().generate(photos=photos, frames=[1])


def test_warnings_are_reported(scene, photos, fake_engine):
    fake_engine("warns")
    assert api().generate(photos=photos, frames=[1]).warnings == ["The photo b.jpg is blurred."]


def pump_until(shot, states: set[str], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while shot.state not in states and time.monotonic() < until:
        queue().pump()
        time.sleep(0.01)
    assert shot.state in states


def test_cancel_stops_a_job_and_the_queue_goes_on(scene, photos, fake_engine):
    fake_engine("slow")
    first = api().generate(photos=photos, frames=range(1, 100), block=False)
    second = api().generate(photos=photos, frames=[1], block=False)
    assert (first.state, second.state) == ("queued", "queued")
    pump_until(first, {"running"})
    assert bpy.ops.closeup.cancel.poll()
    bpy.ops.closeup.cancel()
    assert first.message == "Cancelling"
    pump_until(first, {"cancelled"}, 3.0)
    pump_until(second, {"done"})


def test_an_engine_that_ignores_cancel_is_ended(scene, photos, fake_engine, monkeypatch):
    client = module("closeup_addon.engine_client")
    monkeypatch.setattr(client, "CANCEL_SECONDS", 0.3)
    fake_engine("deaf")
    shot = api().generate(photos=photos, frames=range(1, 100), block=False)
    pump_until(shot, {"running"})
    while not shot.stage:
        queue().pump()
    queue().cancel(shot)
    pump_until(shot, {"cancelled"}, 5.0)


def test_the_engine_goes_with_the_extension(scene, photos, fake_engine):
    api().generate(photos=photos, frames=[1])
    process = queue()._client._process
    assert process.poll() is None
    queue().shut_down()
    assert process.poll() is not None


def test_results_wait_for_their_file(scene, photos, fake_engine, tmp_path):
    home = str(tmp_path / "home.blend")
    bpy.ops.wm.save_as_mainfile(filepath=home)
    shot = api().generate(photos=photos, frames=[1, 2], block=False)
    pump_until(shot, {"running"})
    bpy.ops.wm.read_homefile(use_empty=True)
    pump_until(shot, {"waiting"})
    assert not bpy.data.collections.get("Close-up")
    bpy.ops.wm.open_mainfile(filepath=home)
    pump_until(shot, {"done"})
    assert bpy.data.collections["Close-up"].objects[:] == [shot.placed.cloud, *shot.placed.cameras]
    assert bpy.context.scene.camera.data.background_images[0].image == shot.placed.image


def test_results_find_their_scene_after_save_as(scene, photos, fake_engine, tmp_path):
    shot = api().generate(photos=photos, frames=[1, 2], block=False)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "named.blend"))
    scene.name = "renamed"
    pump_until(shot, {"done"})
    assert shot.placed.image


def refused(sentence: str, **arguments) -> None:
    with pytest.raises(api().CloseUpError) as caught:
        api().generate(**arguments)
    assert sentence in str(caught.value)


def test_bad_input_is_refused_with_a_sentence_and_leaves_no_folder(scene, photos, fake_engine, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    refused("There are no photos")
    refused("missing.png is missing", photos=[*photos, tmp_path / "missing.png"])
    refused("Camera has no photo", photos=[scene.camera])
    refused("The frame range is empty", photos=photos, frames=[])
    refused("below 0", photos=photos, frames=[-3, -2])
    refused("generator.seed is -1", photos=photos, seed=-1)
    refused("generator.backend is 'magic'", photos=photos, backend="magic")
    scene.render.resolution_x = 40000
    refused("it must lie between 1 and 16384 pixels", photos=photos)
    scene.camera = None
    refused("The scene has no camera", photos=photos, frames=[1])
    assert not list((tmp_path / "closeup").iterdir())


def test_no_engine_is_a_sentence(scene, photos, monkeypatch, tmp_path):
    monkeypatch.delenv("CLOSEUP_ENGINE_PYTHON", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    add(scene, photos)
    refused("The engine is not installed; press Install Engine")
    assert not bpy.ops.closeup.generate.poll()
    monkeypatch.setenv("CLOSEUP_ENGINE_PYTHON", str(tmp_path / "nothing"))
    refused("does not exist; choose another")


def test_a_folder_without_results_is_a_sentence(scene, tmp_path):
    with pytest.raises(RuntimeError, match=r"There is no job\.json in"):
        bpy.ops.closeup.import_result(directory=str(tmp_path))


def test_a_broken_cloud_is_a_sentence(scene, photos, fake_engine):
    shot = api().generate(photos=photos, frames=[1])
    cloud = shot.folder / "cloud.ply"
    whole = cloud.read_bytes()
    for broken, sentence in ((whole[:-5], "ends too early"), (b"ply\nformat ascii 1.0\nend_header\n", "is not a point cloud")):
        cloud.write_bytes(broken)
        with pytest.raises(api().CloseUpError, match=sentence):
            api().import_result(shot.folder)


def test_resume_runs_a_folder_again(scene, photos, fake_engine):
    folder = api().generate(photos=photos, frames=[1, 2]).folder
    (folder / "frames" / "0002.png").unlink()
    shot = api().resume(folder)
    assert shot.state == "done" and (folder / "frames" / "0002.png").is_file()


def test_photos_of_a_folder_are_added_once(scene, photos, tmp_path):
    assert bpy.ops.closeup.add_photos(directory=str(tmp_path)) == {"FINISHED"}
    assert [item.name for item in scene.closeup.photos] == [path.name for path in photos]
    assert bpy.ops.closeup.add_photos(directory=str(tmp_path)) == {"CANCELLED"}
    assert bpy.ops.closeup.remove_photo() == {"FINISHED"}
    assert len(scene.closeup.photos) == 2


def test_job_folders_are_numbered_and_named_safely(scene, tmp_path):
    new = module("closeup_addon.folders").new_job_folder
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert [new("a/b: ü?").name for _ in range(2)] == ["a_b_ ü_-001", "a_b_ ü_-002"]
    assert new("..").name == "close-up-001"
    assert json.dumps(new("x" * 300).name).count("x") == 48


def test_a_project_that_cannot_be_written_keeps_its_jobs_with_the_extension(scene, tmp_path):
    folders = module("closeup_addon.folders")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    (tmp_path / "closeup").write_text("a file stands where the folder should be")
    folder = folders.new_job_folder("shot")
    assert tmp_path not in folder.parents and folder.is_dir()


@pytest.fixture
def preset_label(monkeypatch):
    """Blender writes the name of the chosen preset over the panel's own label."""
    panel = bpy.types.CLOSEUP_PT_presets
    monkeypatch.setattr(panel, "bl_label", panel.bl_label)


def test_presets_keep_the_settings(scene, preset_label):
    scene.closeup.percentage, scene.closeup.backend, scene.closeup.steps = 50, "none", 7
    assert bpy.ops.closeup.add_preset(name="Quick look") == {"FINISHED"}
    scene.closeup.percentage, scene.closeup.backend, scene.closeup.steps = 100, "embedded", 4
    folder = next(path for path in bpy.utils.preset_paths("closeup") if (Path(path) / "Quick_look.py").is_file())
    bpy.ops.script.execute_preset(filepath=str(Path(folder) / "Quick_look.py"), menu_idname="CLOSEUP_PT_presets")
    assert (scene.closeup.percentage, scene.closeup.backend, scene.closeup.steps) == (50, "none", 7)


def test_ready_made_presets_can_be_chosen(scene, preset_label):
    wanted = module("operators.presets").CLOSEUP_OT_add_preset.preset_values
    shipped = next(path for path in bpy.utils.preset_paths("closeup") if (Path(path) / "draft.py").is_file())
    chosen = {}
    for path in sorted(Path(shipped).glob("*.py")):
        assert all(f"{value} = " in path.read_text() for value in wanted), f"{path.name} leaves settings as they were"
        bpy.ops.script.execute_preset(filepath=str(path), menu_idname="CLOSEUP_PT_presets")
        chosen[path.stem] = (scene.closeup.percentage, scene.closeup.output)
    assert chosen == {"compositing": (100, "exr"), "draft": (50, "png"), "final": (100, "png")}


def test_another_files_last_error_is_not_shown(scene, photos, fake_engine):
    add(scene, photos)
    fake_engine("error")
    with pytest.raises(RuntimeError):
        bpy.ops.closeup.generate(frame_start=1, frame_end=1)
    assert queue().shown is queue().latest
    bpy.ops.wm.read_homefile(use_empty=True)
    assert queue().latest and queue().shown is None


def test_a_million_points_come_in_with_their_colours_at_once(scene, tmp_path):
    """From the engine's file to an evaluated object, in seconds of this thread: other programs do not count."""
    cloud, later = module("closeup_addon.cloud"), module("closeup_addon.later")
    count = 1_000_000
    kinds = [*((name, "<f4") for name in ("x", "y", "z")), *((name, "u1") for name in ("red", "green", "blue"))]
    points = np.zeros(count, kinds)
    random = np.random.default_rng(0)
    for name, kind in kinds:
        points[name] = random.random(count, np.float32) if kind == "<f4" else random.integers(0, 256, count)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in kinds]
    path = tmp_path / "cloud.ply"
    path.write_bytes("\n".join([*header, "end_header", ""]).encode() + points.tobytes())
    taken = []
    for _ in range(3):
        started = time.thread_time()
        obj = later.finish(cloud.build("million", cloud.read(path)))
        scene.collection.objects.link(obj)
        bpy.context.view_layer.update()
        taken.append(time.thread_time() - started)
    position, coded = cloud.arrays(obj)
    assert len(position) == count and np.array_equal(coded[:, 0], points["red"])
    assert min(taken) < 1.5
