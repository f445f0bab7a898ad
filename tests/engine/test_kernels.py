"""The CPU's kernels against their references in PyTorch, part by part."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from warp_scenes import push_in, scene

from engine import compiled, conditioning
from engine.conditioning import blend, cleaning, fill, lookup, splat, suppress, surface
from engine.conditioning.kernels import blend as fast_blend
from engine.conditioning.kernels import cleaning as fast_cleaning
from engine.conditioning.kernels import fill as fast_fill
from engine.conditioning.kernels import lookup as fast_lookup
from engine.conditioning.kernels import splat as fast_splat
from engine.conditioning.kernels import suppress as fast_suppress
from engine.conditioning.kernels import surface as fast_surface
from engine.conditioning.prepare import prepare

CPU = torch.device("cpu")
F = np.float32


def share_within(found: np.ndarray, expected: np.ndarray, tolerance: float) -> float:
    """Share of values that agree, relative to 1 or to themselves if they are larger."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    with np.errstate(invalid="ignore"):  # infinities, which are compared as they are
        close = np.abs(found - expected) <= tolerance * np.maximum(np.abs(expected), 1)
    return float((close | (found == expected)).mean())


@pytest.fixture(scope="module", params=[(False, False), (True, True)], ids=["exact", "noisy with sky"])
def looked(request):
    """A source, a target, its rays, and guesses of the depth: near the truth, anywhere, extreme."""
    sky, noisy = request.param
    views, camera = scene(sky, noisy), push_in(0.6)
    source = prepare(views[1], CPU)
    depth = conditioning.Warper(list(views), CPU).condition(camera).depth.reshape(-1)
    rng = np.random.default_rng(0)
    guess = np.where(np.isfinite(depth) & (depth > 0), depth, 2) * rng.uniform(0.9, 1.1, depth.size)
    guess[::7] = np.exp(rng.normal(0, 3, guess[::7].size))
    guess[:4] = (1e-9, 1e9, 1e-3, 1e30)
    return source, camera, lookup.rays_of(camera, CPU), guess.astype(F)


# --- lookup, blend -----------------------------------------------------------


def test_intersections(looked):
    source, camera, rays, guess = looked
    expected = lookup.intersect(source, camera, rays, torch.from_numpy(guess))
    own, pose = fast_lookup.Pixels.of(source), fast_lookup.pose_of(source.camera, camera)
    found = np.empty((3, len(guess)), F)
    arrays = own.disparity, own.gradient, own.state, own.lens, pose, fast_lookup.BANDS
    fast_lookup.intersect(*arrays, rays.x.numpy(), rays.y.numpy(), guess, *found)
    assert (expected.weight > 0).float().mean() > 0.3
    for values, name in zip(found, ("t", "weight", "confidence")):
        truth = getattr(expected, name).numpy()
        scale = max(np.quantile(np.abs(truth), 0.9), 1e-6)
        assert share_within(values / scale, truth / scale, 1e-3) > 0.999, name


def test_votes_against(looked):
    source, camera, rays, guess = looked
    line = lookup.line_of(source, camera, rays)
    met, doubt = guess[::-1].copy(), np.linspace(0, 1, len(guess), dtype=F)
    here, there = (lookup.sees_past(source, line.at(torch.from_numpy(t))).numpy() for t in (guess, met))
    expected = here + doubt * (there - here)
    own, pose = fast_lookup.Pixels.of(source), fast_lookup.pose_of(source.camera, camera)
    found = np.ones(len(guess), F)
    arrays = own.gradient, own.front, own.state, own.lens, pose
    fast_lookup.oppose(*arrays, rays.x.numpy(), rays.y.numpy(), guess, met, doubt, found)
    assert 0.05 < (expected > 0).mean() < 0.95
    assert share_within(found, 1 + expected, 1e-3) > 0.999


def test_sight(looked):
    source, camera, rays, guess = looked
    expected = blend.sight(source, camera, rays, torch.from_numpy(guess))
    target = fast_surface.Scene.of([source], camera)
    ((_, (score, seen, magnification, level, u, v)),) = fast_blend.looks(target, rays.x.numpy(), rays.y.numpy(), guess)
    assert expected.visible.float().mean() > 0.3
    assert share_within(score, expected.score, 1e-3) > 0.999
    assert (seen == expected.visible.numpy()).mean() > 0.999
    assert share_within(u, expected.u, 1e-3) > 0.999
    assert share_within(v, expected.v, 1e-3) > 0.999
    inside = score > 0
    assert share_within(magnification[inside], expected.magnification[inside], 1e-3) > 0.999
    expected_level = expected.lod.round().clamp(0, source.max_mip).numpy()
    assert (level[inside] == expected_level[inside]).mean() > 0.999


