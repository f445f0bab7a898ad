"""Backends: any size, in tiles, the same again, stopped at once; the shipped weights help; training resumes exactly."""

import copy
import time

import numpy as np
import pytest
import torch

from engine.evaluation import haarpsi, psnr
from engine.generation import embedded, open_backend, put_back, restored, samples, textures, world
from engine.generation.model import (
    BANDED,
    BANDS,
    PATCH,
    TURNS,
    BridgeUNet,
    SceneMemory,
    box_mean,
    detail_bands,
    network_inputs,
    sample,
    turned,
    turned_back,
)
from engine.job import Camera, GeneratorSettings
from engine.progress import Cancelled, EngineError, Progress
from engine.records import CAPTURED, Condition

CPU = torch.device("cpu")
IDENTITY = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))


def condition(height=64, width=80, seed=0, views=2):
    """A condition of smooth noise with a hole, some sky, and unequal confidence; captured views of noise."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 3, 6, 7), np.float32))
    rgb = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0].permute(1, 2, 0).numpy()
    level = rng.integers(1, 4, (height, width)).astype(np.uint8)
    level[height // 3 : height // 2, width // 4 : width // 2] = 0
    depth = np.linspace(2, 5, height * width, dtype=np.float32).reshape(height, width)
    depth[:4] = np.inf
    confidence = rng.random((height, width), np.float32) * (level > 0)
    source = np.where(level > 0, 0, -1).astype(np.int16)
    global_depth = np.where(rng.random((height, width)) < 0.5, depth, 0).astype(np.float32)
    global_rgb = rgb * (global_depth > 0)[..., None]
    camera = Camera(width, height, 90.0, 90.0, width / 2, height / 2, IDENTITY)
    views = rng.random((views, CAPTURED, height, width), np.float32)
    views *= rng.random((len(views), 1, height, width)) < 0.7
    captured = views.astype(np.float16)
    return Condition(camera, rgb, level, depth, confidence, source, global_rgb, global_depth, captured=lambda: captured)


def known(c):
    """What the network is given of a condition."""
    return *network_inputs(*embedded.condition_tensors(c)), embedded.captured_tensor(c)


@pytest.fixture(scope="module")
def shipped():
    return open_backend("embedded", CPU)


@pytest.fixture(scope="module")
def restless():
    """A small network with random weights everywhere: its output shows every mistake of the plumbing around it."""
    torch.manual_seed(1)
    net = BridgeUNet((8, 8, 8), 1).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.15)
    return net


def test_none_returns_the_condition():
    c = condition()
    (frame,) = open_backend("none", CPU).generate([c], GeneratorSettings("none"), Progress())
    assert np.array_equal(frame, c.rgb) and frame.dtype == np.float32


def test_an_unknown_backend_is_refused():
    with pytest.raises(EngineError, match='"embedded" or "none"'):
        open_backend("magic", CPU)


@pytest.mark.parametrize("backend", ["none", "embedded"])
def test_no_frames_in_no_frames_out(backend):
    assert open_backend(backend, CPU).generate([], GeneratorSettings(backend), Progress()) == []


# --- putting back ------------------------------------------------------------


def test_sure_pixels_are_put_back_and_detail_in_holes_is_left_alone():
    c = condition()
    c.level[:] = 1
    c.level[10:20] = 0
    c.confidence = np.where(c.level > 0, 1, 0).astype(np.float32)
    c.rgb = 0.2 + 0.6 * c.rgb
    checks = 0.1 * ((np.add.outer(np.arange(64), np.arange(80)) % 2) * 2 - 1)[..., None]
    result = put_back((c.rgb + checks).astype(np.float32), c)
    assert np.allclose(result[c.level == 1], c.rgb[c.level == 1], atol=1e-6)
    assert np.allclose((result - c.rgb)[10:20], np.broadcast_to(checks, result.shape)[10:20], atol=2e-3)


@pytest.mark.parametrize(
    ("level", "confidence", "share"),
    [
        (1, 0.5 ** (1 / 0.35), 0.5),
        (1, 1.0, 1.0),
        (2, 0.5 ** (1 / 0.3), 0.5),
        (2, 1.0, 1.0),
        (0, 0.0, 1.0),
        (3, 0.0, 0.0),
        (1, np.nan, 0.0),
        (12, 2.0, 1.0),
    ],
)
def test_colour_comes_back_in_proportion_to_confidence(level, confidence, share):
    c = condition()
    c.level[:], c.confidence[:] = level, confidence
    c.rgb[:] = 0.75  # one colour: what a photo knows at any resolution
    assert np.allclose(put_back(np.full_like(c.rgb, 0.25), c), 0.25 + 0.5 * share, atol=1e-5)


def test_detail_beyond_the_photos_resolution_is_the_models():
    c = condition()
    c.confidence[:] = 1.0
    c.rgb[:] = 0.5
    checks = 0.5 + 0.2 * (-1.0) ** np.add.outer(np.arange(64), np.arange(80))[..., None].repeat(3, 2).astype(np.float32)
    kept = []
    for level in (1, 2, 4):
        c.level[:] = level
        kept.append(float(put_back(checks.astype(np.float32), c)[20:40, 20:40].std() / checks.std()))
    assert kept[0] < 0.01 and kept[1] > 0.8 and kept[2] > 0.98


def test_levels_side_by_side_are_restored_each_by_itself():
    c = condition()
    c.confidence[:] = 1.0
    c.level[:, :40], c.level[:, 40:] = 1, 3
    frame = np.random.default_rng(0).random(c.rgb.shape, dtype=np.float32)
    away = torch.from_numpy(c.rgb - frame).permute(2, 0, 1)[None]
    slow = frame.copy()
    slow[:, :40] = c.rgb[:, :40]
    for y, x in ((5, 45), (30, 60), (63, 79)):
        window = away[..., max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].mean((0, 2, 3)).numpy()
        assert np.allclose(put_back(frame, c)[y, x], np.clip(slow[y, x] + window, 0, 1), atol=1e-5)
    assert np.allclose(put_back(frame, c)[:, :40], c.rgb[:, :40], atol=1e-6)
    assert torch.isfinite(restored(away, away, torch.ones(1, 1, 64, 80), torch.ones(1, 1, 64, 80))).all()


# --- the embedded backend ----------------------------------------------------


@pytest.mark.parametrize("size", [(64, 80), (33, 71), (1, 1), (16, 200)])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_frames_of_any_size(shipped, size, steps):
    c = condition(*size)
    (frame,) = shipped.generate([c], GeneratorSettings(steps=steps), Progress())
    assert frame.shape == (*size, 3) and frame.dtype == np.float32
    assert np.isfinite(frame).all() and frame.min() >= 0 and frame.max() <= 1


def test_the_same_seed_gives_the_same_bytes_whatever_comes_before(shipped):
    a, b = condition(seed=1), condition(seed=2)
    together = shipped.generate([a, b], GeneratorSettings(seed=3), Progress())
    alone = shipped.generate([b], GeneratorSettings(seed=3), Progress())
    fresh = open_backend("embedded", CPU).generate([b], GeneratorSettings(seed=3), Progress())
    assert together[1].tobytes() == alone[0].tobytes() == fresh[0].tobytes()


def test_the_seed_matters_in_holes_only_by_the_bridge(restless):
    c = condition()
    inputs = known(c)
    frames = [sample(restless, *inputs, embedded.seeded_noise((64, 80), seed), 2) for seed in (0, 1)]
    assert not torch.equal(*frames)


def test_empty_and_broken_conditions_give_finite_frames(shipped):
    nothing = condition()
    for array in (nothing.level, nothing.depth, nothing.confidence, nothing.global_depth, nothing.global_rgb):
        array[:] = 0
    nothing.rgb[:] = 0.5
    sky = condition()
    sky.depth[:] = np.inf
    sky.global_depth[:] = np.inf
    broken = condition()
    broken.depth[3] = np.nan
    broken.confidence[4] = np.nan
    for frame in shipped.generate([nothing, sky, broken], GeneratorSettings(), Progress()):
        assert np.isfinite(frame).all()


def test_other_weights_under_the_shipped_name_are_refused(monkeypatch, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(embedded.WEIGHTS.read_bytes())
    assert embedded.EmbeddedBackend(CPU, other).version == embedded.SHA256  # the same bytes elsewhere are welcome
    monkeypatch.setattr(embedded, "SHA256", "0" * 64)
    with pytest.raises(EngineError, match="not the published ones"):
        open_backend("embedded", CPU)
    assert embedded.EmbeddedBackend(CPU, other)


@pytest.mark.parametrize("message", ["CUDA out of memory", "DefaultCPUAllocator: can't allocate memory: you tried"])
def test_without_memory_the_frame_is_made_in_smaller_tiles(restless, message):
    c = condition(640, 1040)
    backend = open_backend("embedded", CPU)
    backend.net = restless
    (whole,) = backend.generate([c], GeneratorSettings(steps=1), Progress())
    sizes = []

    def short_of_memory(x_t, *rest):
        sizes.append(x_t.shape[-1] * x_t.shape[-2])
        if sizes[-1] > 550_000:
            raise RuntimeError(message)
        return restless(x_t, *rest)

    backend.net = short_of_memory
    (tiled,) = backend.generate([c], GeneratorSettings(steps=1), Progress())
    assert len(sizes) > 2 and np.allclose(whole, tiled, atol=2e-3)


def test_without_any_memory_there_is_a_sentence(restless):
    def nothing_left(*_):
        raise RuntimeError("out of memory")

    backend = open_backend("embedded", CPU)
    backend.net = nothing_left
    with pytest.raises(EngineError, match="no memory left"):
        backend.generate([condition()], GeneratorSettings(steps=1), Progress())
    backend.net = lambda *_: [][1]
    with pytest.raises(IndexError):
        backend.generate([condition()], GeneratorSettings(steps=1), Progress())


def test_an_untrained_network_returns_its_condition():
    net = BridgeUNet((8, 8, 8), 1)
    inputs = known(condition())
    with torch.no_grad():
        assert torch.equal(sample(net, *inputs, torch.randn(1, 3, 64, 80), 4), inputs[0][:, :3])


def test_the_global_projection_is_max_pooled_through_the_shared_first_module(restless):
    net = copy.deepcopy(restless)
    with torch.no_grad():  # without the gains on the condition's detail, which are its own
        net.last.weight[3 * PATCH**2 :], net.last.bias[3 * PATCH**2 :] = 0, 0
    c, projection, _ = known(condition())
    x, time_, none = c[:, :3], torch.ones(1), torch.zeros(1, CAPTURED, 64, 80)
    with torch.no_grad():
        with_it, without = net(x, time_, c, projection, none), net(x, time_, c, torch.zeros_like(projection), none)
        swapped = net(x, time_, projection, c, none) - projection[:, :3] + c[:, :3]
    assert (with_it - without).abs().max() > 1e-3
    assert torch.allclose(swapped, with_it, atol=1e-5)


def test_captured_views_are_a_set_of_any_size(restless):
    c, projection, captured = known(condition(views=3))
    x, one = c[:, :3], torch.ones(1)
    views = captured.unflatten(1, (3, -1))
    a, b, d = views.unbind(1)
    blind = torch.zeros_like(a)
    with torch.no_grad():

        def frame(*chosen):
            return restless(x, one, c, projection, torch.cat(chosen, 1))

        assert torch.allclose(frame(a, b, d), frame(d, a, b), atol=1e-5)
        assert torch.allclose(frame(a, b), frame(b, blind, a), atol=1e-5)
        for fewer in (frame(blind), frame(a), frame(a, b)):
            assert torch.isfinite(fewer).all() and (fewer - frame(a, b, d)).abs().max() > 1e-3


def test_captured_colours_are_mixed_not_invented():
    """Attention over views that all say the same says the same; what none of them sees stays the condition's."""
    torch.manual_seed(2)
    memory = SceneMemory(8, 8)
    for parameter in memory.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    torch.nn.init.zeros_(memory.take.weight)
    torch.nn.init.ones_(memory.take.bias)  # all of the mixture's difference is taken
    rgb, h = torch.full((1, 3, 32, 48), 0.3), torch.randn(1, 8, 8, 12)
    views = torch.rand(1, 4, CAPTURED, 32, 48)
    views[:, :, :3] = torch.tensor([0.9, 0.5, 0.1]).reshape(3, 1, 1)
    views[:, :, :, :, 32:] = 0
    with torch.no_grad():
        correction = memory.correction(rgb, views, memory.features(rgb, views), h)
    assert torch.allclose(correction[..., :28], torch.tensor([0.6, 0.2, -0.2]).reshape(3, 1, 1).expand(3, 32, 28), atol=1e-4)
    assert correction[..., 36:].abs().max() < 1e-6


