"""The parts of the hierarchical warp, each against a slow reference or a known answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import synthetic
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import camera as cams
from engine.conditioning import blend, naive, prepare_all, telea
from engine.conditioning.cleaning import without_specks
from engine.conditioning.consistency import cross_check
from engine.conditioning.fill import dilate_max, dilate_min, fill_depth, open_to, push_pull
from engine.conditioning.lookup import intersect, line_of, rays_of, sample, sees_past
from engine.conditioning.prepare import noise_of, prepare
from engine.conditioning.source import SOLID
from engine.conditioning.splat import EMPTY, halve, pack, project_source, splat, unpack
from engine.conditioning.suppress import NEARER, leaked, octant_minima
from engine.conditioning.surface import solve
from engine.records import View

CPU = torch.device("cpu")


def view_of(depth: np.ndarray, fov: float = 45.0, position=(0.0, -3.0, 1.0), target=(0.0, 0.0, 0.4)) -> View:
    """A view with this depth and a grey ramp as its photo."""
    depth = np.asarray(depth, np.float32)
    height, width = depth.shape
    image = np.dstack([np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))] * 3)
    camera = synthetic.look_at(position, target, width, height, fov)
    return View("view", image, camera, np.ones(depth.shape, bool), depth, (depth > 0).astype(np.float32))


# --- blend ---


def test_a_photo_in_doubt_of_its_depth_still_shows_its_colours_from_its_own_place():
    depth = np.full((40, 50), 3.0, np.float32)
    scores = {}
    for confidence in (1.0, 0.1):
        view = replace(view_of(depth), confidence=np.full(depth.shape, confidence, np.float32))
        source = prepare(view, CPU)
        for angle, x in ((0, 0.0), (1, 0.05), (20, 1.1)):
            target = synthetic.look_at((x, -3.0, 1.0), (0.0, 0.0, 0.4), 50, 40)
            rays = rays_of(target, CPU)
            seen = blend.sight(source, target, rays, intersect(source, target, rays, torch.full((len(rays),), 3.0)).t)
            scores[confidence, angle] = float(seen.score.reshape(40, 50)[20, 25])
    assert scores[0.1, 0] == pytest.approx(scores[1.0, 0], rel=0.01)
    assert scores[0.1, 0] > scores[0.1, 1] > 3 * scores[0.1, 20]
    assert scores[0.1, 20] < 0.15 * scores[1.0, 20]
    made = prepare(replace(view_of(depth), confidence=np.full(depth.shape, 0.1, np.float32), generated=True), CPU)
    rays = rays_of(made.camera, CPU)
    seen = blend.sight(made, made.camera, rays, torch.full((len(rays),), 3.0))
    assert float(seen.score.max()) < 0.11, "what was generated is no surer from its own place"


# --- splat -------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 11), st.floats(2**-20, 2**20, width=32)), max_size=40))
def test_splat_keeps_the_nearest_point_and_the_first_of_equals(points):
    cell = torch.tensor([p[0] for p in points], dtype=torch.int64)
    depth = torch.tensor([p[1] for p in points], dtype=torch.float32)
    found_depth, found_index = unpack(splat(cell, depth, 12))
    for number in range(12):
        here = [(z, i) for i, (c, z) in enumerate(points) if c == number]
        expected = min(here, default=(np.inf, -1))
        assert (float(found_depth[number]), int(found_index[number])) == expected


def test_packed_keys_sort_by_depth_then_index():
    depth = torch.tensor([1e-30, 0.5, 0.5, 1.0, 3e38])
    key = pack(depth, torch.tensor([9, 1, 2, 0, 2**31]))
    assert (key[1:] > key[:-1]).all()
    torch.testing.assert_close(unpack(key)[0], depth, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 5), (8, 7)])
def test_coarser_levels_are_exact_minima(shape):
    keys = torch.randint(0, 1 << 40, shape)
    keys[0, 0] = EMPTY
    found = halve(keys)
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            assert found[row, column] == keys[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].min()


def test_culling_blocks_loses_no_point():
    photos, depths = synthetic.photos(1, 100, 70)
    view = View("a", photos[0].image, photos[0].camera, photos[0].mask, depths[0], np.ones_like(depths[0]))
    source = prepare(view, CPU)
    target = synthetic.look_at((0.3, -1.2, 0.6), (0.4, 0, 0.4), 64, 48, 35)
    found = project_source(source, target, 0.25)
    disparity = source.disparity.reshape(70, 100).numpy()
    pixels, z = cams.project(target, cams.unproject(view.camera, 1 / np.maximum(disparity, 1e-9))[disparity > 0])
    inside = (z > 1e-3) & (np.abs(pixels[:, 0] - 32) < 48 * 0.999) & (np.abs(pixels[:, 1] - 24) < 36 * 0.999)
    assert inside.sum() > 100
    assert len(found) >= inside.sum()
    assert len(found) <= ((z > 0) & (np.abs(pixels[:, 0] - 32) < 48.1) & (np.abs(pixels[:, 1] - 24) < 36.1)).sum()


# --- suppression -------------------------------------------------------------


@pytest.mark.parametrize("radius", [1, 2, 3, 5, 6])
def test_octant_minima_against_loops(radius):
    depth = torch.rand(9, 11)
    depth[torch.rand(9, 11) < 0.3] = torch.inf
    found = octant_minima(depth, radius)
    for row in range(9):
        for column in range(11):
            expected = [np.inf] * 8
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    if (dx, dy) == (0, 0) or not (0 <= row + dy < 9 and 0 <= column + dx < 11):
                        continue
                    octant = int(np.degrees(np.arctan2(dy, dx)) % 360 // 45)
                    expected[octant] = min(expected[octant], float(depth[row + dy, column + dx]))
            assert found[:, row, column].tolist() == expected


def test_background_between_the_samples_of_a_surface_is_rejected():
    depth = torch.full((33, 33), 2.0)
    depth[::4, ::4] = 1.0
    bad = leaked(depth, torch.full_like(depth, 4.0))
    inner = (slice(6, 27), slice(6, 27))
    assert bad[inner][depth[inner] == 2].all()
    assert not bad[depth == 1].any()


@pytest.mark.parametrize("angle", range(0, 90, 15))
def test_slanted_surfaces_and_straight_edges_are_kept(angle):
    row, column = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    across = column * np.cos(np.radians(angle)) + row * np.sin(np.radians(angle))
    assert not leaked(1 + 0.06 * across, torch.full((40, 40), 3.0)).any()
    edge = torch.where(across < 20.2, 2.0 * (1 - 2 * NEARER), 2.0)
    assert not leaked(edge, torch.full((40, 40), 3.0)).any()


# --- source ------------------------------------------------------------------


def test_flying_pixels_are_dropped_and_slants_kept():
    depth = np.full((30, 30), 4.0)
    depth[:, :15], depth[:, 15] = 2.0, 3.0
    disparity = prepare(view_of(depth), CPU).disparity.reshape(30, 30)
    assert (disparity[:, 15] == 0).all()
    assert (disparity[:, :15] > 0).all()
    assert (disparity[:, 16:] > 0).all()
    grazing = 1 / (1.0 - 0.03 * np.arange(30.0))
    assert (prepare(view_of(np.tile(grazing, (30, 1))), CPU).disparity > 0).all()


def test_slopes_stop_at_depth_edges():
    depth = np.full((30, 30), 4.0)
    depth[:, :15] = 2.0
    source = prepare(view_of(depth), CPU)
    assert (source.gradient == 0).all()
    solid = source.flag(SOLID).reshape(30, 30)
    assert not solid[10, 13:17].any()
    assert solid[5:25, 3:12].all()


def test_single_outliers_are_dropped_and_noise_smoothed():
    rng = np.random.default_rng(0)
    depth = 2 + 0.01 * rng.normal(size=(40, 40))
    depth[20, 20] = 1.0
    source = prepare(view_of(depth), CPU)
    disparity = source.disparity.reshape(40, 40)
    assert disparity[20, 20] == 0
    assert noise_of(disparity) < 0.4 * noise_of(torch.from_numpy((1 / depth).astype(np.float32)))
    exact = np.tile(1 / (0.5 + 0.001 * np.arange(40.0)), (40, 1)).astype(np.float32)
    np.testing.assert_array_equal(prepare(view_of(exact), CPU).disparity.reshape(40, 40).numpy(), 1 / exact)


def test_specks_become_the_median_around_them_and_wires_stay():
    rgb, depth = torch.full((3, 12, 16), 0.4), torch.full((12, 16), 3.0)
    source = torch.zeros(12, 16, dtype=torch.int16)
    rgb[:, 5, 4], depth[5, 4], source[5, 4] = 0.9, 4.0, 1  # another photo, which sees what lies behind
    rgb[:, 9, 2] = 0.9  # a dot of the surface itself
    rgb[:, 7, 7], depth[7, 7] = 0.9, 2.0  # a thing in front, in the same photo
    rgb[:, :2], depth[:2] = 0.8, torch.inf  # sky along the border
    rgb[:, :, 10], depth[:, 10], source[:, 10] = 0.1, 2.0, 1  # a wire
    clean = without_specks(rgb, depth, source)
    expected = rgb.clone()
    expected[:, 5, 4] = 0.4
    assert torch.equal(clean, expected)


def test_pixels_that_others_see_past_are_forgotten():
    photos, depths = synthetic.photos(3, 80, 60)
    depths[1][20:30, 30:40] *= 0.6
    views = [View(p.name, p.image, p.camera, p.mask, d, np.ones_like(d)) for p, d in zip(photos, depths)]
    alone, together = prepare(views[1], CPU), prepare_all(views, CPU)[1]
    assert (alone.disparity.reshape(60, 80)[22:28, 32:38] > 0).all()
    lost = ((alone.disparity > 0) & (together.disparity == 0)).reshape(60, 80)
    assert lost[20:30, 30:40].float().mean() > 0.4
    assert lost.sum() - lost[20:30, 30:40].sum() < 100


def test_a_lone_source_needs_no_partner():
    source = prepare(view_of(np.full((20, 20), 2.0)), CPU)
    before = source.disparity.clone()
    cross_check([source])
    assert torch.equal(source.disparity, before)
    assert (source.confidence == 1).all()


# --- lookup ------------------------------------------------------------------


def test_rays_meet_a_slanted_plane_exactly():
    camera = synthetic.look_at((0, -3, 1.0), (0, 0, 0), 120, 90)
    rays = cams.pixel_rays(camera).reshape(-1, 3) @ cams.world_from_camera(camera)[:3, :3].T
    depth = (-1.0 / rays[:, 2]).reshape(90, 120)
    depth = np.where((depth > 0) & (depth < 20), depth, 0)
    shape = (90, 120)
    image, depth = np.zeros((*shape, 3), np.float32), depth.astype(np.float32)
    view = View("plane", image, camera, np.ones(shape, bool), depth, np.ones(shape, np.float32))
    target = synthetic.look_at((0.2, -1.0, 0.4), (0.1, 0, 0), 60, 40, 30)
    origin = cams.position(target)
    truth = -origin[2] / (cams.pixel_rays(target).reshape(-1, 3) @ cams.world_from_camera(target)[:3, :3].T)[:, 2]
    guess = torch.from_numpy((truth * np.random.default_rng(1).uniform(0.93, 1.07, truth.shape)).astype(np.float32))
    hit = intersect(prepare(view, CPU), target, rays_of(target, CPU), guess)
    met = hit.weight.numpy() > 0
    assert met.mean() > 0.95
    assert np.abs(hit.t.numpy() / truth - 1)[met].max() < 1e-4


def test_nothing_is_hit_beyond_a_silhouette_and_the_far_side_is_seen_past():
    depth = np.full((40, 60), 4.0)
    depth[:, :30] = 2.0
    view = view_of(depth)
    source = prepare(view, CPU)
    near = torch.full((40 * 60,), 2.0)
    hit = intersect(source, view.camera, rays_of(view.camera, CPU), near)
    met = (hit.weight > 0).reshape(40, 60)
    assert met[:, :30].all()
    assert not met[:, 30:].any()
    past = sees_past(source, line_of(source, view.camera, rays_of(view.camera, CPU)).at(near)).reshape(40, 60)
    assert (past[:, 32:] == 1).all()
    assert (past[:, :30] == 0).all()


def test_a_ray_that_slides_on_to_the_bound_of_its_search_meets_nothing():
    depth = np.full((40, 60), 4.0)
    view = view_of(depth)
    source = prepare(view, CPU)
    rays = rays_of(view.camera, CPU)
    assert (intersect(source, view.camera, rays, torch.full((40 * 60,), 3.9)).weight > 0).float().mean() > 0.9
    # Half as near again is as far as a search goes; 2.64 * 1.5 comes within two per cent of the surface, and is not on it.
    assert not (intersect(source, view.camera, rays, torch.full((40 * 60,), 2.64)).weight > 0).any()


def test_a_thin_nearer_surface_outweighs_a_finer_photo_that_sees_beside_it():
    near, far = np.full((40, 60), 4.0), np.full((40, 60), 4.0)
    near[:, 29:31] = 3.0
    coarse, fine = view_of(near), view_of(far)
    fine.camera = replace(fine.camera, fx=2 * fine.camera.fx, fy=2 * fine.camera.fy)
    sources, rays = [prepare(view, CPU) for view in (coarse, fine)], rays_of(coarse.camera, CPU)
    guess = torch.where(torch.from_numpy(near.reshape(-1)) < 3.5, 3.0, 4.0).float()
    t = solve(sources, coarse.camera, rays, guess).t.reshape(40, 60)
    assert (t[20, 29:31] - 3).abs().max() < 0.01
    assert (t[20, :28] - 4).abs().max() < 0.01


@pytest.mark.parametrize(("lod", "tolerance"), [(0.0, 1e-3), (1.0, 0.02), (2.0, 0.04)])
def test_photos_are_read_where_they_should_be_at_every_mip(lod, tolerance):
    source = prepare(view_of(np.full((33, 65), 2.0)), CPU)
    u, v = torch.linspace(6, 58, 50), torch.full((50,), 16.0)
    colour = sample(source, u, v, torch.full((50,), lod))
    np.testing.assert_allclose(colour[:, 0].numpy(), (u / 64).numpy(), atol=tolerance)


# --- fill, baselines ---------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (17, 5), (32, 32)])
def test_push_pull_keeps_what_is_known_and_fills_within_its_range(shape):
    values, weight = torch.rand(2, *shape), (torch.rand(shape) < 0.3).float()
    weight[0, 0] = 1
    filled = push_pull(values, weight)
    known = weight > 0
    torch.testing.assert_close(filled[:, known], values[:, known])
    assert filled.min() >= values[:, known].min() - 1e-5
    assert filled.max() <= values[:, known].max() + 1e-5
    assert (push_pull(values, torch.zeros(shape)) == 0).all()


def test_gaps_are_filled_from_behind():
    depth, known = torch.full((48, 48), 4.0), torch.ones(48, 48, dtype=torch.bool)
    depth[:, :20], known[:, 20:23] = 1.0, False
    filled = fill_depth(depth, known)
    assert (filled[:, 20:23] > 3.5).all()
    assert torch.equal(filled[known], depth[known])


def test_dilations():
    depth = torch.rand(12, 13)
    assert dilate_min(depth)[5, 6] == depth[4:7, 5:8].min()
    assert dilate_max(depth, 2)[5, 6] == depth[3:8, 4:9].max()


def test_naive_keeps_the_nearest_and_telea_fills_the_rest():
    far, near = view_of(np.full((20, 30), 3.0)), view_of(np.full((20, 30), 2.0))
    near.image[:] = (1, 0, 0)
    for views in ([far, near], [near, far]):
        rgb, mask = naive(views, far.camera)
        assert mask.all()
        assert (rgb == (1, 0, 0)).all()
    mask[5:8, 5:9] = False
    rgb[5:8, 5:9] = 0
    np.testing.assert_allclose(telea(rgb, mask), np.broadcast_to((1.0, 0, 0), rgb.shape), atol=0.01)
    assert (telea(np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), bool)) == 0.5).all()


def test_only_holes_that_open_onto_the_sky_continue_it():
    sky, holes = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    sky[:6] = True
    holes[6:10, 4:8] = True  # below the sky
    holes[10:16, 6:12] = True  # joined to it
    holes[9:14, 20:26] = True  # a surface all around
    reached = open_to(holes, sky)
    assert np.array_equal(reached[:, :15], holes[:, :15])
    assert not reached[:, 15:].any()