@pytest.mark.parametrize("lod", range(9))
def test_colours_of_every_level_up_to_the_border(lod):
    source = prepare(scene()[0], CPU)
    source.gain = torch.tensor([0.8, 1.0, 1.3])
    u, v = np.meshgrid(np.linspace(-0.5, 239.49, 40, dtype=F), np.linspace(-0.5, 179.49, 30, dtype=F))
    u, v = u.reshape(-1), v.reshape(-1)
    expected = lookup.sample(source, torch.from_numpy(u), torch.from_numpy(v), torch.full((len(u),), float(lod))).numpy()
    photo, lens = fast_blend.Pyramid.of(source), fast_lookup.lens_of(source.camera)
    sums, which = np.zeros((8, len(u)), F), np.full(len(u), -1, np.int32)
    level, one = np.full(len(u), min(lod, source.max_mip), np.int32), np.ones(len(u), F)
    fast_blend.add(photo.texels, photo.offsets, photo.gain, lens, u, v, level, one, one, one, np.int32(3), *sums, which)
    np.testing.assert_allclose(sums[:3].T, expected, atol=1.3 * 1.5 / 1023)  # the kernels' photos have 10 bits
    assert (which == 3).all()


# --- splat, suppression, levels ----------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(-2, 6), st.integers(-2, 4), st.sampled_from([0.5, 1.0, 2.0, 8.0])), max_size=60))
def test_points_keep_the_nearest_and_the_first_of_equals(points):
    """Whole pixels and powers of two: exact in both, so the keys are the same to the bit."""
    camera = push_in(0.0, 6, 4)
    frame = fast_splat.frame_of(camera, 0, 0.0)
    frame[:4] = (1, 1, 0.5, 0.5)
    xyz = np.array([(x * z, y * z, z) for x, y, z in points], F).reshape(-1, 3)
    pose = np.array([1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], F)
    keys, scratch = np.full(24, splat.EMPTY), (np.empty(16, np.int32), np.empty(16, F))
    fast_splat.splat_points(xyz, np.full(len(xyz), 0.1, F), pose, frame, 0, len(xyz), *scratch, keys)
    kept = [i for i, (x, y, _) in enumerate(points) if 0 <= x < 6 and 0 <= y < 4]
    cell = torch.tensor([points[i][1] * 6 + points[i][0] for i in kept], dtype=torch.int64)
    depth, index = splat.unpack(splat.splat(cell, torch.tensor([points[i][2] for i in kept], dtype=torch.float32), 24))
    index = torch.tensor([*kept, -1])[index]
    expected = torch.where(index < 0, splat.EMPTY, splat.pack(depth, index))
    np.testing.assert_array_equal(keys, expected.numpy())


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 2), (33, 65), (130, 40)])
def test_pyramids_are_exact(shape):
    keys = np.random.default_rng(0).integers(0, 1 << 40, shape)
    keys[0, 0] = splat.EMPTY
    levels = fast_splat.pyramid(keys, 3)
    expected = torch.from_numpy(keys)
    for level in levels[1:]:
        expected = splat.halve(expected)
        np.testing.assert_array_equal(level, expected.numpy())


@pytest.mark.parametrize("spacing", [0.3, 1.0, 2.4, 5.0, 40.0])
@pytest.mark.parametrize("level", [0, 2])
def test_suppression_is_the_same_to_the_pixel(spacing, level):
    rng = np.random.default_rng(1)
    depth = np.where(rng.random((50, 70)) < 0.4, rng.uniform(1, 3, (50, 70)), np.inf).astype(F)
    footprints = np.where(np.isfinite(depth), spacing * rng.uniform(0.5, 2, depth.shape), 0).astype(F)
    coarse = -torch.nn.functional.max_pool2d(-torch.from_numpy(depth)[None], 4, ceil_mode=True)[0].numpy()
    around = np.full((13, 18), 0.7 * spacing, F)
    found = np.empty_like(depth)
    fast_suppress.suppress(depth, footprints, coarse, 2, around, 2, level, 0, 50, found)
    reach = suppress.REACH * torch.from_numpy(np.maximum(footprints, F(0.7 * spacing))) / (1 << level)
    bad = suppress.leaked(torch.from_numpy(depth), reach).numpy() | ((footprints < surface.COVER * (1 << level)) & (level > 0))
    np.testing.assert_array_equal(found, np.where(bad, F(np.inf), depth))


@pytest.mark.parametrize("amount", [-4.0, 0.2, 0.95])
@pytest.mark.parametrize("noisy", [False, True])
def test_first_guesses(amount, noisy):
    """From half as close as the photos to a close-up: the same depth from all photos, levels and suppression together."""
    sources, camera = [prepare(view, CPU) for view in scene(True, noisy)], push_in(amount, 200, 120)
    steps, footprint = surface.density(surface.sampled(sources, camera))
    points = [splat.project_source(source, camera, step=step).coarser(step) for source, step in zip(sources, steps)]
    expected = surface.splat_levels(splat.join(points), camera, 0, footprint)
    target = fast_surface.Scene.of(sources, camera)
    fast_steps, fast_footprint = surface.density(fast_splat.sampled(sources, target.pixels, camera, splat.MARGIN))
    assert fast_steps == steps
    assert max(steps) == (2 if amount == -4 else 1)
    assert fast_footprint == pytest.approx(footprint, rel=1e-4)
    depth, front = fast_surface._first_guess(target, 0, steps, footprint)
    assert share_within(depth, expected.depth, 1e-5) > 0.998  # points on the border of two cells may fall into either
    assert share_within(front, expected.front, 1e-5) > 0.995
    assert (np.isinf(depth) == np.isinf(expected.depth.numpy())).mean() > 0.999


