"""What photos have in common, found by EfficientLoFTR: matches across baselines that are too wide for SIFT.

The network compares two photos at a time and gives pairs of points, other ones for every pair. To become tracks that several
photos see, a photo's points that fall in one small cell are one keypoint. It stands in for :class:`..overlaps.Evidence`.

Source: Y. Wang et al., "Efficient LoFTR", CVPR 2024, as in transformers; merging: X. He et al., "Detector-Free Structure from
Motion", CVPR 2024.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from ...progress import EngineError, Progress
from .. import sfm
from ..overlaps import Evidence

LONGEST = 640
"""Longer side, in pixels, of what the network compares."""
MULTIPLE = 32
"""Sides of its pictures are multiples of it."""
CELL = 2.0
"""Side of the cells whose points are one keypoint, in pixels of the network's pictures."""


@dataclass
class PairMatches:
    """points: two of (M, 2), pixels of the shots, centres at +0.5. scores: (M,) 0..1."""

    points: tuple[np.ndarray, np.ndarray]
    scores: np.ndarray


def load(folder: Path, device: torch.device) -> torch.nn.Module:
    """The network of a models folder. Raises EngineError when the folder holds something else."""
    from transformers import EfficientLoFTRForKeypointMatching
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        net, report = EfficientLoFTRForKeypointMatching.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
        if lacking := [*report["missing_keys"], *report["mismatched_keys"]]:
            raise ValueError(f"{lacking[0]} is missing")
    except Exception as error:  # noqa: BLE001 - whatever transformers makes of a damaged or foreign folder
        said = " ".join(str(error).split())[:120]
        raise EngineError(f"{folder} holds no model of EfficientLoFTR ({said}); fetch it again.", "bad-model") from None
    return net.to(device).eval()


