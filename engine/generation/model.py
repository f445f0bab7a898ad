"""The embedded generator's network: a small pixel-space U-Net that bridges from the filled condition to the clean frame.

The bridge's state at time t is ``x_t = (1 - t) x0 + t x1`` with ``x1`` the filled condition plus noise in the holes
(I²SB, Liu et al. 2023; LBM, Chadebec et al. 2025). The network predicts ``x0`` as a residual on the filled condition: gains on
its bands of detail (what magnification blurred is sharpened, what is doubtful smoothed; learned in minutes) plus colour of
its own. Both are zero before training, so that an untrained network returns its condition. Sparse condition and global
projection pass the same first module and are max-pooled: the global structure guidance of CloseUpShot (arXiv 2511.13121).

The captured views are a memory of the scene: an order-free set of any number, each of which passes one shared module. Their
max-pooled features tell the U-Net what there is to see; at the end attention over the views mixes their colours at every pixel,
and the network says how much of that mixture's difference to the condition it takes, none of it before training.

Features are normalised over channels, at each position by itself: without, they run away in the first hundred steps and every
unit dies. There is no normalisation over space and no attention: what the network does at a pixel depends on the neighbourhood
only, so a frame made of overlapping tiles equals the whole frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..records import CAPTURED

PATCH = 4
"""Pixel-unshuffle factor; convolutions run at this fraction of the resolution."""
MULTIPLE = 16
"""Heights and widths must be multiples of this: PATCH times the two halvings of the U-Net."""
HINTS = 6
"""Channels that describe the condition beside its colour, see :func:`hints`."""
BANDS = (3, 7, 15)
"""Windows (pixels) that split the condition into bands of detail, each of which the network may strengthen or weaken."""
BANDED = 1024
"""Pixels a side up to which window means are products with matrices."""
SMOOTH = 7
"""Window (pixels) that splits the captured views' difference to the condition into smooth colour and detail."""
HOLE_NOISE = 0.1
"""Standard deviation of the noise in the bridge's start, where no photo saw the surface."""
DEPTH_RANGE = 3.0
"""Log-depth is clipped to this many e-folds about the frame's median."""


def hints(level: Tensor, confidence: Tensor, depth: Tensor, median: Tensor | None = None) -> Tensor:
    """What is known of each pixel, (N, HINTS, H, W), from level (0 = hole), confidence and z-depth, all (N, 1, H, W).

    Channels: hole, resolution of the evidence (2 ** (1 - level), 0 in holes), confidence, log-depth about ``median``
    (N, 1, 1, 1; the frame's own when None), sky, depth known.
    """
    finite = (depth > 0) & torch.isfinite(depth)
    median = median_depth(depth) if median is None else median
    log_depth = (torch.where(finite, depth, median) / median).log().clamp(-DEPTH_RANGE, DEPTH_RANGE) / DEPTH_RANGE
    sky = torch.isinf(depth).float()
    hole = (level == 0).float()
    resolution = torch.exp2(1 - level.float()) * (1 - hole)
    return torch.cat([hole, resolution, confidence, log_depth + sky, sky, finite.float()], 1)


def median_depth(depth: Tensor) -> Tensor:
    """(N, 1, 1, 1) median of the known, finite depths of (N, 1, H, W); 1 where there are none."""
    values = torch.where((depth > 0) & torch.isfinite(depth), depth, torch.nan).flatten(1)
    return torch.nan_to_num(values.nanmedian(1).values, nan=1.0).reshape(-1, 1, 1, 1)


def network_inputs(
    rgb: Tensor, level: Tensor, confidence: Tensor, depth: Tensor, global_rgb: Tensor, global_depth: Tensor
) -> tuple[Tensor, Tensor]:
    """A Condition's arrays, (N, 3, H, W) and (N, 1, H, W), as the network's ``condition`` and ``projection``."""
    median = median_depth(depth)
    condition = torch.cat([rgb, hints(level, confidence, depth, median)], 1)
    # The cloud's projection says neither level nor confidence; it is coarser and less sure than the photos themselves.
    seen = (global_depth > 0).float()
    projection = torch.cat([global_rgb * seen, hints(2 * seen, 0.5 * seen, global_depth, median)], 1)
    return condition, projection


