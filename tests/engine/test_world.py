"""The synthetic training world: geometry that is right, textures that are filtered, samples that follow from their seed."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine import camera as cams
from engine.generation import samples, surfaces, textures, world
from engine.records import CAPTURED

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
KILLED = """
import multiprocessing, os, pathlib, sys, time
from engine.generation import samples
folder = pathlib.Path(sys.argv[1])
samples.SHARD = samples.TEXTURES = 2
write = samples.write
samples.write = lambda *what: (write(*what), time.sleep(600))
arguments = (os.getpid(), folder, 10**6, 32, 0, "cpu")
worker = multiprocessing.get_context("fork").Process(target=samples.work, args=arguments)
worker.start()
while not any(folder.glob("shard-*.npy")):
    time.sleep(0.1)
os._exit(9)
"""
"""A training that is killed while its worker is busy, after the first samples."""


@pytest.fixture(scope="module")
def bank():
    return textures.bank(5, 3, CPU)


def scene(kind, size, rotation=None, center=(0.0, 0.0, 0.0)):
    """One primitive under a light from the camera's side."""
    one = torch.ones(1)
    return world.Scene(
        kind=torch.tensor([kind]),
        center=torch.tensor([center]),
        rotation=torch.as_tensor(np.eye(3) if rotation is None else rotation, dtype=torch.float32)[None],
        size=torch.tensor([size]),
        texture=torch.zeros(1, dtype=torch.long),
        texel=0.01 * one,
        offset=torch.zeros(1, 2),
        tint=torch.eye(3)[None],
        gloss=0 * one,
        light=torch.tensor([0.0, 0.0, -1.0]),
        ambient=0.5,
        sky=torch.tensor([[0.1, 0.2, 0.9]] * 2),
        sky_texture=1,
    )


def camera(size=65, distance=5.0):
    return world.look_at(np.array([0.0, 0.0, -distance]), np.zeros(3), size, 1.5 * size, size / 2)


def test_depth_of_a_wall_is_its_z_everywhere(bank):
    _, depth = world.render(scene(world.BOX, (50.0, 50.0, 1.0)), bank, camera())
    assert torch.allclose(depth, torch.full_like(depth, 4.0), atol=1e-4)


def test_a_ball_has_its_outline_and_its_nearest_point(bank):
    target = camera()
    image, depth = world.render(scene(world.ELLIPSOID, (1.0, 1.0, 1.0)), bank, target)
    assert depth[32, 32] == pytest.approx(4.0, abs=1e-3)
    hit = torch.isfinite(depth).numpy()
    points = cams.unproject(target, np.where(hit, depth.numpy(), 0))
    assert np.linalg.norm(points, axis=-1)[hit] == pytest.approx(1, abs=1e-3)
    assert np.sqrt(hit.sum() / np.pi) == pytest.approx(97.5 / np.sqrt(24), rel=0.02)
    assert not hit[0, 0] and image.shape == (65, 65, 3)


def test_a_rod_is_as_long_and_as_thick_as_it_says(bank):
    upright = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    _, depth = world.render(scene(world.ROD, (0.2, 0.2, 0.8), upright), bank, camera(distance=50.0))
    seen = np.isfinite(depth.numpy())
    focal = 97.5 / 50
    assert abs(seen.any(1).sum() - 1.6 * focal) <= 2 and abs(seen.any(0).sum() - 0.4 * focal) <= 2


