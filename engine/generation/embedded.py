"""The embedded backend: our own small bridge model, shipped with the extension, on any device without a download."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..device import likes_bfloat16
from ..job import GeneratorSettings, sha256_of
from ..progress import EngineError, Progress, is_out_of_memory
from ..records import CAPTURED, Condition
from .interface import put_back
from .model import MULTIPLE, BridgeUNet, network_inputs, sample

WEIGHTS = Path(__file__).parent / "weights" / "embedded.safetensors"
SHA256 = "d7b2bc8ce355ad3169581401a11e83bc6d373369cb0bacc7d8b14c2c7f97ab20"
"""Of the shipped weights; others under their name are refused."""
TILE_PIXELS = 2 * 1024 * 1024
"""A frame larger than this goes through the network in tiles: about 1 GB of memory each."""
OVERLAP = 192
"""Pixels that neighbouring tiles share; the outer half sees the tile's edge and is not used."""
SMALLEST_TILE = 2 * OVERLAP


class EmbeddedBackend:
    """Frames by :class:`.model.BridgeUNet`. ``weights`` defaults to the shipped ones; see docs/model-card.md."""

    name = "embedded"
    steady = False
    inventive = True

    def __init__(self, device: torch.device, weights: Path = WEIGHTS):
        self.device = torch.device(device)
        net = load_network(weights)
        self.version = sha256_of(weights)
        if weights == WEIGHTS and self.version != SHA256:
            raise EngineError(f"The generator's weights {weights} are not the published ones; install CloseUp again.", "weights")
        dtype = torch.bfloat16 if likes_bfloat16(self.device) else torch.float32
        self.net = net.to(self.device, dtype=dtype, memory_format=torch.channels_last).eval()

    def generate(self, conditions: Sequence[Condition], settings: GeneratorSettings, progress: Progress) -> list[np.ndarray]:
        """See Backend. Every frame starts from the same noise, so that holes do not flicker."""
        return [self._frame(condition, settings, progress) for condition in conditions]

    @torch.inference_mode()
    def _frame(self, condition: Condition, settings: GeneratorSettings, progress: Progress) -> np.ndarray:
        progress.check()
        height, width = condition.level.shape
        budget = TILE_PIXELS
        while True:
            try:
                inputs = [padded(x, self.device) for x in condition_tensors(condition)]
                captured = padded(captured_tensor(condition), self.device)
                noise = seeded_noise(inputs[0].shape[-2:], settings.seed).to(self.device)
                net = tiled(self.net, budget, progress.check)
                frame = sample(net, *network_inputs(*inputs), captured, noise, settings.steps, progress.check)
                break
            except (RuntimeError, MemoryError) as error:  # torch has an error of its own for graphics cards only
                if not is_out_of_memory(error):
                    raise
                if budget // 4 < SMALLEST_TILE**2:
                    raise EngineError(
                        f"The device has no memory left for a frame of {width}×{height}; close other programs or render smaller.",
                        "memory",
                    ) from None
                budget //= 4
        result = frame[0, :, :height, :width].permute(1, 2, 0).float().cpu().numpy()
        return put_back(result, condition)


def condition_tensors(condition: Condition) -> list[Tensor]:
    """The arrays of :func:`.model.network_inputs`, each (1, C, H, W) float32, finite but for the sky's depth."""
    arrays = [condition.rgb, condition.level, condition.confidence, condition.depth, condition.global_rgb, condition.global_depth]
    tensors = [torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in arrays]
    tensors = [torch.nan_to_num(x, nan=0.0, posinf=torch.inf) for x in tensors]
    return [x.permute(2, 0, 1)[None] if x.ndim == 3 else x[None, None] for x in tensors]


def captured_tensor(condition: Condition) -> Tensor:
    """(1, K * CAPTURED, H, W) float16: the captured views of a condition; where it has none, one that sees nothing."""
    views = condition.captured() if condition.captured else ()
    if not len(views):
        return torch.zeros(1, CAPTURED, *condition.level.shape, dtype=torch.float16)
    return torch.from_numpy(views.reshape(1, -1, *condition.level.shape))


def padded(x: Tensor, device: torch.device) -> Tensor:
    """Repeat the last row and column up to the next multiple that the network takes."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate").to(device)


def seeded_noise(size: tuple[int, int], seed: int) -> Tensor:
    """(1, 3, H, W) unit normal; drawn on the CPU, so that a seed means the same on every device."""
    return torch.randn((1, 3, *size), generator=torch.Generator().manual_seed(seed))


# --- tiles -------------------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """One tile's range along an axis, and its blending weight (stop - start,)."""

    start: int
    stop: int
    weight: Tensor


def spans(length: int, tile: int) -> list[Span]:
    """Cover ``length`` (a multiple of MULTIPLE) with ranges of at most ``tile`` that overlap and whose weights sum to one."""
    if length <= tile:
        return [Span(0, length, torch.ones(length))]
    count = -(-(length - OVERLAP) // (tile - OVERLAP))
    starts = [round(i * (length - tile) / (count - 1) / MULTIPLE) * MULTIPLE for i in range(count)]
    weights = torch.zeros(count, length)
    ramp = torch.arange(tile) + 0.5
    for index, start in enumerate(starts):
        weight = torch.ones(tile)
        if index > 0:
            weight = weight * ((ramp - OVERLAP / 4) / (OVERLAP / 2)).clamp(0, 1)
        if index < count - 1:
            weight = weight * ((tile - OVERLAP / 4 - ramp) / (OVERLAP / 2)).clamp(0, 1)
        weights[index, start : start + tile] = weight
    weights /= weights.sum(0)
    return [Span(s, s + tile, weights[i, s : s + tile]) for i, s in enumerate(starts)]


def tiled(net: Callable, budget: int, check: Callable[[], None]) -> Callable:
    """``net`` on tiles of at most ``budget`` pixels, blended; ``check`` is called before each."""

    def call(x_t: Tensor, time: Tensor, *known: Tensor) -> Tensor:
        height, width = x_t.shape[-2:]
        if height * width <= budget:
            return net(x_t, time, *known)
        side = max(SMALLEST_TILE, int(budget**0.5) // MULTIPLE * MULTIPLE)
        result = torch.zeros_like(x_t)
        for rows in spans(height, side):
            for columns in spans(width, side):
                check()
                y, x = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
                part = net(x_t[..., y, x], time, *(picture[..., y, x] for picture in known))
                result[..., y, x] += part * (rows.weight[:, None] * columns.weight).to(part.device)
        return result

    return call


# --- weights -----------------------------------------------------------------


def load_network(path: Path) -> BridgeUNet:
    """The network of a safetensors file written by ``python -m engine train``. Raises EngineError when it is no such file."""
    try:
        with safe_open(str(path), framework="pt") as file:
            with torch.device("meta"):  # no time is lost on random weights
                net = BridgeUNet(**json.loads(file.metadata()["config"]))
            net.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()}, assign=True)  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise EngineError(f"The generator's weights {path} cannot be used ({why}); install CloseUp again.", "weights") from None
    return net