# --- fill --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (17, 5), (32, 32), (131, 257)])
@pytest.mark.parametrize("channels", [1, 3])
def test_push_pull(shape, channels):
    rng = np.random.default_rng(0)
    values = rng.random((channels, *shape), F)
    for weight in (rng.random(shape, F) * (rng.random(shape) < 0.4), np.zeros(shape), np.ones(shape)):
        weight = weight.astype(F)
        expected = fill.push_pull(torch.from_numpy(values), torch.from_numpy(weight)).numpy()
        np.testing.assert_allclose(fast_fill.push_pull(values, weight), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (5, 200), (90, 131), (200, 300)])
def test_filling_from_behind(shape):
    rng = np.random.default_rng(2)
    depth = np.where(rng.random(shape) < 0.5, 1, 4).astype(F) * rng.uniform(0.9, 1.1, shape).astype(F)
    known, sky = rng.random(shape) < 0.6, rng.random(shape) < 0.01
    torched = [torch.from_numpy(a) for a in (depth, known, sky & ~known)]
    np.testing.assert_allclose(fast_fill.fill_depth(depth, known), fill.fill_depth(*torched[:2]), rtol=1e-4)
    for other, torch_other in ((None, None), (sky & ~known, torched[2])):
        found, expected = fast_fill.background_weight(depth, known, other), fill.background_weight(*torched[:2], torch_other)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("shape", [(40, 50), (1, 1), (3, 70)])
def test_specks(shape):
    rng = np.random.default_rng(5)
    rgb = rng.random((3, *shape), np.float32) * np.float32(0.3)
    depth = rng.choice([1.0, 1.005, 2.0, np.inf], shape).astype(np.float32)
    source = rng.choice([0, 1], shape, p=[0.9, 0.1]).astype(np.int16)
    expected = cleaning.without_specks(*map(torch.from_numpy, (rgb, depth, source))).numpy()
    assert np.array_equal(fast_cleaning.without_specks(rgb, depth, source), expected)
    assert shape == (1, 1) or (expected != rgb).any()


@pytest.mark.parametrize("radius", [1, 4, 16])
def test_dilations_know_no_border(radius):
    image = np.random.default_rng(0).random((40, 30), F)
    image[np.random.default_rng(1).random(image.shape) < 0.9] = np.inf
    np.testing.assert_array_equal(fast_fill.minimum_around(image, 1), fill.dilate_min(torch.from_numpy(image)))
    finite = np.nan_to_num(image, posinf=0)
    np.testing.assert_array_equal(fast_fill.maximum_around(finite, radius), fill.dilate_max(torch.from_numpy(finite), radius))


# --- threads, machine code ---------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 7, 64])
def test_work_is_shared_once_and_wholly(count, monkeypatch):
    monkeypatch.setattr(compiled, "threads", lambda: 3)
    done, lock = np.zeros(count, int), threading.Lock()

    def task(first, last):
        with lock:
            done[first:last] += 1

    compiled.share(task, count, 5)
    assert (done == 1).all()


def test_what_fails_in_a_helper_thread_is_raised(monkeypatch):
    monkeypatch.setattr(compiled, "threads", lambda: 2)
    own, both_at_work = threading.get_ident(), threading.Barrier(2)

    def task(first, last):
        both_at_work.wait(30)
        if threading.get_ident() != own:
            raise ValueError("in a helper")

    with pytest.raises(ValueError, match="in a helper"):
        compiled.share(task, 2, 1)


def test_machine_code_is_never_kept_beside_the_source(tmp_path, monkeypatch):
    package = Path(compiled.__file__).parent
    assert package not in Path(compiled._cache_folder()).parents
    assert not list(package.rglob("*.nbi"))
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(sys, "prefix", str(blocked))  # an environment that cannot be written to
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "home"))
    assert Path(compiled._cache_folder()).parent == tmp_path / "home"


@pytest.mark.parametrize(
    "file", ["compiled.py", "conditioning/suppress.py", "conditioning/kernels/blend.py", "geometry/kernels/maps.py"]
)
def test_machine_code_is_not_that_of_other_sources(tmp_path, file):
    """Kernels hold the constants of the modules beside them, which numba does not watch."""
    engine = Path(
        shutil.copytree(Path(compiled.__file__).parent, tmp_path / "engine", ignore=shutil.ignore_patterns("weights", "*.pyc"))
    )
    before = compiled.source_hash(engine)
    with open(engine / file, "a") as stream:
        stream.write("# other\n")
    assert compiled.source_hash(engine) != before == compiled.source_hash(Path(compiled.__file__).parent)
