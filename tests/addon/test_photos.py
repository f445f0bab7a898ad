"""The list of photos: what comes on it, what is known of each, and what of it reaches the job."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module
from mathutils import Euler, Matrix

SIZE = (64, 48)


def listed(scene) -> list[str]:
    return [item.name for item in scene.closeup.photos]


def gathered(scene, folder: Path, **options):
    gather = module("closeup_addon.gather")
    job = gather.job_of(scene, folder, gather.Options(frames=[1], **options), True)
    module("engine.job").save(job, folder)
    return module("engine.job").load(folder)  # every file that is named is there


def camera_object(scene, name: str, image=None, location=(0, 0, 5)):
    obj = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    scene.collection.objects.link(obj)
    obj.location = location
    if image:
        obj.data.background_images.new().image = image
    return obj


def select(*objects) -> None:
    bpy.context.view_layer.update()
    for obj in bpy.context.view_layer.objects:
        obj.select_set(obj in objects)


def generated(name: str, color, size=(20, 10)):
    image = bpy.data.images.new(name, *size)
    image.pixels = list(color) * (size[0] * size[1])
    return image


def test_dropped_files_are_added_once_and_a_second_click_does_not_repeat_them(scene, photos):
    files = [{"name": path.name} for path in photos[:2]]
    handler = bpy.types.CLOSEUP_FH_photos
    assert handler.bl_import_operator == "closeup.add_photos" and ".jpg" in handler.bl_file_extensions.split(";")
    assert bpy.ops.closeup.add_photos("INVOKE_DEFAULT", directory=str(photos[0].parent), files=files) == {"FINISHED"}
    assert listed(scene) == [path.name for path in photos[:2]]
    assert bpy.ops.closeup.add_photos(directory=str(photos[0].parent)) == {"FINISHED"}
    assert listed(scene) == [path.name for path in photos]
    assert bpy.ops.closeup.add_photos(directory=str(photos[0].parent)) == {"CANCELLED"}


def test_files_that_are_no_photos_are_named(scene, photos, capfd):
    raw = photos[0].with_name("IMG 1.HEIC")
    raw.write_bytes(b"?")
    files = [{"name": path.name} for path in (raw, photos[1])]
    assert bpy.ops.closeup.add_photos(directory=str(raw.parent), files=files) == {"FINISHED"}
    assert listed(scene) == [photos[1].name]
    assert bpy.ops.closeup.add_photos(directory=str(raw.parent), files=files[:1]) == {"CANCELLED"}
    assert "IMG 1.HEIC cannot be read as photos; save such files as JPEG" in capfd.readouterr().out


def test_a_missing_file_is_noticed_without_drawing_looking_for_it(scene, photos):
    thumbnails = module("closeup_addon.thumbnails")
    module("closeup_addon.photos").add(scene, photos[:2])
    photos[0].unlink()
    first, second = scene.closeup.photos
    assert thumbnails.icon(first) == thumbnails.icon(second) == 0 and not thumbnails.is_missing(first)
    thumbnails._load_wanted()
    assert thumbnails.is_missing(first) and not thumbnails.is_missing(second)
    held = thumbnails._collection  # without a window, icons have no numbers
    assert str(photos[1]) in held and str(photos[0]) not in held
    photos[0].write_bytes(photos[1].read_bytes())
    thumbnails._missing[str(photos[0])] = 0.0  # a while later
    thumbnails.icon(first)
    thumbnails._load_wanted()
    assert not thumbnails.is_missing(first) and str(photos[0]) in held


def test_photos_of_selected_cameras_come_on_the_list_with_their_cameras(scene, photos, tmp_path):
    first = camera_object(scene, "a", bpy.data.images.load(str(photos[0])))
    second = camera_object(scene, "b", generated("made", (1, 0, 0, 1)), location=(1, 0, 5))
    camera_object(scene, "not selected", bpy.data.images.load(str(photos[1])))
    select(first, second)
    assert bpy.ops.closeup.add_camera_photos() == {"FINISHED"}
    assert bpy.ops.closeup.add_camera_photos() == {"CANCELLED"}
    states = module("closeup_addon.photos")
    assert [(item.camera.name, states.state(item)) for item in scene.closeup.photos] == [("a", "known"), ("b", "known")]
    scene.closeup.use_camera_photos = False
    job = gathered(scene, tmp_path / "job")
    assert [Path(source.image).name for source in job.sources] == [photos[0].name, "01-made.png"]
    assert [source.camera.world_from_camera[0][3] for source in job.sources] == [0, 1]


def test_an_image_of_the_blend_becomes_a_photo_and_is_found_again_when_it_is_solved(scene, photos, fake_engine):
    image = generated("painted", (0.2, 0.4, 0.6, 1.0))
    packed = bpy.data.images.load(str(photos[0]))
    packed.pack()
    for name in ("painted", packed.name):
        assert bpy.ops.closeup.add_image_photo(image=name) == {"FINISHED"}
    assert bpy.ops.closeup.add_image_photo(image="painted") == {"CANCELLED"}
    bpy.ops.closeup.add_photos(directory=str(photos[1].parent), files=[{"name": photos[1].name}])
    bpy.ops.closeup.solve_cameras()
    assert [module("closeup_addon.photos").state(item) for item in scene.closeup.photos] == ["solved"] * 3
    folder = module("closeup_addon.jobs").queue.latest.folder
    job = module("engine.job").load(folder)
    written = bpy.data.images.load(str(folder / job.sources[0].image))
    assert np.allclose(np.array(written.pixels[:4]), image.pixels[:4], atol=1 / 255)
    assert (folder / job.sources[1].image).read_bytes() == photos[0].read_bytes()


def test_an_image_that_is_gone_is_a_sentence(scene, photos, tmp_path):
    module("closeup_addon.photos").add_images(scene, [generated("gone", (1, 1, 1, 1))])
    bpy.data.images.remove(bpy.data.images["gone"])
    with pytest.raises(module("closeup_addon.errors").CloseUpError, match="gone is not in the file any more"):
        gathered(scene, tmp_path / "job")
    with pytest.raises(RuntimeError, match="no such image"):
        bpy.ops.closeup.add_image_photo(image="gone")


def test_masks_and_depths_reach_the_job(scene, photos, tmp_path):
    states = module("closeup_addon.photos")
    states.add(scene, photos)
    first, second, _ = scene.closeup.photos
    first.mask = generated(Path(photos[0]).stem, (1, 1, 1, 1))  # painted, so it has no file, and the photo's own name
    second.mask = bpy.data.images.load(str(photos[2]))
    depth = tmp_path / "depth.npy"
    np.save(depth, np.ones((30, 40), np.float32))
    second.depth = str(depth)
    second.exposure = -1.5
    folder = tmp_path / "job"
    job = gathered(scene, folder)
    assert [source.exposure for source in job.sources] == [0.0, -1.5, 0.0]
    assert (folder / job.sources[0].mask).is_file() and Path(job.sources[0].mask).name.startswith("00-mask-")
    assert Path(job.sources[1].mask) == photos[2] and Path(job.sources[1].depth) == depth
    assert (job.sources[2].mask, job.sources[2].depth) == (None, None)
    depth.unlink()
    with pytest.raises(module("closeup_addon.errors").CloseUpError, match=r"depth of .* is missing.*clear the photo's depth"):
        gathered(scene, tmp_path / "other")


def test_the_panels_photo_size_reaches_the_job(scene, photos, tmp_path):
    module("closeup_addon.photos").add(scene, photos)
    scene.closeup.photo_size = 800
    assert gathered(scene, tmp_path / "a").geometry.max_size == 800
    assert gathered(scene, tmp_path / "b", max_size=300).geometry.max_size == 300


def test_save_as_in_another_folder_keeps_the_photos(scene, photos, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    states = module("closeup_addon.photos")
    states.add_file(scene, photos[0], depth=photos[1])
    assert scene.closeup.photos[0].filepath == f"//{photos[0].name}"
    for name, copy in (("copies/b.blend", True), ("elsewhere/c.blend", False)):
        (tmp_path / name).parent.mkdir()
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / name), copy=copy)
        item = bpy.context.scene.closeup.photos[0]
        assert item.absolute().resolve() == photos[0]
        assert Path(bpy.path.abspath(item.depth)).resolve() == photos[1]
        if copy:
            assert item.filepath == f"//{photos[0].name}"
    for name in ("copies/b.blend", "elsewhere/c.blend"):
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / name))
        item = bpy.context.scene.closeup.photos[0]
        assert item.filepath.startswith("//") and item.absolute().resolve() == photos[0]


# --- what a job found out -----------------------------------------------------------


def finished_job(scene, folder: Path, photos: list[Path], placed: list[int], warnings: list[str]) -> None:
    """What the engine leaves when it placed only some of the photos."""
    job = gathered(scene, folder)
    camera = {"width": 40, "height": 30, "fx": 50, "fy": 50, "cx": 20, "cy": 15, "world_from_camera": np.eye(4).tolist()}
    rows = [{"name": photos[i].name, "source": i, "image": job.sources[i].image, "camera": camera} for i in placed]
    (folder / "cameras.json").write_text(json.dumps(rows))
    (folder / "report.json").write_text(json.dumps({"warnings": warnings}))


def test_a_photo_without_a_place_says_why(scene, photos, tmp_path):
    states = module("closeup_addon.photos")
    states.add(scene, photos)
    why = f"The camera could not be found for {photos[1].name}, left out: no overlap between it and the others."
    finished_job(scene, tmp_path / "job", photos, [0, 2], ["The photos are dark.", why])
    states.mark(scene, tmp_path / "job")
    assert [item.problem for item in scene.closeup.photos] == ["", why, ""]
    assert [states.state(item) for item in scene.closeup.photos] == ["unknown", "failed", "unknown"]
    assert states.sentence(scene.closeup.photos[1]) == why
    with pytest.raises(RuntimeError, match="no overlap"):
        bpy.ops.closeup.photo_camera(index=1)
    finished_job(scene, tmp_path / "job", photos, [0, 1, 2], [])
    states.mark(scene, tmp_path / "job")
    assert not any(item.problem for item in scene.closeup.photos)


def test_a_failed_solve_marks_the_photos_it_names(scene, photos, tmp_path):
    states = module("closeup_addon.photos")
    states.add(scene, photos)
    gathered(scene, tmp_path / "job")
    error = f"The cameras could not be found for {photos[0].name}, {photos[2].name}: no overlap."
    states.mark(scene, tmp_path / "job", error)
    assert [item.problem for item in scene.closeup.photos] == [error, "", error]
    (tmp_path / "job" / "job.json").write_text("{")
    states.mark(scene, tmp_path / "job", "another error")  # a broken folder changes nothing
    assert scene.closeup.photos[0].problem == error


def test_a_photo_that_found_no_place_is_left_out_until_it_is_solved_again(scene, photos, fake_engine):
    states, api = module("closeup_addon.photos"), module("closeup_addon.api")
    states.add(scene, photos)
    scene.closeup.photos[1].problem = "It is blurred."

    def used(shot) -> list[str]:
        return [Path(source.image).name for source in module("engine.job").load(shot.folder).sources]

    assert used(api.generate(frames=[1])) == [photos[0].name, photos[2].name]
    states.forget_solve(scene)
    for item in scene.closeup.photos:
        item.problem = "It is blurred."
    with pytest.raises(api.CloseUpError, match="press Solve Cameras"):
        api.generate(frames=[1])
    assert used(api.solve_cameras()) == [path.name for path in photos]
    assert not any(item.problem for item in scene.closeup.photos)


@pytest.mark.parametrize("source", [3, -1, True, "0", None])
def test_a_row_of_cameras_json_names_one_of_the_jobs_photos(source):
    with pytest.raises((ValueError, TypeError)):
        module("closeup_addon.photos").source_of({"source": source}, 3)


def test_clicking_the_state_selects_the_photos_camera(scene, photos):
    module("closeup_addon.photos").add_cameras(scene, [camera_object(scene, "a", bpy.data.images.load(str(photos[0])))])
    assert bpy.ops.closeup.photo_camera() == {"FINISHED"}
    assert bpy.context.view_layer.objects.active.name == "a" and [o.name for o in bpy.context.selected_objects] == ["a"]


def test_a_solve_can_be_forgotten_and_the_users_own_cameras_stay(scene, photos, fake_engine):
    states = module("closeup_addon.photos")
    own = camera_object(scene, "own", bpy.data.images.load(str(photos[0])))
    states.add_cameras(scene, [own])
    states.add(scene, photos[1:])
    assert not bpy.ops.closeup.forget_solve.poll()
    bpy.ops.closeup.solve_cameras()
    assert [states.state(item) for item in scene.closeup.photos] == ["known", "solved", "solved"]
    assert bpy.ops.closeup.forget_solve() == {"FINISHED"}
    assert [states.state(item) for item in scene.closeup.photos] == ["known", "unknown", "unknown"]
    assert sorted(obj.name for obj in scene.objects if obj.type == "CAMERA") == ["Camera", "own"]
    assert module("closeup_addon.gather").count_photos(scene) == (3, 1)


def test_panels_ask_a_large_scene_quickly_and_are_told_what_changed(scene, photos):
    gather, mesh = module("closeup_addon.gather"), bpy.data.meshes.new("m")
    for index in range(5000):
        scene.collection.objects.link(bpy.data.objects.new(f"o {index}", mesh))
    obj = camera_object(scene, "a", bpy.data.images.load(str(photos[0])))
    assert gather.count_photos(scene) == (1, 1)
    start = time.thread_time()  # other programs do not count
    for _ in range(200):
        gather.count_photos(scene)
    assert (time.thread_time() - start) / 200 < 0.001
    obj.data.background_images[0].show_background_image = False
    assert gather.count_photos(scene) == (0, 0)
    obj.data.background_images[0].show_background_image = True
    bpy.data.objects.remove(obj)
    assert gather.count_photos(scene) == (0, 0)


# --- rendered photos ------------------------------------------------------------------


def exr_depth(path: Path, tmp_path: Path) -> np.ndarray:
    """As the engine reads it, in the engine's own Python."""
    target = tmp_path / "read.npy"
    code = (
        "import sys, numpy as np; from pathlib import Path; from engine.geometry import depth_files;"
        "np.save(sys.argv[2], depth_files.read(Path(sys.argv[1])))"
    )
    root = Path(__file__).resolve().parents[2]
    command = [os.environ["CLOSEUP_ENGINE_PYTHON"], "-c", code, str(path), str(target)]
    subprocess.run(command, cwd=root, check=True)
    return np.load(target)


