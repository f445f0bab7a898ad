"""Train the depth aggregator: ``python -m engine train --part depth --out FOLDER [--minutes N] [--scenes N]``.

Synthetic scenes (see :mod:`rooms`) go through the classical stereo once; what it found is stored in ``FOLDER/volumes`` with what
the truth says of every hypothesis. The network then learns from these, in minutes on a CPU. The folder also gets ``log.jsonl``
and ``aggregator.safetensors``; where this stands already, training goes on from it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from ..device import autocast
from ..generation.textures import bank
from ..progress import Progress
from . import aggregator, rooms, stereo
from .aggregator import LIMITS, MULTIPLE, AggregatorNet
from .cues import SMOOTH, Volume, volume

HELD_OUT = 10**8
"""Scenes from here on are never trained on."""
TEXTURES = 24
SCENES_PER_BANK = 12
"""New textures are drawn after so many scenes."""
SIZES = ((256, 192), (256, 192), (256, 192), (480, 360))
"""Width and height of the photos, in turn: small ones are many for their cost, larger ones are more like what will be asked."""
SCALE = 100
"""Of the network's input as whole numbers of 8 bits."""
CROP = 192
"""Pixels a side of what is trained on."""
OTHERS = 0.3
"""Weight of what is learned of the other hypotheses, against that of the smooth one."""
SURE = 0.8
"""Confidence that is called confident."""
REPORT = 180
"""Seconds between two lines of the log."""
NAME = "aggregator.safetensors"


@dataclass(frozen=True)
class Options:
    """What a training run is: scenes to make, minutes to train, or steps where there are some, and the rest."""

    out: Path
    scenes: int = 120
    held_out: int = 8
    minutes: float = 20.0
    steps: int = 0
    batch: int = 4
    rate: float = 2e-3
    seed: int = 0


# --- samples -------------------------------------------------------------------


def make(folder: Path, seeds: Sequence[int], progress: Progress | None = None) -> None:
    """Store the volumes of the scenes ``seeds`` that are not there yet, one file a photo."""
    folder.mkdir(parents=True, exist_ok=True)
    textures, drawn = None, None
    for seed in seeds:
        if any(folder.glob(f"{seed}-*.npz")):
            continue
        if drawn != seed // SCENES_PER_BANK:
            drawn = seed // SCENES_PER_BANK
            textures = bank(drawn, TEXTURES, torch.device("cpu"))
        photos, truths = rooms.photos(seed, textures, *SIZES[seed % len(SIZES)])
        for number, (found, truth) in enumerate(zip(volumes(photos, progress or Progress()), truths)):
            store(folder / f"{seed}-{number}.npz", found, truth)


def volumes(photos, progress: Progress) -> list[Volume]:
    """What the network is told about each photo of which depth can be measured."""
    found = []

    def listen(findings) -> tuple[Tensor, Tensor]:
        found.append(volume(findings))
        return aggregator.classical(findings)

    stereo.estimate(photos, torch.device("cpu"), progress, aggregate=listen)
    return found


def store(path: Path, found: Volume, truth: np.ndarray) -> None:
    """The input as 8 bits, and how many of LIMITS each hypothesis truly breaks; more than there are where it is missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(1 / found.hypotheses.numpy() / truth - 1)
    broken = sum((~(error < limit)).astype(np.uint8) for limit in LIMITS)
    broken[found.hypotheses.numpy() <= 0] = len(LIMITS) + 1
    x = (found.channels.float() * SCALE).round().clamp(-127, 127).to(torch.int8).numpy()
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as stream:
        np.savez(stream, x=x, broken=broken)
    os.replace(temporary, path)


def load(path: Path) -> tuple[Tensor, Tensor]:
    """Input (C, H, W) and broken limits (L, H, W), cut to a multiple of what the network takes."""
    data = np.load(path)
    x, broken = torch.from_numpy(data["x"]), torch.from_numpy(data["broken"])
    height, width = (size // MULTIPLE * MULTIPLE for size in x.shape[1:])
    return x[:, :height, :width], broken[:, :height, :width]


def batch(samples: list[tuple[Tensor, Tensor]], size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Crops of random samples, at times mirrored; a larger photo is as often taken as its pixels are many."""
    weights = np.array([broken[0].numel() for _, broken in samples], float)
    xs, ys = [], []
    for pick in rng.choice(len(samples), size, p=weights / weights.sum()):
        x, broken = samples[pick]
        top, left = (int(rng.integers(0, n - CROP + 1)) for n in x.shape[1:])
        x, broken = (part[:, top : top + CROP, left : left + CROP] for part in (x, broken))
        flips = [axis for axis in (1, 2) if rng.random() < 0.5]
        xs.append(x.flip(flips))
        ys.append(broken.flip(flips))
    return torch.stack(xs).float() / SCALE, torch.stack(ys)