def match(net: torch.nn.Module, first: np.ndarray, second: np.ndarray) -> PairMatches:
    """What two grey pictures (H, W) uint8 have in common; each is stretched to one common size for it.

    The library's layers make the features. They are matched here, as the authors do: in transformers 5.23 the two stages compare
    windows of different matches, and read the offsets of the first along the wrong axis.
    """
    longest = max(*first.shape, *second.shape)
    height, width = (max(a, b) / longest * LONGEST for a, b in zip(first.shape, second.shape))
    size = tuple(max(2 * MULTIPLE, MULTIPLE * round(side / MULTIPLE)) for side in (width, height))
    small = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in (first, second)]
    pixels = torch.from_numpy(np.stack(small).astype(np.float32) / 255).to(next(net.parameters()).device)
    with torch.inference_mode():
        coarse, *finer = net.efficientloftr(pixels[None, :, None].expand(-1, -1, 3, -1, -1)).feature_maps
        indices, scores = coarse_matches(coarse[0], net.config)
        windows = net.refinement_layer(coarse / coarse.shape[2] ** 0.5, finer)
        chosen = [window[0, index] for window, index in zip(windows, indices)]
        stride, columns = size[0] / coarse.shape[-1], coarse.shape[-1]
        places = torch.stack([indices % columns, indices // columns], -1) * stride
        places = places + fine_offsets(*chosen, net.config) * (stride / net.config.fine_kernel_size)
    points = places.cpu().numpy().astype(np.float64) + 0.5
    placed = [own / size * picture.shape[::-1] for own, picture in zip(points, (first, second))]
    return PairMatches((placed[0], placed[1]), scores.cpu().numpy().astype(np.float64))


def coarse_matches(features: torch.Tensor, config) -> tuple[torch.Tensor, torch.Tensor]:
    """Which coarse features (2, C, h, w) are each other's best, sure enough and away from the border: indices (2, M) and scores
    (M,)."""
    _, channels, height, width = features.shape
    first, second = (features / channels**0.5).flatten(2).transpose(1, 2)
    similarity = first @ second.T / config.coarse_matching_temperature
    confidence = similarity.softmax(0) * similarity.softmax(1)
    border = config.coarse_matching_border_removal
    inside = torch.zeros(height, width, dtype=torch.bool, device=features.device)
    inside[border : height - border, border : width - border] = True
    best, partner = confidence.max(1)
    mutual = confidence.argmax(0)[partner] == torch.arange(len(partner), device=features.device)
    chosen = mutual & (best > config.coarse_matching_threshold) & inside.flatten() & inside.flatten()[partner]
    return torch.stack([chosen.nonzero()[:, 0], partner[chosen]]), best[chosen]


def fine_offsets(first: torch.Tensor, second: torch.Tensor, config) -> torch.Tensor:
    """Where in their windows matches lie, (2, M, 2) pixels of the fine features from the windows' middle.

    first: (M, side², C), second: (M, (side + 2)², C), one pixel wider. The first channels tell which pixel of the one is most
    like which of the other; the last ones how far beside it the second lies.
    """
    count, area, channels = first.shape
    side, last = int(area**0.5), config.fine_matching_slice_dim
    similarity = first[..., :-last] @ second[..., :-last].transpose(1, 2) / channels
    confidence = (similarity.softmax(1) * similarity.softmax(2)).reshape(count, area, side + 2, side + 2)[..., 1:-1, 1:-1]
    best = confidence.reshape(count, area * area).argmax(1)
    pixels = torch.stack([best // area, best % area])
    offsets = torch.stack([pixels % side, pixels // side], -1) - side // 2 + 0.5
    rows = torch.arange(count, device=first.device)
    heat = (second[..., -last:] @ first[rows, pixels[0], -last:, None])[..., 0] / last**0.5
    around = torch.tensor([-1, 0, 1], device=first.device)
    # as the authors count: about the pixel before, for the wider window begins a pixel earlier
    y, x = (pixels[1] // side)[:, None, None] + around[:, None], (pixels[1] % side)[:, None, None] + around
    heat = heat.reshape(count, side + 2, side + 2)[rows[:, None, None], y, x]
    weight = (heat / config.fine_matching_regress_temperature).flatten(1).softmax(1).reshape(count, 3, 3)
    beside = torch.stack([(weight.sum(1) * around).sum(1), (weight.sum(2) * around).sum(1)], -1)
    return torch.stack([offsets[0], offsets[1] + beside])


def merged(shots: list[sfm.Shot], found: dict[tuple[int, int], PairMatches]) -> tuple[list[sfm.Features], sfm.Pairs]:
    """Keypoints of every shot and the pairs' matches between them, of the points of each pair.

    A keypoint stands at the mean of its points by score; of several partners it keeps the best. Points under a mask are left out.
    """
    features, places = [], {}
    for index, shot in enumerate(shots):
        mine = [(pair, pair.index(index)) for pair in found if index in pair]
        points = np.concatenate([np.zeros((0, 2)), *(found[pair].points[side] for pair, side in mine)])
        scores = np.concatenate([np.zeros(0), *(found[pair].scores for pair, _ in mine)])
        keypoints, which = _clustered(points, scores + 1e-6, CELL * max(shot.grey.shape) / LONGEST)
        height, width = shot.mask.shape
        x, y = np.floor(keypoints).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        usable = inside & shot.mask[y.clip(0, height - 1), x.clip(0, width - 1)]
        number = np.where(usable, np.cumsum(usable) - 1, -1)
        start = 0
        for pair, side in mine:
            count = len(found[pair].scores)
            places[pair, side] = number[which[start : start + count]]
            start += count
        kept = keypoints[usable]
        features.append(sfm.Features(kept, np.zeros((len(kept), 128), np.uint8), np.ones(len(kept), np.float32)))
    return features, {pair: _one_to_one(places[pair, 0], places[pair, 1], found[pair].scores) for pair in found}


def _clustered(points: np.ndarray, weights: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """The weighted mean (K, 2) of the points in every cell, and of each point (N,) which of these it became."""
    if not len(points):
        return points, np.zeros(0, int)
    _, which = np.unique(np.floor(points / cell).astype(np.int64), axis=0, return_inverse=True)
    total = np.bincount(which, weights)
    return np.stack([np.bincount(which, weights * points[:, axis]) / total for axis in (0, 1)], 1), which


def _one_to_one(first: np.ndarray, second: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(M, 2) uint32 pairs of keypoints, the best for each; -1 is no keypoint."""
    order = np.argsort(-scores, kind="stable")
    order = order[(first[order] >= 0) & (second[order] >= 0)]
    for side in (first, second):
        order = order[np.sort(np.unique(side[order], return_index=True)[1])]
    return np.stack([first[order], second[order]], 1).astype(np.uint32)


class SemiDense(Evidence):
    """The evidence of a network, the same whatever settings are asked for. compare: of two grey pictures, see :func:`match`."""

    def __init__(self, shots: list[sfm.Shot], progress: Progress, compare: Callable[[np.ndarray, np.ndarray], PairMatches]):
        super().__init__(shots, progress)
        progress.stage("cameras", "Comparing the photos")
        found, pairs = {}, list(itertools.combinations(range(len(shots)), 2))
        for a, b in pairs:
            found[a, b] = compare(shots[a].grey, shots[b].grey)
            progress.step(len(found), len(pairs))
        self._found, self._paired = merged(shots, found)

    def features(self, settings: sfm.FeatureSettings, chosen: list[int]) -> dict[int, sfm.Features]:
        return {index: self._found[index] for index in chosen}

    def matches(self, settings: sfm.FeatureSettings, pairs: list[tuple[int, int]]) -> sfm.Pairs:
        return {pair: self._paired[pair] for pair in pairs}

    def all_matches(self, settings: sfm.FeatureSettings) -> sfm.Pairs:
        return dict(self._paired)
