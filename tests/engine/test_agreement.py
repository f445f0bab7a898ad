"""Condition frames are resolved by what the photos' own pixels tell together, finished ones are held to them."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest
import synthetic
import torch

from engine.color import linear_from_srgb, srgb_from_linear
from engine.conditioning import Warper
from engine.conditioning.blend import sight
from engine.conditioning.lookup import rays_of
from engine.memory import agreement
from engine.memory.kernels import back_projection as kernels
from engine.records import View

CPU = torch.device("cpu")
AIM = (-0.45, -0.1, 0.45)
CLOSE = synthetic.look_at((-0.4, -1.5, 0.6), AIM, 96, 72, fov=40)


def photo_at(position, size=(120, 90), finer=5) -> View:
    """A photo with exact depth whose pixels are means of light, over the pixel and its neighbours' halves, as a lens's are."""
    camera = synthetic.look_at(position, AIM, *size)
    fine = synthetic.cast(synthetic.look_at(position, AIM, size[0] * finer, size[1] * finer))[0]
    tent = np.convolve(np.ones(finer), np.ones(finer)) / finer**2
    image = srgb_from_linear(cv2.sepFilter2D(linear_from_srgb(fine), -1, tent, tent)[finer // 2 :: finer, finer // 2 :: finer])
    depth = synthetic.cast(camera)[1]
    return View("photo", image, camera, np.ones(depth.shape, bool), depth, np.ones_like(depth))


def scene(*positions):
    """A warper of photos from there, CLOSE's condition and its truth."""
    warper = Warper([photo_at(position) for position in positions], CPU)
    return warper, warper.condition(CLOSE), synthetic.cast(CLOSE)[0]


def psnr(picture, truth, where) -> float:
    return -10 * math.log10(float(np.square(picture - truth)[where].mean()))


def seen(warper, condition):
    """The first photo's footprints in a condition's frame, all of whose depths must be known, and where it sees them."""
    t = torch.from_numpy(condition.depth.ravel())
    sights = sight(warper.sources[0], CLOSE, rays_of(CLOSE, CPU), t)
    return agreement.footprints(warper.sources[0], sights, np.arange(len(t)), 1), sights


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


def test_resolved_frames_tell_more_than_held_ones():
    warper, condition, truth = scene((-0.6, -3.0, 1.0), (-0.25, -3.1, 0.9), (-0.4, -3.0, 0.8), (-0.75, -2.9, 0.9))
    where = (condition.level > 1) & (condition.confidence > 0.5)
    held, resolved = (agreement.agreeing(condition.rgb, condition, warper, x) for x in (agreement.HOLD, agreement.RESOLVE))
    assert psnr(resolved, truth, where) > psnr(held, truth, where) + 0.1


def test_what_the_photos_have_of_noise_is_not_sharpened():
    warper, condition, truth = scene((-0.6, -3.0, 1.0), (-0.25, -3.1, 0.9))
    rng = np.random.default_rng(0)
    for source in warper.sources:
        source.image[0].add_(torch.from_numpy(rng.normal(0, 0.03, source.image[0].shape).astype(np.float32)))
    noisy = warper.condition(CLOSE)
    restless = dataclasses.replace(agreement.RESOLVE, calm=0.0)
    where = (condition.level > 1) & (condition.confidence > 0.5)
    resolved, sharpened = (agreement.agreeing(noisy.rgb, noisy, warper, x) for x in (agreement.RESOLVE, restless))
    assert psnr(resolved, truth, where) > psnr(sharpened, truth, where) + 0.3


