"""Depth edges moved to where the photos have them."""

import numpy as np
import pytest
import synthetic
import torch

from engine.geometry import edges, ranges, stereo
from engine.geometry.completion import Judge
from engine.geometry.matching import Planes, make_frame
from engine.geometry.patchmatch import slopes
from engine.progress import Clock, Progress
from engine.records import Photo

DEVICE = torch.device("cpu")


@pytest.fixture(scope="module")
def scene():
    """Frames of three photos of the synthetic scene and their true inverse depths."""
    cameras = synthetic.arc(3, 160, 120, spread=30.0)
    pictures = [synthetic.cast(camera) for camera in cameras]
    photos = [Photo(f"{i}", rgb, np.ones(rgb.shape[:2], bool), c) for i, (c, (rgb, _)) in enumerate(zip(cameras, pictures))]
    frames = [make_frame(photo, 160, DEVICE) for photo in photos]
    return frames, [torch.from_numpy((1 / depth).astype(np.float32)) for _, depth in pictures]


def fattened(w: torch.Tensor, pixels: int = 3) -> torch.Tensor:
    """Every near surface grown over what lies behind it."""
    largest = torch.nn.functional.max_pool2d(w[None, None], 2 * pixels + 1, 1, pixels)[0, 0]
    return torch.where(largest > 1.15 * w, largest, w)


def wrong(w: torch.Tensor, truth: torch.Tensor) -> float:
    """Share of the pixels that are more than 2 % off."""
    return float(((w / truth - 1).abs() > 0.02).float().mean())


def test_fattened_objects_get_their_outline_back(scene):
    frames, truth = scene
    grown = [fattened(w) for w in truth]
    sure = torch.full_like(truth[0], 0.6)
    partners = [(frames[i], grown[i], sure) for i in (0, 2)]
    found = edges.sharpen(frames[1], partners, grown[1], sure)
    assert wrong(grown[1], truth[1]) > 0.05
    assert wrong(found, truth[1]) < 0.5 * wrong(grown[1], truth[1])


def test_exact_depth_stays(scene):
    frames, truth = scene
    sure = torch.full_like(truth[0], 0.9)
    found = edges.sharpen(frames[1], [(frames[i], truth[i], sure) for i in (0, 2)], truth[1], sure)
    assert wrong(found, truth[1]) < 0.005


def test_nothing_changes_far_from_edges_or_without_partners(scene):
    frames, truth = scene
    grown, sure = fattened(truth[1]), torch.full_like(truth[1], 0.6)
    found = edges.sharpen(frames[1], [(frames[0], truth[0], sure)], grown, sure)
    assert torch.equal(found[~edges.near_edges(grown)], grown[~edges.near_edges(grown)])
    assert torch.equal(edges.sharpen(frames[1], [], grown, sure), grown)


def test_what_goes_on_behind_a_narrow_thing_is_proposed():
    slanted = (0.2 + 0.002 * torch.arange(80.0))[None].expand(40, 80).contiguous()
    w, sure = slanted.clone(), torch.full_like(slanted, 0.9)
    w[:, 30:45] = 0.9
    w[20, 60], sure[20, 60] = 0.01, 0.1  # far, and doubtful
    w[:, 70:] = 0  # sky
    found = edges.behind_things(w, sure, 12)
    beside = torch.ones(80, dtype=torch.bool)
    beside[30:45] = beside[58:] = False
    assert torch.allclose(found[:, beside], slanted[:, beside])
    behind = found[:, 30:45]
    assert slanted[0, 29] <= behind.min() and behind.max() <= slanted[0, 45], "between what is seen on both sides"
    assert torch.equal(edges.behind_things(w, sure, 4)[:, 33:42], w[:, 33:42]), "a thing that is too wide stays"
    assert float(edges.behind_things(w, torch.zeros_like(sure), 12).max()) == 0


def test_sky_stays(scene):
    frames, truth = scene
    w, sure = fattened(truth[1]), torch.full_like(truth[1], 0.6)
    w[:20] = 0
    found = edges.sharpen(frames[1], [(frames[i], truth[i], sure) for i in (0, 2)], w, sure)
    assert float(found[:20].max()) == 0 and float(found[20:].min()) > 0


def test_what_one_photo_uncovers_the_others_see(scene, monkeypatch):
    """All photos' depth is fat: in several rounds more of it is mended than in one."""
    frames, truth = scene

    def left(rounds: int) -> float:
        monkeypatch.setattr(stereo, "ROUNDS", rounds)
        states = []
        for index, (frame, w) in enumerate(zip(frames, truth)):
            scope = ranges.Scope([j for j in range(3) if j != index], np.zeros(0), 1.0, 0.0)
            fat, cost = fattened(w, 5), torch.full_like(w, 0.1)
            states.append(stereo._State(None, scope, False, camera=frame.camera, w=fat, cost=cost, agree=torch.full_like(w, 2)))
        stereo._sharpen(states, states, frames, Clock(Progress(), [1.0] * (rounds + 1), 3))
        return float(np.mean([wrong(state.w, w) for state, w in zip(states, truth)]))

    assert left(4) < 0.8 * left(1)


def test_edges_are_steps_that_their_neighbours_do_not_share():
    slanted = torch.linspace(0.2, 1.0, 64).expand(32, 64)
    assert not edges.near_edges(slanted).any()
    stepped = torch.full((32, 64), 0.5)
    stepped[:, 40:] = 0.6
    near = edges.near_edges(stepped)
    assert near[:, 40].all() and near[:, 40 - edges.REACH].all() and not near[:, : 38 - edges.REACH].any()


@pytest.mark.parametrize("number", [1, 2])
def test_compiled_choice_agrees_with_the_reference(scene, number):
    frames, truth = scene
    grown = [fattened(w) for w in truth]
    sure = torch.full_like(truth[0], 0.6)
    partners = [(frames[i], grown[i], sure) for i in (0, 2)][:number]
    judge = Judge(frames[1], partners, sigma=edges.SIGMA)
    planes = Planes(grown[1], *slopes(grown[1], 3, 0.015))
    where = edges.near_edges(grown[1])
    behind = edges.behind_things(grown[1], sure, 12)
    others = [Planes(behind, *slopes(behind, 3, 0.015))]
    arguments = (judge, planes, edges._around(0), others, where, grown[1], sure)
    fast, slow = edges.choose(*arguments), edges.choose.reference(*arguments)
    # hypotheses that are nearly one are tried once by the one, each by the other
    apart = ((fast.w / slow.w - 1).abs() > 0.005)[where]
    changed = ((slow.w / grown[1] - 1).abs() > 0.005)[where]
    assert changed.float().mean() > 0.05
    assert apart.float().mean() < 0.2 * changed.float().mean()


def test_same_bytes_for_one_thread_and_two(scene):
    frames, truth = scene
    grown, sure = [fattened(w) for w in truth], torch.full_like(truth[0], 0.6)
    partners = [(frames[i], grown[i], sure) for i in (0, 2)]
    results, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(edges.sharpen(frames[1], partners, grown[1], sure))
    torch.set_num_threads(before)
    assert torch.equal(*results)
