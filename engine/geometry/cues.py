"""What speaks for and against several hypotheses about the depth of every pixel: the input of the learned aggregator.

A compact cost volume: not every depth, but the few that the classical steps came up with, and for each how well the other
photos match it and what they know of the place, pooled over them so that neither their number nor their order matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..compiled import on_cpu
from . import consistency, patchmatch
from .completion import Judge
from .kernels import cues as kernel
from .kernels.limits import CUES_ALIKE, CUES_NEAR, FLAT, FREE_SPACE, HIDDEN, PLAIN, SURE, UNSEEN
from .matching import Planes, largest, sample

SLOTS = ("chosen", "matched", "before edges", "surroundings", "other photos", "plane", "smooth", "wide")
"""The hypotheses: what the classical steps chose; the pixel's own match, and as it was before depth edges were sharpened; what
its surroundings, the other photos and the scene's planes suggest; the smooth continuation of its neighbourhood, near and wide."""
SMOOTH = SLOTS.index("smooth")
"""What is taken unless another is clearly likelier: on every scene measured it is nearer to the truth than what was chosen."""
NEAR, WIDE = (2, 0.02), (4, 0.04)
"""Stride in pixels of a neighbourhood, and the relative difference of depth up to which it counts."""
CUES = ("least cost", "mean cost", "partners that look", "agreement", "refuted", "hidden")
"""Of each hypothesis."""
PER_SLOT = len(CUES) + 3
"""With these: that there is one, and how far it is from the chosen one, near and far."""
MAPS = 14
"""Of the pixel itself, see :func:`_maps`."""
CHANNELS = len(SLOTS) * PER_SLOT + MAPS
COLOUR = 0.1
"""How unlike (RGB) a neighbour may be to count."""
STRIP, BAND = 256, 32
"""Rows whose cues are gathered at a time, and those that the reference does."""


@dataclass
class Findings:
    """What the classical steps found about one photo; all (H, W), inverse depths 0 where there is none.

    others: hypotheses in the order of SLOTS, from the second to that of the planes. confidence: of the chosen depth. own: of the
    pixel's own match; agree: number of partners that agree with it; cost: its matching cost. known: it was taken for right.
    step: inverse depth that moves a point by a pixel of the second-nearest partner.
    """

    judge: Judge
    chosen: torch.Tensor
    others: list[torch.Tensor]
    confidence: torch.Tensor
    own: torch.Tensor
    agree: torch.Tensor
    cost: torch.Tensor
    known: torch.Tensor
    step: float


@dataclass
class Volume:
    """The network's input: inverse depths (L, H, W) of the hypotheses, 0 where there is none; channels (C, H, W) float16, about
    -1..1."""

    hypotheses: torch.Tensor
    channels: torch.Tensor


def volume(findings: Findings) -> Volume:
    """Everything that the network is told about one photo."""
    hypotheses = torch.stack([findings.chosen, *findings.others, smooth(findings, *NEAR), smooth(findings, *WIDE)])
    planes = [Planes(w, *patchmatch.slopes(w)) for w in hypotheses]
    height, width = hypotheses.shape[1:]
    channels = torch.empty(CHANNELS, height, width, dtype=torch.float16, device=hypotheses.device)
    slots = channels[:-MAPS].unflatten(0, (len(SLOTS), PER_SLOT))
    for top in range(0, height, STRIP):
        rows = range(top, min(top + STRIP, height))
        slots[:, :, top : rows.stop] = _slots(findings.judge, planes, hypotheses[:, top : rows.stop], rows)
    channels[-MAPS:] = _maps(findings, planes[0])
    return Volume(hypotheses, channels)


def _slots(judge: Judge, planes: list[Planes], hypotheses: torch.Tensor, rows: range) -> torch.Tensor:
    """(L, PER_SLOT, n, W) of n rows, of which the hypotheses (L, n, W) are given."""
    found = gather(judge, planes, rows).permute(2, 3, 0, 1)
    found[:, :2] *= 2
    there = hypotheses > 0
    off = torch.where(there, (hypotheses / hypotheses[:1].clamp_min(1e-12)).clamp(1e-3, 1e3).log(), torch.zeros_like(hypotheses))
    return torch.cat([found, there[:, None], (off / 0.01).tanh()[:, None], (off / 0.15).tanh()[:, None]], 1)


def smooth(findings: Findings, stride: int, spread: float) -> torch.Tensor:
    """(H, W) inverse depth of each pixel's surface, continued from around it: a median, then a mean of planes. Sky stays."""
    w, image = findings.chosen, findings.judge.frame.image
    median = consistency.weighted_median(w, torch.ones_like(w), image, 2, stride, COLOUR)
    median = torch.where(median > 0, median, w)
    return averaged(w, median, findings.confidence, image, stride, spread)


