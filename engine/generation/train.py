"""Train the embedded generator: ``python -m engine train --out FOLDER [--minutes N] [--resume] [--device cuda]``.

Samples of the synthetic world go through our own conditioning; a second process makes them while the first one trains. The
folder holds ``samples/`` (shards), ``checkpoint.pt`` (everything to go on from, written every minute), ``log.jsonl`` (one
line per report, to be plotted) and ``embedded.safetensors`` (the best averaged weights on the held-out set so far).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..device import autocast, pick
from ..progress import EngineError
from ..records import CAPTURED
from .held_out import HeldOut, evaluate, held_out_sets
from .interface import restored
from .model import MULTIPLE, BridgeUNet, box_mean, bridge_start
from .samples import CHANNELS, Samples, fill, unpack, work

ROLLOUT_TIMES = (0.75, 0.5, 0.25)
ERROR_SHARE = 0.3
"""Weight of the squared error's logarithm in the objective, beside that of the loss's."""


@dataclass(frozen=True)
class Options:
    """Of one training, see the command line's help; kept with the weights."""

    out: str
    minutes: float = 0.0
    steps: int = 0
    device: str = "cpu"
    seed: int = 0
    samples: int = 4096
    size: int = 128
    crop: int = 96
    batch: int = 8
    rate: float = 6e-4
    widths: tuple[int, ...] = (64, 96, 128)
    blocks: int = 1
    save_every: float = 60.0
    report_every: float = 300.0
    workers: int = 1
    start: str = ""
    keep: float = 0.0
    pictures: str = ""
    memory_only: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """The command line's ``train``. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine train", description="Train the embedded generator.")
    parser.add_argument("--out", required=True, help="folder of samples, checkpoint, log and weights")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    helps = {
        "minutes": "stop after this time, waits for samples included",
        "steps": "stop after this many steps",
        "device": "cpu, cuda or mps",
        "samples": "how many samples are made",
        "size": "pixels a side of a sample, a multiple of 16",
        "crop": "pixels a side of what one step sees of a sample",
        "rate": "peak learning rate",
        "widths": "channels at 1/4, 1/8 and 1/16 of the resolution",
        "blocks": "residual blocks per resolution and side",
        "save_every": "seconds between checkpoints",
        "report_every": "seconds between looks at the held-out set",
        "memory_only": "the scene memory learns, upon a network that stays as it started",
        "start": "weights to start from, of a file as training leaves it; what they lack starts as it would without",
        "keep": "share of the weights it started from in those that are written (Wortsman et al. 2022, WiSE-FT)",
        "pictures": "a folder of photos; pieces of them are textures beside the drawn ones",
        "workers": "processes that make samples while training goes on; 0: make them all first",
    }
    for field in fields(Options)[1:]:
        name = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            how = {"action": "store_true"}
        elif isinstance(field.default, tuple):
            how = {"type": int, "nargs": len(field.default)}
        else:
            how = {"type": type(field.default)}
        parser.add_argument(name, default=field.default, help=helps.get(field.name), **how)
    arguments = vars(parser.parse_args(argv))
    resume = arguments.pop("resume")
    options = Options(**{**arguments, "widths": tuple(arguments["widths"])})
    if not 0 <= options.keep < 1 or (options.keep and not options.start):
        parser.error("--keep is a share, 0 to 1, of the weights that --start names")
    if not (options.minutes or options.steps):
        parser.error("give --minutes or --steps")
    if options.crop % MULTIPLE or not 2 * MULTIPLE <= options.crop <= options.size or options.size % MULTIPLE:
        parser.error(f"--size and --crop must be multiples of {MULTIPLE}, {2 * MULTIPLE} at least, --crop the smaller")
    try:
        train(options, resume)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


# --- the loop ----------------------------------------------------------------


class Trainer:
    """Network, average, optimiser and counters: all that a checkpoint holds."""

    def __init__(self, options: Options):
        torch.manual_seed(options.seed)
        self.options = options
        self.device = torch.device(options.device)
        self.net = BridgeUNet(options.widths, options.blocks).to(self.device, memory_format=torch.channels_last)
        if options.start:
            self.net.load_state_dict(load_file(options.start), strict=False)
        self.average = BridgeUNet(options.widths, options.blocks).to(self.device, memory_format=torch.channels_last)
        self.average.load_state_dict(self.net.state_dict())
        if options.memory_only:
            self.net.requires_grad_(False)
            for part in (self.net.memory.look, self.net.memory.ask, self.net.memory.judge, self.net.memory.take):
                part.requires_grad_(True)
        learning = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(learning, options.rate, betas=(0.9, 0.98), weight_decay=1e-3)
        self.step, self.seconds, self.best = 0, 0.0, 0.0

    def result(self) -> BridgeUNet:
        """The averaged weights, mixed with those it started from where these are to be kept in part.

        What is new is learned of few samples; half way less is forgotten of what was learned of many.
        """
        if not self.options.keep:
            return self.average
        mixed, given = copy.deepcopy(self.average), load_file(self.options.start, device=str(self.device))
        with torch.no_grad():
            for name, parameter in mixed.named_parameters():
                if name in given:
                    parameter.lerp_(given[name].float(), self.options.keep)
        return mixed

    def save(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "options": asdict(self.options),
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "counters": [self.step, self.seconds, self.best],
        }
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint. Raises EngineError when it is missing or of another network."""
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
        except (OSError, KeyError, RuntimeError) as error:
            raise EngineError(f"The checkpoint {path} cannot be used ({error}); train without --resume.", "checkpoint") from None
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.best = state["counters"]

    def advance(self, batch: Tensor) -> float:
        """One step on packed samples (N, CHANNELS, H, W); the loss. All that is random follows from seed and step."""
        generator = torch.Generator().manual_seed(self.options.seed * 1_000_003 + self.step)
        batch = augment(batch.to(self.device), self.options.crop, generator)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate * self._schedule()
        amp = autocast(self.device)
        with amp:
            prediction, truth = predict(self.net, batch, generator)
        loss = objective(restored(prediction.float(), batch[:, :3], batch[:, 3:4], batch[:, 4:5]), truth)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        self.optimizer.step()
        self.step += 1
        decay = min(0.996, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for average, new in zip(self.average.parameters(), self.net.parameters()):
                average.lerp_(new, 1 - decay)
        return loss.item()

    def fraction(self) -> float:
        """How much of the training is done, 0..1 and beyond."""
        options = self.options
        by_steps = self.step / options.steps if options.steps else 0.0
        return max(by_steps, self.seconds / (60 * options.minutes) if options.minutes else 0.0)

    def _schedule(self) -> float:
        """Linear warm-up, then half a cosine down to 2%."""
        warm = min(1.0, (self.step + 1) / 100)
        return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, self.fraction()))))


