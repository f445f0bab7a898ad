"""Cameras solved from photos, against the truth of a synthetic scene; real photos are in test_captures.py."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pycolmap
import pytest
import synthetic
from solving import degrees, rotation, solve, worst_rotation

from engine import camera as cams
from engine.geometry import cameras, gauge, latecomers, lens, model_checks, overlaps, sfm
from engine.progress import Cancelled, EngineError, Progress
from engine.records import Photo


def true_scene(count: int = 4, **kwargs) -> list[Photo]:
    return synthetic.photos(count, 320, 240, spread=40, **kwargs)[0]


@pytest.fixture(scope="module")
def truth() -> list[Photo]:
    return true_scene()


@pytest.fixture(scope="module")
def stranger() -> Photo:
    """A photo of something else: another texture, seen from below."""
    image = np.random.default_rng(5).random((30, 40, 3)).astype(np.float32)
    image = np.clip(cv2.resize(image, (320, 240), interpolation=cv2.INTER_CUBIC), 0, 1)
    return Photo("stranger.png", image, np.ones((240, 320), bool))


def unknown(photo: Photo) -> Photo:
    return replace(photo, camera=None)


def test_known_cameras_are_returned_at_once(truth):
    result, warnings = solve(truth)
    assert result.photos == truth and not warnings and not result.unplaced and len(result.points) == 0


def test_four_unknown_cameras(truth):
    result, warnings = solve([unknown(photo) for photo in truth])
    assert [p.name for p in result.photos] == [p.name for p in truth] and not result.unplaced and not warnings
    assert worst_rotation(result.photos, truth) < 0.2
    for photo in result.photos:
        assert photo.camera.fx == pytest.approx(truth[0].camera.fx, rel=0.02)
        assert (photo.camera.width, photo.camera.height) == (320, 240)
        assert result.errors[photo.name] < 0.5
    assert (
        result.points.dtype == np.float32 and result.colors.dtype == np.uint8 and len(result.points) == len(result.colors) > 300
    )


def test_the_world_is_upright_centred_and_of_a_handy_size(truth):
    result, _ = solve([unknown(photo) for photo in truth])
    ups = np.array([rotation(p).T @ (0, 0, 1) for p in result.photos])
    true_ups = np.array([rotation(p).T @ (0, 0, 1) for p in truth])
    assert np.degrees(np.arccos(np.clip((ups * true_ups).sum(1), -1, 1))).max() < 3
    centres = np.array([cams.position(p.camera) for p in result.photos])
    distances = np.linalg.norm(result.points[:, None] - centres, axis=2)
    assert np.median(distances) == pytest.approx(gauge.UNITS_TO_SCENE, rel=0.05)
    assert np.linalg.norm(np.median(result.points, axis=0)[:2]) < 0.1
    assert np.mean([cams.direction(p.camera) for p in result.photos], axis=0)[1] > 0.5


def test_the_same_photos_give_the_same_bytes(truth):
    first, second = (solve([unknown(photo) for photo in truth])[0] for _ in range(2))
    assert [p.camera for p in first.photos] == [p.camera for p in second.photos]
    assert np.array_equal(first.points, second.points) and np.array_equal(first.colors, second.colors)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first.photos, second.photos))


@pytest.mark.parametrize("known", [(0, 3), (1, 2), (0, 1, 2)])
def test_others_join_the_known_cameras(truth, known):
    result, warnings = solve([photo if i in known else unknown(photo) for i, photo in enumerate(truth)])
    assert not warnings and not result.unplaced
    for i, (found, true) in enumerate(zip(result.photos, truth)):
        if i in known:
            assert found.camera == true.camera and found.image is true.image
        assert degrees(rotation(found), rotation(true)) < 0.2
        assert np.linalg.norm(cams.position(found.camera) - cams.position(true.camera)) < 0.02
        assert found.camera.fx == pytest.approx(true.camera.fx, rel=0.01)


def test_a_known_camera_without_overlap_does_no_harm(truth, stranger):
    photos = [truth[0], replace(stranger, camera=truth[2].camera), unknown(truth[1]), truth[3]]
    result, _ = solve(photos)
    assert [p.name for p in result.photos] == [p.name for p in photos]
    assert degrees(rotation(result.photos[2]), rotation(truth[1])) < 0.2


def test_one_known_camera_sets_the_world_but_not_its_size(truth):
    result, warnings = solve([truth[0], *map(unknown, truth[1:])])
    assert len(warnings) == 1 and truth[0].name in warnings[0]
    assert result.photos[0].camera == truth[0].camera
    for found, true in zip(result.photos, truth):
        assert degrees(rotation(found), rotation(true)) < 0.2
    moves = [np.array([cams.position(p.camera) - cams.position(truth[0].camera) for p in s[1:]]) for s in (result.photos, truth)]
    ratio = np.linalg.norm(moves[0], axis=1) / np.linalg.norm(moves[1], axis=1)
    assert ratio.max() / ratio.min() < 1.01


def test_given_depth_sets_the_size(truth):
    depth = synthetic.photos(4, 320, 240, spread=40)[1][1]
    result, warnings = solve([truth[0], replace(unknown(truth[1]), depth=depth), *map(unknown, truth[2:])])
    assert not warnings
    for found, true in zip(result.photos, truth):
        assert np.linalg.norm(cams.position(found.camera) - cams.position(true.camera)) < 0.03
    free, _ = solve([unknown(truth[0]), replace(unknown(truth[1]), depth=depth), *map(unknown, truth[2:])])
    baseline = [np.linalg.norm(cams.position(s[3].camera) - cams.position(s[0].camera)) for s in (free.photos, truth)]
    assert baseline[0] == pytest.approx(baseline[1], rel=0.01)


def test_known_cameras_that_contradict_the_photos_are_named(truth):
    turned = cams.world_from_camera(truth[3].camera).copy()
    turned[:3, :3] = turned[:3, :3] @ cv2.Rodrigues(np.array([0.0, 0.25, 0.0]))[0]
    wrong = cams.from_arrays(320, 240, cams.intrinsics(truth[3].camera), turned)
    result, warnings = solve([truth[0], unknown(truth[1]), unknown(truth[2]), replace(truth[3], camera=wrong)])
    assert any(truth[3].name in text or truth[0].name in text for text in warnings)
    assert result.photos[0].camera == truth[0].camera and result.photos[3].camera == wrong


def test_a_photo_of_something_else_is_named_and_left_out(truth, stranger):
    result, warnings = solve([*map(unknown, truth[:3]), stranger])
    assert result.unplaced == ["stranger.png"] and [p.name for p in result.photos] == [p.name for p in truth[:3]]
    assert len(warnings) == 1 and "stranger.png" in warnings[0] and "no overlap" in warnings[0]
    assert worst_rotation(result.photos, truth) < 0.2


def test_photos_without_overlap_are_refused_by_name(truth, stranger):
    with pytest.raises(EngineError) as caught:
        solve([unknown(truth[0]), stranger])
    for word in (truth[0].name, "stranger.png", "no overlap", "add a photo"):
        assert word in str(caught.value)


def test_photos_from_one_place_are_refused_for_that(truth):
    moved = replace(unknown(truth[0]), name="again.png", image=np.roll(truth[0].image, 3, axis=1))
    with pytest.raises(EngineError) as caught:
        solve([unknown(truth[0]), moved])
    assert "same place" in str(caught.value) and "again.png" in str(caught.value)


def test_blank_photos_are_refused(truth):
    blank = [replace(unknown(p), image=np.full_like(p.image, 0.5)) for p in truth[:3]]
    with pytest.raises(EngineError) as caught:
        solve(blank)
    assert all(p.name in str(caught.value) for p in blank)


def test_two_photos_say_that_the_focal_length_is_believed(truth):
    pair = [unknown(truth[i]) for i in (0, 2)]
    result, warnings = solve(pair)
    assert len(warnings) == 1 and "do not tell the focal length" in warnings[0] and all(p.name in warnings[0] for p in pair)
    true_focal = lens.focal_35mm(truth[0].camera.fx, 320, 240)
    result, warnings = solve([replace(photo, focal_35mm=true_focal) for photo in pair])
    assert len(warnings) == 1 and "cannot check the focal length" in warnings[0] and f"{true_focal:.3g} mm" in warnings[0]
    assert worst_rotation(result.photos, truth) < 0.5
    assert result.photos[0].camera.fx == pytest.approx(truth[0].camera.fx, rel=0.03)


def test_photos_from_hardly_aside_say_how_well_they_tell_the_focal_length():
    photos = synthetic.photos(3, 320, 240, spread=9)[0]
    true_focal = lens.focal_35mm(photos[0].camera.fx, 320, 240)
    result, warnings = solve([replace(unknown(photo), focal_35mm=true_focal) for photo in photos])
    assert len(warnings) == 1 and "only to about" in warnings[0] and all(photo.name in warnings[0] for photo in photos)
    assert "enter the true one" not in warnings[0]
    assert result.photos[0].camera.fx == pytest.approx(photos[0].camera.fx, rel=0.04)
    assert worst_rotation(result.photos, photos) < 0.7
    _, warnings = solve([unknown(photo) for photo in photos])
    assert len(warnings) == 1 and "tell the focal length" in warnings[0] and "enter the true one" in warnings[0]


@pytest.mark.parametrize("factor", [0.68, 1.5])
def test_a_wrong_focal_length_is_corrected_where_photos_tell_it(truth, factor):
    wrong = factor * lens.focal_35mm(truth[0].camera.fx, 320, 240)
    result, warnings = solve([replace(unknown(photo), focal_35mm=wrong) for photo in truth])
    assert len(result.photos) == 4 and not warnings
    assert result.photos[0].camera.fx == pytest.approx(truth[0].camera.fx, rel=0.03)
    assert worst_rotation(result.photos, truth) < 0.5


def test_one_photo_gets_a_default_camera(truth):
    result, warnings = solve([unknown(truth[0])])
    camera = result.photos[0].camera
    assert len(warnings) == 1 and truth[0].name in warnings[0]
    assert np.allclose(cams.direction(camera), (0, 1, 0)) and np.allclose(rotation(result.photos[0])[:, 1], (0, 0, -1))
    assert lens.focal_35mm(camera.fx, 320, 240) == pytest.approx(cameras.GUESSED_FOCAL_35MM)
    told, warnings = solve([replace(unknown(truth[0]), focal_35mm=50.0)])
    assert not warnings and lens.focal_35mm(told.photos[0].camera.fx, 320, 240) == pytest.approx(50)


def test_masked_pixels_play_no_part(truth, stranger):
    """A picture stuck to the same place of every photo (a watermark, a finger) is ignored where the mask says so."""
    spoiled = []
    focal = lens.focal_35mm(truth[0].camera.fx, 320, 240)
    for photo in truth:
        image, mask = photo.image.copy(), photo.mask.copy()
        image[:, 160:] = stranger.image[:, 160:]
        mask[:, 160:] = False
        spoiled.append(replace(unknown(photo), image=image, mask=mask, focal_35mm=focal))
    result, _ = solve(spoiled[1:3] + spoiled[:1])
    for photo in result.photos:
        assert not photo.mask[:, 180:].any()
    centres = np.array([cams.project(p.camera, result.points)[0][:, 0] for p in result.photos])
    assert worst_rotation(result.photos, truth) < 1.0 and np.median(centres) < 160


# --- lenses ------------------------------------------------------------------


def bent(photo: Photo, radial: float) -> Photo:
    """What a lens with this distortion would have shown, from a picture that shows more."""
    camera = photo.camera
    wide = replace(camera, width=480, height=360, cx=240.0, cy=180.0)
    image, _ = synthetic.cast(wide)
    rays = (cams.pixel_rays(camera)[..., :2]).reshape(-1, 1, 2)
    straight = cv2.undistortPoints(rays, np.eye(3), np.array([radial, 0, 0, 0]), R=None, P=None).reshape(240, 320, 2)
    x, y = ((straight[..., i] * camera.fx + (240, 180)[i] - 0.5).astype(np.float32) for i in range(2))
    return replace(photo, image=np.clip(cv2.remap(image, x, y, cv2.INTER_CUBIC), 0, 1))


@pytest.mark.parametrize("radial", [-0.12, 0.1])
def test_bent_photos_are_straightened(truth, radial):
    straight = lens.undistorted(bent(truth[0], radial), truth[0].camera.fx, radial, cams.world_from_camera(truth[0].camera))
    inner = straight.mask.copy()
    inner[:8], inner[-8:], inner[:, :8], inner[:, -8:] = False, False, False, False
    assert straight.camera == truth[0].camera and inner.mean() > 0.8
    assert np.abs(straight.image - truth[0].image)[inner].mean() < 0.015
    assert straight.mask.all() == (radial < 0)


def test_distortion_is_found(truth):
    photos = [bent(photo, -0.12) for photo in truth]
    result, _ = solve([unknown(photo) for photo in photos])
    assert worst_rotation(result.photos, truth) < 0.3
    assert result.photos[0].camera.fx == pytest.approx(truth[0].camera.fx, rel=0.03)
    before = np.abs(photos[0].image - truth[0].image).mean()
    assert np.abs(result.photos[0].image - truth[0].image).mean() < 0.4 * before


# --- parts -------------------------------------------------------------------


def test_matching_agrees_with_its_plain_definition():
    generator = np.random.default_rng(3)
    a = generator.integers(0, 90, (70, 128)).astype(np.float32)
    b = np.concatenate([np.clip(a[:40] + generator.integers(-9, 9, (40, 128)), 0, 255), generator.integers(0, 90, (30, 128))])
    a, b = (np.round(x / np.linalg.norm(x, axis=1, keepdims=True) * 512).astype(np.float32) for x in (a, b))
    angles = np.arccos(np.clip(a @ b.T / 512**2, -1, 1))
    expected = []
    for i in range(len(a)):
        j = int(angles[i].argmin())
        row, column = np.sort(angles[i]), np.sort(angles[:, j])
        if angles[:, j].argmin() == i and row[0] < 0.8 * row[1] and column[0] < 0.8 * column[1] and row[0] <= 0.7:
            expected.append((i, j))
    assert len(expected) > 20
    assert sfm.match_pair(a, b, 0.8).tolist() == [list(pair) for pair in expected]
    assert sfm.match_pair(a[:1], b, 0.8).shape == sfm.match_pair(a[:0], b, 0.8).shape == (0, 2)


def test_only_pairs_with_something_in_common_are_likely():
    generator = np.random.default_rng(1)
    scenes = [generator.integers(0, 90, (300, 128)) for _ in range(2)]
    features = {}
    for index, scene in enumerate([0, 0, 1, 1]):
        rows = np.concatenate([scenes[scene], generator.integers(0, 90, (2500, 128))]).astype(np.float32)
        rows = np.clip(rows + generator.integers(-5, 5, rows.shape), 0, 255)
        rows = np.round(rows / np.linalg.norm(rows, axis=1, keepdims=True) * 512).astype(np.uint8)
        scales = np.where(np.arange(len(rows)) < 300, 9, 1).astype(np.float32)  # what they share is coarse
        features[index] = sfm.Features(np.zeros((len(rows), 2)), rows, scales)
    assert sfm.likely_pairs(features, 0.8, Progress()) == [(0, 1), (2, 3)]


def held_shot(photo: Photo, camera_id: int) -> sfm.Shot:
    """The shot of a photo whose camera is known."""
    k = photo.camera
    lens = pycolmap.Camera(model="PINHOLE", width=k.width, height=k.height, params=[k.fx, k.fy, k.cx, k.cy])
    lens.camera_id = camera_id
    return sfm.Shot(sfm.grey_for_solving(photo.image, 320), photo.mask, lens, cams.world_from_camera(k), hold_lens=True)


@pytest.fixture(scope="module")
def model_of_the_truth(truth, tmp_path_factory) -> tuple[list[sfm.Shot], sfm.Model]:
    """The scene's points, triangulated from its true cameras."""
    shots = [held_shot(photo, 1) for photo in truth]
    evidence = overlaps.Evidence(shots, Progress())
    features = list(evidence.features(overlaps.NORMAL, [0, 1, 2, 3]).values())
    pairs = evidence.all_matches(overlaps.NORMAL)
    work = tmp_path_factory.mktemp("truth")
    sfm.write_database(work / "database.db", shots, features, pairs, sfm.verify(shots, features, pairs, True, Progress(), 0))
    return shots, sfm.reconstruct(work, shots, sfm.MapperSettings(), 0)[0]


