"""The history of shots: found again in their folders after reload, Save As and a crash; shown, redone, continued, deleted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import bpy
import pytest
from conftest import module


def api():
    return module("closeup_addon.api")


def queue():
    return module("closeup_addon.jobs").queue


def history():
    return module("closeup_addon.history").history


def names() -> list[str]:
    return [record.folder.name for record in api().shots()]


def pump_until(condition, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        queue().pump()
        time.sleep(0.01)


@pytest.fixture
def project(scene, tmp_path) -> Path:
    """A saved, empty file."""
    path = tmp_path / "project" / "scene.blend"
    path.parent.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    return path


def test_shots_are_found_again_after_reload_and_in_a_moved_project(scene, photos, fake_engine, project, tmp_path):
    first = api().generate(photos=photos, frames=[1, 2], name="first", seed=5)
    api().generate(photos=photos, frames=[1], name="second")
    bpy.ops.wm.save_mainfile()
    moved = tmp_path / "elsewhere"
    bpy.ops.wm.read_homefile(use_empty=True)
    assert names() == []
    queue().shots.clear()
    project.parent.rename(moved)
    bpy.ops.wm.open_mainfile(filepath=str(moved / "scene.blend"))
    second, record = api().shots()
    assert (second.folder.name, record.folder) == ("second-001", moved / "closeup" / first.folder.name)
    assert (record.state, record.made, record.frames, record.seed) == ("done", 2, 2, 5)
    assert record.arrived and record.picture.name == "0002.png"
    assert [item.folder for item in bpy.context.window_manager.closeup_shots] == [str(second.folder), str(record.folder)]


def test_a_copy_under_another_name_knows_the_shots_and_a_stranger_does_not(scene, photos, fake_engine, project):
    api().generate(photos=photos, frames=[1], name="shot")
    bpy.ops.wm.save_as_mainfile(filepath=str(project.with_name("copy.blend")))
    assert names() == ["shot-001"]
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(project.with_name("stranger.blend")))
    assert names() == []


def test_an_unsaved_file_keeps_its_shots_when_it_is_saved(scene, photos, fake_engine, project):
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.context.scene.collection.objects.link(camera := bpy.data.objects.new("C", bpy.data.cameras.new("C")))
    bpy.context.scene.camera = camera
    api().generate(photos=photos, frames=[1], name="early")
    bpy.context.scene.closeup.project = ""  # as undo would
    bpy.ops.wm.save_as_mainfile(filepath=str(project.with_name("late.blend")))
    bpy.ops.wm.open_mainfile(filepath=str(project.with_name("late.blend")))
    assert [name.rpartition("-")[0] for name in names()] == ["early"]


def test_results_that_no_saved_file_holds_arrive_when_it_is_opened(scene, photos, fake_engine, project):
    shot = api().generate(photos=photos, frames=[1, 2])
    bpy.ops.wm.open_mainfile(filepath=str(project))  # without saving, as after a crash
    queue().shots.clear()
    (record,) = api().shots()
    assert record.state == "done" and not record.arrived
    queue().bring_arrivals()
    brought = queue().latest
    pump_until(lambda: brought.ended)
    assert brought.state == "done" and brought.placed.image and brought.placed.cloud
    assert bpy.data.objects["Camera"].data.background_images[0].image == brought.placed.image
    bpy.ops.wm.save_mainfile()
    assert json.loads((shot.folder / "shot.json").read_text())["arrived"] is True
    queue().shots.clear()
    api().shots()
    queue().bring_arrivals()
    assert not queue().shots


def test_an_interrupted_shot_is_unfinished_and_continues(scene, photos, fake_engine, project):
    fake_engine("dies-mid-job")
    with pytest.raises(api().CloseUpError):
        api().generate(photos=photos, frames=[1, 2, 3], name="shot")
    (record,) = api().shots()
    assert (record.state, record.made, record.frames) == ("failed", 1, 3)
    assert record.message.startswith("The engine ended unexpectedly")
    data = json.loads((record.folder / "shot.json").read_text())
    (record.folder / "shot.json").write_text(json.dumps({**data, "state": "queued"}))  # as after a crash of Blender
    assert api().shots()[0].state == "unfinished"
    assert api().bring(record.folder).placed.image  # the frames that it has can be looked at
    assert api().shots()[0].state == "unfinished"
    fake_engine("")
    queue().shut_down()
    assert bpy.ops.closeup.continue_shot() == {"FINISHED"}
    (record,) = api().shots()
    assert (record.state, record.made) == ("done", 3)


def test_redo_makes_a_new_shot_with_the_same_settings_or_another_seed(scene, photos, fake_engine, project):
    image = bpy.data.images.load(str(photos[0]))
    image.pack()
    scene.camera.location.x = 1
    holder = bpy.data.objects.new("holder", bpy.data.cameras.new("holder"))
    scene.collection.objects.link(holder)
    holder.data.background_images.new().image = image
    shot = api().generate(photos=[holder, *photos[1:]], frames=[2, 4], name="shot", seed=3)
    scene.camera.location.x = 2
    assert bpy.ops.closeup.redo_shot() == {"FINISHED"}
    assert bpy.ops.closeup.redo_shot(folder=str(shot.folder), seed="NEW") == {"FINISHED"}
    assert names() == ["shot-003", "shot-002", "shot-001"]
    load = module("engine.job").load
    same, other = (load(project.parent / "closeup" / f"shot-00{number}") for number in (2, 3))
    assert same == load(shot.folder)
    assert same.path[0].camera.world_from_camera[0][3] == 1
    assert other.generator.seed != 3 and other.path == same.path
    assert (project.parent / "closeup" / "shot-002" / same.sources[0].image).is_file()


def test_show_switches_between_shots(scene, photos, fake_engine, project):
    first, second = (api().generate(photos=photos, frames=[1, 2], name=name) for name in ("first", "second"))
    assert bpy.ops.closeup.show_shot(folder=str(first.folder)) == {"FINISHED"}
    shown = [item.image.name for item in scene.camera.data.background_images if item.show_background_image]
    assert shown == ["first"]
    assert (first.placed.cloud.hide_viewport, second.placed.cloud.hide_viewport) == (False, True)
    assert first.placed.cloud.hide_render is False and second.placed.cloud.hide_render is True
    bpy.data.images.remove(second.placed.image)  # what is not in the file any more is brought in again
    assert bpy.ops.closeup.show_shot(folder=str(second.folder)) == {"FINISHED"}
    shown = [item.image.name for item in scene.camera.data.background_images if item.show_background_image]
    assert shown == ["second"]


def test_delete_takes_the_folder_and_the_frames_and_nothing_else(scene, photos, fake_engine, project):
    first, _ = (api().generate(photos=photos, frames=[1], name=name) for name in ("first", "second"))
    before = {path for path in project.parent.rglob("*") if first.folder not in (path, *path.parents)}
    assert bpy.ops.closeup.delete_shot(folder=str(first.folder)) == {"FINISHED"}
    assert names() == ["second-001"]
    pump_until(lambda: set(project.parent.rglob("*")) == before)
    assert "first" not in bpy.data.images and "first cloud" in bpy.data.objects
    assert [item.image.name for item in scene.camera.data.background_images] == ["second"]
    assert all(path.is_file() for path in photos)


def test_delete_refuses_what_is_in_use_or_no_shot(scene, photos, fake_engine, project, tmp_path):
    shot = api().generate(photos=photos, frames=[1])
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(RuntimeError, match="is no folder of a shot"):
            bpy.ops.closeup.delete_shot(folder=str(folder))
    link = tmp_path / "link"
    link.symlink_to(shot.folder)
    with pytest.raises(RuntimeError, match="is no folder of a shot"):
        bpy.ops.closeup.delete_shot(folder=str(link))
    straightened = shot.folder / "photos" / "00.png"
    straightened.parent.mkdir()
    straightened.write_bytes(photos[0].read_bytes())
    shot.placed.cameras[0].data.background_images[0].image = bpy.data.images.load(str(straightened))
    with pytest.raises(RuntimeError, match="is a picture of a solved camera"):
        bpy.ops.closeup.delete_shot(folder=str(shot.folder))
    fake_engine("slow")
    queue().shut_down()
    running = api().generate(photos=photos, frames=range(1, 50), block=False)
    with pytest.raises(RuntimeError, match="is running; cancel it first"):
        bpy.ops.closeup.delete_shot(folder=str(running.folder))
    bpy.ops.closeup.cancel(folder=str(running.folder))
    assert shot.folder.is_dir() and tmp_path.is_dir()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "closeup.shot"}', "[" * 30000])
def test_a_record_that_cannot_be_understood_is_made_up_from_the_job(scene, photos, fake_engine, project, text):
    shot = api().generate(photos=photos, frames=[1, 2], seed=9)
    (shot.folder / "shot.json").write_text(text)
    (record,) = api().shots()
    assert (record.state, record.frames, record.seed) == ("done", 2, 9)
    (shot.folder / "job.json").write_text(text)
    assert names() == []


def test_a_preview_is_no_shot_and_uses_what_was_measured(scene, photos, fake_engine, project):
    shot = api().generate(photos=photos, frames=[1, 2])
    marker = shot.folder / ".closeup" / "depth.json"
    marker.parent.mkdir(exist_ok=True)
    marker.write_text('{"key": "measured"}')
    scene.frame_set(7)
    scene.render.resolution_x, scene.render.resolution_y = 1920, 1080
    module("closeup_addon.photos").add(scene, photos)
    assert bpy.ops.closeup.preview_frame(size=480) == {"FINISHED"}
    preview = queue().latest
    assert preview.folder.name == "preview" and names() == [shot.folder.name]
    camera = module("engine.job").load(preview.folder).path[0].camera
    assert (camera.width, camera.height) == (480, 270)
    assert (preview.folder / ".closeup" / "depth.json").read_text() == marker.read_text()
    top = scene.camera.data.background_images[-1]
    assert top.image == preview.placed.image and top.image_user.frame_start == 7 and top.image_user.frame_duration == 1
    scene.frame_set(8)
    again = api().preview_frame(photos=photos)
    api().show(shot.folder)
    api().preview_frame(photos=photos)
    top = scene.camera.data.background_images[-1]  # above the shot's frames
    assert again.placed.image == preview.placed.image == top.image and top.image_user.frame_start == 8
    assert len(scene.camera.data.background_images) == 2
    later = api().generate(photos=photos, frames=[1])
    measured = later.folder / ".closeup" / "depth.json"
    assert measured.samefile(marker)
    measured.unlink()
    measured.write_text('{"key": "measured anew"}')
    assert (api().preview_frame(photos=photos).folder / ".closeup" / "depth.json").samefile(measured)
    assert marker.read_text() == '{"key": "measured"}'


def shown_file(image) -> Path:
    return Path(bpy.path.abspath(image.filepath)).resolve()


def test_results_stay_found_after_save_as_and_in_a_file_they_are_appended_to(scene, photos, fake_engine, project, tmp_path):
    shot = api().generate(photos=photos, frames=[1, 2], name="shot")
    frame = (shot.folder / "frames" / "0001.png").resolve()
    other = tmp_path / "a" / "b" / "other.blend"
    other.parent.mkdir(parents=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(project))
    bpy.ops.wm.save_as_mainfile(filepath=str(other))
    bpy.ops.wm.open_mainfile(filepath=str(other))
    assert shown_file(bpy.data.images["shot"]) == frame
    assert names() == ["shot-001"]
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "third.blend"))
    bpy.ops.wm.append(directory=str(project / "Object"), files=[{"name": "Camera"}, {"name": "shot cloud"}])
    assert shown_file(bpy.data.images["shot"]) == frame
    cloud = bpy.data.objects["shot cloud"]
    assert len(module("closeup_addon.cloud").positions(cloud)) == 500 and cloud.data.materials[0].name == "CloseUp Points"
    assert names() == ["shot-001"]  # its frames are shown here, so it belongs here too
    assert len([item for item in bpy.data.node_groups if item.name.startswith("CloseUp Points")]) <= 1


def test_placing_begins_again_after_undo(scene, photos, fake_engine, project):
    """Undo between two steps of placing: what was begun is void, and it begins again."""
    shot = api().generate(photos=photos, frames=[1, 2], block=False)
    pump_until(lambda: queue().placing)
    queue().pump(0)
    queue().scene_changed()
    pump_until(lambda: shot.ended)
    assert shot.state == "done" and shot.placed.cloud and shot.placed.image
    assert [obj.name for obj in bpy.data.objects if "closeup_cloud" in obj] == [shot.placed.cloud.name]


def test_results_are_shown_where_the_photos_are_not(scene, photos, fake_engine, project):
    """Such as on another machine than the farm's."""
    folder = api().generate(photos=photos, frames=[1]).folder
    for path in photos:
        path.unlink()
    (folder / "shot.json").unlink()
    bpy.ops.wm.open_mainfile(filepath=str(project))
    assert names() == [folder.name]
    assert api().bring(folder).placed.cloud
    with pytest.raises(api().CloseUpError, match="is missing"):
        api().redo(folder)