@pytest.mark.parametrize("width", [23, BANDED + 1])
def test_box_means_are_of_what_lies_in_the_picture(width):
    picture = torch.rand(1, 2, 20, width)
    for side in (3, 7, 33):
        slow = torch.nn.functional.avg_pool2d(picture, side, 1, side // 2, count_include_pad=False)
        assert torch.allclose(box_mean(picture, side), slow, atol=1e-6)


def test_bands_of_detail_add_up_to_what_the_widest_window_blurs_away():
    rgb = torch.rand(1, 3, 20, 23)
    low = torch.nn.functional.avg_pool2d(rgb, BANDS[-1], 1, BANDS[-1] // 2, count_include_pad=False)
    assert torch.allclose(detail_bands(rgb).sum(1), rgb - low, atol=1e-6)
    assert detail_bands(torch.full_like(rgb, 0.4)).abs().max() < 1e-5


def test_eight_ways_to_lay_a_picture_down_and_back():
    picture = torch.rand(1, 3, 4, 6)
    ways = {turned(picture, *turn).numpy().tobytes() + bytes(turned(picture, *turn).shape) for turn in TURNS}
    assert len(ways) == len(TURNS) == 8
    for turn in TURNS:
        assert torch.equal(turned_back(turned(picture, *turn), *turn), picture)


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 20])
def test_every_look_is_at_another_picture_and_the_frame_is_their_mean(steps):
    c, projection, captured = known(condition())
    seen = []

    def net(x, time, condition, projection, captured):
        seen.append((x.clone(), condition[:, :3].clone()))
        assert time.tolist() == [1.0] and projection.shape[2:] == captured.shape[2:] == x.shape[2:]
        return condition[:, :3] + len(seen)

    frame = sample(net, c, projection, captured, torch.zeros(1, 3, 64, 80), steps)
    count = min(steps, 8)
    assert len(seen) == count and len({x.numpy().tobytes() for x, _ in seen}) == count
    assert torch.allclose(frame, c[:, :3] + (count + 1) / 2, atol=1e-5)


