"""Surfaces that go on behind what hides them: planes of the scene, and what other photos say of a guess."""

import cv2
import numpy as np
import pytest
import torch
from three_views import CAMERAS, CPU, EVERYWHERE, SCENE, SIZE, frame, inverse

from engine import camera as cams
from engine.geometry import completion, matching, planes, ranges, stereo
from engine.geometry.kernels import limits
from engine.records import Photo


def judge(index=1):
    others = [(frame(j), inverse(j), torch.ones(SIZE)) for j in range(3) if j != index]
    return completion.Judge(frame(index), others)


@pytest.fixture(scope="module")
def found():
    everywhere = EVERYWHERE.clone()
    points = [planes.oriented_points(inverse(i), everywhere, camera) for i, camera in enumerate(CAMERAS)]
    return planes.find(np.concatenate(points))


def like(plane, normal, distance):
    """Whether a row (n, d) is the plane normal·X = distance, whichever way it is turned."""
    plane = plane if plane[:3] @ normal > 0 else -plane
    return np.allclose(plane, [*normal, distance], atol=0.01)


def test_ground_and_wall_are_found(found):
    assert any(like(plane, [0, 0, 1], 0) for plane in found)
    assert any(like(plane, [0, 1, 0], 1.6) for plane in found)


def test_what_another_photo_sees_behind_a_thing_is_not_that_thing():
    """The nearest photo has a white card in front of the scene that nobody else sees and whose depth it does not know."""
    image = SCENE[1][0].copy()
    card = np.zeros(image.shape[:2], bool)
    card[40:80, 60:100] = True
    image[card] = 1.0
    photos = [Photo(f"p{i}", image if i == 1 else SCENE[i][0], np.ones(card.shape, bool), CAMERAS[i]) for i in range(3)]
    frames = [matching.make_frame(photo, 160, CPU) for photo in photos]
    scope = ranges.Scope([0, 2], np.zeros(0), 1.0, 0.0)
    states = [
        stereo._State(photo, scope, False, camera=f.camera, w=inverse(i)) for i, (photo, f) in enumerate(zip(photos, frames))
    ]
    certain = [torch.full(SIZE, 0.9)] * 3
    seen, trust = stereo._seen_by_others(1, states, certain, frames)
    around = torch.from_numpy(cv2.dilate(card.astype(np.uint8), np.ones((9, 9))) == 0)
    assert (seen[44:76, 64:96] == 0).float().mean() > 0.95
    assert (seen[around] > 0).float().mean() > 0.8, "what all photos see alike is handed on"
    assert bool(((trust > 0) == (seen > 0)).all())


def test_agreement_is_that_of_photos_that_show_the_same():
    """A photo's depth is that of the scene behind a card that it alone sees: the others' depth agrees, their colours do not."""
    card = np.zeros(SCENE[1][0].shape[:2], bool)
    card[40:80, 60:100] = True
    image = np.where(card[..., None], np.float32(1), SCENE[1][0])
    frames = [frame(0), frame(1, image), frame(2)]
    states = []
    for index, other in enumerate(frames):
        scope = ranges.Scope([j for j in range(3) if j != index], np.zeros(0), 1.0, 0.0)
        states.append(stereo._State(None, scope, False, camera=other.camera, w=inverse(index)))
    stereo._judge(states, states, frames)
    agree, card = states[1].agree, torch.from_numpy(card)
    assert float((agree[card] == 0).float().mean()) > 0.85
    assert float((agree[~card] > 0).float().mean()) > 0.8


def test_a_surface_that_turns_its_back_is_not_seen():
    """A window's slant decides from where its plane is seen; the cost of one that nobody can see is fixed."""
    here = judge()
    true = inverse(1)
    everywhere = EVERYWHERE.clone()
    flat = torch.zeros_like(true)
    seen = here.matcher.faces(matching.Planes(true.reshape(-1), flat.reshape(-1), flat.reshape(-1)), here.pixels)
    assert seen.all()
    steep = [matching.Planes(true, flat + side * true, flat) for side in (0.5, -0.5)]  # it turns to one neighbour only
    for plane in steep:
        faces = here.matcher.faces(*(matching.Planes(*(x.reshape(-1) for x in (plane.w, plane.du, plane.dv))), here.pixels))
        assert float(faces.float().mean(1).min()) < 0.1 and float(faces.float().mean(1).max()) > 0.9
    alone = completion.Judge(frame(1), [(frame(0), inverse(0), torch.zeros(SIZE))])
    costs = completion.costs(alone, steep, everywhere)
    hidden = [float((costs[..., number] == limits.UNSEEN).float().mean()) for number in range(2)]
    assert max(hidden) > 0.85 and min(hidden) < 0.3


