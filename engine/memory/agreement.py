"""A frame agrees with the photos: the pixels of each, simulated from the frame, are the photo's own.

A photo's pixel is the mean light of what its footprint covers. The condition is made of such means, drawn out smoothly; where
several photos see a surface, each at places of its own, together they tell more than any one. The difference between each
photo and what it would have shown of the frame goes back into the frame (iterative back-projection: Irani and Peleg 1991), in the
measure in which the surface is sure. Condition frames are *resolved*: many rounds, which count the more the coarser the
photos are, against the total variation, which keeps edges and not noise (Farsiu et al. 2004). Finished frames are *held*: a few
rounds, since the detail that a generator adds need not leave the photos' means as they were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..conditioning import Warper
from ..conditioning.blend import Sight, sight
from ..conditioning.lookup import rays_of
from ..conditioning.source import Source
from ..records import Condition
from .captured import best_sources
from .kernels import back_projection as kernels


@dataclass(frozen=True)
class Rounds:
    """How differences go back.

    count: how often; more sharpens noise, too. pace: the share of them. keep: how much of each round's way the next one goes on.
    fine, coarse: frame pixels per photo pixel; below the first a photo is not asked, above the second it is in full. calm: weight
    of the total variation where photos are that coarse, falling with the square.
    """

    count: int
    pace: float
    keep: float
    fine: float
    coarse: float
    calm: float


RESOLVE = Rounds(20, 1.2, 0.6, 1.1, 4.0, 0.004)
HOLD = Rounds(3, 1.0, 0.0, 1.1, 1.4, 0.0)
DOUBTFUL = 0.15
"""A surface no surer than this is left as it is: it may lie elsewhere, and the photo shows something else."""
COVERED = 0.8
"""Share of a photo pixel's footprint that the frame must show for the two to be compared."""
STRANGE = 0.15
"""Colours that differ by this much are hardly the same thing: a highlight, or another surface."""
LEAST_SCORE = 0.01
"""Photos that see a pixel worse than this are not asked about it."""
LEVEL = 0.01
"""Differences of neighbours above this are edges to the total variation, below they are noise."""


@dataclass
class Footprints:
    """One photo's pixels in a frame. n: pixels of the frame that are asked about, P: the photo's.

    where: (n,) int32, increasing, the frame's pixels. corner: (n,) int32, the upper left of the four photo pixels around each;
    across, down: (n,) float32, 0..1, the shares of those to its right and below it, ``right`` and ``below`` pixels on. area: (n,)
    photo pixels that a pixel of the frame covers, 1 at most. cover: (P,), how much of each photo pixel the frame covers. colours:
    (P, 3), the photo, sRGB-coded. worth: (n,), what the photo is worth there beside the others. magnification: (n,) frame pixels
    per photo pixel.
    """

    where: np.ndarray
    corner: np.ndarray
    across: np.ndarray
    down: np.ndarray
    right: int
    below: int
    area: np.ndarray
    colours: np.ndarray
    worth: np.ndarray
    magnification: np.ndarray

    def __post_init__(self):
        self.cover = kernels.cover(self)

    def coarse(self, rounds: Rounds) -> np.ndarray:
        """(n,) 0..1, how much the photo is asked."""
        return np.clip((self.magnification - rounds.fine) / (rounds.coarse - rounds.fine), 0, 1).astype(np.float32)


def footprints(source: Source, seen: Sight, known: np.ndarray, finest: float) -> Footprints | None:
    """A photo's pixels in a frame of which it has ``seen`` N pixels, those numbered ``known`` (N,).

    None where its pixels are nowhere coarser than ``finest`` of the frame's.
    """
    score, magnification, lod = (x.cpu().numpy() for x in (seen.score, seen.magnification, seen.lod))
    asked = (seen.visible.cpu().numpy() & (score > LEAST_SCORE)).nonzero()[0]
    if not (magnification[asked] > finest).any():
        return None
    width, height = source.camera.width, source.camera.height
    corner, across, down = corners(seen.u.cpu().numpy()[asked], seen.v.cpu().numpy()[asked], width, height)
    colours = (source.image[0].reshape(3, -1).T * source.gain).clamp(0, 1).contiguous().cpu().numpy()
    area = np.minimum(4.0 ** lod[asked], 1).astype(np.float32)
    steps = int(width > 1), width * int(height > 1)
    where = known[asked].astype(np.int32)
    return Footprints(where, corner, across, down, *steps, area, colours, score[asked] ** 2, magnification[asked])


def corners(u: np.ndarray, v: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of pixel-index coordinates (n,) in a photo: the upper left of the four pixels around, int32, and the shares, 0..1, of those
    to the right and below. Beyond the photo's border lies its border."""
    left, top = (np.clip(np.floor(x), 0, max(side - 2, 0)) for x, side in ((u, width), (v, height)))
    across, down = (np.clip(x - first, 0, 1).astype(np.float32) for x, first in ((u, left), (v, top)))
    return (top * width + left).astype(np.int32), across, down


@torch.no_grad()
def agreeing(frame: np.ndarray, condition: Condition, warper: Warper, rounds: Rounds = HOLD) -> np.ndarray:
    """``frame`` (H, W, 3), sRGB-coded, of ``condition``, made to agree with the photos that ``warper`` warps; float32, 0..1.

    What the photos saw at full resolution, doubtful surfaces, sky and holes stay as they are.
    """
    depth = np.where(np.isfinite(condition.depth), condition.depth, 0).ravel()
    sure = np.clip((condition.confidence.ravel() - DOUBTFUL) / (1 - DOUBTFUL), 0, 1) * (depth > 0)
    known = sure.nonzero()[0]
    if not len(known):
        return frame
    index, t = (torch.from_numpy(x).to(warper.device) for x in (known, depth[known]))
    rays = rays_of(condition.camera, warper.device)[index]
    sources = best_sources(warper, condition.camera)
    photos = [footprints(source, sight(source, condition.camera, rays, t), known, rounds.fine) for source in sources]
    photos = [photo for photo in photos if photo is not None]
    if not photos:
        return frame
    worth = np.full(len(depth), 1e-9, np.float32)
    for photo in photos:
        worth[photo.where] += photo.worth
    shares = [(sure[photo.where] * photo.worth / worth[photo.where]).astype(np.float32) for photo in photos]
    result = np.clip(frame, 0, 1).reshape(-1, 3).astype(np.float32)
    back_project(result, frame.shape[:2], photos, shares, rounds)
    return result.reshape(frame.shape)


def back_project(frame: np.ndarray, shape: tuple[int, int], photos: list[Footprints], shares: list, rounds: Rounds) -> None:
    """Make ``frame`` (H * W, 3) of ``shape`` H, W agree with ``photos``, in place. shares: of each photo, (n,) what it counts."""
    asked = [photo.coarse(rounds) for photo in photos]
    pulls = [share * coarse for coarse, share in zip(asked, shares)]
    calm = np.zeros(len(frame), np.float32)
    for photo, coarse, pull in zip(photos, asked, pulls):
        calm[photo.where] += rounds.calm * pull * coarse
    step, moved, light = (np.zeros_like(frame) for _ in range(3))
    for _ in range(rounds.count):
        kernels.lighten(frame, light)
        differences = kernels.differences(photos, light, COVERED, STRANGE)
        for photo, pull, away in zip(photos, pulls, differences):
            kernels.give_back(photo, rounds.pace * pull, away, step)
        if rounds.calm:
            kernels.calm(frame, shape, calm, LEVEL, step)
        kernels.move(frame, step, rounds.keep, moved)
