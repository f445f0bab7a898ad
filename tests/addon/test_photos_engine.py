"""Photos that were rendered or imported, and what the real engine makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module
from mathutils import Matrix, Vector
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


def test_depth_that_was_measured_with_a_solve_serves_the_close_up_after_it(still_life, real_engine, tmp_path):  # noqa: F811
    """Build Cloud with unknown cameras, then Generate: the cameras are known now, to the last bit."""
    scene, api = still_life, module("closeup_addon.api")
    scene.render.resolution_x, scene.render.resolution_y = 320, 240
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert bpy.ops.closeup.render_photos() == {"FINISHED"}
    scene.closeup.use_camera_photos = False
    for item in scene.closeup.photos:
        item.camera, item.depth = None, ""
    cloud = api.solve_cameras(dense=True, focal_35mm=40.0)
    camera = scene.closeup.photos[1].camera
    shots = [api.generate(camera=camera, frames=[1], width=64, height=48, backend="none")]
    camera.location.x += 0.01
    shots.append(api.generate(camera=camera, frames=[1], width=64, height=48, backend="none"))
    stages = [set(json.loads((shot.folder / "report.json").read_text())["stages"]) for shot in (cloud, *shots)]
    assert stages == [{"cameras", "depth", "cloud"}, {"cameras", "frames"}, {"cameras", "depth", "cloud", "frames"}]


def test_a_scan_that_an_object_places_gives_the_photos_their_depth(still_life, real_engine, tmp_path):  # noqa: F811
    """A scan in half the scene's size, turned and elsewhere; the object says where it belongs."""
    scene = still_life
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert bpy.ops.closeup.render_photos() == {"FINISHED"}
    for item in scene.closeup.photos:
        item.depth = ""
    placement = bpy.data.objects.new("placement", None)
    scene.collection.objects.link(placement)
    placement.matrix_world = Matrix.Translation((3, -1, 2)) @ Matrix.Rotation(0.7, 4, "X") @ Matrix.Scale(2.0, 4)
    write_ply(tmp_path / "scan.ply", surfaces() @ np.linalg.inv(np.array(placement.matrix_world)).T)
    assert bpy.ops.closeup.add_scans(directory=str(tmp_path), files=[{"name": "scan.ply"}]) == {"FINISHED"}
    scene.closeup.scans[0].placement = placement
    mover = look(scene, "mover", (0.3, -3.0, 2.2))
    shot = module("closeup_addon.api").generate(camera=mover, frames=[1], name="scanned", geometry="given", backend="none")
    positions, _ = module("closeup_addon.cloud").arrays(shot.placed.cloud)
    off_floor, off_ball = np.abs(positions[:, 2]), np.abs(np.linalg.norm(positions - (0, 0, 0.6), axis=1) - 0.6)
    assert len(positions) > 1000 and np.mean(np.minimum(off_floor, off_ball) < 0.03) > 0.95
    truth = render(scene, mover, tmp_path / "truth.png")
    assert psnr(pixels(shot.folder / "frames" / "0001.png"), truth) > 19.0


def surfaces(count: int = 200_000) -> np.ndarray:
    """(N, 4) points of the floor and the ball, homogeneous."""
    chance = np.random.default_rng(2)
    floor = np.column_stack([chance.uniform(-4, 4, (count, 2)), np.zeros(count)])
    ball = chance.normal(size=(count // 4, 3))
    ball = 0.6 * ball / np.linalg.norm(ball, axis=1, keepdims=True) + (0, 0, 0.6)
    points = np.concatenate([floor[np.hypot(*floor[:, :2].T) > 0.1], ball])
    return np.column_stack([points, np.ones(len(points))])


def write_ply(path: Path, points: np.ndarray) -> None:
    """x, y, z of points (N, 4), binary."""
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    path.write_bytes(header.encode() + points[:, :3].astype("<f4").tobytes())