# --- training ------------------------------------------------------------------


def loss_of(odds: Tensor, broken: Tensor) -> Tensor:
    """Cross-entropy of log-odds (N, L, 2, H, W), by how many limits (N, L, H, W) are truly broken; missing ones do not count."""
    right = torch.stack([broken <= number for number in range(len(LIMITS))], 2).float()
    weight = (broken <= len(LIMITS)).float()
    weight *= torch.where(torch.arange(weight.shape[1]) == SMOOTH, 1.0, OTHERS)[:, None, None]
    losses = F.binary_cross_entropy_with_logits(odds, right, reduction="none").mean(2)
    return (losses * weight).sum() / weight.sum()


def train(options: Options, samples, held_out) -> AggregatorNet:
    """The network after ``options.minutes``; the log gets a line every REPORT seconds."""
    torch.manual_seed(options.seed)
    rng = np.random.default_rng([options.seed, 7])
    weights = options.out / NAME
    net = aggregator.load_network(weights) if weights.exists() else AggregatorNet()
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=1e-3)
    start, said, step, counted, total = time.monotonic(), 0.0, 0, 0, 0.0

    def done() -> float:
        return step / options.steps if options.steps else (time.monotonic() - start) / (60 * options.minutes)

    while (part := done()) < 1:
        warm = min(1.0, (step + 1) / 50)
        for group in optimizer.param_groups:
            group["lr"] = options.rate * warm * 0.5 * (1 + np.cos(np.pi * part))
        x, broken = batch(samples, options.batch, rng)
        with autocast(torch.device("cpu")):
            odds = net(x.contiguous(memory_format=torch.channels_last))
        loss = loss_of(odds.float(), broken)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step, total = step + 1, total + float(loss.detach())
        if time.monotonic() - start > said + REPORT:
            said = time.monotonic() - start
            loss = round(total / (step - counted), 4)
            _log(options, {"step": step, "seconds": round(said), "loss": loss, **evaluate(net, held_out)})
            total, counted = 0.0, step
    measured = evaluate(net, held_out)
    _log(options, {"step": step, **measured})
    export(net, options, step, measured)
    return net


@torch.inference_mode()
def evaluate(net: AggregatorNet, samples) -> dict[str, float]:
    """Shares of pixels within LIMITS, of the classical depth and of the likeliest hypothesis; of the former's confidence the
    calibration error, the share that is as sure as SURE, and how many of these are within the second limit."""
    rows = []
    for x, broken in samples:
        chance = net(x[None].float() / SCALE)[0].sigmoid().masked_fill(broken[:, None] > len(LIMITS), -1)
        there = broken[SMOOTH] <= len(LIMITS)
        best = aggregator.likeliest(chance)
        rows.append(torch.stack([broken[SMOOTH], broken.gather(0, best)[0], chance[SMOOTH, 0]])[:, there])
    classical, chosen, confidence = torch.cat(rows, 1)
    bins = (confidence * 10).long().clamp(0, 9)
    off = sum(abs(float(((classical == 0).float() - confidence)[bins == number].sum())) for number in range(10)) / len(bins)
    sure = confidence >= SURE
    found = {"confident": float(sure.float().mean()), "calibration": off}
    found["confident right"] = float((classical[sure] <= 1).float().mean())
    for number, limit in enumerate(LIMITS):
        for name, broken in (("classical", classical), ("chosen", chosen)):
            found[f"{name} {limit}"] = float((broken <= number).float().mean())
    return {name: round(value, 4) for name, value in found.items()}


def export(net: AggregatorNet, options: Options, steps: int, held_out: dict) -> None:
    """The weights as float16 safetensors, with what made them."""
    metadata = {"config": json.dumps(net.config), "steps": str(steps), "scenes": str(options.scenes)}
    metadata |= {"seed": str(options.seed), "held_out": json.dumps(held_out)}
    tensors = {name: x.detach().half().contiguous() for name, x in net.state_dict().items()}
    save_file(tensors, str(options.out / NAME), metadata=metadata)


def _log(options: Options, line: dict) -> None:
    with open(options.out / "log.jsonl", "a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def main(argv: Sequence[str]) -> None:
    """Make what is missing of the samples, and train."""
    parser = argparse.ArgumentParser(prog="engine train --part depth", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    for name, kind in (("scenes", int), ("held_out", int), ("minutes", float), ("steps", int), ("batch", int), ("seed", int)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=getattr(Options, name))
    options = Options(**vars(parser.parse_args(argv)))
    folder = options.out / "volumes"
    seeds, others = range(options.scenes), range(HELD_OUT, HELD_OUT + options.held_out)
    make(folder, [*others, *seeds])
    samples, held_out = (
        [load(path) for seed in part for path in sorted(folder.glob(f"{seed}-*.npz"))] for part in (seeds, others)
    )
    train(options, samples, held_out)
