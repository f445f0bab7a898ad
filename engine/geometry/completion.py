"""Depth where no two photos agree: the surfaces of the scene go on behind what hides them.

What stands beside an object is often seen by one photo alone. There every pixel chooses among what it matched best, what its
surroundings suggest, and the large planes of the scene, judged by the other photos: a hypothesis may not stand in what another
photo sees as free space and must look alike where another photo sees it; and neighbours of like colour choose alike.
(Planes as hypotheses: Gallup et al. 2010. The choice: a Potts model, by semi-global aggregation.)
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from scipy import ndimage

from ..compiled import on_cpu
from . import aggregation
from .kernels import judging
from .kernels.limits import FLAT, FREE_SPACE, HIDDEN, PLAIN, SURE, UNSEEN
from .matching import Frame, Planes, SlantedMatcher, pixel_grid, sample

OWN, FILLED = 0.06, 0.03
"""What counts against a pixel's own best match, which nobody confirmed, and against what its surroundings suggest."""
ONE_OF_MANY, CONTRARY = 0.15, 2.0
"""What counts besides against a match in bland surroundings, and how much more other colours count there."""
FETCHED, FARTHEST = 0.12, 0.5
"""What counts against surroundings that are far or of other colours, see :func:`consistency.fill`, and the most of it."""
CONTINUES, CONTINUED, NEARBY = 0.3, 0.15, 0.4
"""What speaks for a match much like what the surroundings suggest, and for that; up to which relative difference of inverse
depth, and how far-fetched, it does. A match that nobody could confirm may still show that a curved surface goes on."""
FOREIGN, TINGE, MOST_FOREIGN = 2.0, 0.15, 0.5
"""What counts against a depth where another photo is sure of a surface: by how much more than a tinge the colours differ; and the
most of it. Texture alone is blind to that: a window of one surface correlates a little with one of almost any other."""
REMOTE = 0.2
"""What it costs a plane to go on far from where it is sure to be: as far as the photo is long if all that is sure belongs to it,
for one of fewer pixels as much less."""
UNUSUAL, RARE, SHADES = 0.16, 0.005, 16
"""What it costs a plane to go on in colours that are none of its own; the share of the sure pixels that must have a colour for
half of that; and into how many shades each channel is divided for it."""
BEHIND, BEYOND = 0.3, 0.01
"""What it costs to lie behind a plane that bounds the scene, as ground and walls do, and what share of all that is sure may be
there nevertheless."""
REACH = 0.3
"""Share of the photo's longer side around a pixel, where it is asked how well a proposal fits."""
FITS = 0.01
"""Relative difference of depth up to which a sure pixel belongs to a hypothesis."""
SWITCH, CONTRAST = 2.0, 0.04
"""Cost of neighbours choosing differently, and the difference of colour from which on it is less."""