def train(options: Options, resume: bool = False) -> Trainer:
    """Train until the time or the steps are over; see the module. Returns the Trainer as it ended."""
    folder = Path(options.out)
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    trainer = Trainer(replace(options, device=str(pick(options.device))))
    if resume:
        trainer.load(folder / "checkpoint.pt")
    context = multiprocessing.get_context("spawn")
    arguments = (folder / "samples", options.samples, options.size, options.seed, options.device, options.pictures)
    turns = [(os.getpid(), *arguments, number, options.workers) for number in range(options.workers)]
    workers = [context.Process(target=work, args=turn, daemon=True) for turn in turns]
    for worker in workers:
        worker.start()
    if not workers:
        fill(*arguments)
    try:
        _loop(trainer, folder)
    finally:
        for worker in workers:
            worker.terminate()
    return trainer


def _loop(trainer: Trainer, folder: Path) -> None:
    options = trainer.options
    samples = Samples(folder / "samples")
    held_out = held_out_sets(folder / "samples", options.size, torch.device(options.device))
    last = saved = reported = time.monotonic()
    losses: list[float] = []
    while trainer.fraction() < 1:
        if not samples.refresh(options.batch):
            time.sleep(1)
        else:
            losses.append(trainer.advance(samples.batch(options.batch, options.seed, trainer.step)))
        now = time.monotonic()
        trainer.seconds += now - last
        last = now
        if losses and now - reported > options.report_every:
            _report(trainer, folder, held_out, losses, len(samples))
            reported, losses = time.monotonic(), []
        if now - saved > options.save_every:
            trainer.save(folder / "checkpoint.pt")
            saved = time.monotonic()
    _report(trainer, folder, held_out, losses, len(samples))
    trainer.save(folder / "checkpoint.pt")


def _report(trainer: Trainer, folder: Path, held_out: dict[str, HeldOut], losses: list[float], count: int) -> None:
    """Write a line of the log, and the weights when they are the best so far on both held-out sets."""
    net = trainer.result()
    rows = evaluate(net, *held_out["corrupted"])
    rows["measured"] = evaluate(net, *held_out["measured"])["all"]
    gains = [rows[name] for name in ("all", "measured")]
    score = float(np.mean([gain["psnr_gain"] + 10 * gain["haarpsi_gain"] - 10 * gain["gmsd_gain"] for gain in gains]))
    line = {"step": trainer.step, "seconds": round(trainer.seconds, 1), "samples": count, "score": round(score, 4)}
    line["loss"] = round(float(np.mean(losses)), 6) if losses else None
    with open(folder / "log.jsonl", "a", encoding="utf-8") as stream:
        stream.write(json.dumps({**line, "held_out": rows}) + "\n")
    if score > trainer.best:
        trainer.best = score
        export(trainer, folder / "embedded.safetensors", rows)


# --- the objective -----------------------------------------------------------


