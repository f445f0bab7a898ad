"""The learned aggregator: how likely each of several hypotheses about a pixel's depth is right.

A small U-Net sees the evidence for every hypothesis (see :mod:`cues`) and tells for each the chance that it is within 1 % and
within 2 % of the truth. The depth's confidence is its chance to be within 1 %: so it is calibrated by what it was trained on. The
depth stays the classical one: on rendered scenes that no training saw, taking the likeliest hypothesis instead (:func:`chosen`)
was a little worse, on the synthetic ones much better. Trained by ``python -m engine train --part depth``; its card is
docs/depth-model-card.md.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..job import sha256_of
from ..progress import EngineError
from .cues import CHANNELS, NEAR, SLOTS, SMOOTH, Findings, smooth, volume

WEIGHTS = Path(__file__).parent / "weights" / "aggregator.safetensors"
SHA256 = "ca2d29263546b234c93bce3d46da0e961f0cf54cf31ddc62084de7f883ef06de"
"""Of the shipped weights; others under their name are refused."""
LIMITS = (0.01, 0.02)
"""Relative errors of depth whose chances are told."""
GUESS = 0.03
"""Least confidence of a depth: frames are still better with an unlikely one than with a hole. Above it stands the chance as it
is, so that the likelier of two photos is believed."""
STANDS = 0.6
"""Classical confidence of a depth that is left as it was matched: smoothing it would cost detail."""
MARGIN = 0.4
"""By so much another hypothesis must be likelier than the smooth one to be taken, the chances of both LIMITS together."""
MULTIPLE = 16
"""Heights and widths must be multiples of this: the unshuffling by 2 times the three halvings of the U-Net."""
TILE, OVERLAP = 1024, 96
"""Most pixels a side of what goes through the network at once, and how many of them at a side, shared with the neighbouring tile,
are not used: as far as the network sees."""
STRIP = 64
"""Rows for which that is done at once which needs no surroundings: all of them would take much memory."""


class _Block(nn.Module):
    """Two convolutions beside the identity; nothing at first."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class AggregatorNet(nn.Module):
    """A U-Net at half resolution for the surroundings, and at full resolution a perceptron that sees the pixel's own evidence.

    No normalisation over space: what it says of a pixel depends on the pixel's surroundings only, so tiles equal the whole.
    """

    def __init__(
        self, channels: int = CHANNELS, slots: int = len(SLOTS), widths: Sequence[int] = (16, 32, 64, 128), context: int = 16
    ):
        super().__init__()
        self.config = {"channels": channels, "slots": slots, "widths": list(widths), "context": context}
        self.slots = slots
        self.stem = nn.Conv2d(4 * channels, widths[0], 1)
        self.down = nn.ModuleList(_Block(width) for width in widths)
        self.halve = nn.ModuleList(nn.Conv2d(a, b, 2, 2) for a, b in pairwise(widths))
        self.widen = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.spread = nn.Conv2d(widths[0], 4 * context, 1)
        self.hidden = nn.Conv2d(channels + context, 40, 1)
        self.head = nn.Conv2d(40, slots * len(LIMITS), 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, slots, 2, H, W) log-odds that a hypothesis is within each of LIMITS, from (N, channels, H, W)."""
        return self.odds(x, self.surroundings(x))

    def surroundings(self, x: Tensor) -> Tensor:
        """(N, widths[0], H/2, W/2) what is seen around the pixels of x (N, channels, H, W), which may be of half precision."""
        strips = (F.pixel_unshuffle(strip.to(self.stem.weight.dtype), 2) for strip in x.split(STRIP, 2))
        level = torch.cat([self.stem(strip) for strip in strips], 2)
        kept = []
        for block, halve in zip(self.down, self.halve):
            level = block(level)
            kept.append(level)
            level = halve(level)
        level = self.down[-1](level)
        for block, widen, beside in zip(reversed(self.up), reversed(self.widen), reversed(kept)):
            level = block(beside + F.interpolate(widen(level), scale_factor=2, mode="nearest"))
        return level

    def odds(self, x: Tensor, surroundings: Tensor) -> Tensor:
        """As :meth:`forward`, each pixel by itself."""
        context = F.pixel_shuffle(self.spread(surroundings), 2)[..., : x.shape[2], : x.shape[3]]
        # as one convolution of both joined, without the memory of joining them
        own, around = self.hidden.weight.split((x.shape[1], context.shape[1]), 1)
        odds = self.head(F.relu_(F.conv2d(x, own, self.hidden.bias).add_(F.conv2d(context, around))))
        return odds.unflatten(1, (self.slots, len(LIMITS)))


def classical(findings: Findings) -> tuple[Tensor, Tensor]:
    """Inverse depth and confidence (H, W) without the network."""
    return torch.where(findings.confidence >= STANDS, findings.chosen, smooth(findings, *NEAR)), findings.confidence


def learned(findings: Findings) -> tuple[Tensor, Tensor]:
    """The classical inverse depth (H, W), and as confidence (H, W) its chance to be within 1 %. Sky keeps its own."""
    return rated(_network(findings.chosen.device), findings)


def rated(net: AggregatorNet, findings: Findings) -> tuple[Tensor, Tensor]:
    """See :func:`learned`."""
    seen = volume(findings)
    chance, stands = chances(net, seen.channels)[:, 0], findings.confidence >= STANDS
    w = torch.where(stands, findings.chosen, seen.hypotheses[SMOOTH])
    return _with_sky(findings, w, torch.where(stands, chance[0], chance[SMOOTH]))


def chosen(net: AggregatorNet, findings: Findings) -> tuple[Tensor, Tensor]:
    """Inverse depth and confidence (H, W) of each pixel's likeliest hypothesis."""
    seen = volume(findings)
    chance = chances(net, seen.channels).masked_fill(seen.hypotheses[:, None] <= 0, -1)
    best = likeliest(chance)
    return _with_sky(findings, seen.hypotheses.gather(0, best)[0], chance[:, 0].gather(0, best)[0])


