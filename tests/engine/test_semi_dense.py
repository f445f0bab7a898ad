"""EfficientLoFTR in the place of SIFT: on tiny random weights in the published format, and with known matches."""

import numpy as np
import pytest
import synthetic
import torch
from scipy.spatial.transform import Rotation
from transformers import EfficientLoFTRConfig, EfficientLoFTRForKeypointMatching

from engine import camera as cams
from engine.geometry import cameras, sfm
from engine.geometry.models import semi_dense
from engine.progress import EngineError, Progress

CPU = torch.device("cpu")
TINY = {
    "stage_num_blocks": [1, 1, 1, 1],
    "out_features": [16, 16, 16, 32],
    "hidden_size": 32,
    "num_attention_layers": 1,
    "coarse_matching_threshold": 0.0,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny network as the library stores it, its attention silent so that unlike places stay unlike."""
    torch.manual_seed(0)
    net = EfficientLoFTRForKeypointMatching(EfficientLoFTRConfig(**TINY))
    for name, value in net.named_parameters():
        if value.ndim > 1:
            torch.nn.init.normal_(value, std=2.0 / value[0].numel() ** 0.5)
        elif "local_feature_transformer" in name:
            torch.nn.init.zeros_(value)
        elif name.endswith("norm.weight"):
            torch.nn.init.constant_(value, 2.0)
    place = tmp_path_factory.mktemp("efficient loftr")
    net.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def pictures():
    return [(synthetic.cast(camera)[0].mean(2) * 255).astype(np.uint8) for camera in synthetic.arc(2, 200, 150, spread=6)]


def test_matches_lie_in_the_pictures(folder, pictures):
    net = semi_dense.load(folder, CPU)
    first, second = pictures
    found = semi_dense.match(net, first, second[:, :120])
    assert len(found.scores) and (found.scores > 0).all() and (found.scores <= 1).all()
    for points, width in zip(found.points, (200, 120)):
        assert points.shape == (len(found.scores), 2)
        assert (points > 0).all() and (points < (width, 150)).all()
    again = semi_dense.match(net, first, second[:, :120])
    assert all(np.array_equal(a, b) for a, b in zip(found.points, again.points))


def test_a_picture_matches_itself_where_it_is(folder, pictures):
    found = semi_dense.match(semi_dense.load(folder, CPU), pictures[0], pictures[0])
    off = np.linalg.norm(found.points[0] - found.points[1], axis=1)
    assert np.median(off) < 3.0


def test_nothing_in_common_is_no_match(folder, pictures):
    net = semi_dense.load(folder, CPU)
    net.config.coarse_matching_threshold = 2.0
    assert len(semi_dense.match(net, *pictures).scores) == 0


def test_coarse_matches_stand_side_by_side():
    """Of features shuffled between the photos, each finds itself: the m-th of one photo is the m-th of the other."""
    height, width = 19, 21
    features = torch.eye(height * width) * 1000
    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(1))
    both = torch.stack([features, features[order]]).transpose(1, 2).unflatten(2, (height, width))
    indices, scores = semi_dense.coarse_matches(both, EfficientLoFTRConfig(**TINY))
    assert torch.equal(order[indices[1]], indices[0]) and len(scores) > 100 and (scores > 0.9).all()
    rows, columns = indices // width, indices % width
    assert rows.min() == 2 and rows.max() == height - 3 and columns.min() == 2 and columns.max() == width - 3


def test_fine_offsets_are_those_of_the_slow_way():
    config = EfficientLoFTRConfig(**TINY)
    rng = np.random.default_rng(4)
    side, channels, last = 8, 24, config.fine_matching_slice_dim
    first, second = rng.normal(size=(3, side**2, channels)) * 3, rng.normal(size=(3, (side + 2) ** 2, channels)) * 3
    found = semi_dense.fine_offsets(torch.from_numpy(first), torch.from_numpy(second), config).numpy()
    for m in range(3):
        similarity = np.exp(first[m, :, :-last] @ second[m, :, :-last].T / channels)
        best, left, right = -1.0, None, None
        for a in range(side**2):
            for y in range(side):
                for x in range(side):
                    b = (y + 1) * (side + 2) + x + 1
                    chance = similarity[a, b] ** 2 / similarity[:, b].sum() / similarity[a].sum()
                    if chance > best:
                        best, left, right = chance, a, (y, x)
        weights, places = [], []
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                b = ((right[0] + dy) % (side + 2)) * (side + 2) + (right[1] + dx) % (side + 2)
                score = first[m, left, -last:] @ second[m, b, -last:] / last**0.5
                weights.append(np.exp(score / config.fine_matching_regress_temperature))
                places.append((dx, dy))
        beside = np.average(places, axis=0, weights=weights)
        assert np.allclose(found[0, m], (left % side - 3.5, left // side - 3.5))
        assert np.allclose(found[1, m], np.array([right[1] - 3.5, right[0] - 3.5]) + beside)


def test_another_model_is_refused(tmp_path, folder):
    with pytest.raises(EngineError, match="holds no model of EfficientLoFTR"):
        semi_dense.load(tmp_path, CPU)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(EngineError, match="holds no model of EfficientLoFTR"):
        semi_dense.load(tmp_path, CPU)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")  # a pickle is not even looked at
    with pytest.raises(EngineError, match="holds no model of EfficientLoFTR"):
        semi_dense.load(tmp_path, CPU)


# --- tracks --------------------------------------------------------------------------


def shots(count=3, size=(640, 480)):
    return [sfm.Shot(np.full(size[::-1], index, np.uint8), np.ones(size[::-1], bool), None) for index in range(count)]


def test_points_of_several_pairs_become_one_keypoint():
    points = {"a": [100.2, 50.1], "b": [100.9, 51.0], "far": [300.0, 200.0]}
    pair = semi_dense.PairMatches
    found = {
        (0, 1): pair((np.array([points["a"], points["far"]]), np.array([[10.0, 10.0], [90.0, 90.0]])), np.array([0.9, 0.5])),
        (0, 2): pair((np.array([points["b"]]), np.array([[20.0, 20.0]])), np.array([0.3])),
        (1, 2): pair((np.zeros((0, 2)), np.zeros((0, 2))), np.zeros(0)),
    }
    features, pairs = semi_dense.merged(shots(), found)
    assert len(features[0].keypoints) == 2 and pairs[1, 2].shape == (0, 2)
    assert pairs[0, 1][0, 0] == pairs[0, 2][0, 0]  # the same keypoint, in two pairs
    shared = features[0].keypoints[pairs[0, 2][0, 0]]
    assert np.allclose(shared, (0.9 * np.array(points["a"]) + 0.3 * np.array(points["b"])) / 1.2, atol=1e-4)


def test_a_keypoint_has_one_partner_and_none_under_a_mask():
    masked = shots(2)
    masked[1].mask[:, :100] = False
    found = {
        (0, 1): semi_dense.PairMatches(
            (np.array([[50.1, 50.0], [50.2, 50.0], [200.0, 200.0]]), np.array([[300.0, 300.0], [400.0, 300.0], [50.0, 50.0]])),
            np.array([0.5, 0.8, 0.9]),
        )
    }
    features, pairs = semi_dense.merged(masked, found)
    assert pairs[0, 1].dtype == np.uint32 and len(pairs[0, 1]) == 1
    assert np.allclose(features[1].keypoints[pairs[0, 1][0, 1]], [400, 300])


def test_cameras_are_solved_from_such_matches():
    """Matches as the network would give them, of the true geometry: other points for every pair, scattered, some wrong."""
    photos, truths = synthetic.photos(4, 400, 300, spread=50)
    known = [photo.camera for photo in photos]
    for photo in photos:
        photo.camera = None
    greys = [sfm.grey_for_solving(photo.image, cameras.SOLVE_SIZE) for photo in photos]

    def compare(first, second):
        a, b = (next(i for i, grey in enumerate(greys) if np.array_equal(grey, own)) for own in (first, second))
        rng = np.random.default_rng(10 * a + b)
        pixels = rng.uniform((16, 16), (384, 284), (1500, 2))
        rows, columns = pixels[:, 1].astype(int), pixels[:, 0].astype(int)
        pixels = np.stack([columns, rows], 1) + 0.5
        world = cams.unproject(known[a], truths[a])[rows, columns]
        there, z = cams.project(known[b], world)
        inside = (z > 0) & (there > 16).all(1) & (there < (384, 284)).all(1)
        x, y = np.where(inside[:, None], there, 0).astype(int).T
        seen = inside & (np.abs(truths[b][y, x] / z - 1) < 0.01)
        there += rng.normal(0, 0.3, there.shape)
        wrong = rng.random(len(there)) < 0.1
        there[wrong] = rng.uniform((16, 16), (384, 284), (int(wrong.sum()), 2))
        return semi_dense.PairMatches((pixels[seen | wrong], there[seen | wrong]), np.ones(int((seen | wrong).sum())))

    solved = cameras.solve_cameras(photos, Progress(), evidence_of=lambda s, p: semi_dense.SemiDense(s, p, compare))
    assert len(solved.photos) == 4 and not solved.unplaced
    for i in range(3):
        relative = [
            np.linalg.inv(cams.world_from_camera(cs[i])[:3, :3]) @ cams.world_from_camera(cs[i + 1])[:3, :3]
            for cs in (known, [photo.camera for photo in solved.photos])
        ]
        assert np.degrees(Rotation.from_matrix(relative[0].T @ relative[1]).magnitude()) < 0.7
    assert abs(solved.photos[0].camera.fx / known[0].fx - 1) < 0.04