def augment(batch: Tensor, crop: int, generator: torch.Generator) -> Tensor:
    """Crop, turn and mirror, swap colour channels and change contrast: the same for condition, projection and truth."""
    turns, flip, contrast, forget, *place = torch.rand(6, generator=generator).tolist()
    size = batch.shape[-1]
    top, left = (int(share * (max(0, size - crop) + 1)) for share in place)
    batch = batch[..., top : top + crop, left : left + crop].contiguous()
    batch = torch.rot90(batch, int(4 * turns), (2, 3)).contiguous()
    batch = (batch.flip(3) if flip < 0.5 else batch).float()
    swap = torch.randperm(3, generator=generator)
    gamma = 0.7 + 0.7 * contrast
    for first in (0, 6, 10, *range(CHANNELS, batch.shape[1], CAPTURED)):
        batch[:, first : first + 3] = batch[:, first + swap].clamp(min=0) ** gamma
    if forget < 0.1:  # it must do without memory, too
        batch[:, CHANNELS:] = 0
    return batch


def predict(net: BridgeUNet, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The network's x0 and the truth. Most steps are at the bridge's start; the others go on from the network's own first
    prediction, rarely from the truth: what it will see when it is called again is its own work."""
    *known, truth = unpack(batch)
    noise = torch.randn(truth.shape, generator=generator).to(truth.device)
    x1 = bridge_start(known[0], noise)
    start = torch.ones(len(truth), device=truth.device)
    draw = torch.rand(3, generator=generator).tolist()
    if draw[0] < 0.85:
        return net(x1, start, *known), truth
    with torch.no_grad():
        first = net(x1, start, *known).float()
    if draw[1] < 0.15:
        first = truth
    time_ = ROLLOUT_TIMES[int(draw[2] * len(ROLLOUT_TIMES))]
    return net((1 - time_) * first + time_ * x1, time_ * start, *known), truth


def objective(a: Tensor, b: Tensor) -> Tensor:
    """Mean logarithm of each sample's loss and, in part, of its squared error, of (N, 3, H, W) against the truth ``b``.

    What counts is by what factor a sample gets better. Else those whose depth is lost, with errors ten times as large, would be
    nearly all that is learned.
    """
    error = (a - b).square().mean((1, 2, 3))
    return ((reconstruction_loss(a, b) + 1e-2).log() + ERROR_SHARE * (error + 1e-4).log()).mean()


def reconstruction_loss(a: Tensor, b: Tensor) -> Tensor:
    """(N,) Charbonnier, differences of neighbours, and structure at three scales, of (N, 3, H, W) against the truth ``b``."""
    loss = ((a - b).square() + 1e-6).sqrt().mean((1, 2, 3))
    for axis in (2, 3):
        loss = loss + 0.25 * (a.diff(dim=axis) - b.diff(dim=axis)).abs().mean((1, 2, 3))
    return loss + 0.1 * (1 - _ssim(a, b)) + 0.25 * (1 - haar_similarity(a, b))


def haar_similarity(a: Tensor, b: Tensor) -> Tensor:
    """(N,) the heart of HaarPSI (Reisenhofer et al. 2018) as a smooth mean: a blurred edge loses, one a pixel off hardly does.

    Without it, what minimises the error is blur wherever the condition is doubtful.
    """
    luma = torch.tensor([0.299, 0.587, 0.114], device=a.device).reshape(1, 3, 1, 1) * 255
    a, b = (F.avg_pool2d((x * luma).sum(1, keepdim=True), 2) for x in (a, b))

    def coefficients(x: Tensor, size: int) -> Tensor:
        step = torch.ones(size, size, device=x.device) / size
        step[size // 2 :] *= -1
        x = F.pad(x, (size // 2 - 1, size // 2, size // 2 - 1, size // 2), mode="replicate")
        return F.conv2d(x, torch.stack([step, step.T])[:, None]).abs()

    weight = coefficients(b, 8) + 1
    similarity = 0.0
    for size in (2, 4):
        x, y = coefficients(a, size), coefficients(b, size)
        similarity = similarity + 0.5 * (2 * x * y + 30) / (x * x + y * y + 30)
    return (similarity * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    """(N,) mean structural similarity (Wang et al. 2004) with a 7×7 box for a window."""

    def blur(x: Tensor) -> Tensor:
        return box_mean(x, 7)[..., 3:-3, 3:-3]

    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean((1, 2, 3))


# --- what stays -------------------------------------------------------------


def export(trainer: Trainer, path: Path, held_out: dict) -> None:
    """The averaged weights as float16 safetensors, with what made them."""
    command = ["python", "-m", "engine", "train", *sys.argv[2:]] if sys.argv[1:2] == ["train"] else sys.argv
    metadata = {
        "config": json.dumps(trainer.average.size),
        "steps": str(trainer.step),
        "seed": str(trainer.options.seed),
        "options": json.dumps({**asdict(trainer.options), "out": "OUT", "start": Path(trainer.options.start).name}),
        "command": " ".join(command),
        "held_out": json.dumps(held_out),
    }
    tensors = {name: x.detach().half().cpu().contiguous() for name, x in trainer.result().state_dict().items()}
    temporary = path.with_suffix(".tmp")
    save_file(tensors, str(temporary), metadata=metadata)
    os.replace(temporary, path)
