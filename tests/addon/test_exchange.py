"""Other programs' files in and out. Where files that those programs wrote are at hand, they are read too."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module
from mathutils import Euler, Matrix

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT.parent / "shared" / "fixtures"
TURN = np.array(((1.0, 0, 0), (0, 0, 1), (0, -1, 0)))


def reconstruction(photos: list[Path], distortion=None):
    """Three cameras around the origin, each other than the next, and coloured points."""
    known, Camera = module("closeup_addon.reconstruction"), module("engine.job").Camera
    views = []
    for index, path in enumerate(photos):
        pose = Matrix.Translation((index, -3, 1)) @ Euler((1.4 + 0.1 * index, 0.2, 0.3 * index)).to_matrix().to_4x4()
        camera = Camera(40, 30, 35.0 + index, 36.0 + index, 19.0, 16.0, module("closeup_addon.cameras").rigid(pose))
        views.append(known.View(path.name, camera, path, distortion=distortion or known.Distortion()))
    positions = np.random.default_rng(2).normal(size=(50, 3))
    colors = np.arange(150, dtype=np.uint8).reshape(50, 3)
    return known.Reconstruction(views, positions, colors)


def same(camera, other) -> bool:
    values = [[c.width, c.height, c.fx, c.fy, c.cx, c.cy] for c in (camera, other)]
    matrices = [np.array(c.world_from_camera) for c in (camera, other)]
    return np.allclose(*values, atol=1e-9) and np.allclose(*matrices, atol=1e-6)


def by_engine(code: str, *arguments) -> str:
    """What a script prints in the engine's Python."""
    command = [os.environ["CLOSEUP_ENGINE_PYTHON"], "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def scene_sources(scene, folder: Path):
    gather = module("closeup_addon.gather")
    return gather.sources(scene, folder, gather.Options())


# --- the files -------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [True, False])
def test_colmap_files_say_the_same_when_they_are_read_again(photos, tmp_path, binary):
    colmap, what = module("closeup_addon.colmap"), reconstruction(photos)
    colmap.write(tmp_path / "sparse" / "0", what, binary)
    again = colmap.read(tmp_path)
    assert [view.image for view in again.views] == photos  # found beside the model, spaces and umlauts and all
    for before, after in zip(what.views, again.views):
        assert same(before.camera, after.camera)
    assert np.array_equal(again.positions, what.positions) and np.array_equal(again.colors, what.colors)


def test_transforms_say_the_same_when_they_are_read_again(photos, tmp_path):
    transforms, what = module("closeup_addon.transforms"), reconstruction(photos)
    transforms.write(tmp_path / "transforms.json", what, images=".")
    again = transforms.read(tmp_path / "transforms.json")
    assert [view.image for view in again.views] == photos
    for before, after in zip(what.views, again.views):
        assert same(before.camera, after.camera)
    assert np.allclose(again.positions, what.positions, atol=1e-6) and np.array_equal(again.colors, what.colors)


def test_quaternions_of_every_kind_of_rotation():
    known = module("closeup_addon.reconstruction")
    for seed in range(200):
        quaternion = np.random.default_rng(seed).normal(size=4)
        quaternion[seed % 4] *= 1e-9 if seed % 3 else 1.0
        rotation = known.rotation_of(quaternion)
        again = np.array(known.quaternion_of(rotation))
        assert again[0] >= 0
        assert np.allclose(known.rotation_of(again), rotation, atol=1e-12)


_READ = """
import sys, json, numpy as np, pycolmap
model = pycolmap.Reconstruction(sys.argv[1])
images = []
for image in sorted(model.images.values(), key=lambda i: i.name):
    camera = model.cameras[image.camera_id]
    pose = image.cam_from_world
    pose = pose() if callable(pose) else pose
    images.append([image.name, camera.model.name, camera.width, camera.height, list(camera.params), pose.matrix().tolist()])
points = sorted((i, p.xyz.tolist(), p.color.tolist()) for i, p in model.points3D.items())
print(json.dumps([images, points]))
"""


@pytest.mark.parametrize("binary", [True, False])
def test_colmap_itself_reads_what_is_exported(scene, photos, tmp_path, binary):
    """The whole way: a model comes into the scene, is exported, and pycolmap finds the same cameras, points and photos."""
    colmap, what = module("closeup_addon.colmap"), reconstruction(photos)
    colmap.write(tmp_path / "model", what)
    assert bpy.ops.closeup.import_colmap(directory=str(tmp_path / "model"), images=str(photos[0].parent)) == {"FINISHED"}
    assert bpy.ops.closeup.export_colmap(directory=str(tmp_path / "out"), binary=binary) == {"FINISHED"}
    images, points = json.loads(by_engine(_READ, tmp_path / "out" / "sparse" / "0"))
    assert len(images) == 3
    for view, (name, model, width, height, parameters, pose) in zip(what.views, images):
        assert (name, model, width, height) == (view.name.replace(" ", "_"), "PINHOLE", 40, 30)
        c = view.camera
        assert np.allclose(parameters, (c.fx, c.fy, c.cx, c.cy), atol=1e-4)
        world_from_camera = np.array(c.world_from_camera)
        assert np.allclose(np.array(pose) @ world_from_camera, np.eye(4)[:3], atol=1e-5)
        assert (tmp_path / "out" / "images" / name).read_bytes() == view.image.read_bytes()
    assert np.allclose([p[1] for p in points], what.positions, atol=1e-5)
    assert np.abs(np.array([p[2] for p in points]) - what.colors).max() <= 1
    assert not list((tmp_path / "out").rglob("photos-in"))


def test_exported_transforms_come_back_the_same_with_masks(scene, photos, tmp_path):
    exchange, later = module("closeup_addon.exchange"), module("closeup_addon.later")
    module("closeup_addon.transforms").write(tmp_path / "transforms.json", reconstruction(photos), images=".")
    bpy.ops.closeup.import_transforms(filepath=str(tmp_path / "transforms.json"))
    mask = bpy.data.images.new("mask", 40, 30)
    mask.pixels = [1.0] * 4800
    scene.closeup.photos[1].mask = mask
    before = scene_sources(scene, tmp_path / "job")
    assert bpy.ops.closeup.export_transforms(directory=str(tmp_path / "out")) == {"FINISHED"}
    again = module("closeup_addon.transforms").read(tmp_path / "out" / "transforms.json")
    for source, view, path in zip(before, again.views, photos):
        assert same(source.camera, view.camera) and view.image.read_bytes() == path.read_bytes()
    assert [view.mask is not None for view in again.views] == [False, True, False]
    # writing into the folder that the photos are in does not harm them
    later.finish(exchange.export_transforms(scene, tmp_path / "out"))
    bytes_before = [path.read_bytes() for path in photos]
    assert [view.image.read_bytes() for view in again.views] == bytes_before


# --- into the scene --------------------------------------------------------------------


def test_an_imported_model_stands_upright_with_its_photos_and_points(scene, photos, tmp_path):
    what = reconstruction(photos)
    module("closeup_addon.photos").add(scene, photos[:1])
    module("closeup_addon.colmap").write(tmp_path / "model", what)
    bpy.ops.closeup.import_colmap(directory=str(tmp_path / "model"), images=str(tmp_path))
    assert [item.name for item in scene.closeup.photos] == [path.name for path in photos]  # none twice
    states = module("closeup_addon.photos")
    assert [states.state(item) for item in scene.closeup.photos] == ["solved"] * 3
    bpy.context.view_layer.update()
    for source, view in zip(scene_sources(scene, tmp_path / "job"), what.views):
        camera, turned = source.camera, TURN @ np.array(view.camera.world_from_camera)[:3]
        assert np.allclose(np.array(camera.world_from_camera)[:3], turned, atol=1e-6)
        for name in ("width", "height", "fx", "fy", "cx", "cy"):
            assert getattr(camera, name) == pytest.approx(getattr(view.camera, name), abs=1e-4), name
    (cloud,) = [obj for obj in scene.objects if module("closeup_addon.cloud").CLOUD_KEY in obj]
    position, coded = module("closeup_addon.cloud").arrays(cloud)
    assert np.allclose(position, what.positions @ TURN.T, atol=1e-6)
    assert np.abs(coded[:, :3].astype(int) - what.colors).max() <= 1
    assert module("closeup_addon.align").solved_objects(scene)


def test_importing_a_model_again_replaces_it(scene, photos, tmp_path):
    what = reconstruction(photos, module("closeup_addon.reconstruction").Distortion(radial=(0.05,)))
    module("closeup_addon.colmap").write(tmp_path / "model", what)
    before = None
    for lens in ("straight", "bent"):
        if lens == "bent":  # as text, with a lens that is straightened into other files
            (tmp_path / "model" / "cameras.bin").unlink()
            module("closeup_addon.colmap").write(tmp_path / "model", what, binary=False)
            text = (tmp_path / "model" / "cameras.txt").read_text().splitlines()
            bent = [line.replace("PINHOLE", "OPENCV") + " 0.05 0 0 0" for line in text]
            (tmp_path / "model" / "cameras.txt").write_text("\n".join(bent))
        bpy.ops.closeup.import_colmap(directory=str(tmp_path / "model"), images=str(tmp_path))
        held = sorted(obj.name for obj in scene.objects)
        assert before is None or held == before
        before = held
        assert module("closeup_addon.gather").count_photos(scene) == (3, 3)
    assert all("straightened" in item.filepath for item in scene.closeup.photos)
    assert all(len(item.camera.data.background_images) == 1 for item in scene.closeup.photos)


def test_the_camera_view_shows_the_photo_where_the_camera_saw_it(scene, photos, tmp_path):
    """A point that the photo shows at a pixel is drawn over that pixel: the background fills the width as the lens does."""
    module("closeup_addon.colmap").write(tmp_path / "model", reconstruction(photos))
    for size in ((1000, 300), (300, 1000)):
        scene.render.resolution_x, scene.render.resolution_y = size
        bpy.ops.closeup.import_colmap(directory=str(tmp_path / "model"), images=str(tmp_path))
        camera = scene.closeup.photos[0].camera
        background = camera.data.background_images[0]
        cameras = module("closeup_addon.cameras")
        lens, frame = cameras.Lens.of(camera.data), cameras.frame_of(scene.render)
        shown = cameras.photo_camera(camera.matrix_world, lens, frame, background, (40, 30))
        assert shown.fx == pytest.approx(35.0, abs=1e-3) and shown.cx == pytest.approx(19.0, abs=1e-3)


def test_missing_photos_and_unknown_lenses_are_said(scene, photos, tmp_path):
    known = module("closeup_addon.reconstruction")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "cameras.txt").write_text("# a comment\n1 FOV 40 30 35 36 20 15 0.9\n2 PINHOLE 40 30 35 36 20 15\n")
    (tmp_path / "m" / "images.txt").write_text(
        f"1 1 0 0 0 0 0 0 1 {photos[0].name}\n\n2 1 0 0 0 1 0 0 2 gone.jpg\n1.0 2.0 -1 3.0 4.0 -1\n"
    )
    read = module("closeup_addon.colmap").read(tmp_path / "m", tmp_path)
    assert read.positions is None and read.views[1].distortion == known.Distortion(unknown="FOV")
    bpy.ops.closeup.import_colmap(directory=str(tmp_path / "m"), images=str(tmp_path))
    assert "lens model FOV cannot be straightened" in scene.closeup.photos[0].problem
    assert len(scene.closeup.photos) == 1 and "gone" in scene.objects
    assert module("closeup_addon.photos").state(scene.closeup.photos[0]) == "failed"