def plane_hits(camera, depth: np.ndarray) -> np.ndarray:
    """(H, W, 3) where the pixels' depths lead to in the world; any size of depth that has the camera's proportions."""
    matrix, (height, width) = np.array(camera.world_from_camera), depth.shape
    v, u = (np.mgrid[:height, :width] + 0.5) * np.array((camera.height / height, camera.width / width))[:, None, None]
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], -1)
    return (rays * depth[..., None]) @ matrix[:3, :3].T + matrix[:3, 3]


def everything(scene) -> dict:
    """The settings of a scene, as they could be changed by a render."""
    render = {p.identifier: getattr(scene.render, p.identifier) for p in scene.render.bl_rna.properties}
    settings = scene.render.image_settings
    image = {p.identifier: getattr(settings, p.identifier) for p in settings.bl_rna.properties}
    plain = {key: value for key, value in {**render, **image}.items() if isinstance(value, (int, float, str, bool))}
    layers = {layer.name: (layer.use, layer.use_pass_z) for layer in scene.view_layers}
    markers = [(m.name, m.frame, m.camera) for m in scene.timeline_markers]
    return {"plain": plain, "camera": scene.camera, "frame": scene.frame_current, "layers": layers, "markers": markers}


@pytest.mark.parametrize("aspect", [1.0, 2.0])
def test_rendered_photos_have_exact_depth_and_cameras_and_the_scene_stays(scene, tmp_path, aspect):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 1, "CPU"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 120, 90, 50
    scene.render.pixel_aspect_x = aspect
    bpy.ops.mesh.primitive_plane_add(size=4)
    sensor = camera_object(scene, "wide", location=(0.5, -0.25, 3))
    sensor.rotation_euler = (0.3, 0.1, 0.2)
    sensor.data.sensor_fit, sensor.data.shift_x, sensor.data.lens = "VERTICAL", 0.1, 24
    sensor.keyframe_insert("location", frame=1)
    scene.timeline_markers.new("other", frame=1).camera = scene.camera
    scene.frame_set(5)
    select(sensor)
    before, count = everything(scene), len(bpy.data.scenes)
    assert bpy.ops.closeup.render_photos() == {"FINISHED"}
    assert everything(scene) == before and len(bpy.data.scenes) == count
    (item,) = scene.closeup.photos
    assert module("closeup_addon.photos").state(item) == "known" and item.camera != sensor
    scene.render.resolution_x = 500  # later changes do not reach what was photographed
    sensor.location.x += 1
    job = gathered(scene, tmp_path / "job")
    camera, depth = job.sources[0].camera, exr_depth(Path(bpy.path.abspath(item.depth)), tmp_path)
    assert depth.shape == (camera.height, camera.width) == (45, 60 * int(aspect))
    assert camera.fx == pytest.approx(camera.fy)
    hit = plane_hits(camera, np.where(np.isfinite(depth), depth, np.nan))
    inside = np.isfinite(hit[..., 2])
    assert inside.mean() > 0.3
    assert np.abs(hit[..., 2][inside]).max() < 1e-4  # every pixel's depth leads to the plane z = 0: z-depth, right camera
    assert np.abs(hit[..., :2][inside]).max() < 2.01
    picture = bpy.data.images.load(str(item.absolute()))
    assert tuple(picture.size) == (camera.width, camera.height)


