"""Depth from photos, against an exact ray-caster and slow references."""

import time
from itertools import pairwise

import numpy as np
import pytest
import synthetic
import torch

from engine import camera as cams
from engine import device
from engine.geometry import aggregation, consistency, matching, patchmatch, stereo
from engine.progress import Cancelled, EngineError, Progress
from engine.records import Photo

CPU = torch.device("cpu")


def visible(photos, truths, index, tolerance=0.01):
    """(H, W) bool: pixels of one photo whose point another photo sees as well."""
    points = cams.unproject(photos[index].camera, np.where(np.isfinite(truths[index]), truths[index], 1e4))
    seen = np.zeros(truths[index].shape, bool)
    for j, photo in enumerate(photos):
        if j == index:
            continue
        pixel, z = cams.project(photo.camera, points)
        h, w = truths[j].shape
        inside = (z > 0) & (pixel > 0).all(-1) & (pixel[..., 0] < w) & (pixel[..., 1] < h)
        there = truths[j][np.where(inside, pixel[..., 1], 0).astype(int), np.where(inside, pixel[..., 0], 0).astype(int)]
        seen |= inside & (np.abs(z / there - 1) < tolerance)
    return seen & np.isfinite(truths[index])


def accuracy(views, photos, truths, tolerance=0.02):
    """Of the visible pixels: share right, share confident; of the confident and finite ones: share right."""
    right, sure, sure_right, count = 0, 0, 0, 0
    for index, view in enumerate(views):
        seen = visible(photos, truths, index)
        with np.errstate(divide="ignore", invalid="ignore"):
            good = np.abs(view.depth / truths[index] - 1) < tolerance
        confident = (view.confidence >= 0.5) & seen
        right, count = right + (good & seen).sum(), count + seen.sum()
        sure, sure_right = sure + confident.sum(), sure_right + (good & confident).sum()
    return right / count, sure / count, sure_right / max(sure, 1)


@pytest.fixture(scope="module")
def scene():
    photos, truths = synthetic.photos(4, 200, 150, spread=60)
    # another exposure in one photo: matching must not care
    photos[1].image = np.clip(photos[1].image * 0.8 + 0.03, 0, 1)
    progress = Progress()
    return photos, truths, stereo.estimate(photos, CPU, progress), progress


def test_depth_is_right_where_two_photos_see(scene):
    photos, truths, views, progress = scene
    right, sure, sure_right = accuracy(views, photos, truths)
    assert right >= 0.85
    assert sure >= 0.7
    assert sure_right >= 0.97
    assert not progress.warnings


def test_median_error_is_a_tenth_of_a_percent_or_two(scene):
    photos, truths, views, _ = scene
    seen = visible(photos, truths, 1)
    assert np.median(np.abs(views[1].depth[seen] / truths[1][seen] - 1)) < 0.002


def test_confidence_is_the_chance_to_be_right(scene):
    photos, truths, views, _ = scene
    seen = [visible(photos, truths, index) for index in range(len(views))]
    confidence = np.concatenate([view.confidence[where] for view, where in zip(views, seen)])
    error = np.concatenate([np.abs(view.depth[where] / truth[where] - 1) for view, truth, where in zip(views, truths, seen)])
    right = [(error[(confidence >= low) & (confidence < high)] < 0.01).mean() for low, high in ((0, 0.5), (0.5, 0.9), (0.9, 1))]
    assert right[2] >= 0.9
    assert right[0] < right[1] < right[2]


def test_every_pixel_gets_a_depth_and_a_confidence(scene):
    for photo, view in zip(scene[0], scene[2]):
        assert view.depth.shape == view.confidence.shape == photo.image.shape[:2]
        assert view.depth.dtype == view.confidence.dtype == np.float32
        assert (view.depth > 0).all()
        assert (view.confidence > 0).all() and (view.confidence <= 1).all()


def test_same_photos_same_bytes():
    photos, _ = synthetic.photos(2, 96, 72, spread=20)
    first, second = (stereo.estimate(photos, CPU, Progress()) for _ in range(2))
    for a, b in zip(first, second):
        assert a.depth.tobytes() == b.depth.tobytes()
        assert a.confidence.tobytes() == b.confidence.tobytes()


def test_two_photos_and_a_change_of_scale():
    photos, truths = synthetic.photos(2, 160, 120, spread=18)
    views = stereo.estimate(photos, CPU, Progress())
    assert accuracy(views, photos, truths)[0] > 0.8
    for photo in photos:
        pose = cams.world_from_camera(photo.camera).copy()
        pose[:3, 3] *= 1000
        photo.camera = cams.from_arrays(160, 120, cams.intrinsics(photo.camera), pose)
    scaled = stereo.estimate(photos, CPU, Progress())
    assert accuracy(scaled, photos, [t * 1000 for t in truths])[0] > 0.8


def test_given_depth_is_kept_and_helps():
    photos, truths = synthetic.photos(3, 160, 120, spread=40)
    given = truths[0].copy()
    given[:10] = np.inf
    given[10:12] = 0
    photos[0].depth = given
    views = stereo.estimate(photos, CPU, Progress())
    assert np.array_equal(views[0].depth, given)
    assert np.array_equal(views[0].confidence, (given > 0).astype(np.float32))
    assert accuracy(views[1:], photos[1:], truths[1:])[0] > 0.8