# --- bent lenses ------------------------------------------------------------------------


LENSES = {
    "radial": {"radial": (-0.2, 0.05)},
    "opencv": {"radial": (0.1, -0.03), "tangential": (0.01, -0.02)},
    "rational": {"radial": (0.2, 0.1, 0.05), "divisor": (0.3, 0.1, 0.02)},
    "fisheye": {"fisheye": True, "radial": (0.02, -0.01, 0.0, 0.0)},
}

_OPENCV = """
import sys, json, numpy as np, cv2
from engine.straighten import bent_pixels
lens = json.loads(sys.argv[1])
k = np.array([[lens["fx"], 0, lens["cx"] - 0.5], [0, lens["fy"], lens["cy"] - 0.5], [0, 0, 1]])
size = (lens["width"], lens["height"])
if lens["fisheye"]:
    x, y = cv2.fisheye.initUndistortRectifyMap(k, np.array(lens["radial"]), np.eye(3), k, size, cv2.CV_32FC1)
else:
    r, d = ([*lens[n], 0, 0, 0][:3] for n in ("radial", "divisor"))
    p = np.array([r[0], r[1], *lens["tangential"], r[2], *d])
    x, y = cv2.initUndistortRectifyMap(k, p, None, k, size, cv2.CV_32FC1)
ours = list(bent_pixels(lens, *size))
seen = ours[0] > -1e5
print(float(seen.mean()), float(np.abs(ours[0] - x)[seen].max()), float(np.abs(ours[1] - y)[seen].max()))
"""


