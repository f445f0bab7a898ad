"""The learned aggregator: what it is told, what it decides, how it is trained, and the world it is trained on."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import synthetic
import torch

from engine import camera as cams
from engine.generation.textures import bank
from engine.geometry import aggregator, completion, cues, matching, patchmatch, rooms, train_aggregator
from engine.geometry.cues import CUES, SLOTS, SMOOTH
from engine.progress import EngineError, Progress

CPU = torch.device("cpu")


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@functools.cache
def textures():
    return bank(3, 6, CPU)


def findings(order: tuple[int, ...] = (1, 2, 3)) -> cues.Findings:
    """A ray-cast scene whose classical depth is right but for a hole, where what other photos saw is right."""
    photos, truths = synthetic.photos(4, 96, 72, spread=50)
    frames = [matching.make_frame(photo, 96, CPU) for photo in photos]
    ws = [1 / torch.from_numpy(truth) for truth in truths]
    sure = torch.full_like(ws[0], 0.85)
    judge = completion.Judge(frames[0], [(frames[i], ws[i], sure) for i in order])
    wrong = ws[0].clone()
    wrong[20:40, 30:60] *= 1.2
    none = torch.zeros_like(wrong)
    doubtful = torch.full_like(sure, aggregator.STANDS - 0.1)
    return cues.Findings(judge, wrong, [wrong, wrong, wrong, ws[0], none], doubtful, sure, sure * 2, sure * 0.1, sure > 0, 0.01)


# --- what it is told -------------------------------------------------------------


def test_true_depth_has_the_better_cues():
    told = findings()
    right, wrong = told.others[3], told.chosen
    planes = [matching.Planes(w, *patchmatch.slopes(w)) for w in (wrong, right)]
    found = cues.gather(told.judge, planes, range(22, 38))[:, 32:58]
    least, mean, _, agreement, refuted, _ = (found[..., CUES.index(name)].mean((0, 1)) for name in CUES)
    assert least[1] < least[0] and mean[1] < 0.5 * mean[0]
    assert agreement[1] > 0.3 and agreement[0] < 0.05
    assert refuted[1] < 0.1


def test_order_of_partners_changes_nothing():
    a, b = (cues.volume(findings(order)).channels for order in ((1, 2, 3), (3, 1, 2)))
    assert torch.allclose(a.float(), b.float(), atol=2e-3)


def test_what_it_is_told_is_bounded_and_complete():
    told = cues.volume(findings())
    assert told.channels.shape == (cues.CHANNELS, 72, 96) and told.hypotheses.shape == (len(SLOTS), 72, 96)
    assert bool(torch.isfinite(told.channels).all()) and float(told.channels.abs().max()) <= 2
    there = told.channels[: len(SLOTS) * cues.PER_SLOT].reshape(len(SLOTS), cues.PER_SLOT, 72, 96)[:, len(CUES)]
    assert torch.equal(there > 0, told.hypotheses > 0) and not bool((told.hypotheses[SLOTS.index("plane")] > 0).any())


# --- what it decides -------------------------------------------------------------


class Fixed(torch.nn.Module):
    """Says the same of every pixel. odds: (slots,)."""

    slots = len(SLOTS)

    def __init__(self, **odds: float):
        super().__init__()
        self.said = torch.tensor([odds.get(name.replace(" ", "_"), -4.0) for name in SLOTS])

    def surroundings(self, x):
        return x[:, :1, ::2, ::2]

    def odds(self, x, surroundings):
        return self.said[None, :, None, None, None].expand(len(x), -1, 2, *x.shape[2:])


def test_the_likeliest_hypothesis_wins_with_its_chance_and_sky_stays():
    told = findings()
    told.chosen[:5] = 0
    w, confidence = aggregator.chosen(Fixed(other_photos=2.0, plane=3.0), told)
    assert torch.equal(w[5:], told.others[3][5:])  # there is no plane, however likely
    assert torch.allclose(confidence[5:], torch.tensor(2.0).sigmoid())
    assert bool((w[:5] == 0).all()) and torch.equal(confidence[:5], told.confidence[:5])


def test_nearly_as_likely_is_not_enough_to_leave_the_smooth_depth():
    told = findings()
    w, _ = aggregator.chosen(Fixed(smooth=1.0, other_photos=1.01), told)
    assert torch.equal(w, aggregator.classical(told)[0]) and not torch.equal(w, told.others[3])


def test_confidence_is_the_chance_of_the_smooth_depth():
    told = findings()
    told.chosen[:5] = 0
    w, confidence = aggregator.rated(Fixed(smooth=1.0, other_photos=3.0), told)
    assert torch.equal(w, aggregator.classical(told)[0]) and bool((w[:5] == 0).all())
    assert torch.allclose(confidence[5:], torch.tensor(1.0).sigmoid(), atol=1e-6)
    assert torch.equal(confidence[:5], told.confidence[:5])
    assert float(aggregator.rated(Fixed(), told)[1][5:].max()) == pytest.approx(aggregator.GUESS)


def test_what_was_matched_well_stays_as_it_was_matched():
    told = findings()
    told.confidence[:10] = aggregator.STANDS
    w, confidence = aggregator.rated(Fixed(chosen=2.0, smooth=1.0), told)
    assert torch.equal(w[:10], told.chosen[:10]) and not torch.equal(w[10:], told.chosen[10:])
    assert torch.allclose(confidence[:10], torch.tensor(2.0).sigmoid(), atol=1e-6)
    assert torch.allclose(confidence[10:], torch.tensor(1.0).sigmoid(), atol=1e-6)


def random_net() -> aggregator.AggregatorNet:
    torch.manual_seed(1)
    net = aggregator.AggregatorNet(channels=5, slots=3, widths=(4, 6, 8, 8), context=4)
    for block in [*net.down, *net.up]:
        torch.nn.init.normal_(block.second.weight, std=0.2)
    return net


def test_tiles_give_what_the_whole_gives(monkeypatch):
    net, x = random_net(), torch.rand(5, 331, 500, generator=chance(2))
    whole = aggregator.chances(net, x)
    padded = torch.nn.functional.pad(x[None], (0, 12, 0, 5), mode="replicate")
    assert torch.allclose(whole, net(padded)[0, ..., :331, :500].sigmoid(), atol=1e-5)
    monkeypatch.setattr(aggregator, "TILE", 288)
    tiled = aggregator.chances(net, x)
    assert whole.shape == (3, 2, 331, 500) and float(whole.std()) > 0.01
    assert torch.allclose(whole, tiled, atol=1e-5)


def test_damaged_weights_are_refused(tmp_path):
    broken = tmp_path / "aggregator.safetensors"
    broken.write_bytes(aggregator.WEIGHTS.read_bytes()[:-1000])
    with pytest.raises(EngineError, match="install CloseUp again"):
        aggregator.load_network(broken)


def test_other_weights_are_refused(tmp_path, monkeypatch):
    other = tmp_path / "aggregator.safetensors"
    options = train_aggregator.Options(out=tmp_path)
    train_aggregator.export(aggregator.AggregatorNet(), options, 0, {})
    monkeypatch.setattr(aggregator, "WEIGHTS", other)
    with pytest.raises(EngineError, match="not the published"):
        aggregator._network.__wrapped__(CPU)


# --- what it is trained on, and how ------------------------------------------------


def test_photos_of_a_room_agree_with_its_depth():
    photos, truths = rooms.photos(5, textures(), 96, 72)
    a, b = photos[0].camera, photos[1].camera
    points = cams.unproject(a, np.where(np.isfinite(truths[0]), truths[0], 1.0))
    uv, z = cams.project(b, points)
    inside = np.isfinite(truths[0]) & (z > 0) & (uv > 0).all(-1) & (uv < (96, 72)).all(-1)
    x, y = np.floor(uv[inside]).astype(int).T
    ratio = z[inside] / truths[1][y, x]
    assert inside.mean() > 0.2
    # the same surface mostly, or behind another one; in front of what the other photo sees there is nothing
    assert (np.abs(ratio - 1) < 0.02).mean() > 0.4 and (ratio < 0.95).mean() < 0.05


def test_a_jpeg_loses_little_and_mixes_no_channels():
    rng = np.random.default_rng(0)
    image = np.empty((48, 64, 3), np.uint8)
    image[...] = (200, 90, 30)
    image[:, 32:] = rng.integers(90, 160, (48, 32, 3))
    assert rooms._compressed(image, 0) is image
    fine, coarse = (rooms._compressed(image, quality).astype(float) - image for quality in (95, 70))
    assert np.abs(fine[:, :24]).max() < 8 and 0 < np.abs(fine).mean() < np.abs(coarse).mean() < 40


def test_a_room_follows_from_its_seed():
    first, second, other = (rooms.photos(seed, textures(), 48, 36) for seed in (7, 7, 8))
    assert np.array_equal(first[0][0].image, second[0][0].image) and np.array_equal(first[1][0], second[1][0])
    assert not np.array_equal(first[0][0].image, other[0][0].image)


@functools.cache
def measured():
    """A scene no training saw, through the classical steps: volumes and truths."""
    photos, truths = rooms.photos(train_aggregator.HELD_OUT + 3, textures(), 128, 112)
    return train_aggregator.volumes(photos, Progress()), truths


def test_a_sample_tells_the_truth(tmp_path):
    (found, *_), (truth, *_) = measured()
    train_aggregator.store(tmp_path / "1-0.npz", found, truth)
    x, broken = train_aggregator.load(tmp_path / "1-0.npz")
    assert torch.allclose(x.float() / train_aggregator.SCALE, found.channels.float().clamp(-1.27, 1.27), atol=0.006)
    error = (1 / found.hypotheses / torch.from_numpy(truth) - 1).abs()
    there = found.hypotheses > 0
    assert torch.equal((broken == 0) & there, (error < 0.01) & there)
    assert torch.equal((broken <= 1) & there, (error < 0.02) & there)
    assert bool((broken[~there] == 3).all())


def test_training_learns(tmp_path, monkeypatch):
    monkeypatch.setattr(train_aggregator, "CROP", 96)
    volumes, truths = measured()
    for number, (found, truth) in enumerate(zip(volumes, truths)):
        train_aggregator.store(tmp_path / f"1-{number}.npz", found, truth)
    samples = [train_aggregator.load(path) for path in sorted(tmp_path.glob("*.npz"))]
    x, broken = (torch.stack(parts) for parts in zip(*samples))

    def loss(net) -> float:
        with torch.inference_mode():
            return float(train_aggregator.loss_of(net(x.float() / train_aggregator.SCALE), broken))

    net = train_aggregator.train(train_aggregator.Options(out=tmp_path, steps=100, batch=2), samples, samples)
    torch.manual_seed(0)
    assert loss(net) < 0.85 * loss(aggregator.AggregatorNet())
    written = aggregator.load_network(tmp_path / train_aggregator.NAME)
    assert loss(written) == pytest.approx(loss(net), abs=0.01)


def test_the_shipped_confidence_is_better_calibrated_than_the_classical_one_on_an_unseen_room():
    volumes, truths = measured()
    net, distances = aggregator._network(CPU), []
    learned, classical, right = [], [], []
    for found, truth in zip(volumes, truths):
        w = found.hypotheses[SMOOTH]
        there = w > 0
        right.append(((1 / w / torch.from_numpy(truth) - 1).abs() < 0.01)[there])
        learned.append(aggregator.chances(net, found.channels)[SMOOTH, 0][there])
        classical.append(found.channels[-cues.MAPS + 4].float()[there])
    right = torch.cat(right).float()
    for confidence in (torch.cat(learned), torch.cat(classical)):
        places = (confidence * 10).long().clamp(0, 9)
        distances.append(sum(abs(float((right - confidence)[places == n].sum())) for n in range(10)) / len(right))
    assert distances[0] < min(0.15, distances[1])
