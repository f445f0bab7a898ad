"""Training samples as files: the synthetic world's photos, through our own conditioning, packed into shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import lifeline
from ..camera import unproject
from ..conditioning import Warper
from ..geometry.accord import reconciled_views
from ..memory import remembering
from ..records import CAPTURED, Condition, PointCloud, View
from .measured import measured
from .model import network_inputs
from .surfaces import surface_views
from .textures import Bank, bank
from .world import Sample, sample_views

CHANNELS = 13
"""rgb 3, level, confidence, depth, global_rgb 3, global_depth, truth 3."""
VIEWS = 4
"""Captured views beside them, CAPTURED planes each; samples have no more photos."""
SHARD = 32
"""Samples in a file."""
TEXTURES = 48
KINDS = ("world", "surface", "surface", "measured", "measured", "measured")
"""What the shards hold, in turn: the ray-cast world, single surfaces, which are cheap, and rooms whose depth was measured."""
PER_ROOM = 16
"""Close-ups of one room."""
SHARDS_PER_BANK = 8
"""New textures are drawn after so many shards."""
PHOTOS = (".jpg", ".jpeg", ".png")
HELD_OUT = 10**8
"""Seeds from here on are never trained on."""


def record(size: int) -> np.dtype:
    """A sample on disk."""
    return np.dtype([("pixels", np.float16, (CHANNELS + VIEWS * CAPTURED, size, size)), ("zoom", np.float32)])


def pack(condition: Condition, truth: np.ndarray) -> np.ndarray:
    """(CHANNELS + VIEWS * CAPTURED, H, W) float16; views that are not there are 0."""
    planes = [condition.rgb, condition.level, condition.confidence, condition.depth]
    planes += [condition.global_rgb, condition.global_depth, truth]
    planes = [np.atleast_3d(np.asarray(x, np.float32)) for x in planes]
    views = condition.captured()[:VIEWS].reshape(-1, *truth.shape[:2])
    rest = np.zeros((VIEWS * CAPTURED - len(views), *truth.shape[:2]))
    return np.concatenate([np.concatenate(planes, 2).transpose(2, 0, 1), views, rest]).astype(np.float16)


def unpack(batch: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The network's condition, projection and captured views, and the truth, of packed samples."""
    rgb, level, confidence, depth, global_rgb, global_depth, truth = batch[:, :CHANNELS].split([3, 1, 1, 1, 3, 1, 3], 1)
    return *network_inputs(rgb, level, confidence, depth, global_rgb, global_depth), batch[:, CHANNELS:], truth


def condition_of(sample: Sample, device: torch.device) -> Condition:
    """What our conditioning makes of a sample's photos, once their depths have come together as those of our stereo do."""
    return remembering(warper_of(reconciled_views(sample.views), device), sample.camera)


def warper_of(views: list[View], device: torch.device) -> Warper:
    """Of a scene's views and the cloud of their points."""
    return Warper(views, device, cloud_of(views))


def cloud_of(views: Sequence[View], least: float = 0.4) -> PointCloud:
    """The views' points with at least that confidence, every second one: the fused cloud is thinned, too."""
    points, colors, confidence, source = [], [], [], []
    for index, view in enumerate(views):
        keep = (view.confidence > least) & (view.depth > 0) & np.isfinite(view.depth)
        keep[::2, ::2] = keep[1::2, 1::2] = False
        points.append(unproject(view.camera, np.where(keep, view.depth, 0))[keep].astype(np.float32))
        colors.append((view.image[keep] * 255).astype(np.uint8))
        confidence.append(view.confidence[keep])
        source.append(np.full(keep.sum(), index, np.int16))
    points = np.concatenate(points)
    return PointCloud(points, np.concatenate(colors), np.zeros_like(points), np.concatenate(confidence), np.concatenate(source))