def test_a_latecomer_joins_and_a_stranger_does_not(truth, stranger, model_of_the_truth, tmp_path):
    shots, whole = model_of_the_truth
    shots = [
        *(replace(shot, fixed=None) for shot in shots),
        replace(held_shot(replace(stranger, camera=truth[0].camera), 1), fixed=None),
    ]
    three = model_checks.without(whole, 3)
    evidence = overlaps.Evidence(shots, Progress())
    found = latecomers.join(tmp_path, shots, three, evidence, sfm.MapperSettings(), Progress(), 0)
    assert sorted(found.poses) == [0, 1, 2, 3]
    assert all(np.array_equal(found.poses[i], three.poses[i]) for i in range(3))
    assert degrees(found.poses[3][:3, :3], whole.poses[3][:3, :3]) < 0.1
    assert np.linalg.norm(found.poses[3][:3, 3] - whole.poses[3][:3, 3]) < 0.02
    assert len(found.seen[3]) >= 50 and len(found.points) > len(three.points)
    assert all(np.median(model_checks.reprojection_errors(found, i)) < 1 for i in range(4))


def test_alignment_finds_the_similarity():
    generator = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (3, 1, 1))
    for pose in poses:
        pose[:3, :3] = cv2.Rodrigues(generator.normal(size=3))[0]
        pose[:3, 3] = generator.normal(size=3)
    true = gauge.Similarity(2.5, cv2.Rodrigues(np.array([0.3, -1.0, 0.4]))[0], np.array([1.0, 2.0, 3.0]))
    moved = np.array([true.pose(pose) for pose in poses])
    for count, scale in ((1, 2.5), (2, None), (3, None)):
        found = gauge.onto_known(poses[:count], moved[:count], scale)
        assert found.scale == pytest.approx(2.5) and np.allclose(found.rotation, true.rotation)
        assert np.allclose(found.translation, true.translation)


def test_cancelling_stops_the_solve(truth):
    calls = itertools.count()
    with pytest.raises(Cancelled):
        cameras.solve_cameras([unknown(photo) for photo in truth], Progress(cancelled=lambda: next(calls) > 2))
