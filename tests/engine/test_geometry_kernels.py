"""The geometry's compiled loops against PyTorch's references, and on any number of threads."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import synthetic
import torch

from engine import compiled
from engine.geometry import aggregation, completion, consistency, cues, matching, patchmatch

CPU = torch.device("cpu")


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(masked: bool = False):
    """Four frames of one scene and their true inverse depths, a little wrong; one frame is of another size."""
    photos, truths = synthetic.photos(4, 160, 120, spread=50)
    if masked:
        photos[1].mask[30:70, 40:90] = False
    frames = [matching.make_frame(photo, 120 if i == 2 else 160, CPU) for i, photo in enumerate(photos)]
    noise = [1 + 0.004 * torch.randn(truth.shape, generator=chance(i)) for i, truth in enumerate(truths)]
    return frames, [1 / torch.from_numpy(truth) * part for truth, part in zip(truths, noise)]


def planes_of(w: torch.Tensor) -> matching.Planes:
    return matching.Planes(w, *patchmatch.slopes.reference(w))


def sweep_case(partners: int, masked: bool):
    frames, ws = scene(masked)
    here, others = frames[0], frames[1 : 1 + partners]
    labels = torch.linspace(0, float(ws[0].max()) * 1.2, 40)
    transfers = [matching.transfer(here.camera, other.camera, CPU) for other in others]
    return matching._swept, (here, others, labels, matching.SHEARS, transfers, matching._moments(here.gray, 2), 2)


def patchmatch_case(partners: int, masked: bool):
    frames, ws = scene(masked)
    planes = planes_of(ws[0])
    now = torch.stack([planes.w, planes.du, planes.dv])
    matcher = matching.SlantedMatcher(frames[0], frames[1 : 1 + partners])
    weights = torch.rand(partners, 120, 160, generator=chance(9)) * 0.5 + 0.5
    aim = patchmatch.Objective(0.004, ws[0], 0.05, weights, (0.05, float(ws[0].quantile(0.95))))
    candidates = patchmatch._candidates(now, aim.step, 0, [ws[0] * 1.01])
    return patchmatch.best_planes, (matcher, range(20, 101), candidates, aim)


def judge_case():
    frames, ws = scene(masked=True)
    small = torch.nn.functional.interpolate(ws[2][None, None], frames[2].size, mode="nearest-exact")[0, 0]
    known = [ws[0], ws[1], small, ws[3]]
    trust = [torch.rand(frame.size, generator=chance(i)) for i, frame in enumerate(frames)]
    judge = completion.Judge(frames[0], [(frames[i], known[i], trust[i]) for i in (1, 2, 3)])
    guesses = [planes_of(ws[0] * scale) for scale in (1.0, 1.06, 0.94)]
    guesses.append(matching.Planes(-ws[0], torch.zeros_like(ws[0]), torch.zeros_like(ws[0])))
    return completion.costs, (judge, guesses, ws[0] > ws[0].median())


def cues_case():
    _, (judge, guesses, _) = judge_case()
    alike = planes_of(guesses[0].w * 1.0005)
    return cues.gather, (judge, [*guesses, alike], range(10, 101))


def smoothed_case():
    frames, ws = scene()
    weights = torch.rand(ws[0].shape, generator=chance(10))
    return consistency.smoothed, (planes_of(ws[0]), weights, frames[0].image, 3, 2, 0.1, 0.02)


def flood_case():
    frames, ws = scene()
    known = torch.rand(ws[0].shape, generator=chance(3)) > 0.97
    known[:, 60:] = False
    return consistency.flood, (known, torch.rand(ws[0].shape, generator=chance(4)), frames[0].image, [64, 16, 4, 2, 1], 0.12, 6.0)


def median_case(only: bool):
    frames, ws = scene()
    chosen = torch.rand(ws[0].shape, generator=chance(5)) > 0.5 if only else None
    return consistency.weighted_median, (ws[0], torch.rand(ws[0].shape, generator=chance(6)), frames[0].image, 2, 3, 0.15, chosen)


def aggregation_case(small: float | None, depth: int):
    cost = torch.rand(40, 50, depth, generator=chance(7))
    return aggregation.semi_global, (cost, torch.rand(3, 40, 50, generator=chance(8)), small, 0.3, 0.06)


CASES = {
    "plane sweep": lambda: sweep_case(3, True),
    "plane sweep, one partner": lambda: sweep_case(1, False),
    "semi-global, ordered labels": lambda: aggregation_case(0.05, 33),
    "semi-global, labels without order": lambda: aggregation_case(None, 5),
    "slanted planes": lambda: patchmatch_case(3, True),
    "slanted planes, one partner": lambda: patchmatch_case(1, False),
    "hypotheses": judge_case,
    "cues": cues_case,
    "smoothed": smoothed_case,
    "slopes": lambda: (patchmatch.slopes, (scene()[1][0],)),
    "slopes of a wide window": lambda: (patchmatch.slopes, (scene()[1][0], 4, 0.02)),
    "weighted median": lambda: median_case(False),
    "weighted median of some": lambda: median_case(True),
    "flooding": flood_case,
    "support": lambda: (consistency.support, (planes_of(scene()[1][0]),)),
}


def outputs(result) -> list[torch.Tensor]:
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_does_what_its_reference_does(name):
    function, arguments = CASES[name]()
    for fast, slow in zip(outputs(function(*arguments)), outputs(function.reference(*arguments)), strict=True):
        assert fast.dtype == slow.dtype and fast.shape == slow.shape
        same = torch.isclose(fast, slow, rtol=1e-3, atol=2e-4)
        # where a point falls on the border of a pixel, rounding decides which pixel is looked at or which of two equals wins
        assert float(same.float().mean()) > 0.998, float((fast - slow).abs().max())
        assert float(slow.float().std()) > 0


@pytest.mark.parametrize("name", CASES)
def test_threads_change_nothing(name):
    function, arguments = CASES[name]()
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append([part.numpy().tobytes() for part in outputs(function(*arguments))])
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_the_device_decides():
    @compiled.on_cpu(lambda first, factor: ("kernel", factor))
    def work(first, factor):
        return "reference", factor

    assert work(torch.zeros(1), 2) == ("kernel", 2)
    assert work(SimpleNamespace(device=torch.device("cuda")), factor=3) == ("reference", 3)
    assert work.reference(torch.zeros(1), 4) == ("reference", 4)


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_every_item_is_done_once(count):
    done = np.zeros(count + 5, int)

    def mark(start: int, stop: int, array: np.ndarray) -> None:
        array[start:stop] += 1

    compiled.in_ranges(mark, range(5, 5 + count), done)
    assert done[5:].tolist() == [1] * count and not done[:5].any()


def test_what_a_kernel_raises_is_heard():
    def broken(start: int, stop: int) -> None:
        if stop > 90:
            raise ValueError("at the end")

    with pytest.raises(ValueError, match="at the end"):
        compiled.in_ranges(broken, range(100))
