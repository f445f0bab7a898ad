"""What is never trained on: two sets of samples, the same whatever the training's seed, and what a network does to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..device import autocast
from ..evaluation import gmsd, haarpsi, psnr
from .interface import restored
from .model import BridgeUNet, sample
from .samples import HELD_OUT, TEXTURES, packed, packed_room, unpack, write
from .textures import bank
from .world import sample_views

BANDS = ((1, 2), (2, 4), (4, 8))
"""Zoom bands that are reported apart."""
PER_BAND = 16
ROOMS, PER_ROOM = 8, 4
HeldOut = tuple[Tensor, list[float]]
"""Packed samples and their zooms."""


def held_out_sets(folder: Path, size: int, device: torch.device) -> dict[str, HeldOut]:
    """The sets, made where ``folder`` does not have them: of the ray-cast world, equally many per band of zoom, with depth
    corrupted; and of rooms, with depth as our stereo measures it."""
    found = {}
    for name, make in (("corrupted", _corrupted), ("measured", _measured)):
        path = folder / f"held-out-{name}-{size}.npy"
        if not path.exists():
            write(path, make(size, device), size)
        data = np.load(path)
        found[name] = torch.from_numpy(data["pixels"]), data["zoom"].tolist()
    return found


def _corrupted(size: int, device: torch.device) -> list[tuple[np.ndarray, float]]:
    textures = bank(HELD_OUT, TEXTURES, device)
    zooms = [low * (high / low) ** ((i + 0.5) / PER_BAND) for low, high in BANDS for i in range(PER_BAND)]
    return [packed(sample_views(HELD_OUT + i, textures, size, device, zoom), device) for i, zoom in enumerate(zooms)]


def _measured(size: int, device: torch.device) -> list[tuple[np.ndarray, float]]:
    textures = bank(HELD_OUT, TEXTURES, device)
    return [row for room in range(ROOMS) for row in packed_room(HELD_OUT + room, textures, size, PER_ROOM, device)]


@torch.no_grad()
def evaluate(net: BridgeUNet, pixels: Tensor, zooms: list[float], steps: int = 4) -> dict[str, dict[str, float]]:
    """Per band of zoom and for all: metrics of the condition, their mean change, and the share of samples that got better."""
    device = next(net.parameters()).device
    rows = []
    for index in range(len(pixels)):
        batch = pixels[index : index + 1].to(device).float()
        *known, truth = unpack(batch)
        noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0)).to(device)
        with autocast(device):
            frame = sample(net, *known, noise, steps).float()
        frame = restored(frame, batch[:, :3], batch[:, 3:4], batch[:, 4:5])
        a, b, c = (x[0].permute(1, 2, 0).cpu().numpy() for x in (frame, truth, known[0][:, :3]))
        rows.append([[metric(x, b) for metric in (psnr, haarpsi, gmsd)] for x in (c, a)])
    table = np.array(rows)
    bands = {f"{low}-{high}": [low <= z < high for z in zooms] for low, high in BANDS}
    return {name: _row(table[keep]) for name, keep in {**bands, "all": [True] * len(zooms)}.items() if any(keep)}


def _row(table: np.ndarray) -> dict[str, float]:
    condition, result = table[:, 0], table[:, 1]
    row = {}
    for column, (name, sign) in enumerate((("psnr", 1), ("haarpsi", 1), ("gmsd", -1))):
        gain = result[:, column] - condition[:, column]
        row[name] = round(float(condition[:, column].mean()), 4)
        row[f"{name}_gain"] = round(float(gain.mean()), 4)
        row[f"{name}_better"] = round(float((sign * gain > 0).mean()), 3)
    return row