class Judge:
    """What the partners of a photo say of hypotheses about its depth.

    partners: (frame, inverse depth (h, w), confidence (h, w)) of each; inverse depth 0 is sky. sigma: as SlantedMatcher has it.
    """

    def __init__(self, frame: Frame, partners: list[tuple[Frame, torch.Tensor, torch.Tensor]], sigma: float = 0.15):
        self.frame, self.partners = frame, partners
        self.matcher = SlantedMatcher(frame, [partner[0] for partner in partners], sigma=sigma)
        self.pixels = pixel_grid(*frame.size, frame.gray.device).reshape(3, -1)

    def refutations(self, w: torch.Tensor) -> torch.Tensor:
        """(H, W) 0..1 how sure the partner is that sees past the depth; 0: none does. w: (H, W) inverse depth."""
        strongest = torch.zeros(w.numel(), device=w.device)
        for number in range(len(self.partners)):
            inside, _, _, ratio, sure = self.look(number, self.pixels, w.reshape(-1))
            strongest = torch.where(inside & (ratio > FREE_SPACE), torch.maximum(strongest, sure), strongest)
        return strongest.reshape(w.shape)

    def strangeness(self, w: torch.Tensor, only: torch.Tensor) -> torch.Tensor:
        """(H, W) largest difference of a colour channel to a partner that is sure of a surface at that very depth.

        0 where none is, and outside ``only`` (H, W). w: (H, W) inverse depth.
        """
        index = only.reshape(-1).nonzero()[:, 0]
        own, pixels, w = self.frame.soft.reshape(3, -1)[:, index], self.pixels[:, index], w.reshape(-1)[index]
        most = torch.zeros_like(w)
        for number, (partner, _, _) in enumerate(self.partners):
            inside, u, v, ratio, sure = self.look(number, pixels, w)
            there = inside & (sure > SURE) & (ratio < FREE_SPACE) & (ratio > HIDDEN)
            unlike = (sample(partner.soft, u, v)[:, 0] - own).abs().amax(0)
            most = torch.where(there, torch.maximum(most, unlike), most)
        return torch.zeros(only.numel(), device=w.device).index_copy(0, index, most).reshape(only.shape)

    @property
    def device(self) -> torch.device:
        """Where it works."""
        return self.frame.device

    def look(self, number: int, pixels: torch.Tensor, w: torch.Tensor):
        """Where hypotheses w (N,) at pixels (3, N) land in a partner: inside (N,), u, v (1, N), the depth that the partner knows
        there over theirs (N,), and how sure it is (N,)."""
        partner, known, confidence = self.partners[number]
        a, b = self.matcher.transfers[number]
        q = a @ pixels + b[:, None] * w
        z = q[2].clamp_min(1e-6)
        u, v = (q[0] / z)[None], (q[1] / z)[None]
        inside = (w > 0) & (q[2] > 1e-6) & (u > 0)[0] & (u < partner.size[1])[0] & (v > 0)[0] & (v < partner.size[0])[0]
        there = sample(torch.stack([known, confidence]), u, v, mode="nearest")[:, 0]
        return inside, u, v, (w / z) / there[0].clamp_min(1e-12), there[1]

    def cost(self, index: torch.Tensor, window, planes: Planes) -> torch.Tensor:
        """(N,) cost of planes at pixels ``index`` (N,), whose windows are given."""
        pixels = self.pixels[:, index]
        score, usable = self.matcher.zncc(window, planes, pixels)
        usable &= self.matcher.faces(planes, pixels)
        texture = window[2] / (window[2] + FLAT)
        own = self.frame.image.reshape(3, -1)[:, index]
        best = torch.full_like(planes.w, UNSEEN)
        seen, refuted = torch.zeros_like(best, dtype=torch.bool), planes.w <= 0
        for number, (partner, _, _) in enumerate(self.partners):
            inside, u, v, ratio, sure = self.look(number, pixels, planes.w)
            sure = inside & (sure > SURE)
            refuted |= sure & (ratio > FREE_SPACE)
            looked = inside & usable[number] & ~(sure & (ratio < HIDDEN))
            unlike = (sample(partner.image, u, v)[:, 0] - own).abs().amax(0)
            cost = texture * (1 - score[number]) * 0.5 + (1 - texture) * (PLAIN + 3 * unlike).clamp_max(0.5)
            best = torch.where(looked, torch.where(seen, torch.minimum(best, cost), cost), best)
            seen |= looked
        return torch.where(refuted, torch.ones_like(best), best.clamp(0, 1))


@on_cpu(judging.costs)
def costs(judge: Judge, hypotheses: list[Planes], only: torch.Tensor) -> torch.Tensor:
    """(H, W, L) 0..1 how much speaks against each of L hypotheses; 0 outside ``only`` (H, W)."""
    h, width = judge.frame.size
    out = torch.zeros(h * width, len(hypotheses), device=judge.device)
    for top in range(0, h, 64):
        rows = slice(top, min(h, top + 64))
        there = only[rows].reshape(-1).nonzero()[:, 0]
        index = there + top * width
        if not len(index):
            continue
        window = tuple(part[there] for part in judge.matcher.window(rows))
        for number, hypothesis in enumerate(hypotheses):
            flat = Planes(*(part.reshape(-1)[index] for part in (hypothesis.w, hypothesis.du, hypothesis.dv)))
            out[index, number] = judge.cost(index, window, flat)
    return out.reshape(h, width, -1)