def likeliest(chance: Tensor) -> Tensor:
    """(1, H, W) number of each pixel's hypothesis; chance: (slots, 2, H, W), -1 where there is none."""
    score = chance.sum(1)
    score[SMOOTH] += MARGIN
    return score.argmax(0, keepdim=True)


def _with_sky(findings: Findings, w: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Sky is found by the classical steps and keeps their confidence."""
    sky = findings.chosen <= 0
    return torch.where(sky, findings.chosen, w), torch.where(sky, findings.confidence, confidence.clamp_min(GUESS))


@torch.inference_mode()
def chances(net: AggregatorNet, x: Tensor) -> Tensor:
    """(slots, 2, H, W) chances that each hypothesis is within each of LIMITS, from ``x`` (channels, H, W), in tiles.

    Tiles begin at multiples of MULTIPLE, so that the result is that of the whole.
    """
    height, width = x.shape[1:]
    out = torch.empty(net.slots, len(LIMITS), height, width, device=x.device)
    for top, bottom in _tiles(height):
        for left, right in _tiles(width):
            part = x[None, :, top:bottom, left:right]
            h, w = part.shape[2:]
            padded = F.pad(part, (0, -w % MULTIPLE, 0, -h % MULTIPLE), mode="replicate") if w % MULTIPLE or h % MULTIPLE else part
            around = net.surroundings(padded)
            # what lies near a tile's border, and not the picture's, is the neighbouring tile's
            y, z = (OVERLAP if start else 0 for start in (top, left))
            for row in range(y, h, STRIP):
                rows = slice(row, min(row + STRIP, h))
                found = net.odds(part[..., rows, z:].float(), around[..., row // 2 : -(-rows.stop // 2), z // 2 :])[0].sigmoid()
                out[..., top + rows.start : top + rows.stop, left + z : left + w] = found
    return out


def _tiles(size: int) -> Iterator[tuple[int, int]]:
    """Where tiles of about one length begin and end, along a side of ``size`` pixels."""
    inner = max(1, size - 2 * OVERLAP)
    step = -(-inner // -(-inner // (TILE - 2 * OVERLAP)))
    step += -step % MULTIPLE
    for start in range(0, inner, step):
        yield start, min(start + step + 2 * OVERLAP, size)


@functools.cache
def _network(device: torch.device) -> AggregatorNet:
    """The shipped network. Raises EngineError when its weights are damaged."""
    net = load_network(WEIGHTS)
    if sha256_of(WEIGHTS) != SHA256:
        raise EngineError(f"The depth model's weights {WEIGHTS} are not the published ones; install CloseUp again.", "weights")
    return net.to(device).eval()


def load_network(path: Path) -> AggregatorNet:
    """The network of a safetensors file. Raises EngineError when it is no such file."""
    try:
        with safe_open(str(path), framework="pt") as file:
            with torch.device("meta"):
                net = AggregatorNet(**json.loads(file.metadata()["config"]))
            net.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()}, assign=True)  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise EngineError(f"The depth model's weights {path} cannot be used ({why}); install CloseUp again.", "weights") from None
    return net