def test_no_plane_in_a_mess():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(3000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    mess = np.column_stack([rng.uniform(-3, 3, (3000, 3)), normals, np.full(3000, 5.0)])
    assert len(planes.find(mess)) == 0
    assert len(planes.find(np.zeros((0, 7)))) == 0


def test_points_and_normals_are_those_of_the_surface():
    ground = torch.from_numpy(np.abs(cams.unproject(CAMERAS[0], SCENE[0][1])[..., 2]) < 1e-4)
    inner = -torch.nn.functional.max_pool2d(-ground[None].float(), 15, 1, 7)[0] > 0  # slopes look around them
    points = planes.oriented_points(inverse(0), inner, CAMERAS[0])
    assert len(points) > 100
    assert np.abs(points[:, 2]).max() < 1e-3
    assert np.percentile(np.abs(points[:, 5]), 10) > 0.99  # at the very border slopes are less exact
    assert np.allclose(points[:, 6], np.linalg.norm(points[:, :3] - cams.position(CAMERAS[0]), axis=1))


def test_a_plane_is_seen_at_its_depth():
    camera = CAMERAS[2]
    w = planes.seen_from(np.array([0.0, 0.0, 1.0, 0.0]), camera, SIZE, CPU).w.numpy()
    below = w > 0.05  # the horizon divides ground from nothing
    points = cams.unproject(camera, np.where(below, 1 / np.where(below, w, 1), 0))
    assert below.mean() > 0.5 and np.abs(points[below][:, 2]).max() < 1e-3


def test_a_guess_in_free_space_is_refuted():
    true = inverse(1)
    assert float((judge().refutations(true) > 0).float().mean()) < 0.03
    nearer = judge().refutations(true * 1.3)
    assert float((nearer > 0.9).float().mean()) > 0.8


def test_the_truth_costs_least():
    everywhere = EVERYWHERE.clone()
    true = inverse(1)
    flat = torch.zeros_like(true)
    guesses = [matching.Planes(true * scale, flat, flat) for scale in (1.0, 1.06, 0.94)]
    costs = completion.costs(judge(), guesses, everywhere)
    assert float((costs.argmin(-1) == 0).float().mean()) > 0.75
    only = torch.zeros_like(everywhere)
    only[40:60] = True
    part = completion.costs(judge(), guesses, only)
    assert torch.equal(part[40:60], costs[40:60]) and float(part[:40].abs().max()) == 0


def test_another_colour_on_a_surface_that_a_photo_is_sure_of_is_strange():
    image = SCENE[1][0].copy()
    image[40:80, 60:100] = (0.9, 0.1, 0.1)
    true = inverse(1)
    for trust in (1.0, 0.0):
        here = completion.Judge(frame(1, image), [(frame(j), inverse(j), torch.full(SIZE, trust)) for j in (0, 2)])
        strange = here.strangeness(true, EVERYWHERE)
        card, rest = strange[44:76, 64:96], torch.cat([strange[:36], strange[84:]])
        if not trust:
            assert float(strange.max()) == 0, "who knows no depth there cannot tell"
            continue
        assert float(card.median()) > 0.3, "a part of it is hidden from the others"
        assert float((rest < completion.TINGE).float().mean()) > 0.9
        assert float(here.strangeness(1.3 * true, EVERYWHERE)[44:76, 64:96].mean()) < 0.1, "there is no surface at that depth"
        only = EVERYWHERE.clone()
        only[:60] = False
        part = here.strangeness(true, only)
        assert torch.equal(part[60:], strange[60:]) and float(part[:60].max()) == 0


def test_a_match_that_continues_its_surroundings_is_believed_before_a_plane_behind():
    """Of what no other photo can see."""
    true, flat = inverse(1), torch.zeros(SIZE)
    hidden = completion.Judge(frame(1), [(frame(j), 3 * inverse(j), torch.ones(SIZE)) for j in (0, 2)])
    around, behind = matching.Planes(true, flat, flat), matching.Planes(0.8 * true, flat, flat)
    known = EVERYWHERE.clone()
    known[20:50, 60:90] = False
    for own, kept in ((1.03, True), (1.5, False)):
        match = matching.Planes(torch.where(known, true, own * true), flat, flat)
        # a plane that fits what is sure nearby, so that it costs nothing to go on
        near = matching.Planes(torch.where(known, true, behind.w), flat, flat)
        w = completion.choose(hidden, known.float(), match, around, torch.full(SIZE, 0.05), [near])[0]
        ours = (w[22:48, 62:88] / true[22:48, 62:88] - 1).abs() < 0.04
        assert float(ours.float().mean()) > 0.9 if kept else float(ours.float().mean()) < 0.1


def test_a_plane_does_not_go_on_in_colours_that_only_other_surfaces_have():
    image = torch.zeros(3, *SIZE)
    image[:, :, :80] = torch.tensor([0.8, 0.8, 0.7])[:, None, None]  # the plane
    image[:, :, 80:] = torch.tensor([0.4, 0.2, 0.1])[:, None, None]  # a pot
    image[:, :10, :10] = 0.1  # neither is sure to look so
    sure = EVERYWHERE.clone()
    sure[:10, :10] = False
    plane = sure.clone()
    plane[:, 80:] = False
    cost = completion._unusual(image, sure, plane)
    assert float(cost[20:, :80].max()) == 0 and float(cost[:10, :10].max()) < 1e-3
    assert float(cost[:, 80:].min()) > 0.8 * completion.UNUSUAL
    assert float(completion._unusual(image, sure, ~plane & sure)[20:, :80].min()) > 0.8 * completion.UNUSUAL
    assert float(completion._unusual(image, sure, sure).max()) < 1e-6


def test_nothing_lies_behind_what_bounds_the_scene():
    flat, true = torch.zeros(SIZE), inverse(1)
    ground = planes.seen_from(np.array([0.0, 0.0, 1.0, 0.0]), CAMERAS[1], SIZE, CPU)
    across = matching.Planes(torch.full(SIZE, float(true.median())), flat, flat)
    own = matching.Planes(true, flat, flat)
    assert completion._bounds(ground, own, EVERYWHERE) and not completion._bounds(across, own, EVERYWHERE)
    below = ground.w > 0.05
    beneath, sky = (matching.Planes(x, flat, flat) for x in (torch.where(below, 0.8 * ground.w, true), flat))
    cost = completion._behind([own, beneath, sky], [ground])
    assert float(cost[..., 0].max()) == 0 and float(cost[..., 2].max()) == 0
    assert bool((cost[..., 1][below] == completion.BEHIND).all())
    assert float(completion._behind([own, beneath], []).max()) == 0


def test_what_is_hidden_continues_the_plane_and_what_is_known_stays(found):
    true = inverse(1)
    known = EVERYWHERE.clone()
    known[20:50, 60:90] = False  # the wall, a part of it behind the objects' edges
    own = torch.where(known, true, true * 1.25)
    flat = torch.zeros_like(true)
    hypotheses = [planes.seen_from(plane, CAMERAS[1], SIZE, CPU) for plane in found]
    guess = matching.Planes(own, flat, flat)
    w, cost, plane = completion.choose(judge(), known.float(), guess, guess, torch.full(SIZE, 0.5), hypotheses)
    assert torch.equal(w[known], true[known])
    wall = ~known & torch.from_numpy(np.abs(cams.unproject(CAMERAS[1], SCENE[1][1])[..., 1] - 1.6) < 1e-3)
    right = (w / true - 1).abs() < 0.01
    assert float(wall.float().sum()) > 200 and float(right[wall].float().mean()) > 0.9
    assert float(cost.min()) >= 0
    assert torch.equal(plane > 0, ~known & (plane > 0)) and float(((plane / true - 1).abs() < 0.01)[wall].float().mean()) > 0.9