def choose(
    judge: Judge,
    firmness: torch.Tensor,
    own: Planes,
    filled: Planes,
    fetched: torch.Tensor,
    planes: list[Planes],
    proposal: Planes | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inverse depth (H, W), its cost (H, W), 0 and more, and of the ``planes`` the likeliest (H, W), 0 where the depth is firm.

    own: what was matched. firmness: (H, W) 0..1, how far it is believed whatever else speaks for another; at 1 it stays. filled:
    what the surroundings suggest, and how far it is ``fetched`` (H, W). proposal: what something else suggests (a scan, a learned
    model).
    """
    hypotheses = [own, filled, *planes, *([] if proposal is None else [proposal])]
    firm = firmness > 0.5
    fits = torch.stack([(hypothesis.w / own.w.clamp_min(1e-12) - 1).abs() < FITS for hypothesis in hypotheses], -1)
    against = costs(judge, hypotheses, firmness < 1)
    strange = torch.stack([judge.strangeness(hypothesis.w, firmness < 1) for hypothesis in hypotheses], -1)
    against = (against + (FOREIGN * (strange - TINGE)).clamp(0, MOST_FOREIGN)).clamp_max(1)
    # where all looks alike, nothing speaks for a depth that matches, but all the more against one that does not
    telling = judge.frame.telling[..., None]
    against = UNSEEN + (against - UNSEEN) * torch.where(against < UNSEEN, telling, 1 + CONTRARY * (1 - telling))
    against[..., 0] += OWN + ONE_OF_MANY * (1 - telling[..., 0])
    against[..., 1] += FILLED + (FETCHED * fetched).clamp_max(FARTHEST)
    against[..., :2] -= _continues(own, filled, fetched)[..., None] * telling
    against += _behind(hypotheses, [plane for plane in planes if _bounds(plane, own, firm)])
    for number in range(2, 2 + len(planes)):
        members = firm & fits[..., number]
        against[..., number] += _remote(firm, members) + _unusual(judge.frame.soft, firm, members)
    if proposal is not None:
        against[..., -1] += _doubt(firm, fits[..., -1])
    # where the depth stands firm it is only asked what fits; planes first, so that they are handed on to what does not
    certain = (~fits).float()
    certain[..., :2] = certain[..., :2].clamp_min(0.05)
    volume = torch.lerp(against, certain, firmness[..., None])
    chosen = aggregation.semi_global(volume, judge.frame.image, None, SWITCH, CONTRAST).argmin(-1, keepdim=True)
    chosen = torch.where(firmness[..., None] >= 1, torch.zeros_like(chosen), chosen)
    w = torch.stack([hypothesis.w for hypothesis in hypotheses], -1)
    plane = torch.zeros_like(own.w)
    if planes:
        likeliest = 2 + against[..., 2 : 2 + len(planes)].argmin(-1, keepdim=True)
        plane = torch.where(firm, plane, w.gather(-1, likeliest)[..., 0].clamp_min(0))
    return w.gather(-1, chosen)[..., 0], volume.gather(-1, chosen)[..., 0], plane


def _continues(own: Planes, filled: Planes, fetched: torch.Tensor) -> torch.Tensor:
    """(H, W) what speaks for a match that continues its surroundings; all of (H, W)."""
    alike = 1 - (own.w / filled.w.clamp_min(1e-12) - 1).abs() / CONTINUED
    return CONTINUES * alike.clamp(0, 1) * (1 - fetched / NEARBY).clamp(0, 1)


def _bounds(plane: Planes, own: Planes, sure: torch.Tensor) -> bool:
    """Whether hardly any of the sure pixels (H, W) lie behind the plane."""
    beyond = sure & (plane.w > 0) & (own.w < HIDDEN * plane.w)
    return float(beyond.sum()) < BEYOND * float(sure.sum())


def _behind(hypotheses: list[Planes], bounds: list[Planes]) -> torch.Tensor:
    """(H, W, L) cost of each hypothesis for lying behind planes that bound the scene; sky does not."""
    farthest = torch.stack([torch.zeros_like(hypotheses[0].w), *(plane.w for plane in bounds)]).amax(0)
    return BEHIND * torch.stack([(plane.w > 0) & (plane.w < HIDDEN * farthest) for plane in hypotheses], -1)


def _remote(sure: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """(H, W) cost of a plane's going on far from those of the sure pixels (H, W) that belong to it (H, W)."""
    away = cv2.distanceTransform((~members).cpu().numpy().astype(np.uint8), cv2.DIST_L2, 3)
    reach = max(members.shape) * float(members.sum() / sure.sum().clamp_min(1))
    return torch.from_numpy(away).to(members.device).div(max(reach, 1.0)).clamp_max(1) * REMOTE


def _unusual(image: torch.Tensor, sure: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """(H, W) cost of a plane's going on where colours are hardly those of the sure pixels (H, W) that belong to it (H, W).

    By how much rarer a colour of the image (3, H, W) is among these than among all sure pixels.
    """
    red, green, blue = (image.cpu().numpy() * SHADES).astype(np.int64).clip(0, SHADES - 1)
    colours = (red * SHADES + green) * SHADES + blue

    def shares(chosen: torch.Tensor) -> np.ndarray:
        counts = np.bincount(colours[chosen.cpu().numpy()], minlength=SHADES**3).reshape(SHADES, SHADES, SHADES)
        return ndimage.gaussian_filter(counts / max(counts.sum(), 1), 1.0, mode="nearest").ravel()

    own, usual = shares(members), shares(sure)
    cost = UNUSUAL * (1 - own / np.maximum(usual, 1e-12)).clip(0, 1) * usual / (usual + RARE)
    return torch.from_numpy(cost[colours].astype(np.float32)).to(image.device)


def _doubt(known: torch.Tensor, fits: torch.Tensor) -> torch.Tensor:
    """(H, W) cost of a proposal: by the share of the sure pixels around (H, W) that it does not fit (H, W)."""
    side = 2 * int(REACH * max(known.shape) / 2) + 1
    right, all_sure = (cv2.blur(x.cpu().numpy().astype(np.float32), (side, side)) for x in (known & fits, known))
    share = np.where(all_sure > 1e-6, right / np.maximum(all_sure, 1e-6), 0)
    return torch.from_numpy((1 - share).astype(np.float32)).to(known.device) * REMOTE