def rows_of(kind: str, seeds: Sequence[int], size: int, textures: Bank, device: torch.device) -> list[tuple[np.ndarray, float]]:
    """The samples ``seeds`` of one of KINDS, packed, and their zooms."""
    if kind == "measured":
        counts = {seed: min(PER_ROOM, seeds[-1] + 1 - seed) for seed in seeds[::PER_ROOM]}
        return [row for seed, count in counts.items() for row in packed_room(seed, textures, size, count, device)]
    if kind == "surface":
        return [packed(surface_views(seed, textures, size), device) for seed in seeds]
    return [packed(sample_views(seed, textures, size, device), device) for seed in seeds]


def packed_room(seed: int, textures: Bank, size: int, count: int, device: torch.device) -> list[tuple[np.ndarray, float]]:
    """``count`` close-ups of room number ``seed`` (see :mod:`measured`), packed, and their zooms."""
    return [(pack(condition, truth), zoom) for condition, truth, zoom in measured(seed, textures, size, count, device)]


def packed(sample: Sample, device: torch.device) -> tuple[np.ndarray, float]:
    """A sample on disk: its planes, and its zoom."""
    return pack(condition_of(sample, device), sample.truth), sample.zoom


def write(path: Path, rows: list[tuple[np.ndarray, float]], size: int) -> None:
    """Write packed samples and their zooms as one file, whole or not at all."""
    data = np.array(rows, record(size))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as stream:
        np.save(stream, data)
    os.replace(temporary, path)


def fill(
    folder: Path, count: int, size: int, seed: int, device: str, pictures: str = "", worker: int = 0, workers: int = 1
) -> None:
    """Make what is missing of ``count`` samples; one of ``workers`` processes that share the work. pictures: a folder of photos
    of which textures may be taken."""
    torch.set_num_threads(1)
    target = torch.device(device)
    photos = sorted(path for path in Path(pictures).rglob("*") if path.suffix.lower() in PHOTOS) if pictures else []
    textures, drawn = None, None
    for shard in range(worker, -(-count // SHARD), workers):
        path = folder / f"shard-{size}-{seed}-{shard:05d}.npy"
        if path.exists():
            continue
        if drawn != shard // SHARDS_PER_BANK:
            drawn = shard // SHARDS_PER_BANK
            textures = bank(seed * 100_003 + drawn, TEXTURES, target, photos)
        first = seed * 1_000_003 + shard * SHARD
        seeds = range(first, first + min(SHARD, count - shard * SHARD))
        write(path, rows_of(KINDS[shard % len(KINDS)], seeds, size, textures, target), size)


def work(training: int, *arguments) -> None:
    """:func:`fill` in a process of its own, which ends with the process ``training`` that started it."""
    lifeline.hold(training)
    fill(*arguments)


class Samples:
    """The shards of a folder, mapped into memory, as they appear."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.shards: dict[str, np.ndarray] = {}
        self.calls = 0

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards.values())

    def refresh(self, needed: int) -> bool:
        """Look for new shards now and then; whether there are ``needed`` samples."""
        if self.calls % 50 == 0 or len(self) < needed:
            for path in sorted(self.folder.glob("shard-*.npy")):
                if path.name not in self.shards:
                    self.shards[path.name] = np.load(path, mmap_mode="r")
        self.calls += 1
        return len(self) >= needed

    def batch(self, size: int, seed: int, step: int) -> Tensor:
        """(size, CHANNELS + VIEWS * CAPTURED, H, W) float16, drawn by seed and step from what is there."""
        rng = np.random.default_rng([seed, step, 3])
        shards = list(self.shards.values())
        sizes = np.cumsum([len(shard) for shard in shards])
        picks = rng.choice(sizes[-1], size, replace=False)
        rows = []
        for pick in picks:
            shard = int(np.searchsorted(sizes, pick, side="right"))
            rows.append(shards[shard][int(pick) - (int(sizes[shard - 1]) if shard else 0)]["pixels"])
        return torch.from_numpy(np.stack(rows))