def test_a_camera_that_cannot_be_photographed_is_a_sentence_and_leaves_nothing(scene):
    odd = camera_object(scene, "odd")
    odd.data.type = "ORTHO"
    select(odd)
    before = len(bpy.data.scenes)
    with pytest.raises(RuntimeError, match="odd is not a perspective camera"):
        bpy.ops.closeup.render_photos()
    select()
    assert not bpy.ops.closeup.render_photos.poll()
    assert len(bpy.data.scenes) == before and not scene.closeup.photos


@pytest.mark.parametrize("ratio", [1.0, 1.25, 0.8])
def test_the_scenes_objects_give_photos_their_depth(scene, photos, tmp_path, ratio):
    """A photo of a shifted, non-square lens: every pixel's depth leads to the plane; beside it, nothing is known."""
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.mesh.primitive_plane_add(size=4)
    states, Camera = module("closeup_addon.photos"), module("engine.job").Camera
    pose = Matrix.Translation((0.5, -0.25, 3)) @ Euler((0.3, 0.1, 0.2)).to_matrix().to_4x4()
    given = Camera(80, 60, 60.0, 60.0 / ratio, 38.0, 33.0, module("closeup_addon.cameras").rigid(pose))
    own = module("closeup_addon.photo_cameras").new(scene, "photo", given, photos[0], "solve")
    states.add_file(scene, photos[0], camera=own)
    states.add_file(scene, photos[1])
    bpy.ops.mesh.primitive_cube_add(size=9)  # ours would stand in the way, if it were not left out
    ours = bpy.context.object
    scene.collection.objects.unlink(ours)
    module("closeup_addon.photo_cameras").collection(scene).objects.link(ours)
    before, held = everything(scene), [len(g) for g in (bpy.data.scenes, bpy.data.objects, bpy.data.cameras, bpy.data.materials)]
    assert bpy.ops.closeup.depth_from_scene() == {"FINISHED"}
    assert everything(scene) == before
    assert held == [len(g) for g in (bpy.data.scenes, bpy.data.objects, bpy.data.cameras, bpy.data.materials)]
    assert scene.closeup.photos[1].depth == ""
    source = gathered(scene, tmp_path / "job").sources[0]
    depth, camera = exr_depth((tmp_path / "job" / source.depth).resolve(), tmp_path), source.camera
    assert depth.shape == (60, 80) and camera.fy == pytest.approx(60 / ratio, rel=1e-5)
    hit = plane_hits(camera, np.where(depth > 0, depth, np.nan))
    inside = np.isfinite(hit[..., 2])
    assert 0.3 < inside.mean() < 0.99 and np.isfinite(depth).all()
    assert np.abs(hit[..., 2][inside]).max() < 5e-3  # one sample within a hundredth of the pixel's middle
    assert np.abs(hit[..., :2][inside]).max() < 2.01


