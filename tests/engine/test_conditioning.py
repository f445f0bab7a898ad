"""Hierarchical warping against the truth of a ray-cast scene, and against what an artist may throw at it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import synthetic
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from warp_scenes import cloud_of, push_in, scene, view_of

from engine import camera as cams
from engine.conditioning import Warper, condition_tensors, naive, prepare_all, telea
from engine.job import Camera
from engine.records import Condition, View

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small frames: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def psnr(image: np.ndarray, truth: np.ndarray, where=slice(None)) -> float:
    return float(-10 * np.log10(np.mean((np.clip(image, 0, 1) - truth)[where] ** 2) + 1e-12))


def assert_sound(found: Condition, camera: Camera) -> None:
    """What holds for every condition, whatever went in."""
    shape = (camera.height, camera.width)
    kinds = {"level": np.uint8, "source": np.int16, "depth": np.float32, "confidence": np.float32, "global_depth": np.float32}
    for name, kind in kinds.items():
        array = getattr(found, name)
        assert array.shape == shape, name
        assert array.dtype == kind, name
    assert found.rgb.shape == found.global_rgb.shape == (*shape, 3)
    assert np.isfinite(found.rgb).all()
    assert found.rgb.min() >= 0
    assert found.rgb.max() <= 1
    assert not np.isnan(found.depth).any()
    assert (found.depth >= 0).all()
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    hole = found.level == 0
    np.testing.assert_array_equal(hole, found.source == -1)
    assert (found.confidence[hole] == 0).all()
    assert np.isfinite(found.global_rgb).all()
    assert np.isfinite(found.global_depth).all()


# --- against the truth -------------------------------------------------------


@pytest.mark.parametrize(("sky", "noisy", "gain"), [(False, False, 5), (True, False, 6), (False, True, 3.5), (True, True, 3.5)])
def test_beats_the_naive_warp_on_every_frame(sky, noisy, gain):
    views = list(scene(sky, noisy))
    warper = Warper(views, CPU)
    gains = []
    for amount in (0.2, 0.9):
        camera = push_in(amount)
        truth, _ = synthetic.cast(camera, sky)
        found = warper.condition(camera)
        assert_sound(found, camera)
        gains.append(psnr(found.rgb, truth) - psnr(telea(*naive(views, camera)), truth))
    assert min(gains) > 1.5, gains
    assert np.mean(gains) > gain, gains


def test_depth_is_continuous_and_exact_where_the_photos_saw_the_surface():
    camera = push_in(0.9)
    _, truth = synthetic.cast(camera)
    found = Warper(list(scene()), CPU).condition(camera)
    seen = found.confidence > 0.3
    error = np.abs(found.depth / truth - 1)[seen]
    assert np.median(error) < 2e-5
    assert (error > 0.01).mean() < 0.03


def test_a_photo_seen_from_its_own_camera_comes_back():
    views = list(scene())
    found = Warper(views, CPU).condition(views[1].camera)
    inside = found.source == 1
    assert inside.mean() > 0.9
    assert psnr(found.rgb, views[1].image, inside) > 45


def test_confidence_means_what_it_says():
    within = []
    for amount in (0.0, 0.5, 0.95):
        camera = push_in(amount)
        truth, _ = synthetic.cast(camera)
        found = Warper(list(scene()), CPU).condition(camera)
        sure = found.confidence > 0.8
        within.append((np.abs(found.rgb - truth).max(2) < 8 / 255)[sure])
    assert np.concatenate(within).mean() > 0.85


def test_exposure_is_evened_out_only_when_it_clearly_differs():
    views = list(scene())
    assert all((source.gain == 1).all() for source in prepare_all(views, CPU))
    dimmed = np.float32([1, 0.75, 1, 0.9])
    darker = [replace(view, image=view.image * gain) for view, gain in zip(views, dimmed)]
    gains = np.array([source.gain.numpy() for source in prepare_all(darker, CPU)])
    expected = dimmed.prod() ** 0.25 / dimmed
    np.testing.assert_allclose(gains, np.tile(expected[:, None], (1, 3)), rtol=0.03)


def test_level_counts_the_doublings_of_the_magnification():
    views = list(scene())
    near, far = push_in(0.0, 60, 36), push_in(0.0, 960, 576)
    warper = Warper(views, CPU)
    assert np.median(warper.condition(near).level) == 1
    zoom = far.fx / views[0].camera.fx
    assert np.median(warper.condition(far).level) == 1 + round(np.log2(zoom))


def test_no_background_shines_through_a_close_surface():
    """At ten times the photos' resolution the box fills the frame; the wall behind it must not be seen."""
    camera = synthetic.look_at((0.5, -0.75, 0.4), (0.52, 0, 0.38), 320, 240, 40)
    _, truth = synthetic.cast(camera)
    found = Warper(list(scene()), CPU).condition(camera)
    assert truth.max() < 0.5
    assert (np.abs(found.depth / truth - 1) < 0.01).mean() > 0.99


