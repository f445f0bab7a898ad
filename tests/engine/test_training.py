"""Training the embedded generator: its objective, resuming, what it writes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.generation import embedded, held_out, measured, samples, textures, train
from engine.generation.interface import restored
from engine.progress import EngineError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A few tiny samples, and a held-out set of them."""
    folder = tmp_path_factory.mktemp("training") / "samples"
    folder.mkdir()
    patch = pytest.MonkeyPatch()
    patch.setattr(samples, "TEXTURES", 3)
    patch.setattr(held_out, "TEXTURES", 3)
    patch.setattr(held_out, "PER_BAND", 1)
    patch.setattr(held_out, "ROOMS", 1)
    patch.setattr(measured, "PHOTO", (96, 72))
    samples.fill(folder, 8, 32, 0, "cpu")
    held_out.held_out_sets(folder, 32, CPU)
    patch.undo()
    return folder


def options(folder, **changes):
    base = train.Options(str(folder), samples=8, size=32, crop=32, batch=4, widths=(8, 8, 8), blocks=1, workers=0, rate=3e-3)
    return replace(base, **changes)


def start(tmp_path, shards):
    (tmp_path / "samples").symlink_to(shards, target_is_directory=True)
    return tmp_path


def test_training_lowers_the_loss(tmp_path, shards):
    folder = start(tmp_path, shards)
    trainer = train.Trainer(options(folder, steps=40))
    store = samples.Samples(shards)
    store.refresh(8)
    batch = store.batch(8, 0, 0).float()
    *inputs, truth = samples.unpack(batch)

    def loss():
        with torch.no_grad():
            frame = trainer.net(inputs[0][:, :3], torch.ones(8), *inputs)
            return train.objective(restored(frame, batch[:, :3], batch[:, 3:4], batch[:, 4:5]), truth).item()

    before = loss()
    for step in range(40):
        trainer.advance(store.batch(4, 0, step))
    assert loss() < before - 1e-3


def test_the_structural_loss_forgives_nothing_but_equality():
    truth = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(truth, 3, 1, 1)
    assert train.haar_similarity(truth, truth).item() == pytest.approx(1)
    assert train.haar_similarity(blurred, truth) < train.haar_similarity(0.5 * (blurred + truth), truth) < 0.99
    assert train.reconstruction_loss(truth, truth) < 2e-3 < train.reconstruction_loss(blurred, truth)


def test_a_sample_counts_by_what_factor_it_gets_better():
    generator = torch.Generator().manual_seed(0)
    truth, noise = torch.rand(2, 2, 3, 48, 48, generator=generator) * 0.5 + 0.25
    errors = (noise - 0.5) * torch.tensor([1.0, 0.1]).reshape(2, 1, 1, 1)  # what is lost, and what is nearly right

    def gain(loss, which):
        better = errors.clone()
        better[which] *= 0.5
        return (loss(truth + errors, truth) - loss(truth + better, truth)).item()

    assert 0.4 < gain(train.objective, 0) / gain(train.objective, 1) < 2.5
    plain = [gain(lambda a, b: train.reconstruction_loss(a, b).mean(), which) for which in (0, 1)]
    assert plain[0] > 4 * plain[1]


def test_training_goes_on_exactly_where_it_stopped(tmp_path, shards):
    folder = start(tmp_path, shards)
    through = train.train(options(folder, steps=6))
    (folder / "checkpoint.pt").unlink()

    halfway = train.Trainer(options(folder, steps=6))
    store = samples.Samples(shards)
    store.refresh(8)
    for step in range(3):
        halfway.advance(store.batch(4, 0, step))
    halfway.save(folder / "checkpoint.pt")
    resumed = train.train(options(folder, steps=6), resume=True)
    assert resumed.step == through.step == 6
    for a, b in ((through.net, resumed.net), (through.average, resumed.average)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))
    moments = [t.optimizer.state_dict()["state"][0]["exp_avg"] for t in (through, resumed)]
    assert torch.equal(*moments)