def test_depth_needs_a_camera(scene, photos):
    assert not bpy.ops.closeup.depth_from_scene.poll()
    module("closeup_addon.photos").add(scene, photos)
    assert not bpy.ops.closeup.depth_from_scene.poll()


# --- films ------------------------------------------------------------------------------


def film(path: Path, frames: int, fps: int) -> None:
    """A film that gets redder with every frame."""
    scene = bpy.data.scenes.new("film")
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    scene.render.ffmpeg.format, scene.render.ffmpeg.codec = "MPEG4", "H264"
    scene.render.ffmpeg.constant_rate_factor = "PERC_LOSSLESS"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.fps = 64, 32, fps
    scene.view_settings.view_transform = "Standard"
    scene.frame_start, scene.frame_end = 1, frames
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    length = {"length": frames} if bpy.app.version >= (5, 0) else {"frame_end": frames + 1}
    strip = strips.new_effect(name="color", type="COLOR", channel=1, frame_start=1, **length)
    for frame in range(1, frames + 1):
        strip.color = ((frame - 1) / (frames - 1), 0.5, 0.25)
        strip.keyframe_insert("color", frame=frame)
    scene.render.filepath = str(path)
    bpy.ops.render.render(animation=True, scene=scene.name)
    bpy.data.scenes.remove(scene)


