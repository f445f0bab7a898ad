"""A whole job with the real engine: what CloseUp makes is what Blender itself renders at the same camera."""

from __future__ import annotations

import json
import os
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module
from mathutils import Vector

SIZE = (128, 96)


@pytest.fixture
def real_engine(monkeypatch):
    """The engine's own environment; one thread is steadier on a busy machine."""
    assert os.environ.get("CLOSEUP_ENGINE_PYTHON"), "Set CLOSEUP_ENGINE_PYTHON (python build.py test does)."
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    yield
    module("closeup_addon.jobs").queue.shut_down()


def texture(size: int = 512):
    """Noise at several scales, colourful and without flat places."""
    random = np.random.default_rng(5)
    total = np.zeros((size, size, 3))
    for cells in (4, 16, 64, 128):
        coarse = random.random((cells, cells, 3))
        total += np.kron(coarse, np.ones((size // cells, size // cells, 1))) / 4
    image = bpy.data.images.new("noise", size, size)
    image.pixels.foreach_set(np.dstack([total, np.ones((size, size))]).astype(np.float32).ravel())
    image.pack()
    return image


def paint(obj, image) -> None:
    """Emission, so that every camera sees the same colours."""
    material = bpy.data.materials.new("paint")
    if material.node_tree is None:
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    picture, emission, output = (nodes.new(f"ShaderNode{name}") for name in ("TexImage", "Emission", "OutputMaterial"))
    picture.image = image
    links.new(picture.outputs["Color"], emission.inputs["Color"])
    links.new(emission.outputs[0], output.inputs["Surface"])
    obj.data.materials.append(material)


def look(scene, name: str, place, target=(0, 0, 0)):
    """A new camera object at a place."""
    obj = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    scene.collection.objects.link(obj)
    obj.location = place
    obj.rotation_euler = (Vector(target) - Vector(place)).to_track_quat("-Z", "Y").to_euler()
    obj.data.lens = 40
    return obj


def render(scene, camera, path: Path) -> np.ndarray:
    """(H, W, 3) sRGB-coded picture, top row first."""
    scene.camera, scene.render.filepath = camera, str(path)
    bpy.ops.render.render(write_still=True)
    return pixels(path)


def pixels(path: Path) -> np.ndarray:
    image = bpy.data.images.load(str(path))
    width, height = image.size
    result = np.array(image.pixels[:]).reshape(height, width, 4)[::-1, :, :3]
    bpy.data.images.remove(image)
    return result


@pytest.fixture
def still_life(scene, tmp_path):
    """A painted plane and a ball; three cameras with their photos as backgrounds."""
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 8, "CPU"
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    image = texture()
    bpy.ops.mesh.primitive_plane_add(size=8, calc_uvs=True)
    paint(bpy.context.object, image)
    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.6, location=(0, 0, 0.6), calc_uvs=True)
    paint(bpy.context.object, image)
    for index, x in enumerate((-1.0, 0.0, 1.0)):
        camera = look(scene, f"photo {index}", (x, -4.2, 3.2))
        path = tmp_path / f"photo {index}.png"
        render(scene, camera, path)
        camera.data.background_images.new().image = bpy.data.images.load(str(path))
    return scene


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((a - b) ** 2).mean()))


def test_the_frames_are_what_blender_renders_there(still_life, real_engine, tmp_path):
    scene = still_life
    mover = look(scene, "mover", (0.3, -3.9, 2.9))
    mover.data.shift_x = 0.05
    mover.keyframe_insert("location", frame=1)
    mover.location = (0.25, -3.0, 2.2)
    mover.keyframe_insert("location", frame=3)
    api = module("closeup_addon.api")
    shot = api.generate(camera=mover, frames=[1, 3], name="real")
    assert shot.state == "done" and shot.frames == {1, 3}
    assert len(shot.placed.cloud.data.attributes["position"].data) > 1000
    for frame in (1, 3):
        scene.frame_set(frame)
        truth = render(scene, mover, tmp_path / f"truth {frame}.png")
        made = pixels(shot.folder / "frames" / f"{frame:04d}.png")
        grey = np.broadcast_to(made.mean((0, 1)), made.shape)
        assert psnr(made, truth) > max(19.0, psnr(grey, truth) + 4.0)


