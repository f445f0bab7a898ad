"""A frame agrees with the photos: the pixels of each, simulated from the frame, are the photo's own.

A photo's pixel is the mean of what its footprint covers. The condition is made of such means, drawn out smoothly; the detail that
a generator adds need not leave them as they were, and where several photos see a surface, each at places of its own, together
they tell more than any one. Here the difference between each photo and what it would have shown of the frame goes back into the
frame (iterative back-projection: Irani and Peleg 1991), a few times, in the measure in which the surface is sure. It is done to
condition frames, which it sharpens, and again to finished ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array

from ..conditioning import Warper
from ..conditioning.blend import Sight, sight
from ..conditioning.lookup import rays_of
from ..conditioning.source import Source
from ..records import Condition
from .captured import best_sources

STEPS = 3
"""How often the differences go back; more sharpens noise, too."""
DOUBTFUL = 0.15
"""A surface no surer than this is left as it is: it may lie elsewhere, and the photo shows something else."""
FINE, COARSE = 1.1, 1.4
"""Frame pixels per photo pixel: below the first the frame is left as it is, above the second it is held to the photo in full."""
COVERED = 0.8
"""Share of a photo pixel's footprint that the frame must show for the two to be compared."""
STRANGE = 0.15
"""Colours that differ by this much are hardly the same thing: a highlight, or another surface."""
LEAST_SCORE = 0.01
"""Photos that see a pixel worse than this are not asked about it."""


@dataclass
class Footprints:
    """One photo's pixels in a frame. N: pixels of the frame that are asked about, P: the photo's.

    shares: (N, P) sparse, bilinear: where the frame's pixels lie among the photo's. area: (N, 1), photo pixels that a pixel of
    the frame covers, 1 at most. cover: (P, 1), how much of each photo pixel the frame covers. colours: (P, 3), the photo,
    sRGB-coded. worth: (N, 1), what the photo is worth there beside the others. coarse: (N, 1), 0..1, how much coarser it is.
    """

    shares: csr_array
    area: np.ndarray
    cover: np.ndarray
    colours: np.ndarray
    worth: np.ndarray
    coarse: np.ndarray

    def difference(self, frame: np.ndarray) -> np.ndarray:
        """(N, 3) what the photo shows beside what it would have shown of ``frame`` (N, 3), at the frame's pixels."""
        away = self.colours - (self.shares.T @ (self.area * frame)) / np.maximum(self.cover, 1e-6)
        most = np.maximum(np.maximum(np.abs(away[:, 0]), np.abs(away[:, 1])), np.abs(away[:, 2]))
        heed = np.where(self.cover[:, 0] > COVERED, np.exp(-((most / STRANGE) ** 2)), 0)
        return self.shares @ (away * heed[:, None])


def footprints(source: Source, seen: Sight) -> Footprints | None:
    """A photo's pixels in a frame of which it has ``seen`` N pixels; None where it is nowhere coarser than the frame."""
    score, magnification, lod = (x.cpu().numpy() for x in (seen.score, seen.magnification, seen.lod))
    asked = seen.visible.cpu().numpy() & (score > LEAST_SCORE)
    coarse = np.where(asked, np.clip((magnification - FINE) / (COARSE - FINE), 0, 1), 0).astype(np.float32)
    if not coarse.any():
        return None
    shares = bilinear(seen.u.cpu().numpy(), seen.v.cpu().numpy(), asked, source.camera.width, source.camera.height)
    area = np.minimum(4.0**lod, 1).astype(np.float32)[:, None]
    colours = (source.image[0].reshape(3, -1).T * source.gain).clamp(0, 1).cpu().numpy()
    worth = np.where(asked, score**2, 0).astype(np.float32)
    return Footprints(shares, area, shares.T @ area, colours, worth[:, None], coarse[:, None])


def bilinear(u: np.ndarray, v: np.ndarray, asked: np.ndarray, width: int, height: int) -> csr_array:
    """(N, width * height): the shares of the four pixels around u, v (N,), pixel-index coordinates; rows not ``asked`` are 0."""
    left, top = (np.clip(np.floor(np.where(asked, x, 0)), 0, max(side - 2, 0)) for x, side in ((u, width), (v, height)))
    right_share, low_share = (np.clip(x - first, 0, 1) * asked for x, first in ((u, left), (v, top)))
    columns, shares = [], []
    for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        columns.append(np.minimum(top + down, height - 1) * width + np.minimum(left + across, width - 1))
        shares.append((low_share if down else asked - low_share) * (right_share if across else asked - right_share))
    starts = np.arange(0, 4 * len(u) + 1, 4, dtype=np.int32)
    data, indices = np.stack(shares, 1).astype(np.float32), np.stack(columns, 1).astype(np.int32)
    return csr_array((data.ravel(), indices.ravel(), starts), shape=(len(u), width * height))


@torch.no_grad()
def agreeing(frame: np.ndarray, condition: Condition, warper: Warper) -> np.ndarray:
    """``frame`` (H, W, 3), sRGB-coded, of ``condition``, held to the photos that ``warper`` warps; float32, 0..1.

    What the photos saw at full resolution, doubtful surfaces, sky and holes stay as they are.
    """
    depth = np.where(np.isfinite(condition.depth), condition.depth, 0).ravel()
    known = (depth > 0).nonzero()[0]
    sure = np.clip((condition.confidence.ravel()[known, None] - DOUBTFUL) / (1 - DOUBTFUL), 0, 1)
    if not sure.any():
        return frame
    index, t = (torch.from_numpy(x).to(warper.device) for x in (known, depth[known]))
    rays = rays_of(condition.camera, warper.device)[index]
    sources = best_sources(warper, condition.camera)
    photos = [footprints(source, sight(source, condition.camera, rays, t)) for source in sources]
    photos = [photo for photo in photos if photo is not None]
    if not photos:
        return frame
    result = frame.reshape(-1, 3).astype(np.float32)
    share = sure / np.maximum(sum(photo.worth for photo in photos), 1e-9)
    shown = result[known]
    for _ in range(STEPS):
        shown = shown + share * sum(photo.worth * photo.coarse * photo.difference(shown) for photo in photos)
    result[known] = shown
    return np.clip(result, 0, 1).reshape(frame.shape)