def box_mean(x: Tensor, side: int) -> Tensor:
    """(N, C, H, W) means over windows of ``side`` × ``side`` pixels, as far as these lie in the picture.

    As products with banded matrices: several times as fast as pooling on a CPU, above all on the way back. Of large pictures the
    matrices would be larger than the picture.
    """
    height, width = x.shape[-2:]
    if max(height, width) > BANDED:
        for window in ((1, side), (side, 1)):
            x = F.avg_pool2d(x, window, 1, (window[0] // 2, window[1] // 2), count_include_pad=False)
        return x
    with torch.autocast(x.device.type, enabled=False):
        return window_means(height, side, x.device).to(x.dtype) @ (x @ window_means(width, side, x.device).to(x.dtype).mT)


@lru_cache(64)
def window_means(length: int, side: int, device: torch.device) -> Tensor:
    """(length, length): row i takes the mean of the ``side`` numbers about the i-th, of those that there are."""
    with torch.inference_mode(False):  # kept for whoever asks next, to learn perhaps
        place = torch.arange(length, device=device)
        band = ((place - place[:, None]).abs() <= side // 2).float()
        return band / band.sum(1, keepdim=True)


def detail_bands(rgb: Tensor) -> Tensor:
    """(N, len(BANDS), 3, H, W): what each box window blurs away that the window before it left."""
    lows = [rgb]
    for side in BANDS:
        lows.append(box_mean(rgb, side))
    return torch.stack([fine - coarse for fine, coarse in pairwise(lows)], 1)


class TimeEmbedding(nn.Module):
    """The bridge's time (N,) in 0..1 as a vector (N, channels): Fourier features and a small perceptron."""

    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, time: Tensor) -> Tensor:
        angles = math.pi * torch.stack([time, 2 * time, 4 * time, 8 * time], 1)
        return self.net(torch.cat([angles.sin(), angles.cos()], 1))


class ChannelNorm(nn.Module):
    """Divide by the root mean square over channels (RMSNorm, Zhang and Sennrich 2019) at each position by itself."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        size = x.float().square().mean(1, keepdim=True)
        return x * torch.rsqrt(size + 1e-4).to(x.dtype) * self.scale.to(x.dtype)


class Block(nn.Module):
    """Residual block, told the time; the identity before training."""

    def __init__(self, channels: int, time_channels: int):
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(time_channels, channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.first(F.silu(self.norm(x))) + self.time(time)[:, :, None, None]
        return x + self.second(F.silu(h))


class SceneMemory(nn.Module):
    """What the captured views (N, K * CAPTURED, H, W) say beside the condition, K of them in any order.

    ``channels``: of the U-Net's features at 1/PATCH of the resolution. ``width``: of the features of one view.
    """

    def __init__(self, channels: int, width: int = 32):
        super().__init__()
        self.look = nn.Conv2d(CAPTURED * PATCH**2, width, 3, padding=1)
        self.tell = nn.Conv2d(width, channels, 1)
        self.ask = nn.Conv2d(channels, width, 1)
        self.judge = nn.Conv2d(width, 2 * PATCH**2, 1)
        self.take = nn.Conv2d(width, 2 * PATCH**2, 1)
        for layer in (self.tell, self.judge, self.take):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def features(self, rgb: Tensor, views: Tensor) -> Tensor:
        """(N, K, width, H / PATCH, W / PATCH) of views (N, K, CAPTURED, H, W): their difference to the condition's ``rgb``."""
        away = (views[:, :, :3] - rgb[:, None]) * (views[:, :, 3:4] > 0)
        known = F.pixel_unshuffle(torch.cat([away, views[:, :, 3:]], 2).flatten(0, 1).to(self.look.weight.dtype), PATCH)
        seen = F.max_pool2d(views[:, :, 3].to(known.dtype), PATCH) > 0
        # Never negative, and 0 where a view sees nothing: there the maximum over the views does not know that it is there.
        return F.softplus(self.look(known)).unflatten(0, views.shape[:2]) * seen[:, :, None]

    def correction(self, rgb: Tensor, views: Tensor, features: Tensor, h: Tensor) -> Tensor:
        """(N, 3, H, W) to add to the condition's ``rgb``, given the U-Net's last features ``h``."""
        asked = self.ask(h)
        judged = self.judge(F.silu(asked[:, None] + features).flatten(0, 1))
        score = views[:, :, 3:4]
        logits = F.pixel_shuffle(judged, PATCH).unflatten(0, views.shape[:2]).float() + score.clamp(min=1e-4).log()
        share = torch.where(score > 0, (logits - logits.amax(1, keepdim=True)).exp(), 0.0)
        share = share / share.sum(1, keepdim=True).clamp(min=1e-6)  # (N, K, 2, H, W)
        taken = F.pixel_shuffle(self.take(F.silu(asked)), PATCH).to(rgb.dtype)
        away = (views[:, :, :3] - rgb[:, None])[:, :, None] * share[:, :, :, None]
        smooth, detail = away.sum(1).unbind(1)
        return taken[:, :1] * box_mean(smooth, SMOOTH) + taken[:, 1:] * (detail - box_mean(detail, SMOOTH))


class BridgeUNet(nn.Module):
    """The denoiser. ``widths``: channels at 1/4, 1/8 and 1/16 of the resolution; ``blocks`` per resolution and side."""

    def __init__(self, widths: tuple[int, int, int] = (64, 96, 128), blocks: int = 1):
        super().__init__()
        self.size = {"widths": tuple(widths), "blocks": blocks}
        time_channels = widths[0]
        self.time = TimeEmbedding(time_channels)
        self.first = nn.Conv2d((3 + 3 + HINTS) * PATCH**2, widths[0], 3, padding=1)

        def stage(channels: int) -> nn.ModuleList:
            return nn.ModuleList(Block(channels, time_channels) for _ in range(blocks))

        self.down = nn.ModuleList(stage(c) for c in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.enlarge = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(stage(c) for c in widths[:-1])
        self.norm = ChannelNorm(widths[0])
        self.last = nn.Conv2d(widths[0], (3 + len(BANDS)) * PATCH**2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.memory = SceneMemory(widths[0])

    def forward(self, x_t: Tensor, time: Tensor, condition: Tensor, projection: Tensor, captured: Tensor) -> Tensor:
        """The clean frame (N, 3, H, W), not clipped.

        x_t: (N, 3, H, W), the bridge's state. time: (N,). condition, projection: (N, 3 + HINTS, H, W), colour and
        :func:`hints` of the filled condition and of the global cloud's projection. captured: (N, K * CAPTURED, H, W),
        the captured views, at least one, in any order. H and W are multiples of MULTIPLE.
        """
        dtype = self.first.weight.dtype
        t = self.time(time.to(dtype))
        known = [F.pixel_unshuffle(torch.cat([x_t, c], 1).to(dtype), PATCH) for c in (condition, projection)]
        h = torch.maximum(self.first(known[0]), self.first(known[1]))
        rgb = condition[:, :3]
        views = captured.unflatten(1, (-1, CAPTURED)).to(rgb.dtype)
        remembered = self.memory.features(rgb, views)
        h = h + self.memory.tell(remembered.amax(1))
        skips = []
        for index, stage in enumerate(self.down):
            for block in stage:
                h = block(h, t)
            if index < len(self.shrink):
                skips.append(h)
                h = self.shrink[index](h)
        for index in reversed(range(len(self.up))):
            h = F.pixel_shuffle(self.enlarge[index](h), 2) + skips[index]
            for block in self.up[index]:
                h = block(h, t)
        h = F.silu(self.norm(h))
        out = F.pixel_shuffle(self.last(h), PATCH).to(condition.dtype)
        frame = rgb + out[:, :3] + (out[:, 3:, None] * detail_bands(rgb)).sum(1)
        return frame + self.memory.correction(rgb, views, remembered, h)


def bridge_start(condition: Tensor, noise: Tensor, hole_noise: float = HOLE_NOISE) -> Tensor:
    """x1: the filled condition's colour, with ``noise`` (N, 3, H, W), unit normal, in the holes only."""
    return condition[:, :3] + hole_noise * noise * condition[:, 3:4]


TURNS = tuple((transposed, flips) for transposed in (False, True) for flips in ((), (3,), (2,), (2, 3)))
"""The eight ways to lay a picture (N, C, H, W) down: rows and columns swapped or not, then mirrored along axes."""


def turned(x: Tensor, transposed: bool, flips: tuple[int, ...]) -> Tensor:
    """(N, C, H, W) laid down another way."""
    return (x.transpose(2, 3) if transposed else x).flip(flips)


def turned_back(x: Tensor, transposed: bool, flips: tuple[int, ...]) -> Tensor:
    """What :func:`turned` did, undone."""
    x = x.flip(flips)
    return x.transpose(2, 3) if transposed else x


Network = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""As :meth:`BridgeUNet.forward`."""


def predicted(
    net: Network, x_t: Tensor, time: Tensor, known: Sequence[Tensor], looks: int, after_look: Callable[[], None] = lambda: None
) -> Tensor:
    """The clean frame (N, 3, H, W) that the network sees in ``x_t``: the mean of its answers at ``looks`` looks, every look at
    the picture laid down another way; more than eight change nothing.

    known: condition, projection and captured views. The network learned from pictures laid down in all ways, so its answers
    differ by its errors alone, and their mean errs less (self-ensemble: Timofte et al. 2016). ``after_look``: called after each.
    """
    total = torch.zeros_like(x_t)
    turns = TURNS[:looks]
    for turn in turns:
        x, *rest = (turned(picture, *turn) for picture in (x_t, *known))
        total += turned_back(net(x, time, *rest), *turn)
        after_look()
    return total / len(turns)


def sample(
    net: Network,
    condition: Tensor,
    projection: Tensor,
    captured: Tensor,
    noise: Tensor,
    steps: int,
    after_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """The clean frame (N, 3, H, W) as :func:`predicted` at ``bridge_start`` by ``steps`` looks. Deterministic given the noise.

    Going on along the bridge with the same calls, 1, .75, .5, .25, was measured to be worse than one look.
    """
    x1 = bridge_start(condition, noise)
    return predicted(net, x1, torch.ones(len(x1), device=x1.device), (condition, projection, captured), steps, after_step)