def test_a_network_is_trained_on_and_its_memory_alone_if_asked(tmp_path, shards):
    folder = start(tmp_path, shards)
    first = train.Trainer(options(folder, steps=4))
    store = samples.Samples(shards)
    store.refresh(8)
    for step in range(2):
        first.advance(store.batch(4, 0, step))
    train.export(first, folder / "first.safetensors", {})
    given = {name: tensor for name, tensor in load_file(folder / "first.safetensors").items() if not name.startswith("memory")}
    save_file(given, folder / "old.safetensors")  # as weights from before there was a memory
    second = train.Trainer(options(folder, steps=4, start=str(folder / "old.safetensors"), memory_only=True))
    before = {name: tensor.clone() for name, tensor in second.net.state_dict().items()}
    assert all(torch.equal(before[name], tensor.float()) for name, tensor in given.items())
    for step in range(2):
        second.advance(store.batch(4, 0, step))
    changed = {name for name, tensor in second.net.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed and all(name.startswith("memory") and not name.startswith("memory.tell") for name in changed)


def test_what_it_started_from_can_be_kept_in_part(tmp_path, shards):
    folder = start(tmp_path, shards)
    first = train.Trainer(options(folder, steps=2))
    train.export(first, folder / "first.safetensors", {})
    second = train.Trainer(options(folder, steps=2, start=str(folder / "first.safetensors"), keep=0.25))
    store = samples.Samples(shards)
    store.refresh(8)
    second.advance(store.batch(4, 0, 0))
    old, new = first.average.state_dict(), second.average.state_dict()
    moved = [name for name in new if not torch.allclose(old[name], new[name], atol=1e-4)]
    for name, tensor in second.result().state_dict().items():
        assert torch.allclose(tensor, 0.25 * old[name] + 0.75 * new[name], atol=1e-3)
    assert moved and options(folder).keep == 0 and train.Trainer(options(folder)).result()
    with pytest.raises(SystemExit):
        train.main(["--out", str(folder), "--steps", "1", "--keep", "0.5"])


def test_training_leaves_log_checkpoint_and_weights_that_load(tmp_path, shards):
    folder = start(tmp_path, shards)
    text = "--samples 8 --size 32 --crop 32 --batch 4 --widths 8 8 8 --blocks 1 --workers 0"
    assert train.main(["--out", str(folder), "--steps", "3", *text.split()]) == 0
    lines = [line for line in (folder / "log.jsonl").read_text().splitlines() if line]
    assert len(lines) == 1 and '"step": 3' in lines[0] and '"4-8"' in lines[0] and '"measured"' in lines[0]
    trainer = train.Trainer(options(folder))
    trainer.load(folder / "checkpoint.pt")
    assert trainer.step == 3
    train.export(trainer, folder / "exported.safetensors", {})
    net = embedded.load_network(folder / "exported.safetensors")
    for name, tensor in trainer.average.state_dict().items():
        assert torch.allclose(net.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_resuming_without_a_checkpoint_says_so(tmp_path, shards):
    with pytest.raises(EngineError, match="without --resume"):
        train.train(options(start(tmp_path, shards), steps=1), resume=True)


def test_rooms_with_measured_depth_make_samples_that_follow_from_their_seed(monkeypatch):
    monkeypatch.setattr(measured, "PHOTO", (160, 120))
    bank = textures.bank(5, 4, CPU)
    first, second = (measured.measured(4, bank, 48, 3, CPU) for _ in range(2))
    seen = []
    for (condition, truth, zoom), (again, same, _) in zip(first, second):
        assert np.array_equal(condition.rgb, again.rgb) and np.array_equal(truth, same)
        assert truth.shape == (48, 48, 3) and 1 <= zoom <= 8
        seen.append(np.abs(condition.rgb - truth)[condition.confidence > 0.5])
    assert sum(len(x) for x in seen) > 500 and np.median(np.concatenate(seen)) < 0.06


def test_textures_are_taken_of_pictures_too(tmp_path):
    picture = np.zeros((600, 700, 3), np.uint8)
    picture[..., 2] = 255
    cv2.imwrite(str(tmp_path / "red.png"), picture)
    images = textures.bank(5, 8, CPU, [tmp_path / "red.png"]).levels[0]
    red = (images - torch.tensor([1.0, 0, 0])).abs().amax((1, 2, 3)) < 1e-6
    assert 0 < red.sum() < len(images)