def test_what_no_photo_saw_is_a_hole():
    view = scene(count=4)[0]
    camera = synthetic.look_at((2.5, -1.5, 1.2), (0.0, 0.1, 0.4), 160, 120, 50)
    _, truth = synthetic.cast(camera)
    found = Warper([view], CPU).condition(camera)
    pixels, z = cams.project(view.camera, cams.unproject(camera, truth))
    column, row = (np.clip(pixels[..., i].astype(int), 0, size - 1) for i, size in ((0, 240), (1, 180)))
    inside = (pixels >= 0).all(2) & (pixels[..., 0] < 240) & (pixels[..., 1] < 180) & (z > 0)
    hidden = inside & (view.depth[row, column] < 0.9 * z)
    assert hidden.mean() > 0.05
    assert (found.confidence[hidden] < 0.3).mean() > 0.9
    assert (found.level[inside & ~hidden] > 0).mean() > 0.85
    assert found.confidence[inside & ~hidden].mean() > 3 * found.confidence[hidden].mean()


# --- sky ---------------------------------------------------------------------


def test_sky_is_a_layer_of_its_own():
    camera = push_in(0.6)
    truth, depth = synthetic.cast(camera, sky=True)
    found = Warper(list(scene(sky=True)), CPU).condition(camera)
    sky = np.isinf(depth)
    assert (np.isinf(found.depth) != sky).mean() < 0.015
    both = sky & np.isinf(found.depth) & (found.level > 0)
    wrong = (np.abs(found.rgb - truth)[both] > 0.02).any(1)
    assert wrong.sum() <= 2  # single pixels of a jagged outline are taken for specks


def test_sky_goes_by_direction_only():
    """Nothing but sky: any camera position gives the colours of the directions it looks in."""
    view = scene(sky=True)[0]
    height, width = view.depth.shape
    image = np.dstack([np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))] * 3)
    view = replace(view, image=image, depth=np.full_like(view.depth, np.inf))
    moved = np.array(view.camera.world_from_camera)
    moved[:3, 3] += (100.0, -50.0, 7.0)
    camera = replace(view.camera, world_from_camera=tuple(map(tuple, moved.tolist())))
    found = Warper([view], CPU).condition(camera)
    assert np.isinf(found.depth).all()
    np.testing.assert_allclose(found.rgb, image, atol=0.01)


# --- retrieval, training, cloud ----------------------------------------------


def test_visible_contribution_respects_occlusion():
    views = list(scene())
    behind = synthetic.look_at((0.0, 3.0, 1.3), (0.0, 0.15, 0.35), 240, 180)
    image, depth = synthetic.cast(behind, sky=True)
    hidden = View("behind", image, behind, np.ones(depth.shape, bool), np.where(depth < 30, depth, 0), np.ones_like(depth))
    camera = synthetic.look_at((-0.45, -1.2, 0.5), (-0.45, 0, 0.45), 160, 120, 40)
    shares = Warper([*views, hidden], CPU).visible_contribution(camera)
    assert shares.shape == (5,)
    assert shares[:4].min() > 0.5
    assert shares[4] < 0.25 * shares[:4].min()


def test_tensors_for_training_equal_the_condition():
    views = list(scene())
    camera = push_in(0.7, 64, 64)
    tensors = condition_tensors(prepare_all(views, CPU), camera)
    found = Warper(views, CPU).condition(camera)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor.numpy(), getattr(found, name), err_msg=name)