@pytest.mark.parametrize("kind", LENSES)
def test_lenses_are_straightened_as_opencv_does(kind):
    lens = {"fisheye": False, "radial": (), "divisor": (), "tangential": (0, 0), **LENSES[kind]}
    lens.update(width=320, height=240, fx=210.0, fy=205.0, cx=150.0, cy=125.0)
    seen, *errors = map(float, by_engine(_OPENCV, json.dumps(lens)).split())
    assert seen > 0.9 and max(errors) < 1e-3


def test_a_lens_that_folds_the_picture_back_shows_nothing_twice():
    lens = {"fisheye": False, "radial": (-0.6,), "divisor": (), "tangential": (0, 0)}
    lens.update(width=320, height=240, fx=120.0, fy=120.0, cx=160.0, cy=120.0)
    code = "import sys, json; from engine.straighten import bent_pixels; x, y = bent_pixels(json.loads(sys.argv[1]), 320, 240);"
    corner, middle = map(float, by_engine(code + "print(x[0, 0], x[120, 160])", json.dumps(lens)).split())
    assert corner < -1e5 and abs(middle - 160) < 1


def test_bent_photos_become_straight_files_and_pinhole_cameras(scene, tmp_path):
    """A straight line, photographed through a bent lens, is straight again in the photo of the imported camera."""
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    width, height, focal, k = 240, 180, 200.0, -0.3
    v, u = np.mgrid[:height, :width] + 0.5
    x, y = (u - width / 2) / focal, (v - height / 2) / focal
    true_x, true_y = x, y
    for _ in range(50):  # the ray that the lens has bent to this pixel
        factor = 1 + k * (true_x**2 + true_y**2)
        true_x, true_y = x / factor, y / factor
    bright = (true_x > 0.45).astype(float)[::-1]  # everything right of a vertical line
    image = bpy.data.images.new("bent", width, height)
    image.pixels.foreach_set(np.dstack([bright] * 3 + [np.ones_like(bright)]).astype(np.float32).ravel())
    image.filepath_raw, image.file_format = str(tmp_path / "bent.png"), "PNG"
    image.save()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "cameras.txt").write_text(f"1 SIMPLE_RADIAL {width} {height} {focal} {width / 2} {height / 2} {k}\n")
    (tmp_path / "m" / "images.txt").write_text("1 1 0 0 0 0 0 0 1 bent.png\n\n")
    bpy.ops.closeup.import_colmap(directory=str(tmp_path / "m"), images=str(tmp_path))
    (item,) = scene.closeup.photos
    assert item.problem == "" and item.absolute() != tmp_path / "bent.png"
    straight = bpy.data.images.load(str(item.absolute()))
    pixels = np.array(straight.pixels[:]).reshape(height, width, 4)
    edge = (pixels[10:-10, :, 0] < 0.5).sum(axis=1)
    assert np.abs(edge - (width / 2 + 0.45 * focal)).max() <= 1.5
    before = (np.array(image.pixels[:]).reshape(height, width, 4)[10:-10, :, 0] < 0.5).sum(axis=1)
    assert np.ptp(before) >= 3  # it was bent
    (source,) = scene_sources(scene, tmp_path / "job")
    assert source.camera.fx == pytest.approx(focal, abs=1e-3)


