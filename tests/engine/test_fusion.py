"""Fusion of depth maps into one cloud."""

import numpy as np
import pytest
import synthetic

from engine import camera as cams
from engine.geometry import fusion
from engine.records import View


@pytest.fixture
def views():
    photos, truths = synthetic.photos(3, 160, 120, spread=40)
    return [View(p.name, p.image, p.camera, p.mask, t, np.full(t.shape, 0.8, np.float32)) for p, t in zip(photos, truths)]


def surface_distance(points):
    """Distance of points to the nearest surface of the synthetic scene (the box: to its hull)."""
    _, y, z = points.astype(np.float64).T
    sphere = np.abs(np.linalg.norm(points - np.array([-0.45, -0.1, 0.45]), axis=1) - 0.45)
    low, high = np.array([0.2, -0.35, 0.0]), np.array([0.85, 0.25, 0.75])
    outside = np.linalg.norm(np.maximum(np.maximum(low - points, points - high), 0), axis=1)
    inside = np.minimum(points - low, high - points).min(1)
    box = np.where(inside > 0, inside, outside)
    return np.minimum.reduce([np.abs(z), np.abs(y - 1.6), sphere, box])


def test_points_lie_on_the_surfaces_with_their_normals_and_colours(views):
    cloud = fusion.fuse(views, 10**6)
    assert len(cloud) > 20_000
    assert np.quantile(surface_distance(cloud.points), 0.99) < 0.005
    ground = (np.abs(cloud.points[:, 2]) < 1e-3) & (cloud.points[:, 1] < 1.4)
    assert np.median(cloud.normals[ground] @ [0, 0, 1]) > 0.999
    assert np.allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-3)
    for index, view in enumerate(views):
        mine = cloud.source == index
        toward = cams.position(view.camera) - cloud.points[mine]
        assert ((toward * cloud.normals[mine]).sum(1) > 0).all()
        pixel, _ = cams.project(view.camera, cloud.points[mine])
        x, y = (np.clip(pixel[:, axis].astype(int), 0, size - 1) for axis, size in ((0, 160), (1, 120)))
        assert np.abs(cloud.colors[mine] / 255.0 - view.image[y, x]).mean() < 0.03


def test_what_the_others_look_through_is_dropped(views):
    floating = views[1].depth.copy()
    floating[30:50, 60:90] *= 0.6
    views[1].depth = floating
    cloud = fusion.fuse(views, 10**6)
    assert (surface_distance(cloud.points) > 0.2).mean() < 0.001


def test_sky_of_another_view_is_free_space_too(views):
    for view in (views[0], views[2]):
        view.depth = np.where(view.depth > 4, np.float32(np.inf), view.depth)
    views[1].depth = np.where(views[1].depth > 4, np.float32(2.0), views[1].depth)
    cloud = fusion.fuse(views, 10**6)
    assert (surface_distance(cloud.points) > 0.3).mean() < 0.02


def test_agreeing_depths_are_averaged_by_confidence(views):
    views = views[:2]
    exact = fusion.fuse([views[0]], 10**6)
    views[1].depth = views[1].depth * np.float32(1.004)
    views[1].confidence[:] = 0.2
    merged = fusion.fuse(views, 10**6)
    assert merged.confidence.max() > exact.confidence.max()
    error = np.quantile(surface_distance(merged.points), 0.9)
    worse = np.quantile(surface_distance(fusion.fuse([views[1]], 10**6).points), 0.9)
    assert error < 0.5 * worse


def test_thinning_keeps_one_point_a_voxel_and_the_limit(views):
    whole = fusion.fuse(views, 10**6)
    assert len(whole) < 0.8 * sum(view.depth.size for view in views)
    for limit in (5000, 300, 1):
        cloud = fusion.fuse(views, limit)
        assert 0 < len(cloud) <= limit
        assert np.quantile(surface_distance(cloud.points), 0.9) < 0.05


def test_of_more_pixels_than_the_cloud_can_use_every_so_many_is_looked_at(views, monkeypatch):
    monkeypatch.setattr(fusion, "LEAST_CANDIDATES", 1)
    looked, band = [], fusion._band
    monkeypatch.setattr(fusion, "_band", lambda *args: looked.append(band(*args)) or looked[-1].copy())
    cloud = fusion.fuse(views, 1000)
    assert 2000 < sum(len(part["points"]) for part in looked) <= fusion.CANDIDATES * 1000
    assert 500 < len(cloud) <= 1000 and np.quantile(surface_distance(cloud.points), 0.9) < 0.03
    whole = fusion.fuse(views, 10**6)  # evenly: a quarter of the picture keeps its share
    left, all_left = ((np.asarray(c.points)[:, 0] < 0).mean() for c in (cloud, whole))
    assert abs(left - all_left) < 0.1


def test_near_is_finer_than_far():
    camera = synthetic.look_at((0.0, -3.2, 1.3), (0.0, 2.0, 0.0), 160, 120)
    image, depth = synthetic.cast(camera)
    cloud = fusion.fuse([View("a", image, camera, np.ones(depth.shape, bool), depth, np.ones(depth.shape, np.float32))], 10**6)
    assert len(cloud) > 0.5 * depth.size


def test_masked_unknown_and_sky_pixels_give_no_points(views):
    view = views[0]
    view.mask = np.zeros_like(view.mask)
    view.mask[60:80, 60:80] = True
    view.depth[60:70] = 0
    view.depth[70:75] = np.inf
    cloud = fusion.fuse([view], 10**6)
    assert 0 < len(cloud) <= 5 * 20


def test_nothing_gives_an_empty_cloud(views):
    assert len(fusion.fuse([], 100)) == 0
    views[0].depth[:] = np.inf
    cloud = fusion.fuse(views[:1], 100)
    assert len(cloud) == 0
    assert cloud.points.shape == (0, 3) and cloud.colors.dtype == np.uint8


def test_far_points_do_not_spoil_the_near_voxels(views):
    alone = fusion.fuse(views[:1], 10**6)
    views[0].depth[0, :40] = 1e7
    assert len(fusion.fuse(views[:1], 10**6)) >= len(alone) - 300


def test_same_views_same_bytes(views):
    a, b = fusion.fuse(views, 10_000), fusion.fuse(views, 10_000)
    for name in ("points", "colors", "normals", "confidence", "source"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
