"""Scans on the list become scans of the job, where their objects place them."""

from __future__ import annotations

from pathlib import Path

import bpy
import pytest
from conftest import module
from mathutils import Euler, Matrix


@pytest.fixture
def listed(scene, photos, tmp_path):
    """Two photos with known cameras and two scans, in a saved file."""
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    job, cameras = module("engine.job"), module("closeup_addon.photo_cameras")
    module("closeup_addon.photos").add(scene, photos[:2])
    for index, item in enumerate(scene.closeup.photos):
        pose = ((1, 0, 0, index), (0, 0, 1, -4), (0, -1, 0, 0), (0, 0, 0, 1))
        size = bpy.data.images.load(str(photos[index])).size
        item.camera = cameras.new(scene, item.name, job.Camera(*size, 40.0, 40.0, size[0] / 2, size[1] / 2, pose), photos[index])
    (tmp_path / "scans").mkdir()
    for name in ("hall.las", "door.PLY", "notes.txt"):
        (tmp_path / "scans" / name).write_bytes(b"points")
    files = [{"name": name} for name in ("hall.las", "door.PLY", "notes.txt", "gone.e57")]
    assert bpy.ops.closeup.add_scans(directory=str(tmp_path / "scans"), files=files) == {"FINISHED"}
    return scene


def scans_of(scene, folder: Path, **options) -> tuple:
    gather = module("closeup_addon.gather")
    solve_only = options.pop("solve_only", False)
    return gather.job_of(scene, folder, gather.Options(frames=[1], **options), solve_only).scans


def test_files_come_on_the_list_once_and_leave_it(listed, tmp_path):
    assert [(item.name, item.filepath) for item in listed.closeup.scans] == [
        ("hall.las", "//scans/hall.las"),
        ("door.PLY", "//scans/door.PLY"),
    ]
    assert bpy.ops.closeup.add_scans(directory=str(tmp_path / "scans"), files=[{"name": "hall.las"}]) == {"CANCELLED"}
    assert bpy.ops.closeup.remove_scan() == {"FINISHED"}
    assert [item.name for item in listed.closeup.scans] == ["hall.las"] and listed.closeup.active_scan == 0


def test_the_engine_reads_what_can_be_listed():
    text = (Path(module("closeup_addon.extension").ROOT) / "engine" / "geometry" / "scan_files.py").read_text(encoding="utf-8")
    assert all(f'"{suffix}": ' in text for suffix in module("closeup_addon.scans").SUFFIXES)


def test_a_job_has_the_scans_in_use_where_their_objects_are(listed, tmp_path):
    folder = tmp_path / "closeup" / "shot-001"
    placed = bpy.data.objects.new("placed", None)
    listed.collection.objects.link(placed)
    turn = Matrix.Translation((1, 2, 3)) @ Euler((0.1, 0.2, 0.3)).to_matrix().to_4x4() @ Matrix.Scale(2.5, 4)
    parent = bpy.data.objects.new("parent", None)
    listed.collection.objects.link(parent)
    placed.parent, parent.matrix_world = parent, turn
    listed.closeup.scans[0].placement = placed
    first, second = scans_of(listed, folder)
    assert (first.file, second.file) == ("../../scans/hall.las", "../../scans/door.PLY")
    assert second.world_from_scan is None
    assert sum(first.world_from_scan, ()) == pytest.approx(sum(map(tuple, turn), ()), abs=1e-5)
    listed.closeup.scans[1].use = False
    assert [item.file for item in scans_of(listed, folder, dense=True, solve_only=True)] == ["../../scans/hall.las"]
    assert scans_of(listed, folder, solve_only=True) == ()  # cameras are solved without them


def test_what_is_wrong_with_a_scan_is_a_sentence(listed, tmp_path):
    error = module("closeup_addon.errors").CloseUpError
    listed.closeup.scans[0].placement = listed.camera
    listed.camera.scale = (1, 2, 1)
    with pytest.raises(error, match="mirrored or not scaled evenly; make its scales the same"):
        scans_of(listed, tmp_path)
    listed.camera.scale = (1, 1, 1)
    assert len(scans_of(listed, tmp_path)) == 2
    (tmp_path / "scans" / "door.PLY").unlink()
    with pytest.raises(error, match=r"The scan door\.PLY is missing: .*; put the file back or remove the scan"):
        scans_of(listed, tmp_path)


def test_scans_without_known_cameras_are_refused_before_anything_runs(listed, fake_engine):
    for item in listed.closeup.photos:
        item.camera = None
    listed.closeup.use_camera_photos = False
    with pytest.raises(RuntimeError, match="Scans lie in the scene's world"):
        bpy.ops.closeup.build_cloud()


def test_after_save_as_elsewhere_the_list_names_the_same_files(listed, tmp_path):
    before = [item.absolute().resolve() for item in listed.closeup.scans]
    (tmp_path / "other").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "other" / "scene.blend"))
    assert [item.absolute().resolve() for item in bpy.context.scene.closeup.scans] == before
    assert bpy.context.scene.closeup.scans[0].filepath == "//../scans/hall.las"