def test_all_depths_given_needs_no_matching():
    photos, truths = synthetic.photos(2, 64, 48)
    for photo, truth in zip(photos, truths):
        photo.depth = truth
    for view, truth in zip(stereo.estimate(photos, CPU, Progress()), truths):
        assert np.array_equal(view.depth, truth)


def test_one_photo_is_guessed_with_a_warning():
    photos, _ = synthetic.photos(1, 64, 48)
    progress = Progress()
    (view,) = stereo.estimate(photos, CPU, progress)
    assert (view.depth > 0).all() and np.isfinite(view.depth).all()
    assert view.confidence.max() <= 0.1
    assert len(progress.warnings) == 1 and "photo1.png" in progress.warnings[0]


def test_a_photo_that_looks_away_is_named_and_the_rest_is_right():
    photos, truths = synthetic.photos(3, 160, 120, spread=30)
    away = synthetic.look_at((0.0, -3.2, 1.3), (0.0, -9.0, 1.3), 160, 120)
    photos.append(Photo("away.png", synthetic.cast(away, sky=True)[0], np.ones((120, 160), bool), away))
    progress = Progress()
    views = stereo.estimate(photos, CPU, progress)
    assert any("away.png" in text for text in progress.warnings)
    assert accuracy(views[:3], photos[:3], truths)[0] > 0.8
    assert views[3].confidence.max() <= 0.5


def test_photos_from_one_place_have_no_depth_but_no_error():
    camera = synthetic.arc(1, 64, 48)[0]
    image, _ = synthetic.cast(camera)
    photos = [Photo(f"{i}.png", image, np.ones((48, 64), bool), camera) for i in range(2)]
    progress = Progress()
    views = stereo.estimate(photos, CPU, progress)
    assert len(progress.warnings) == 2
    assert all((view.depth > 0).all() for view in views)


def test_sky_is_infinite_and_nothing_else_is():
    photos, truths = synthetic.photos(3, 160, 120, sky=True, spread=40, elevation=0.9)
    views = stereo.estimate(photos, CPU, Progress())
    for view, truth in zip(views, truths):
        sky = ~np.isfinite(truth)
        assert sky.mean() > 0.02
        assert np.isinf(view.depth[sky]).mean() > 0.8
        assert np.isinf(view.depth[truth < 8]).mean() < 0.01


def test_the_end_is_not_announced_long_before_it_is_there(scene):
    photos = scene[0]
    told, started = [], time.monotonic()
    stereo.estimate(photos, CPU, Progress(lambda event: told.append((time.monotonic() - started, event))))
    taken = time.monotonic() - started
    done = [(seconds, event["done"] / event["total"]) for seconds, event in told if event["event"] == "progress"]
    assert all(a[1] <= b[1] for a, b in pairwise(done)) and done[-1][1] == 1
    assert min(seconds for seconds, part in done if part > 0.9) > taken / 2


def test_cancel_is_heard():
    photos, _ = synthetic.photos(2, 64, 48)
    with pytest.raises(Cancelled):
        stereo.estimate(photos, CPU, Progress(cancelled=lambda: True))


def test_no_photos():
    assert stereo.estimate([], CPU, Progress()) == []


# --- parts against slow references ---------------------------------------------


def test_transfer_is_projection():
    a, b = synthetic.arc(2, 40, 30)
    depth = np.random.default_rng(0).uniform(1, 5, (30, 40))
    pixel, z = cams.project(b, cams.unproject(a, depth))
    matrix, shift = matching.transfer(a, b, CPU)
    q = torch.einsum("ij,jhw->ihw", matrix, matching.pixel_grid(30, 40, CPU)) + shift[:, None, None] / torch.tensor(depth)
    assert np.allclose((q[:2] / q[2]).permute(1, 2, 0).numpy(), pixel, atol=1e-2)
    assert np.allclose(q[2].numpy() * depth, z, rtol=1e-4)


