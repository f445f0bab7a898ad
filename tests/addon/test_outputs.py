"""A shot's frames in the sequencer, the compositor, on a plane, in a movie."""

from __future__ import annotations

import os
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module

ENGINE = os.environ.get("CLOSEUP_ENGINE_PYTHON", "")


def api():
    return module("closeup_addon.api")


@pytest.fixture
def shot(scene, photos, fake_engine, tmp_path):
    """Frames 2, 4 and 6 in a saved file."""
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    return api().generate(photos=photos, frames=[2, 4, 6], name="shot")


def write_passes(folder: Path) -> None:
    """What the real engine writes beside the frames."""
    for kind, suffix in (("depth", "exr"), ("provenance", "png")):
        (folder / kind).mkdir()
        for number in (2, 4, 6):
            image = bpy.data.images.new("made", 4, 3, float_buffer=suffix == "exr")
            image.filepath_raw, image.file_format = (
                str(folder / kind / f"{number:04d}.{suffix}"),
                {"exr": "OPEN_EXR"}.get(suffix, "PNG"),
            )
            image.save()
            bpy.data.images.remove(image)


def test_the_strip_shows_each_frame_at_its_own_time(scene, shot):
    assert bpy.ops.closeup.add_strip() == {"FINISHED"}
    assert bpy.ops.closeup.add_strip(folder=str(shot.folder)) == {"FINISHED"}
    editor = scene.sequence_editor
    strips = list(editor.strips if hasattr(editor, "strips") else editor.sequences)
    assert sorted(strip.channel for strip in strips) == [1, 2]
    for strip in strips:
        assert (strip.frame_final_start, strip.frame_final_end) == (2, 7)
        assert [item.filename for item in strip.elements] == ["0002.png", "0002.png", "0004.png", "0004.png", "0006.png"]
        assert Path(bpy.path.abspath(strip.directory)).resolve() == (shot.folder / "frames").resolve()
        assert strip.directory.startswith("//")


def test_the_compositor_gets_a_node_per_pass_and_keeps_what_is_there(scene, shot, tmp_path):
    write_passes(shot.folder)
    assert bpy.ops.closeup.add_passes() == {"FINISHED"}
    tree = getattr(scene, "compositing_node_group", None) or scene.node_tree
    images = [node for node in tree.nodes if node.bl_idname == "CompositorNodeImage"]
    assert [node.label for node in images] == ["shot-001: Colour", "shot-001: Depth", "shot-001: Provenance"]
    assert [(node.frame_start, node.frame_duration, node.frame_offset) for node in images] == [(2, 5, 1)] * 3
    assert images[1].image.colorspace_settings.name == "Non-Color"
    before = len(tree.nodes)
    bpy.ops.closeup.add_passes()
    assert len(tree.nodes) == before + 3
    assert len([image for image in bpy.data.images if image.name.startswith("shot-001")]) == 2
    scene.frame_set(4)
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 1, "CPU"
    scene.view_settings.view_transform = "Standard"
    scene.render.filepath = str(tmp_path / "render.png")
    bpy.ops.render.render(write_still=True)
    assert same_picture(tmp_path / "render.png", shot.folder / "frames" / "0004.png")


def test_the_plane_fills_the_camera_with_the_frame(scene, shot, tmp_path):
    scene.camera.location, scene.camera.rotation_euler = (1, 2, 3), (0.4, 0.5, 0.6)
    scene.camera.data.shift_x = 0.1
    assert bpy.ops.closeup.add_plane(distance=3.0) == {"FINISHED"}
    (plane,) = scene.camera.children
    bpy.context.view_layer.update()
    assert [round((scene.camera.matrix_world.inverted() @ plane.matrix_world @ v.co).z, 4) for v in plane.data.vertices] == [
        -3
    ] * 4
    shot.placed.cloud.hide_render = True
    scene.frame_set(4)
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 1, "CPU"
    scene.view_settings.view_transform = "Standard"
    scene.render.filepath = str(tmp_path / "render.png")
    bpy.ops.render.render(write_still=True)
    assert same_picture(tmp_path / "render.png", shot.folder / "frames" / "0004.png")


def same_picture(a: Path, b: Path) -> bool:
    first, second = (pixels(path) for path in (a, b))
    return first.shape == second.shape and np.abs(first - second).mean() < 0.03


def pixels(path: Path) -> np.ndarray:
    image = bpy.data.images.load(str(path), check_existing=False)
    width, height = image.size
    result = np.array(image.pixels[:]).reshape(height, width, 4)[..., :3]
    bpy.data.images.remove(image)
    return result


def test_images_of_a_shot_are_found_in_a_file_that_moved(scene, shot, tmp_path):
    outputs = module("closeup_addon.outputs")
    write_passes(shot.folder)
    image = outputs.image_of(shot.folder, "depth")
    assert image.filepath == "//closeup/shot-001/depth/0002.exr"
    assert outputs.image_of(shot.folder, "depth") == image
    assert bpy.ops.closeup.show_in_editor(kind="depth") == {"FINISHED"}
    with pytest.raises(RuntimeError, match="has no finished frame"):
        bpy.ops.closeup.show_in_editor(kind="condition")


def test_a_movie_is_written_by_the_engine(scene, shot, monkeypatch, tmp_path):
    monkeypatch.setenv("CLOSEUP_ENGINE_PYTHON", ENGINE)
    target = tmp_path / "film ü.mp4"
    assert bpy.ops.closeup.write_movie(filepath=str(target), fps=10) == {"FINISHED"}
    clip = bpy.data.movieclips.load(str(target))
    assert tuple(clip.size) == (64, 48) and clip.frame_duration == 5
    with pytest.raises(RuntimeError, match="is no name of a movie"):
        bpy.ops.closeup.write_movie(filepath=str(tmp_path / "film.txt"))
    for path in (shot.folder / "frames").iterdir():
        path.unlink()
    with pytest.raises(RuntimeError, match="has no finished frame yet"):
        bpy.ops.closeup.write_movie(filepath=str(target))
