"""Soft silhouettes, against a truth whose pixels are means of many rays."""

import cv2
import numpy as np
import pytest
import synthetic
import torch
from warp_scenes import push_in, scene

from engine import camera as cams
from engine.conditioning import Warper, silhouettes
from engine.memory import remembering

CPU = torch.device("cpu")


def truth_of(camera, sky):
    """(H, W, 3) colour, and (H, W) bool twice: whether a pixel's rays meet surfaces of unlike depth, and whether hardly."""
    image, depth = synthetic.cast(cams.resized(camera, 4 * camera.width, 4 * camera.height), sky)
    w = np.where(np.isfinite(depth), 1 / depth, 0).astype(np.float32)
    size, around = (camera.width, camera.height), np.ones((5, 5), np.uint8)
    near, far = cv2.dilate(w, around), cv2.erode(w, around)
    steps = [cv2.resize((near > ratio * far).astype(np.float32), size, interpolation=cv2.INTER_AREA) for ratio in (1.1, 1.02)]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), *(step > 0 for step in steps)


@pytest.mark.parametrize("sky", [False, True])
def test_silhouettes_come_nearer_to_the_truth_and_nothing_else_changes(sky):
    warper, ratios = Warper(list(scene(sky, False)), CPU), []
    for amount in (0.2, 0.45, 0.7, 0.9):
        camera = push_in(amount)
        condition = warper.condition(camera)
        soft, (truth, edge, steep) = silhouettes.softened(condition, warper), truth_of(camera, sky)
        assert soft.dtype == np.float32 and soft.shape == condition.rgb.shape
        hard_error, soft_error = (np.mean((rgb - truth)[edge] ** 2) for rgb in (condition.rgb, soft))
        ratios.append(soft_error / hard_error)
        away = cv2.dilate(steep.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
        assert away.mean() > 0.5 and np.mean((soft != condition.rgb)[away]) < 0.01
    # one of eight is a little worse: at twice the resolution the sky above the box is taken for a part of it
    assert max(ratios) < 1.1 and np.mean(ratios) < 0.8


def test_bands_are_the_whole(monkeypatch):
    warper = Warper(list(scene(True, False)), CPU)
    condition = warper.condition(push_in(0.5))
    whole = silhouettes.softened(condition, warper)
    monkeypatch.setattr(silhouettes, "BAND", 50 * condition.camera.width)
    bands = silhouettes.softened(condition, warper)
    assert np.mean(np.abs(bands - whole).max(-1) > 1e-3) < 0.02


def test_frames_are_made_with_soft_silhouettes():
    warper, camera = Warper(list(scene(True, False)), CPU), push_in(0.2)
    truth, edge, _ = truth_of(camera, True)
    error = [np.mean((c.rgb - truth)[edge] ** 2) for c in (warper.condition(camera), remembering(warper, camera))]
    assert error[1] < 0.9 * error[0]


def test_nothing_to_see_is_no_error():
    warper = Warper([], CPU)
    condition = warper.condition(push_in(0.5))
    assert np.array_equal(silhouettes.softened(condition, warper), condition.rgb)