def test_same_input_same_bytes():
    first, second = (Warper(list(scene(sky=True, noisy=True)), CPU).condition(push_in(0.8)) for _ in range(2))
    for name in ("rgb", "level", "depth", "confidence", "source", "global_rgb", "global_depth"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name


def test_the_cloud_is_projected_densely_and_without_leaks():
    points, colors = [], []
    for view in scene():
        points.append(cams.unproject(view.camera, view.depth)[::2, ::2].reshape(-1, 3))
        colors.append((view.image[::2, ::2].reshape(-1, 3) * 255).astype(np.uint8))
    cloud = cloud_of(np.concatenate(points), np.concatenate(colors))
    camera = push_in(0.8)
    truth, depth = synthetic.cast(camera)
    found = Warper(list(scene()), CPU, cloud).condition(camera)
    known = found.global_depth > 0
    assert known.mean() > 0.9
    assert (found.global_depth[known] > 1.1 * depth[known]).mean() < 0.02
    assert psnr(found.global_rgb, truth, known) > 18


# --- whatever comes ----------------------------------------------------------


def _strange_depths(view: View) -> dict[str, np.ndarray]:
    one = np.zeros_like(view.depth)
    one[20, 30] = 3.0
    fills = {
        "nothing": 0.0,
        "nan": np.nan,
        "sky": np.inf,
        "minus": -np.inf,
        "vanishing": 1e-30,
        "huge": 1e30,
        "far": 1e10,
    }
    return {"one point": one, **{name: np.full_like(view.depth, value) for name, value in fills.items()}}


@pytest.mark.parametrize("kind", ["one point", "nothing", "nan", "sky", "minus", "vanishing", "huge", "far"])
def test_any_depth_gives_a_defined_result(kind):
    views = [replace(view, depth=_strange_depths(view)[kind]) for view in scene(width=64, height=48, count=2)]
    camera = push_in(0.5, 48, 32)
    warper = Warper(views, CPU)
    assert_sound(warper.condition(camera), camera)
    assert np.isfinite(warper.visible_contribution(camera)).all()


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_any_number_of_points_in_the_cloud(count):
    camera = push_in(0.5, 48, 32)
    points = np.random.default_rng(0).normal(0, 0.3, (count, 3))
    assert_sound(Warper([], CPU, cloud_of(points)).condition(camera), camera)
    at_the_lens = np.tile(cams.position(camera), (count, 1))
    assert_sound(Warper([], CPU, cloud_of(at_the_lens)).condition(camera), camera)
    assert_sound(Warper([], CPU, cloud_of(points * np.nan)).condition(camera), camera)


_NUMBERS = st.floats(-4, 4) | st.sampled_from([np.nan, np.inf, -np.inf, 1e-30, 1e30, -1e30, 0.0])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    points=st.lists(st.tuples(_NUMBERS, _NUMBERS, _NUMBERS), max_size=12),
    in_plane=st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), max_size=3),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    fov=st.floats(1, 170),
)
def test_any_cloud_gives_a_defined_result(points, in_plane, size, fov):
    """Points that are no numbers, that lie at infinity, and in the very plane of the camera; none, one, or a few of them."""
    camera = synthetic.look_at((0.2, -2.0, 0.7), (0.0, 0.1, 0.4), *size, fov)
    axes = np.array(camera.world_from_camera)
    beside = [axes[:3, 3] + x * axes[:3, 0] + y * axes[:3, 1] for x, y in in_plane]
    cloud = cloud_of(np.array([*points, *beside], float).reshape(-1, 3))
    with np.errstate(over="ignore", invalid="ignore"):
        found = Warper([], CPU, cloud).condition(camera)
    assert_sound(found, camera)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    position=st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.floats(-1, 3)),
    target=st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 1)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    fov=st.floats(0.01, 170),
)
def test_any_camera_gives_a_defined_result(position, target, size, fov):
    """Anywhere: behind the photos, inside the objects, under the ground, with any lens and any size."""
    if np.hypot(position[0] - target[0], position[1] - target[1]) < 1e-3:
        position = (position[0] + 0.1, position[1], position[2])
    camera = synthetic.look_at(position, target, *size, fov)
    views = list(scene(sky=True, noisy=True, width=64, height=48, count=2))
    assert_sound(Warper(views, CPU).condition(camera), camera)


@pytest.mark.parametrize("distance", [0.1, 1e-3, 1e-6, 0.0])
def test_a_surface_at_the_lens(distance):
    camera = synthetic.look_at((0.5, -0.35 - distance, 0.4), (0.5, 0, 0.4), 48, 32)
    assert_sound(Warper(list(scene(width=64, height=48, count=2)), CPU).condition(camera), camera)


def test_values_that_are_no_numbers_in_photo_and_confidence():
    view = scene(width=64, height=48, count=2)[0]
    image, confidence = view.image.copy(), view.confidence.copy()
    image[10:20], confidence[:, 30:40] = np.nan, np.nan
    camera = push_in(0.3, 48, 32)
    assert_sound(Warper([replace(view, image=image, confidence=confidence)], CPU).condition(camera), camera)


def test_a_photo_of_one_pixel():
    photo, depth = (found[0] for found in synthetic.photos(1, 1, 1))
    camera = push_in(0.3, 48, 32)
    assert_sound(Warper([view_of(photo, depth)], CPU).condition(camera), camera)