# --- tiles -------------------------------------------------------------------


@pytest.mark.parametrize("length, tile", [(400, 384), (1040, 400), (2048, 1440), (384, 384)])
def test_spans_cover_everything_and_sum_to_one(length, tile):
    total = torch.zeros(length)
    for span in embedded.spans(length, tile):
        assert span.start % 16 == 0 and 0 <= span.start < span.stop <= length and span.stop - span.start <= tile
        total[span.start : span.stop] += span.weight
    assert torch.allclose(total, torch.ones(length), atol=1e-6)


def test_tiles_agree_with_the_whole(restless):
    c = condition(576, 640)
    inputs = known(c)
    noise = embedded.seeded_noise((576, 640), 0)
    calls = []
    with torch.inference_mode():
        whole = sample(restless, *inputs, noise, 2)
        tiles = sample(embedded.tiled(restless, 400 * 400, lambda: calls.append(1)), *inputs, noise, 2)
    assert len(calls) == 2 * 6
    change = (whole - inputs[0][:, :3]).abs().mean()
    assert (whole - tiles).abs().max() < 0.02 * change


# --- stopping ----------------------------------------------------------------


def test_cancel_is_heard_within_one_step(shipped):
    asked = []

    def cancelled():
        asked.append(time.monotonic())
        return len(asked) > 3

    with pytest.raises(Cancelled):
        shipped.generate([condition()] * 50, GeneratorSettings(steps=4), Progress(cancelled=cancelled))
    assert len(asked) == 4