def test_without_an_engine_bent_photos_are_imported_and_marked(scene, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("CLOSEUP_ENGINE_PYTHON", str(tmp_path / "none"))
    data = {
        "w": 40,
        "h": 30,
        "fl_x": 35,
        "k1": 0.1,
        "frames": [{"file_path": photos[0].name, "transform_matrix": np.eye(4).tolist()}],
    }
    (tmp_path / "transforms.json").write_text(json.dumps(data))
    bpy.ops.closeup.import_transforms(filepath=str(tmp_path / "transforms.json"))
    assert "was not straightened" in scene.closeup.photos[0].problem


# --- strangers' files -------------------------------------------------------------------


def test_what_is_wrong_with_a_file_is_a_sentence(scene, tmp_path):
    known = '"w": 9, "h": 9, "fl_x": 5, "frames": [{"file_path": "a", "transform_matrix": '
    cases = {
        "[]": "no transforms.json",
        "{": "not valid JSON",
        "{}": "no frames",
        '{"frames": [1]}': "without a file_path",
        '{"frames": [{"file_path": "a.png"}]}': "size of a.png",
        '{"w": 9, "h": 9, "frames": [{"file_path": "a.png"}]}': "focal length",
        '{"w": 9, "h": 9, "fl_x": NaN, "frames": [{"file_path": "a.png"}]}': "is no number",
        "{" + known.replace("9", "1e9") + "[[1,0,0,0],[0,1,0,0],[0,0,1,0]]}]}": "pixels",
        "{" + known + "[[1,0],[0]]}]}": "no 4×4 matrix",
        "{" + known + "[[-1,0,0,0],[0,1,0,0],[0,0,1,0]]}]}": "mirrored",
        "[" * 100_000: "not valid JSON",
    }
    for text, expected in cases.items():
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(RuntimeError, match=expected) as caught:
            bpy.ops.closeup.import_transforms(filepath=str(tmp_path / "t.json"))
        assert "Traceback" not in str(caught.value)
    with pytest.raises(RuntimeError, match="holds no COLMAP model"):
        bpy.ops.closeup.import_colmap(directory=str(tmp_path))
    with pytest.raises(RuntimeError, match="cannot be read"):
        bpy.ops.closeup.import_transforms(filepath=str(tmp_path / "none.json"))
    assert not bpy.ops.closeup.export_colmap.poll() and not scene.closeup.photos


def test_damaged_models_never_raise_anything_else(photos, tmp_path):
    """Bytes changed, cut and grown: a model or a sentence, quickly, whatever the counts claim."""
    colmap, error = module("closeup_addon.colmap"), module("closeup_addon.errors").CloseUpError
    what, rng = reconstruction(photos), random.Random(4)
    for binary in (True, False):
        place = tmp_path / str(binary)
        colmap.write(place, what, binary)
        good = {path: path.read_bytes() for path in place.iterdir()}
        for _ in range(500):
            path = rng.choice(sorted(good))
            data = bytearray(good[path])
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] = rng.choice((0, 255, 45, rng.randrange(256)))
            if rng.random() < 0.3:
                data = data[: rng.randrange(len(data))]
            path.write_bytes(data)
            try:
                found = colmap.read(place, tmp_path).turned(module("closeup_addon.reconstruction").Y_DOWN)
                assert len(found.views) <= 3
            except error as problem:
                assert str(problem).endswith(".")
            path.write_bytes(good[path])
    (tmp_path / "True" / "points3D.bin").write_bytes(struct.pack("<Q", 2**60) + bytes(100))
    with pytest.raises(error, match="damaged"):
        colmap.read(tmp_path / "True")