def test_folders_that_cannot_be_read_leave_the_list_as_it_is_and_say_so(scene, photos, fake_engine, project, monkeypatch):
    api().generate(photos=photos, frames=[1], name="shot")
    assert names() == ["shot-001"]

    def broken(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(module("closeup_addon.record"), "scan", broken)
        error = module("closeup_addon.errors").CloseUpError
        with pytest.raises(error, match=r"cannot be read \(Permission denied\); check the disk"):
            names()
    assert [record.folder.name for record in history().records.values()] == ["shot-001"]
    assert [Path(item.folder).name for item in bpy.context.window_manager.closeup_shots] == ["shot-001"]
    assert names() == ["shot-001"]
    assert not history().problem


def test_a_queue_that_stumbles_says_so_in_the_panel_and_goes_on(scene, photos, fake_engine, project, monkeypatch, capfd):
    pump, notice = module("closeup_addon.pump"), module("closeup_addon.notice")
    with monkeypatch.context() as patch:
        patch.setattr(queue(), "pump", lambda: {}["nothing"])
        pump._tick()
        pump._tick()
    assert capfd.readouterr().out.count("stumbled") == 1
    sentence, wrong = notice.of("generate")
    assert wrong and "KeyError: 'nothing'" in sentence and "copy the diagnostics" in sentence
    assert api().generate(photos=photos, frames=[1]).state == "done"
    assert notice.of("generate") is None