def test_the_nearer_thing_hides_the_farther_one():
    both = scene(world.BOX, (1.0, 1.0, 1.0))
    for name in ("kind", "center", "rotation", "size", "texture", "texel", "offset", "tint", "gloss"):
        setattr(both, name, getattr(both, name).repeat(2, *[1] * (getattr(both, name).ndim - 1)))
    both.center[1, 2] = -3
    origin, ray = torch.tensor([[0.0, 0.0, -9.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    distance, index = world.intersect(both, origin, ray)
    assert (distance.item(), index.item()) == (pytest.approx(5.0), 1)


def test_a_surface_in_shadow_is_darker(bank):
    lit = scene(world.BOX, (50.0, 50.0, 1.0))
    dark = scene(world.BOX, (50.0, 50.0, 1.0))
    dark.light = torch.tensor([0.0, 0.0, 1.0])
    target = camera(16)
    assert world.render(lit, bank, target)[0].mean() > 1.1 * world.render(dark, bank, target)[0].mean()


def test_texture_lookup_is_bilinear_at_texel_centres_and_averages_far_away(bank):
    uv = torch.tensor([[10.5, 20.5], [600.5, 20.5]])
    index = torch.tensor([2, 2])
    near = textures.lookup(bank, index, uv, torch.ones(2))
    full = bank.levels[0][2]
    assert torch.allclose(near[0], full[20, 10], atol=1e-5)
    assert torch.allclose(near[1], full[20, 2 * textures.SIZE - 1 - 600], atol=1e-5)
    far = textures.lookup(bank, index, uv, torch.full((2,), 1e6))
    assert (far - full.mean((0, 1))).abs().max() < 0.35


@pytest.mark.parametrize("kind", sorted({kind.__name__ for kind in textures.KINDS}))
def test_every_texture_is_a_picture_with_detail(kind):
    image = getattr(textures, kind)(np.random.default_rng(1))
    assert image.shape == (textures.SIZE, textures.SIZE, 3) and np.isfinite(image).all()
    assert image.min() >= -1e-3 and image.max() <= 1.2 and image.std() > 0.01


def test_a_sample_follows_from_its_seed(bank):
    a, b, other = (world.sample_views(seed, bank, 64, CPU, 3.0) for seed in (7, 7, 8))
    assert np.array_equal(a.truth, b.truth) and not np.array_equal(a.truth, other.truth)
    assert len(a.views) == len(b.views) >= 1
    for x, y in zip(a.views, b.views):
        assert np.array_equal(x.image, y.image) and np.array_equal(x.depth, y.depth) and x.camera == y.camera


def test_a_moving_camera_starts_at_the_sample_and_comes_nearer(bank):
    move = world.sample_move(7, bank, 64, CPU, 3, 3.0, count=6)
    alone = world.sample_views(7, bank, 64, CPU, 3.0)
    assert np.array_equal(move[0].truth, alone.truth) and move[0].camera == alone.camera
    assert len(move[0].views) == 6 and all(shot.views is move[0].views for shot in move)
    for given, fewer in zip(move[0].views, alone.views):
        assert np.array_equal(given.image, fewer.image)
    path = np.stack([cams.position(shot.camera) for shot in move])
    steps = np.diff(path, axis=0)
    assert np.allclose(steps @ cams.direction(alone.camera), world.FOCAL * world.MOVE) and np.allclose(steps[0], steps[1])
    assert not np.array_equal(move[0].truth, move[1].truth)


@pytest.mark.parametrize("zoom", [1.0, 4.0, 8.0])
def test_photos_see_the_target_at_the_zoom_that_was_asked_for(bank, zoom):
    sample = world.sample_views(11, bank, 64, CPU, zoom)
    for view in sample.views:
        distances = [np.linalg.norm(cams.position(c)) for c in (view.camera, sample.camera)]
        ratio = (sample.camera.fx / distances[1]) / (view.camera.fx / distances[0])
        assert 0.8 * zoom < ratio < 1.25 * zoom


def test_corrupted_depth_is_near_the_true_one_and_knows_its_holes():
    rng = np.random.default_rng(3)
    depth = np.full((96, 96), 5.0, np.float32)
    depth[30:60, 30:60] = 4.0
    depth[80:] = np.inf
    bad, confidence = world.corrupt_depth(rng, depth, 0.002)
    known = (bad > 0) & np.isfinite(bad)
    inner = known & np.isfinite(depth)
    assert np.median(np.abs(bad[inner] / depth[inner] - 1)) < 0.01
    assert not confidence[bad == 0].any() and (confidence[bad != 0] > 0).all() and confidence.max() <= 1
    exact, sure = world.corrupt_depth(rng, depth, 0.0)
    assert np.array_equal(exact, depth) and sure.min() == 1


def test_conditions_of_the_world_resemble_their_truth(bank):
    errors = []
    for seed in range(3):
        sample = world.sample_views(seed, bank, 64, CPU, 1.5)
        condition = samples.condition_of(sample, CPU)
        packed = samples.pack(condition, sample.truth)
        assert packed.shape == (samples.CHANNELS + samples.VIEWS * CAPTURED, 64, 64) and not np.isnan(packed).any()
        seen = condition.level > 0
        errors.append(np.abs(condition.rgb - sample.truth)[seen].mean())
    assert np.mean(errors) < 0.1


def test_shards_are_made_once_and_read_back(tmp_path, bank, monkeypatch):
    monkeypatch.setattr(samples, "SHARD", 2)
    monkeypatch.setattr(samples, "TEXTURES", 2)
    samples.fill(tmp_path, 3, 32, 0, "cpu")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    times = [f.stat().st_mtime_ns for f in files]
    samples.fill(tmp_path, 3, 32, 0, "cpu")
    assert times == [f.stat().st_mtime_ns for f in sorted(tmp_path.iterdir())]
    store = samples.Samples(tmp_path)
    assert store.refresh(3) and not store.refresh(4) and len(store) == 3
    batch = store.batch(3, seed=0, step=5)
    assert batch.shape == (3, samples.CHANNELS + samples.VIEWS * CAPTURED, 32, 32) and torch.equal(
        batch, store.batch(3, seed=0, step=5)
    )


def test_samples_are_made_no_longer_than_there_is_a_training(tmp_path):
    """A worker whose training was killed ends instead of writing beside the next one's."""
    training = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=99)
    assert training.returncode == 9, training.stderr  # and the pipe that its worker has, too, is closed: both have ended
    made = sorted(tmp_path.iterdir())
    assert len(made) == 1 and all(path.suffix == ".npy" for path in made)


# --- single surfaces -----------------------------------------------------------


def test_photos_of_a_surface_agree_with_its_depth(bank):
    """The photo, looked up where the target's surface points project into it, is the target's picture."""
    found = 0
    for seed in range(6):
        sample = surfaces.surface_views(seed, bank, 64, zoom=1.0)
        points = cams.unproject(sample.camera, sample.depth)
        assert np.abs(points[..., 2]).max() < 1e-4
        view = sample.views[0]
        pixel, _ = cams.project(view.camera, points)
        inside = (pixel > 1).all(-1) & (pixel < np.array(view.depth.shape[::-1]) - 2).all(-1)
        x, y = np.moveaxis(pixel - 0.5, -1, 0).astype(np.float32)
        seen = cv2.remap(view.image, x, y, cv2.INTER_LINEAR)
        contrast = sample.truth[inside].std()
        if inside.mean() > 0.5 and contrast > 0.08:
            found += 1
            assert np.abs(seen - sample.truth)[inside].mean() < 0.6 * contrast
            away = cv2.remap(view.image, x + 6, y + 6, cv2.INTER_LINEAR)
            assert np.abs(seen - sample.truth)[inside].mean() < np.abs(away - sample.truth)[inside].mean()
    assert found >= 2


def test_a_far_photo_of_a_surface_is_blurred_by_its_zoom(bank):
    camera = world.look_at(np.array([0.0, 0.0, -world.FOCAL]), np.zeros(3), 64, world.FOCAL * 64, 32.0)
    texture = bank.levels[0][0].numpy()
    place = np.array([[64.0, 0, 256], [0, 64, 256], [0, 0, 1]])
    one = surfaces.photograph(texture, place, camera, 0.4)
    # a texel per pixel, looked at straight: the picture is the texture, softened by the lens alone
    direct = texture[224:288, 224:288] ** (1 / 2.2)
    assert np.corrcoef(one.ravel(), direct.ravel())[0, 1] > 0.9
    assert np.allclose(surfaces.depth_of(camera), world.FOCAL, atol=1e-4)


def test_surface_samples_follow_from_their_seed(bank):
    a, b, c = (surfaces.surface_views(seed, bank, 32) for seed in (3, 3, 4))
    assert np.array_equal(a.truth, b.truth) and all(np.array_equal(x.image, y.image) for x, y in zip(a.views, b.views))
    assert not np.array_equal(a.truth, c.truth)
