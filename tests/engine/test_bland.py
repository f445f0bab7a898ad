"""Where all looks alike a match says little: what is believed there instead."""

import numpy as np
import pytest
import torch
from three_views import CAMERAS, CPU, EVERYWHERE, SCENE, SIZE, frame, inverse

from engine.geometry import completion, consistency, matching, planes, ranges, stereo

BLAND = slice(85, 120)
"""Rows of the photos that show nothing but the ground."""


def painted(index):
    """A photo whose foreground is plain but for a camera's noise."""
    image = SCENE[index][0].copy()
    image[BLAND] = 0.6 + np.random.default_rng(index).normal(0, 0.004, image[BLAND].shape)
    return image.clip(0, 1).astype(np.float32)


def test_noise_tells_nothing_and_texture_does():
    telling = frame(1, painted(1)).telling
    assert float(telling[BLAND][4:].max()) < 0.3
    assert float(telling[:80].mean()) > 0.8


@pytest.mark.parametrize("agree", range(5))
def test_confidence_of_what_is_bland_is_that_of_agreement_alone(agree):
    here = frame(1, painted(1))
    state = stereo._State(None, ranges.Scope([0], np.zeros(0), 1.0, 0.0), False, camera=here.camera, w=inverse(1))
    state.cost, state.agree = torch.zeros(SIZE), torch.full(SIZE, float(agree))
    confidence, match = stereo._believed(state, here), stereo._confidence(state)
    most = 1 / (1 + np.exp(-stereo.BLAND_AGREEMENT[min(agree, 3)]))
    bland = here.telling < 0.05
    assert float(confidence[bland].max()) < most + 0.05
    textured = (here.telling > 0.999) & ~consistency.specks(state.w)
    assert torch.allclose(confidence[textured], match[textured], atol=0.01)
    assert bool((confidence <= match + 1e-6).all())


def judge_of(image):
    frames = [frame(index, image(index)) for index in range(3)]
    return completion.Judge(frames[1], [(frames[j], inverse(j), torch.zeros(SIZE)) for j in (0, 2)])


def chosen(own, known, judge):
    found = planes.find(np.concatenate([planes.oriented_points(inverse(i), EVERYWHERE, CAMERAS[i]) for i in range(3)]))
    hypotheses = [planes.seen_from(plane, CAMERAS[1], SIZE, CPU) for plane in found]
    flat = torch.zeros(SIZE)
    guess = matching.Planes(own, flat, flat)
    return completion.choose(judge, known.float(), guess, guess, torch.full(SIZE, 2.0), hypotheses)[0]


def test_a_match_on_plain_ground_gives_way_to_the_ground():
    """An own depth that nobody refutes, on ground that looks alike everywhere."""
    true = inverse(1)
    known = EVERYWHERE.clone()
    known[105:] = False
    own = torch.where(known, true, 0.8 * true)
    right = ((chosen(own, known, judge_of(painted)) / true - 1).abs() < 0.01)[107:]
    assert float(right.float().mean()) > 0.95


def test_a_true_match_in_texture_stays():
    true, judge = inverse(1), judge_of(lambda index: SCENE[index][0])
    known = EVERYWHERE.clone()
    known[40:60, 60:100] = False  # a sphere and a box before the wall
    w = chosen(true, known, judge)
    flat = torch.zeros(SIZE)
    matched = ~known & (completion.costs(judge, [matching.Planes(true, flat, flat)], ~known)[..., 0] < 0.2)
    assert int(matched.sum()) > 400
    assert float(((w / true - 1).abs() < 0.01)[matched].float().mean()) > 0.95


def test_a_plane_goes_on_far_only_if_much_belongs_to_it():
    sure = EVERYWHERE.clone()
    sure[:, 80:] = False
    large, small = sure.clone(), torch.zeros_like(sure)
    small[50:60, 70:80] = True
    costs = [completion._remote(sure, members) for members in (large, small)]
    assert float(costs[0][55, 79]) == float(costs[1][55, 79]) == 0
    assert 0 < float(costs[0][55, 100]) < 0.3 * float(costs[1][55, 100])
    assert float(costs[1].max()) == pytest.approx(completion.REMOTE)


def test_what_is_filled_from_afar_or_from_other_colours_is_far_fetched():
    image = torch.full((3, 60, 80), 0.5)
    image[:, :, 60:] = 0.9
    known = torch.zeros(60, 80, dtype=torch.bool)
    known[:, :20] = True
    filled, fetched = consistency.fill(torch.full((60, 80), 0.5), known, image)
    assert float(fetched[known].max()) == 0 and torch.allclose(filled, torch.full_like(filled, 0.5))
    row = fetched[30]
    assert bool((row[20:].diff() >= -1e-6).all())
    assert float(row[64] - row[56]) > 0.9 * 0.4 * consistency.COLOUR


def test_what_others_know_of_behind_a_depth_does_not_replace_it():
    true, near, unsure = inverse(1), 1.3 * inverse(1), torch.full(SIZE, 0.3)
    frames = [frame(index) for index in range(3)]
    for trust, kept in ((0.0, True), (0.9, False)):  # of the others' depth: they see past the near one only if they know theirs
        judge = completion.Judge(frames[1], [(frames[j], inverse(j), torch.full(SIZE, trust)) for j in (0, 2)])
        w, _ = stereo._corrected(judge, near, unsure, true, torch.full(SIZE, 0.7))
        assert float((w == near).float().mean()) > 0.95 if kept else float((w == true).float().mean()) > 0.8
    w, confidence = stereo._corrected(judge, true, unsure, near, torch.full(SIZE, 0.7))
    assert bool((w == near).all()) and float(confidence.min()) == pytest.approx(0.49)