def reds(scene) -> list[float]:
    found = []
    for item in scene.closeup.photos:
        image = bpy.data.images.load(str(item.absolute()))
        assert tuple(image.size) == (64, 32)
        found.append(image.pixels[0])
    return found


@pytest.mark.parametrize("fps", [24, 30])
def test_every_nth_frame_of_a_film_becomes_a_photo(scene, tmp_path, fps):
    film(tmp_path / "a film ü.mp4", 11, fps)
    before = (len(bpy.data.scenes), len(bpy.data.movieclips))
    assert bpy.ops.closeup.add_movie_frames(filepath=str(tmp_path / "a film ü.mp4"), start=2, step=4) == {"FINISHED"}
    assert (len(bpy.data.scenes), len(bpy.data.movieclips)) == before
    assert reds(scene) == pytest.approx([0.1, 0.5, 0.9], abs=0.03)  # frames 2, 6 and 10 of 11
    assert scene.frame_current == 1


def test_frames_of_an_image_sequence_are_its_own_files(scene, photos, tmp_path):
    for index in range(1, 8):
        (tmp_path / f"shot.{index + 9:04d}.png").write_bytes(photos[index % 3].read_bytes())
    clip = bpy.data.movieclips.load(str(tmp_path / "shot.0010.png"))
    assert clip.source == "SEQUENCE"
    assert bpy.ops.closeup.add_movie_frames(clip=clip.name, step=3) == {"FINISHED"}
    assert listed(scene) == ["shot.0010.png", "shot.0013.png", "shot.0016.png"]


