"""Finished frames are held to the photos' own pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import synthetic
import torch

from engine.conditioning import Warper
from engine.conditioning.blend import sight
from engine.conditioning.lookup import rays_of
from engine.memory import agreement
from engine.records import View

CPU = torch.device("cpu")
AIM = (-0.45, -0.1, 0.45)
CLOSE = synthetic.look_at((-0.4, -1.5, 0.6), AIM, 96, 72, fov=40)


def photo_at(position, size=(120, 90), finer=4) -> View:
    """A photo with exact depth whose pixels are means over what they cover, as a lens's are."""
    camera = synthetic.look_at(position, AIM, *size)
    fine = synthetic.cast(synthetic.look_at(position, AIM, size[0] * finer, size[1] * finer))[0]
    image = fine.reshape(size[1], finer, size[0], finer, 3).mean((1, 3)).astype(np.float32)
    depth = synthetic.cast(camera)[1]
    return View("photo", image, camera, np.ones(depth.shape, bool), depth, np.ones_like(depth))


def scene(*positions):
    """A warper of photos from there, CLOSE's condition and its truth."""
    warper = Warper([photo_at(position) for position in positions], CPU)
    return warper, warper.condition(CLOSE), synthetic.cast(CLOSE)[0]


def psnr(picture, truth, where) -> float:
    return -10 * math.log10(float(np.square(picture - truth)[where].mean()))


def seen(warper, condition):
    """The first photo's footprints in a condition's frame, all of whose depths must be known."""
    t = torch.from_numpy(condition.depth.ravel())
    return agreement.footprints(warper.sources[0], sight(warper.sources[0], CLOSE, rays_of(CLOSE, CPU), t))


def test_a_blurred_frame_gets_back_what_the_photos_know():
    warper, condition, truth = scene((-0.6, -3.0, 1.0), (-0.25, -3.1, 0.9))
    where = (condition.level > 1) & (condition.confidence > 0.5)
    assert where.mean() > 0.5
    held = agreement.agreeing(condition.rgb, condition, warper)
    assert held.dtype == np.float32 and held.min() >= 0 and held.max() <= 1
    assert psnr(held, truth, where) > psnr(condition.rgb, truth, where) + 0.3


def test_a_shift_of_colour_is_undone_and_detail_finer_than_the_photos_is_left():
    warper, condition, truth = scene((-0.6, -3.0, 1.0))
    where = (condition.level > 1) & (condition.confidence > 0.8)
    checks = 0.05 * (np.indices(truth.shape[:2]).sum(0) % 2 * 2.0 - 1)[..., None]
    held = agreement.agreeing((truth + 0.06 + checks).astype(np.float32), condition, warper)
    left = held - truth
    assert abs(left[where].mean()) < 0.03
    assert (left * checks)[where].mean() > 0.8 * 0.05**2


def test_full_resolution_doubt_sky_and_holes_stay_as_they_are():
    warper, condition, truth = scene((-0.45, -1.2, 0.6))  # closer than the frame
    frame = (truth * 0.5).astype(np.float32)
    assert np.array_equal(agreement.agreeing(frame, condition, warper), frame)
    warper, condition, truth = scene((-0.6, -3.0, 1.0))
    condition.confidence[:20], condition.depth[20:30], condition.depth[30:40] = agreement.DOUBTFUL, np.inf, 0
    held = agreement.agreeing(frame, condition, warper)
    assert np.array_equal(held[:40], frame[:40]) and (held[40:] != frame[40:]).any()
    condition.confidence[:] = 0
    assert agreement.agreeing(frame, condition, warper) is frame


def test_differences_are_those_of_a_slow_loop():
    warper, condition, _ = scene((-0.6, -3.0, 1.0))
    photo, source = seen(warper, condition), warper.sources[0]
    rng = np.random.default_rng(0)
    frame = rng.random((photo.area.size, 3)).astype(np.float32)
    sights = sight(source, CLOSE, rays_of(CLOSE, CPU), torch.from_numpy(condition.depth.ravel()))
    u, v = sights.u.numpy(), sights.v.numpy()
    width, image = source.camera.width, source.image[0].permute(1, 2, 0).numpy()
    total, cover = np.zeros(image.shape), np.zeros(image.shape[:2])
    asked = np.asarray(photo.shares.sum(1)) > 0.5
    tent = {}
    for n in asked.nonzero()[0]:
        for y in (math.floor(v[n]), math.floor(v[n]) + 1):
            for x in (math.floor(u[n]), math.floor(u[n]) + 1):
                tent[n, y, x] = (1 - abs(u[n] - x)) * (1 - abs(v[n] - y))
                total[y, x] += tent[n, y, x] * photo.area[n, 0] * frame[n]
                cover[y, x] += tent[n, y, x] * photo.area[n, 0]
    away = np.where(cover[..., None] > agreement.COVERED, image - total / np.maximum(cover, 1e-6)[..., None], 0)
    away *= np.exp(-((np.abs(away).max(-1, keepdims=True) / agreement.STRANGE) ** 2))
    expected = np.zeros_like(frame)
    for (n, y, x), share in tent.items():
        expected[n] += share * away[y, x]
    assert np.abs(photo.difference(frame) - expected).max() < 1e-4 and np.abs(expected).max() > 0.01
    assert photo.shares.shape == (len(frame), width * source.camera.height)


def test_a_photos_gain_is_heeded():
    warper, condition, truth = scene((-0.6, -3.0, 1.0))
    warper.sources[0].gain = torch.tensor([0.5, 0.5, 0.5])
    frame = (truth * 0.5).astype(np.float32)
    where = (condition.level > 1) & (condition.confidence > 0.8)
    held = agreement.agreeing(frame, condition, warper)
    assert abs((held - frame)[where].mean()) < 0.01


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (3, 2)])
def test_bilinear_shares_sum_to_one_in_photos_of_any_size(size):
    width, height = size
    u, v = (np.linspace(-0.5, side - 0.5, 7)[:, None] * np.ones(7) for side in size)
    shares = agreement.bilinear(u.ravel(), v.T.ravel(), np.arange(49) % 5 > 0, width, height)
    assert shares.shape == (49, width * height)
    assert np.allclose(np.asarray(shares.sum(1)).ravel(), np.arange(49) % 5 > 0)
