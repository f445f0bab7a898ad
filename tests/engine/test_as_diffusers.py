"""The generator in diffusers' classes: the same frames as the engine's own, kept and loaded as its users expect."""

import json

import numpy as np
import pytest
import torch
from test_generation import condition

from engine.generation import embedded, open_backend
from engine.generation.as_diffusers import BridgeModel, BridgeScheduler, CloseUpPipeline
from engine.job import GeneratorSettings
from engine.progress import Progress


@pytest.fixture(scope="module")
def shipped():
    return CloseUpPipeline.shipped()


@pytest.mark.parametrize("looks", [1, 4])
def test_its_frames_are_the_engines(shipped, looks):
    conditions = [condition(50, 70, seed) for seed in (0, 1)]
    conditions[1].captured = None
    frames = [shipped([c], looks=looks, generator=torch.Generator().manual_seed(3)).frames[0] for c in conditions]
    backend = open_backend("embedded", torch.device("cpu"))
    backend.net = embedded.load_network(embedded.WEIGHTS)  # not rounded to bfloat16
    expected = backend.generate(conditions, GeneratorSettings(steps=looks, seed=3), Progress())
    for a, b in zip(frames, expected):
        assert a.shape == (50, 70, 3) and np.allclose(a, b, atol=1e-4)


def test_it_is_kept_and_loaded_with_safetensors(shipped, tmp_path):
    shipped.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == "CloseUpPipeline" and index["denoiser"][1] == "BridgeModel"
    assert (tmp_path / "denoiser" / "diffusion_pytorch_model.safetensors").is_file()
    loaded = CloseUpPipeline.from_pretrained(tmp_path, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False)
    frames = [p([condition()], generator=torch.Generator().manual_seed(0)).frames[0] for p in (shipped, loaded)]
    assert np.array_equal(*frames)
    alone = BridgeModel.from_pretrained(tmp_path / "denoiser", local_files_only=True, low_cpu_mem_usage=False)
    assert alone.config.widths == [64, 96, 128] and alone.state_dict().keys() == shipped.denoiser.state_dict().keys()


def test_the_scheduler_walks_the_bridge_to_the_clean_frame():
    scheduler = BridgeScheduler()
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == [1.0, 0.75, 0.5, 0.25]
    clean, noise = torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    known = torch.rand(2, 9, 8, 8)
    known[:, 3] = 0
    known[:, 3, :4] = 1
    start = state = scheduler.start(known, noise)
    assert torch.equal(start[:, :, 4:], known[:, :3, 4:]) and (start - known[:, :3])[:, :, :4].std() == pytest.approx(
        0.1, rel=0.3
    )
    for index, time in enumerate(scheduler.timesteps):
        assert torch.allclose(state, scheduler.add_noise(clean, start, time.repeat(2)), atol=1e-6)
        state = scheduler.step(clean, time, state).prev_sample
        assert torch.equal(state, clean) == (index == 3)


def test_more_steps_of_the_bridge_run_and_are_deterministic(shipped):
    one, *four = [
        shipped([condition()], steps, looks=1, generator=torch.Generator().manual_seed(1)).frames[0] for steps in (1, 4, 4)
    ]
    assert np.array_equal(*four) and np.isfinite(one).all() and np.abs(one - four[0]).max() > 1e-3