def test_differences_are_those_of_a_slow_loop():
    warper, condition, _ = scene((-0.6, -3.0, 1.0))
    (photo, sights), source = seen(warper, condition), warper.sources[0]
    rng = np.random.default_rng(0)
    frame = rng.random((condition.depth.size, 3)).astype(np.float32)
    u, v, area = sights.u.numpy(), sights.v.numpy(), np.minimum(4.0 ** sights.lod.numpy(), 1)
    image = source.image[0].permute(1, 2, 0).numpy()
    total, cover, tent = np.zeros(image.shape), np.zeros(image.shape[:2]), {}
    for n in photo.where:
        for y in (math.floor(v[n]), math.floor(v[n]) + 1):
            for x in (math.floor(u[n]), math.floor(u[n]) + 1):
                tent[n, y, x] = (1 - abs(u[n] - x)) * (1 - abs(v[n] - y))
                total[y, x] += tent[n, y, x] * area[n] * linear_from_srgb(frame[n])
                cover[y, x] += tent[n, y, x] * area[n]
    away = image - srgb_from_linear(total / np.maximum(cover, 1e-6)[..., None])
    away *= np.where(cover > agreement.COVERED, np.exp(-((np.abs(away).max(-1) / agreement.STRANGE) ** 2)), 0)[..., None]
    expected = np.zeros_like(frame)
    for (n, y, x), share in tent.items():
        expected[n] += 0.3 * share * away[y, x]
    light, step = np.empty_like(frame), np.zeros_like(frame)
    kernels.lighten(frame, light)
    (found,) = kernels.differences([photo], light, agreement.COVERED, agreement.STRANGE)
    kernels.give_back(photo, np.full(len(photo.where), 0.3, np.float32), found, step)
    assert np.abs(step - expected).max() < 1e-5 and np.abs(expected).max() > 0.003
    assert np.abs(found - away.reshape(-1, 3)).max() < 1e-4 and np.abs(photo.cover - cover.ravel()).max() < 1e-4


def test_calming_is_the_slope_of_the_total_variation():
    rng = np.random.default_rng(1)
    frame = rng.random((5, 7, 3))

    def variation(frame):
        total = 0.0
        for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
            a = frame[: 5 - dy, max(0, -dx) : 7 - max(0, dx)]
            b = frame[dy:, max(0, dx) : 7 + min(0, dx)]
            total += np.sqrt(np.square(a - b).sum(2) + 0.1**2).sum()
        return total

    weight = (np.arange(35) % 3).astype(np.float32)
    step = np.zeros((35, 3), np.float32)
    kernels.calm(frame.reshape(-1, 3).astype(np.float32), (5, 7), weight, 0.1, step)
    for n in range(35):
        for c in range(3):
            more, less = frame.copy(), frame.copy()
            more.reshape(-1, 3)[n, c] += 1e-5
            less.reshape(-1, 3)[n, c] -= 1e-5
            assert abs(step[n, c] + weight[n] * (variation(more) - variation(less)) / 2e-5) < 1e-3


def test_a_round_is_a_step_down_and_part_of_the_ways_before():
    rng = np.random.default_rng(2)
    frame, step, moved = (rng.normal(0.5, 0.4, (50, 3)).astype(np.float32) for _ in range(3))
    expected = np.clip(frame + step + 0.6 * moved, 0, 1), step + 0.6 * moved
    kernels.move(frame, step, 0.6, moved)
    assert np.allclose(frame, expected[0], atol=1e-6) and np.allclose(moved, expected[1], atol=1e-6) and not step.any()


def test_the_number_of_threads_makes_no_difference():
    warper, condition, _ = scene((-0.6, -3.0, 1.0), (-0.25, -3.1, 0.9))
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(agreement.agreeing(condition.rgb, condition, warper, agreement.RESOLVE))
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(*results)


def test_a_photos_gain_is_heeded():
    warper, condition, truth = scene((-0.6, -3.0, 1.0))
    warper.sources[0].gain = torch.tensor([0.5, 0.5, 0.5])
    frame = (truth * 0.5).astype(np.float32)
    where = (condition.level > 1) & (condition.confidence > 0.8)
    held = agreement.agreeing(frame, condition, warper)
    assert abs((held - frame)[where].mean()) < 0.01


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (3, 2)])
def test_the_four_pixels_around_lie_in_photos_of_any_size(size):
    width, height = size
    u, v = (x.ravel() for x in np.meshgrid(*(np.linspace(-0.5, side - 0.5, 7) for side in size)))
    corner, across, down = agreement.corners(u, v, width, height)
    left, top = corner % width, corner // width
    assert (corner >= 0).all() and (left + (width > 1) < width).all() and (top + (height > 1) < height).all()
    assert np.allclose(left + across * (width > 1), np.clip(u, 0, width - 1), atol=1e-6)
    assert np.allclose(top + down * (height > 1), np.clip(v, 0, height - 1), atol=1e-6)
