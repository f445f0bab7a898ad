"""Photos that were rendered or imported, and what the real engine makes of them."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module
from mathutils import Vector
from test_real_engine import SIZE, look, paint, pixels, psnr, real_engine, render, texture  # noqa: F401 - real_engine is a fixture


@pytest.fixture
def still_life(scene):
    """A painted floor and ball, and three cameras that look at them."""
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 8, "CPU"
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    image = texture()
    bpy.ops.mesh.primitive_plane_add(size=8, calc_uvs=True)
    paint(bpy.context.object, image)
    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.6, location=(0, 0, 0.6), calc_uvs=True)
    paint(bpy.context.object, image)
    cameras = [look(scene, f"view {x}", (x, -4.2, 3.2)) for x in (-1.0, 0.0, 1.0)]
    bpy.context.view_layer.update()
    for obj in scene.objects:
        obj.select_set(obj in cameras)
    return scene


def test_rendered_photos_with_their_depth_make_the_frame_that_blender_renders(still_life, real_engine, tmp_path):  # noqa: F811
    scene = still_life
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert bpy.ops.closeup.render_photos() == {"FINISHED"}
    mover = look(scene, "mover", (0.3, -3.0, 2.2))
    mover.data.shift_x = 0.05
    shot = module("closeup_addon.api").generate(camera=mover, frames=[1], name="exact", geometry="given")
    job = module("engine.job").load(shot.folder)
    assert all(source.depth and source.camera for source in job.sources) and len(job.sources) == 3
    truth = render(scene, mover, tmp_path / "truth.png")
    made = pixels(shot.folder / "frames" / "0001.png")
    assert psnr(made, truth) > 23.0
    positions, _ = module("closeup_addon.cloud").arrays(shot.placed.cloud)
    off_floor, off_ball = np.abs(positions[:, 2]), np.abs(np.linalg.norm(positions - (0, 0, 0.6), axis=1) - 0.6)
    assert np.mean(np.minimum(off_floor, off_ball) < 0.02) > 0.97  # the cloud lies on the very surfaces


def test_an_exported_scene_comes_back_through_colmap_and_makes_the_same_frame(still_life, real_engine, tmp_path):  # noqa: F811
    """Out as COLMAP's files, in again, and on to the engine: the same cameras, so the same picture, but for rounding."""
    scene, api = still_life, module("closeup_addon.api")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.closeup.render_photos()
    bpy.ops.closeup.export_colmap(directory=str(tmp_path / "out"))
    depths = [Path(bpy.path.abspath(item.depth)) for item in scene.closeup.photos]
    mover = look(scene, "mover", (0.3, -3.0, 2.2))
    first = api.generate(camera=mover, frames=[1], name="first", geometry="given")
    scene.closeup.photos.clear()
    for data in bpy.data.cameras:
        data.background_images.clear()
    bpy.ops.closeup.import_colmap(directory=str(tmp_path / "out"))
    assert len(scene.closeup.photos) == 3
    for item, depth in zip(scene.closeup.photos, depths):
        item.depth = str(depth)
    second = api.generate(camera=mover, frames=[1], name="second", geometry="given")
    frames = [pixels(shot.folder / "frames" / "0001.png") for shot in (first, second)]
    assert psnr(*frames) > 35.0
    bpy.context.view_layer.update()
    ends = [scene.closeup.photos[i].camera.matrix_world @ Vector((0, 0, -1)) for i in range(3)]
    assert all(end.y > -4.2 and end.z < 3.2 for end in ends)  # they look into the scene, upright