def averaged(
    w: torch.Tensor, surface: torch.Tensor, confidence: torch.Tensor, image: torch.Tensor, stride: int, spread: float
) -> torch.Tensor:
    """(H, W) inverse depth ``w`` replaced by the mean of the planes of ``surface`` (H, W) around each pixel. Sky stays."""
    planes = Planes(surface, *patchmatch.slopes(surface, 4, 0.02))
    weights = torch.where(w > 0, confidence + 0.05, torch.zeros_like(w))
    found = consistency.smoothed(planes, weights, image, 4, stride, COLOUR, spread)
    return torch.where(w > 0, found, w)


@on_cpu(kernel.gather)
def gather(judge: Judge, hypotheses: list[Planes], rows: range) -> torch.Tensor:
    """(n, W, L, 6) CUES of each of L hypotheses on n rows; 0 where there is none, the first's where it is like the first."""
    width = judge.frame.size[1]
    out = torch.zeros(len(rows), width, len(hypotheses), len(CUES), device=judge.device)
    for top in range(rows.start, rows.stop, BAND):
        band = slice(top, min(rows.stop, top + BAND))
        into = out[top - rows.start : band.stop - rows.start]
        window = judge.matcher.window(band)
        first = hypotheses[0].w[band]
        for number, plane in enumerate(hypotheses):
            flat = Planes(*(part[band].reshape(-1) for part in (plane.w, plane.du, plane.dv)))
            found = _look(judge, band, window, flat).reshape(-1, width, len(CUES))
            alike = (number > 0) & ((plane.w[band] - first).abs() <= CUES_ALIKE * first)
            found = torch.where(alike[..., None], into[:, :, 0], found)
            into[:, :, number] = torch.where(plane.w[band, :, None] > 0, found, torch.zeros_like(found))
    return out


def _look(judge: Judge, rows: slice, window, planes: Planes) -> torch.Tensor:
    """(N, 6) CUES of planes at the pixels of ``rows``, whose windows are given."""
    width = judge.frame.size[1]
    index = slice(rows.start * width, rows.stop * width)
    pixels, own = judge.pixels[:, index], judge.frame.image.reshape(3, -1)[:, index]
    score, usable = judge.matcher.zncc(window, planes, pixels)
    texture = window[2] / (window[2] + FLAT)
    total, seen, agreed, refuted, hidden = (torch.zeros_like(planes.w) for _ in range(5))
    least = torch.ones_like(planes.w)
    for number, (partner, _, _) in enumerate(judge.partners):
        inside, u, v, ratio, sure = judge.look(number, pixels, planes.w)
        inside = inside & usable[number]
        sure = sure * inside
        agreed += sure * (1 - (ratio - 1).abs() / CUES_NEAR).clamp_min(0)
        refuted = torch.maximum(refuted, sure * (ratio > FREE_SPACE))
        hidden = torch.maximum(hidden, sure * (ratio < HIDDEN))
        looks = inside & ~((ratio < HIDDEN) & (sure > SURE))
        unlike = (sample(partner.image, u, v)[:, 0] - own).abs().amax(0)
        cost = texture * (1 - score[number]) * 0.5 + (1 - texture) * (PLAIN + 3 * unlike).clamp_max(0.5)
        least = torch.where(looks, torch.minimum(least, cost), least)
        total, seen = total + torch.where(looks, cost, torch.zeros_like(cost)), seen + looks
    unseen = torch.full_like(least, UNSEEN)
    least, mean = (torch.where(seen > 0, x, unseen) for x in (least, total / seen.clamp_min(1)))
    return torch.stack([least, mean, seen / 4, agreed / 4, refuted, hidden], -1)


def _maps(findings: Findings, plane: Planes) -> torch.Tensor:
    """(MAPS, H, W) of each pixel itself: colour; texture; what the classical steps made of it; how exactly a pixel of parallax
    tells its depth; how steep the surface is, how far its surroundings continue it, and what steps of depth are near."""
    frame, w = findings.judge.frame, plane.w.clamp_min(1e-12)
    texture = (frame.variance + 1e-6).log10() / 3 + 1
    jumps = [_jump(plane.w, radius) for radius in (1, 4)]
    support = consistency.support(plane)
    steep = (torch.maximum(plane.du.abs(), plane.dv.abs()) / w * 50).clamp_max(1)
    exact = ((findings.step / w).clamp(1e-4, 1).log10() / 2 + 1).clamp(-1, 1)
    found = [texture, findings.confidence, findings.own, findings.agree / 4]
    found += [(2 * findings.cost).clamp_max(1), findings.known.float()]
    return torch.cat([frame.image, torch.stack([*found, exact, steep, support, *jumps])])


def _jump(w: torch.Tensor, radius: int) -> torch.Tensor:
    """(H, W) 0..1, how large the steps of inverse depth are within ``radius`` pixels."""
    high, low = largest(w, radius), -largest(-w, radius)
    return ((high - low) / high.clamp_min(1e-12) * 10).tanh()
