"""The measures of the conditioning benchmark on what they must tell apart."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import synthetic
import torch
from warp_scenes import push_in, scene

from engine.conditioning import prepare_all
from engine.records import Condition

sys.path.append(str(Path(__file__).parents[1] / "bench"))

import measures

SHAPE = (8, 10)


def condition(**arrays) -> Condition:
    """A condition of 8×10 pixels, sure of a grey surface at a depth of 2."""
    rest = {
        "rgb": np.full((*SHAPE, 3), 0.5, np.float32),
        "level": np.ones(SHAPE, np.uint8),
        "depth": np.full(SHAPE, 2.0, np.float32),
        "confidence": np.full(SHAPE, 0.95, np.float32),
        "source": np.zeros(SHAPE, np.int16),
        "global_rgb": np.zeros((*SHAPE, 3), np.float32),
        "global_depth": np.zeros(SHAPE, np.float32),
    }
    return Condition(camera=push_in(0, *SHAPE[::-1]), **(rest | arrays))


def test_a_leak_is_what_lies_behind_a_surface_and_not_beside_its_edge():
    truth = np.full(SHAPE, 2.0, np.float32)
    assert measures.leaked(condition(), truth) == 0
    depth = truth.copy()
    depth[:, :2] = 2.2
    assert measures.leaked(condition(depth=depth), truth) == 0.2
    level = np.ones(SHAPE, np.uint8)
    level[:4] = 0
    assert measures.leaked(condition(depth=depth, level=level), truth) == 0.1, "a hole shows nothing"
    truth[:, 0] = 2.2
    assert measures.leaked(condition(depth=depth), truth) == 0, "the farther surface begins in the next column"
    truth[:, :3] = np.inf
    assert measures.leaked(condition(depth=depth), truth) == 0, "nothing stands before the sky"


def test_suppressed_samples_are_judged_by_the_truth():
    sources, camera = prepare_all(list(scene()), torch.device("cpu")), push_in(0.9, 200, 120)
    truth = synthetic.cast(camera)[1].astype(np.float32)
    leaks, removed, good, wrongly = measures.suppression(sources, camera, truth)
    assert leaks > 100
    assert removed > 0.9 * leaks
    assert good > 5000
    assert wrongly < 0.05 * good
    behind = measures.suppression(sources, camera, truth / 2)
    assert behind[0] == pytest.approx(leaks + good, rel=0.03), "before everything stands something that no photo saw"
    assert behind[2] < 0.02 * behind[0]
    assert measures.suppression(sources, camera, truth * 20)[[0, 2]].sum() == 0, "what floats in front is neither"


def test_calibration_counts_what_is_right_in_its_bin():
    confidence = np.full(SHAPE, 0.95, np.float32)
    confidence[:, :5], confidence[0, 9] = 0.31, 1.0
    truth = np.full((*SHAPE, 3), 0.5)
    truth[:2, :, 1] += 9 / 255
    truth[2:4] += 7 / 255
    level = np.ones(SHAPE, np.uint8)
    level[7] = 0
    expected = np.zeros((10, 2))
    expected[3], expected[9] = (35, 25), (35, 25)
    np.testing.assert_array_equal(measures.calibration(condition(confidence=confidence, level=level), truth), expected)