def test_exr_frames_bring_their_passes_to_the_compositor(still_life, real_engine, tmp_path):
    scene = still_life
    scene.camera = look(scene, "mover", (0.3, -3.0, 2.2))
    truth = render(scene, scene.camera, tmp_path / "truth.png")
    shot = module("closeup_addon.api").generate(frames=[1], name="real", output="exr", backend="none")
    assert bpy.ops.closeup.add_plane() == {"FINISHED"}
    assert psnr(render(scene, scene.camera, tmp_path / "plane.png"), truth) > 19.0
    assert bpy.ops.closeup.add_passes() == {"FINISHED"}
    tree = getattr(scene, "compositing_node_group", None) or scene.node_tree
    images = {node.label: node for node in tree.nodes if node.bl_idname == "CompositorNodeImage"}
    assert set(images) == {f"{shot.folder.name}: Colour", f"{shot.folder.name}: Condition"}
    passes = images[f"{shot.folder.name}: Colour"].outputs
    assert {"Combined", "Depth", "Normal", "Confidence", "Provenance"} <= set(passes.keys())
    for node in [item for item in tree.nodes if item.inputs and item.inputs[0].is_linked]:
        tree.links.new(passes["Normal"], node.inputs[0])
    scene.render.image_settings.file_format = "OPEN_EXR"
    normal = render(scene, scene.camera, tmp_path / "normal.exr")
    assert np.allclose(np.median(normal[60:], axis=(0, 1)), (0, 0, 1), atol=0.05)  # the floor, in the world
    shown = shot.placed.image
    assert tuple(shown.size) == SIZE and shown.type == "MULTILAYER"


def test_an_unreadable_photo_is_a_sentence(still_life, real_engine, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"this is no photo")
    api = module("closeup_addon.api")
    with pytest.raises(api.CloseUpError, match=r"broken\.jpg") as caught:
        api.generate(photos=[broken, still_life.objects["photo 0"]], frames=[1])
    assert "Traceback" not in str(caught.value) and str(caught.value).endswith(".")


def test_depth_is_measured_once_for_a_preview_and_the_shots_after_it(still_life, real_engine, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    scene, api = still_life, module("closeup_addon.api")
    scene.camera = look(scene, "mover", (0.3, -3.9, 2.9))
    preview = api.preview_frame(size=64)
    shot = api.generate(frames=[1])
    stages = [json.loads((item.folder / "report.json").read_text())["stages"] for item in (preview, shot)]
    assert "depth" in stages[0] and "depth" not in stages[1]
    assert pixels(preview.folder / "frames" / "0001.png").shape == (48, 64, 3)
    assert (shot.folder / "cloud.ply").read_bytes() == (preview.folder / "cloud.ply").read_bytes()
    scene.objects["photo 1"].location.x += 0.2  # what has changed is measured anew
    other = api.generate(frames=[1])
    assert "depth" in json.loads((other.folder / "report.json").read_text())["stages"]


def test_the_cloud_alone_lies_on_the_surfaces(still_life, real_engine):
    assert bpy.ops.closeup.build_cloud(name="scan") == {"FINISHED"}
    shot = module("closeup_addon.jobs").queue.latest
    assert shot.state == "done" and not shot.frames and shot.name == "scan" and "scan done" in shot.message
    cloud = shot.placed.cloud
    points = np.empty(len(cloud.data.attributes["position"].data) * 3, np.float32)
    cloud.data.attributes["position"].data.foreach_get("vector", points)
    x, y, z = points.reshape(-1, 3).T
    off = np.minimum(np.abs(z), np.abs(np.sqrt(x * x + y * y + (z - 0.6) ** 2) - 0.6))
    assert len(x) > 1000 and np.percentile(off, 80) < 0.05