def test_strange_values_in_transforms_never_raise_anything_else(photos, tmp_path):
    """Any value exchanged for any other kind of value."""
    transforms, error = module("closeup_addon.transforms"), module("closeup_addon.errors").CloseUpError
    transforms.write(tmp_path / "good.json", reconstruction(photos[:1]), images=".")
    good, rng = (tmp_path / "good.json").read_text(), random.Random(1)
    strange = [None, True, "", "../" * 300, "\0", [], {}, [[]], -1, 0, 1e-300, 1e308, 10**400, [["1"] * 4] * 4, [[1e308] * 4] * 4]
    keys = ("camera_model", "camera_angle_x", "k1", "mask_path", "ply_file_path", "frames", "is_fisheye")
    for _ in range(600):
        data = json.loads(good)
        inner = rng.choice((data, data["frames"][0]))
        for _ in range(rng.randint(1, 2)):
            inner[rng.choice((*inner, *keys))] = rng.choice(strange)
        (tmp_path / "t.json").write_text(json.dumps(data))
        try:
            assert transforms.read(tmp_path / "t.json").turned(module("closeup_addon.reconstruction").Y_DOWN).views
        except error as problem:
            assert str(problem).endswith(".")


# --- what the programs themselves wrote --------------------------------------------------

if FIXTURES.is_dir():

    def test_colmaps_own_text_and_binary_models_say_the_same():
        colmap = module("closeup_addon.colmap")
        text, binary = colmap.read(FIXTURES / "colmap-txt"), colmap.read(FIXTURES / "colmap-bin")
        assert len(text.views) == len(binary.views) == 11
        assert len(text.positions) == len(binary.positions) == 7862
        for one, other in zip(text.views, binary.views):
            assert one.name == other.name and one.distortion.radial == pytest.approx(other.distortion.radial, abs=1e-5)
            assert one.camera.fx == pytest.approx(2971.71, abs=0.01) and one.camera.width == 2832
            assert np.allclose(one.camera.world_from_camera, other.camera.world_from_camera, atol=1e-4)
        assert np.allclose(np.sort(text.positions, axis=0), np.sort(binary.positions, axis=0), atol=1e-3)

    def test_a_model_without_its_photos_still_shows_cameras_and_points(scene):
        bpy.ops.closeup.import_colmap(directory=str(FIXTURES / "colmap-bin"))
        assert sum(obj.type == "CAMERA" for obj in scene.objects) == 12 and not scene.closeup.photos
        bpy.context.view_layer.update()
        up = [obj.matrix_world.to_3x3().col[1].z for obj in scene.objects if obj.type == "CAMERA" and "closeup_photo" in obj]
        assert min(up) > 0.8  # photos taken upright stand upright

    def test_a_synthetic_scene_of_nerfstudio(scene):
        path = FIXTURES / "nerfstudio" / "transforms_train.json"
        bpy.ops.closeup.import_transforms(filepath=str(path))
        (item,) = scene.closeup.photos
        width, _ = module("closeup_addon.transforms").image_size(item.absolute())
        frame = json.loads(path.read_text())["frames"][0]
        bpy.context.view_layer.update()
        # these cameras are Blender's own: the matrix is the object's, the angle that of its lens
        assert np.allclose(np.array(item.camera.matrix_world), frame["transform_matrix"], atol=1e-5)
        assert item.camera.data.angle_x == pytest.approx(0.6911112070083618, abs=1e-5) and width > 0