def test_cancel_is_heard_by_none():
    with pytest.raises(Cancelled):
        open_backend("none", CPU).generate([condition()], GeneratorSettings("none"), Progress(cancelled=lambda: True))


# --- the shipped weights -----------------------------------------------------


def test_shipped_weights_are_small_and_load_at_once():
    assert embedded.WEIGHTS.stat().st_size <= 20_000_000
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        embedded.load_network(embedded.WEIGHTS)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) <= 0.5


def test_weights_that_are_none_are_refused(tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"nothing")
    for path in (bad, tmp_path / "missing.safetensors"):
        with pytest.raises(EngineError, match="install CloseUp again"):
            embedded.load_network(path)


def test_the_shipped_network_listens_to_all_its_inputs():
    """Dead units leave a constant filter that may still beat the condition: better means alone do not show a trained network."""
    net = embedded.load_network(embedded.WEIGHTS).eval()
    c, projection, captured = known(condition())
    x, one = c[:, :3], torch.ones(1)
    mute = torch.cat([c[:, :3], torch.zeros_like(c[:, 3:])], 1)
    with torch.no_grad():
        frame = net(x, one, c, projection, captured)
        others = [net(1 - x, one, c, projection, captured), net(x, 0.25 * one, c, projection, captured)]
        others += [net(x, one, mute, projection, captured), net(x, one, c, torch.zeros_like(projection), captured)]
        others.append(net(x, one, c, projection, torch.zeros_like(captured)))
    size = (frame - c[:, :3]).abs().mean()
    for other in others:
        assert (other - frame).abs().mean() > 0.005 * size


def test_the_shipped_generator_beats_its_condition(shipped):
    bank = textures.bank(samples.HELD_OUT + 1, 12, CPU)
    gains = []
    for index in range(16):
        zoom = 8 ** ((index + 0.5) / 16)
        s = world.sample_views(samples.HELD_OUT + 5000 + index, bank, 96, CPU, zoom)
        c = samples.condition_of(s, CPU)
        (frame,) = shipped.generate([c], GeneratorSettings(), Progress())
        gains.append([metric(frame, s.truth) - metric(c.rgb, s.truth) for metric in (psnr, haarpsi)])
    assert (np.mean(gains, axis=0) > 0).all(), np.mean(gains, axis=0)