@pytest.mark.parametrize("bent", [False, True])
def test_frames_of_a_tracked_film_know_their_cameras(scene, tmp_path, bent):
    """The clip begins at the scene's frame 101, and the camera moves; what was photographed stays where it was."""
    film(tmp_path / "film.mp4", 9, 24)
    clip = bpy.data.movieclips.load(str(tmp_path / "film.mp4"))
    clip.frame_start = 101
    clip.tracking.camera.k1 = 0.1 if bent else 0.0
    camera = scene.camera
    for frame in (101, 109):
        camera.location.x = frame
        camera.keyframe_insert("location", frame=frame)
    for curve in curves(camera):
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"
    assert bpy.ops.closeup.add_movie_frames(clip=clip.name, camera="Camera", start=3, step=3) == {"FINISHED"}
    states = [module("closeup_addon.photos").state(item) for item in scene.closeup.photos]
    assert states == (["failed"] * 3 if bent else ["known"] * 3)
    camera.animation_data_clear()
    job = gathered(scene, tmp_path / "job")
    assert [s.camera.world_from_camera[0][3] for s in job.sources] == pytest.approx([103, 106, 109], abs=1e-4)
    assert {(s.camera.width, s.camera.height) for s in job.sources} == {(64, 32)}
    with pytest.raises(RuntimeError, match="no camera named"):
        bpy.ops.closeup.add_movie_frames(clip=clip.name, camera="none")


def curves(obj):
    """The animation's curves, which Blender 5 moved."""
    action = obj.animation_data.action
    if hasattr(action, "fcurves"):
        return list(action.fcurves)
    return list(action.layers[0].strips[0].channelbags[0].fcurves)


def test_what_is_no_film_is_a_sentence(scene, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    for arguments in ({"filepath": str(tmp_path / "broken.mp4")}, {"filepath": str(tmp_path / "none.mp4")}, {"clip": "none"}):
        with pytest.raises(RuntimeError, match=r"cannot be read|no movie clip"):
            bpy.ops.closeup.add_movie_frames(**arguments)
    film(tmp_path / "short.mp4", 3, 24)
    with pytest.raises(RuntimeError, match="has 3 frames"):
        bpy.ops.closeup.add_movie_frames(filepath=str(tmp_path / "short.mp4"), start=9)