def test_sheared_window_is_the_sum_over_the_slanted_window():
    volume = torch.rand(9, 7, 8, generator=torch.Generator().manual_seed(1))
    fast = matching._window(volume, (1, -1), 1, {})
    k, v, u = 4, 3, 5
    slow = sum(float(volume[k + dx - dy, v + dy, u + dx]) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
    assert float(fast[k, v, u]) == pytest.approx(slow, rel=1e-5)


def test_semi_global_is_hirschmuellers_recursion():
    generator = torch.Generator().manual_seed(2)
    cost, image = torch.rand(5, 6, 7, generator=generator), torch.rand(3, 5, 6, generator=generator)
    small, large, contrast = 0.05, 0.3, 0.06
    total = np.zeros(cost.shape)
    c, im = cost.numpy(), image.numpy()
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        path = {}
        for y in range(5) if dy >= 0 else range(4, -1, -1):
            for x in range(6) if dx >= 0 else range(5, -1, -1):
                py, px = y - dy, x - dx
                if dy and not 0 <= py < 5:
                    path[y, x] = c[y, x]
                    continue
                if not 0 <= px < 6:
                    if not dy:
                        path[y, x] = c[y, x]
                        continue
                    px = x  # at the side a diagonal path goes on straight
                before = path[py, px]
                jump = max(large * contrast / max(np.abs(im[:, py, px] - im[:, y, x]).max(), contrast), 1.5 * small)
                near = np.minimum(np.append(before[1:], np.inf), np.insert(before[:-1], 0, np.inf)) + small
                path[y, x] = c[y, x] + np.minimum(np.minimum(before, near), before.min() + jump) - before.min()
        for at, value in path.items():
            total[at] += value / 8
    assert np.allclose(aggregation.semi_global(cost, image, small, large, contrast).numpy(), total, atol=1e-5)


def test_winner_is_refined_by_a_parabola():
    labels = torch.arange(9.0)
    position, _ = aggregation.winners(((labels - 4.3) ** 2)[None, None])
    assert float(position) == pytest.approx(4.3, abs=1e-4)
    assert float(aggregation.winners(labels[None, None])[0]) == 0.0


def test_slanted_zncc_is_one_on_the_true_plane_and_lower_off_it():
    photos, truths = synthetic.photos(2, 160, 120, spread=12)
    frames = [matching.make_frame(photo, 160, CPU) for photo in photos]
    matcher = matching.SlantedMatcher(frames[0], frames[1:])
    w = 1 / torch.from_numpy(truths[0])
    rows = slice(100, 120)
    pixels = matching.pixel_grid(120, 160, CPU)[:, rows].reshape(3, -1)
    window = matcher.window(rows)
    scores = []
    for scale in (1.0, 1.05):
        du, dv = patchmatch.slopes(w * scale)
        planes = matching.Planes(*(part[rows].reshape(-1) for part in (w * scale, du, dv)))
        score, inside = matcher.zncc(window, planes, pixels)
        scores.append(float(score[inside].median()))
    assert scores[0] > 0.93
    assert scores[1] < 0.8


def test_planes_survive_a_change_of_size():
    v, u = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    w = 0.5 + 0.002 * u - 0.003 * v
    du, _ = patchmatch.slopes(w)
    assert torch.allclose(du[3:-3, 3:-3], torch.tensor(0.002), atol=2e-4)
    planes = matching.Planes(w, torch.full_like(w, 0.002), torch.full_like(w, -0.003))
    big = patchmatch.resize_planes(planes, (24, 32))
    y, x = torch.meshgrid((torch.arange(24.0) + 0.5) / 2 - 0.5, (torch.arange(32.0) + 0.5) / 2 - 0.5, indexing="ij")
    assert torch.allclose(big.w, 0.5 + 0.002 * x - 0.003 * y, atol=1e-6)


def test_reprojection_and_comparison_know_hidden_from_free():
    a, b = synthetic.arc(2, 120, 90, spread=20)
    w = [1 / torch.from_numpy(synthetic.cast(camera)[1]) for camera in (a, b)]
    ratio, shift = consistency.compare(w[0], a, w[1], b)
    same = (ratio - 1).abs() < 0.01
    assert same.float().mean() > 0.6
    assert shift[same].median() < 1.0
    assert (consistency.compare(w[0] * 1.3, a, w[1], b)[0] > 1.1).float().mean() > 0.6
    seen = consistency.reproject(w[0], a, b, (90, 120))
    known = seen > 0
    assert known.float().mean() > 0.6
    assert ((seen / w[1])[known] - 1).abs().median() < 0.005


def test_filling_extends_the_plane_behind():
    v, _ = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    w = 0.5 + 0.001 * v
    truth = w.clone()
    w[20:40, 30:50] = 1.0
    known = torch.ones_like(w, dtype=torch.bool)
    known[20:40, 50:60] = False
    image = torch.full((3, 60, 80), 0.5)
    image[:, 20:40, 30:50] = 0.9
    broken = torch.where(known, w, torch.zeros_like(w))
    filled, _ = consistency.fill(broken, known, image)
    assert torch.equal(filled[known], w[known])
    assert (filled[20:40, 50:60] / truth[20:40, 50:60] - 1).abs().max() < 0.02


def test_specks_are_found():
    w = torch.full((100, 100), 0.5)
    w[10:13, 10:13] = 0.8
    w[40:80, 40:80] = 0.9
    found = consistency.specks(w, area=0.002)
    assert int(found.sum()) == 9 and bool(found[11, 11])


# --- the device ------------------------------------------------------------------


def test_device_by_name_by_environment_and_by_itself(monkeypatch):
    monkeypatch.delenv("CLOSEUP_DEVICE", raising=False)
    assert device.pick("cpu") == CPU
    assert device.pick().type in ("cuda", "xpu", "mps", "cpu")
    monkeypatch.setenv("CLOSEUP_DEVICE", "cpu")
    assert device.pick() == CPU


@pytest.mark.parametrize("name", ["toaster", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_one_sentence(name):
    with pytest.raises(EngineError, match=name):
        device.pick(name)
