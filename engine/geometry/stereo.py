"""Dense depth of every photo from the others: multi-view stereo for few, wide-apart photos.

Steps: a plane sweep with slanted windows and semi-global aggregation on small images; slanted-plane PatchMatch on
larger ones, each photo seeded with what the others found; agreement of all depth maps; confidence; filling; the mean of what
all photos say of a surface.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..device import release_memory
from ..job import Camera
from ..progress import Clock, Progress
from ..records import Photo, View
from . import accord, aggregation, aggregator, completion, consistency, cues, edges, matching, patchmatch, planes, ranges, sky

COARSE = 224
"""Longer side, in pixels, of the images of the plane sweep."""
FAR = 0.08
"""Cost of infinity when the known points of the scene are all near; between them and infinity, a part of it."""
MAX_LABELS = 256
LARGE = 1000
"""Longer side, in pixels, of a photo whose last pass is kept short."""
P1, P2 = 0.03, 0.25
PRIOR = 0.05
"""Cost of leaving the depth of the level below far behind."""
AGREE = 0.01
"""Relative difference of depth within which two photos agree."""
SHIFT = 0.003
"""Farthest, as a share of the image's longer side, a pixel may land from itself after going to another photo and back."""
AGREEMENT = (-3.7, -2.1, -1.6, -0.5)
"""Log-odds of a depth's being right with 0, 1, 2, 3 and more photos that agree."""
BLAND_AGREEMENT = (-3.0, -1.1, 0.5, 3.0)
"""As AGREEMENT, but of the most that a depth can be believed in bland surroundings, whatever else speaks for it."""
GOOD_COST = 0.13
"""Matching cost that speaks neither for nor against a depth."""
SKY = 0.7
"""Confidence of sky."""
ROUNDS = 4
"""How often depth edges are moved, in all photos in turn."""
PLANE_SURE = 0.7
"""Confidence of depths that the scene's planes are fitted to."""
CHANGED = 0.005
"""Relative change of inverse depth from which a depth is another one."""
UNSURE, FIRM = 0.45, 0.85
"""Confidence below which a depth counts no more than what its surroundings suggest, and from which on it stands."""
SETTLED = 0.35
"""Cost of a chosen depth below which it is one to go on from."""
PROPOSED = 0.35
"""Confidence of a proposed depth that no other photo can be asked about."""
UNLIKE = 0.2
"""Difference of colour, means of small windows, from which on photos do not show the same place, whatever their exposures."""
SHARPENING, FINISHING = 1.0, 4.0
"""Time that a round of sharpening, and finishing a photo, take, in that of its last pass; a pass takes half that of the next."""
NOISE = 0.002
"""Relative difference of depth that is taken for noise of single pixels, which makes straight lines of a close-up ragged."""


Aggregate = Callable[[cues.Findings], tuple[torch.Tensor, torch.Tensor]]


@dataclass(eq=False)
class _State:
    """What is known of one photo while its depth is made. proposal: z-depth that something else suggests; w: inverse depth at the
    current level; cost: matching cost; before: inverse depth before its edges were sharpened."""

    photo: Photo
    scope: ranges.Scope
    given: bool
    proposal: np.ndarray | None = None
    camera: Camera | None = None
    w: torch.Tensor | None = None
    cost: torch.Tensor | None = None
    agree: torch.Tensor | None = None
    before: torch.Tensor | None = None


def estimate(
    photos: list[Photo],
    device: torch.device,
    progress: Progress,
    sparse: np.ndarray | None = None,
    proposals: Sequence[np.ndarray | None] = (),
    aggregate: Aggregate = aggregator.learned,
) -> list[View]:
    """Depth and confidence of every photo.

    photos: with cameras; those with ``depth`` keep it as it is (confidence 1) and help the others. sparse: (N, 3) world
    points of the scene, if some are known; they bound the search. proposals: (H, W) z-depth a photo, 0 unknown, that something
    else suggests (a scan, a learned model): tried like a neighbour's, and kept where the photos do not speak against it.
    aggregate: what makes depth and confidence of all that was found, at the end: the learned aggregator or the classical steps.
    Returns one View a photo, in their order.
    A photo that shares too little with the others gets what they know of its sight, with a warning.
    """
    if not photos:
        return []
    if sparse is None or len(sparse) < ranges.MIN_POINTS:
        sparse = ranges.sparse_points(photos, progress) if len(photos) > 1 else np.zeros((0, 3))
    states = [_State(p, s, p.depth is not None) for p, s in zip(photos, ranges.scopes(photos, np.asarray(sparse, np.float64)))]
    for state, proposal in zip(states, proposals):
        state.proposal = proposal
    work = [s for s in states if not s.given and s.scope.partners]
    sizes = _sizes(photos)
    passes = len(sizes)
    clock = Clock(
        progress, [0.5 ** (passes - 1 - stage) for stage in range(passes)] + [SHARPENING] * ROUNDS + [FINISHING], len(work)
    )
    for stage in range(passes):
        frames = _frames(states, sizes[stage], device)
        results = []
        for number, state in enumerate(work):
            release_memory()
            tick = clock.of(stage, number)
            results.append(
                _sweep(state, frames, states, tick) if stage == 0 else _refine(state, frames, states, passes - stage, tick)
            )
        for state, (w, cost) in zip(work, results):
            state.w, state.cost = w, cost
        for state, frame in zip(states, frames):
            state.camera = frame.camera
            if state.given:
                state.w = _inverse(state.photo.depth, frame.size, device)
        _judge(states, work, frames)
    _sharpen(states, work, frames, clock)
    return _finish(states, work, frames, progress, clock, aggregate)


def _sizes(photos: list[Photo]) -> list[int]:
    """Longer sides of the images of each pass: the plane sweep's, then doublings up to the photos' own."""
    full = max(max(photo.image.shape[:2]) for photo in photos)
    sizes = [full]
    while sizes[0] > 1.6 * COARSE or (len(sizes) < 2 and full > 96):
        sizes.insert(0, sizes[0] // 2)
    sizes[0] = min(sizes[0], COARSE)
    return [*sizes, full] if len(sizes) == 1 else sizes


def _frames(states: list[_State], longest: int, device: torch.device) -> list[matching.Frame]:
    return [matching.make_frame(state.photo, longest, device) for state in states]


def _inverse(depth: np.ndarray, size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """:func:`consistency.inverse` at a ``size`` (H, W)."""
    return _resized(consistency.inverse(depth, device), size, "nearest-exact")


def _sweep(state: _State, frames, states, tick):
    """Plane sweep and semi-global aggregation: inverse depth and cost (H, W) of the small image."""
    here = frames[states.index(state)]
    partners = [frames[j] for j in state.scope.partners]
    labels = _labels(state, here, partners)
    cost = matching.sweep(here, partners, labels)
    if state.scope.least > 0:
        cost += FAR * (1 - labels / state.scope.least).clamp_min(0)
    tick(0.6)
    position, _ = aggregation.winners(aggregation.semi_global(cost, here.image, P1, P2))
    tick(1.0)
    return position * (labels[1] - labels[0]), _interpolated(cost, position)


def _labels(state: _State, here, partners) -> torch.Tensor:
    """Inverse depths from infinity to the nearest, about a pixel of the second-nearest partner apart."""
    largest = state.scope.largest
    count = int(np.clip(np.ceil(largest / _pixel_step(state, here, partners)), 48, MAX_LABELS))
    return torch.linspace(0.0, largest, count, device=here.gray.device)


def _pixel_step(state: _State, here, partners) -> float:
    """Inverse depth that moves a point by about a pixel in the second-nearest partner."""
    rates = [matching.disparity_rate(here.camera, p.camera, state.scope.largest / 1.5) for p in partners]
    rates = sorted(rate for rate in rates if rate > 0)
    return 1.0 / rates[min(1, len(rates) - 1)] if rates else state.scope.largest / 100


def _interpolated(cost: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    index = position.round().long().clamp(0, cost.shape[-1] - 1)
    return cost.gather(-1, index[..., None])[..., 0]


def _refine(state: _State, frames, states, left: int, tick):
    """PatchMatch at a level, from the level below: inverse depth and cost (H, W). left: levels to go, this one included."""
    here = frames[states.index(state)]
    partners = [frames[j] for j in state.scope.partners]
    start = consistency.weighted_median(state.w, state.agree * 0.9 + 0.1, _shrunk(here.image, state.w.shape), 2, 1, 0.15)
    du, dv = patchmatch.slopes(start)
    slanted = patchmatch.resize_planes(matching.Planes(start, du, dv), here.size)
    proposals, weights = [], []
    for j in state.scope.partners:
        other = states[j]
        if other.w is None:
            weights.append(torch.ones(here.size, device=slanted.w.device))
            continue
        trusted = other.w if other.given else torch.where(other.agree > 0, other.w, torch.zeros_like(other.w))
        seen = consistency.reproject(trusted, other.camera, state.camera, state.w.shape)
        proposals.append(_resized(seen, here.size, "nearest-exact"))
        ratio, _ = consistency.compare(state.w, state.camera, other.w, other.camera)
        hidden = ((ratio > 0) & (ratio < 0.97)).float()
        weights.append(1 - 0.5 * _resized(hidden, here.size, "bilinear"))
    if state.proposal is not None:
        proposals.append(_inverse(state.proposal, here.size, state.w.device))
    step = _pixel_step(state, here, partners)
    matcher = matching.SlantedMatcher(here, partners, radius=2, stride=2 if left == 1 else 1)
    aim = patchmatch.Objective(step, slanted.w, PRIOR, torch.stack(weights), (0.0, state.scope.largest * 1.1))
    proposals = [proposal.where(proposal > 0, slanted.w) for proposal in proposals]
    # the last doubling of a large photo only polishes
    iterations = 3 if left > 1 else 2 if max(here.size) <= LARGE else 1
    refined, cost = patchmatch.refine(matcher, slanted, proposals, iterations, aim, tick)
    return refined.w, cost


def _shrunk(image: torch.Tensor, size) -> torch.Tensor:
    return F.interpolate(image[None], tuple(size), mode="bilinear", antialias=True, align_corners=False)[0]


def _resized(values: torch.Tensor, size, mode: str) -> torch.Tensor:
    extra = {"align_corners": False} if mode == "bilinear" else {}
    return F.interpolate(values[None, None], tuple(size), mode=mode, **extra)[0, 0]


def _judge(states: list[_State], work: list[_State], frames) -> None:
    """How far the partners' depth maps agree with each pixel of each photo, as a map in ``agree`` (about the number of them).

    One that shows something else there does not: what it sees may be hidden here by something nearer.
    """
    found = []
    for state in work:
        here = frames[states.index(state)]
        total = torch.zeros_like(state.w)
        for j in state.scope.partners:
            other = states[j]
            if other.w is None:
                continue
            ratio, shift = consistency.compare(state.w, state.camera, other.w, other.camera)
            alike = matching.unlike(here, frames[j], state.w) < UNLIKE
            total += (((ratio - 1).abs() < AGREE) & (shift < SHIFT * max(state.w.shape)) & alike).float()
        found.append(total)
    for state, total in zip(work, found):
        state.agree = total


def _sharpen(states: list[_State], work: list[_State], frames, clock: Clock) -> None:
    """Move depth edges to where the photos have them; what changed is as good as the partners then find it.

    In rounds: what is uncovered in one photo lets the others see it, too.
    """
    _find_sky(states, work, frames)
    for state in work:
        state.before = state.w
    for turn in range(ROUNDS):
        certain = [_certainty(state) for state in states]
        found = []
        for number, state in enumerate(work):
            partners = [(frames[j], states[j].w, certain[j]) for j in state.scope.partners if states[j].w is not None]
            index, tick = states.index(state), clock.of(turn - ROUNDS - 1, number)
            found.append(edges.sharpen(frames[index], partners, state.w, certain[index], turn, tick))
        for state, w in zip(work, found):
            changed = (w - state.w).abs() > CHANGED * w
            state.w, state.cost = w, torch.where(changed, torch.full_like(state.cost, GOOD_COST), state.cost)
        _judge(states, work, frames)


def _odds(agreement: Sequence[float], state: _State) -> torch.Tensor:
    """(H, W) the log-odds for as many photos as agree."""
    return torch.tensor(agreement, device=state.w.device)[state.agree.long().clamp(0, len(agreement) - 1)]


def _confidence(state: _State) -> torch.Tensor:
    """(H, W) 0..1, the chance that the depth is right: a logistic model of what was measured, fitted on rendered scenes.

    It looks at the number of photos that agree, at the share of the surroundings that continue the surface, and at the
    matching cost; specks of depth unlike all around them are doubted.
    """
    du, dv = patchmatch.slopes(state.w)
    support = consistency.support(matching.Planes(state.w, du, dv))
    good = ((GOOD_COST - state.cost) / GOOD_COST).clamp(-3, 1)
    good = torch.where(good > 0, 4.0 * good, 0.9 * good)
    confidence = (_odds(AGREEMENT, state) + 4.5 * support + good).sigmoid().clamp_max(0.98)
    confidence = torch.where(consistency.specks(state.w), confidence * 0.3, confidence)
    return torch.where(state.w > 0, confidence, torch.full_like(confidence, SKY))


def _certainty(state: _State) -> torch.Tensor | None:
    """(H, W) 0..1 how sure each depth is, a given one wholly; None where there is no depth map."""
    if state.w is None:
        return None
    return torch.ones_like(state.w) if state.given else _confidence(state)


def _believed(state: _State, frame: matching.Frame) -> torch.Tensor | None:
    """:func:`_certainty`, less where all looks alike: there many depths match."""
    certain = _certainty(state)
    if certain is None or state.given:
        return certain
    bland = torch.minimum(certain, _odds(BLAND_AGREEMENT, state).sigmoid())
    return torch.where(state.w > 0, torch.lerp(bland, certain, frame.telling), certain)


def _finish(
    states: list[_State], work: list[_State], frames, progress: Progress, clock: Clock, aggregate: Aggregate
) -> list[View]:
    """Confidence, sky, what is missing filled; the Views at the photos' own sizes."""
    _find_sky(states, work, frames)
    certain = [_believed(state, frame) for state, frame in zip(states, frames)]
    surfaces = _planes(states, frames, certain)
    found = []
    for index, state in enumerate(states):
        progress.check()
        release_memory()
        tick = clock.of(-1, work.index(state)) if state in work else lambda part: None
        found.append(_depth_map(index, states, certain, frames, surfaces, aggregate, tick))
        if state not in work and not state.given and state.proposal is None:
            progress.warn(
                f"{state.photo.name} shares too little with the other photos for its depth to be measured; its depth is a guess. "
                "Add a photo taken a step to its side, or give its depth."
            )
    depths = accord.reconciled(found, [state.scope.partners for state in states], progress.check)
    return [_view(state.photo, one, w) for state, one, w in zip(states, found, depths)]


def _depth_map(index: int, states, certain, frames, surfaces: np.ndarray, aggregate: Aggregate, tick) -> accord.DepthMap:
    """What is known of one photo, at its frame's size."""
    state, frame = states[index], frames[index]
    if state.given:
        return accord.DepthMap(frame.camera, state.w, (state.w > 0).float(), given=True)

    def last(findings: cues.Findings) -> tuple[torch.Tensor, torch.Tensor]:
        tick(0.4)
        return aggregate(findings)

    w, confidence = _completed(index, states, certain, frames, surfaces, last)
    w = cues.averaged(w, w, confidence, frame.image, 1, NOISE)
    tick(1.0)
    return accord.DepthMap(frame.camera, w, confidence)


def _view(photo: Photo, known: accord.DepthMap, w: torch.Tensor) -> View:
    """A photo with what is known of it, at its own size. w: (H, W) inverse depth, where it was not given."""
    if known.given:
        depth, confidence = _kept(photo)
    else:
        w, confidence = (_resized(x, photo.image.shape[:2], "nearest-exact") for x in (w, known.confidence))
        depth = torch.where(w > 0, 1 / w.clamp_min(1e-12), torch.full_like(w, float("inf"))).cpu().numpy()
        confidence = confidence.cpu().numpy()
    return View(photo.name, photo.image, photo.camera, photo.mask, depth, confidence)


def _find_sky(states: list[_State], work: list[_State], frames) -> None:
    """Mark the sky of every photo: inverse depth 0."""
    found = []
    for state in work:
        frame, partners = frames[states.index(state)], [frames[j] for j in state.scope.partners]
        evident = (state.agree > 0) & (state.w > 0) & (_confidence(state) > 0.5) & (state.cost < 2 * GOOD_COST)
        found.append(torch.from_numpy(sky.find(frame, partners, evident)).to(state.w.device))
    for state, blue in zip(work, found):
        state.w = torch.where(blue, torch.zeros_like(state.w), state.w)


def _planes(states, frames, certain) -> np.ndarray:
    """(K, 4) the scene's large planes, from all sure depths."""
    points = [np.zeros((0, 7))]
    for state, frame, sure in zip(states, frames, certain):
        if state.w is not None:
            points.append(planes.oriented_points(state.w, (state.w > 0) & (sure > PLANE_SURE), frame.camera))
    return planes.find(np.concatenate(points))


def _kept(photo: Photo) -> tuple[np.ndarray, np.ndarray]:
    """A given depth map and its confidence; what is no depth becomes unknown."""
    depth = np.where(photo.depth > 0, photo.depth, 0).astype(np.float32)
    return depth, (depth > 0).astype(np.float32)


def _completed(
    index: int, states, certain, frames, surfaces: np.ndarray, aggregate: Aggregate
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse depth (0 = sky) and confidence (H, W) of one photo, every pixel given a value."""
    state, frame = states[index], frames[index]
    seen, trust = _seen_by_others(index, states, certain, frames)
    partners = [j for j in state.scope.partners if states[j].w is not None]
    judge = completion.Judge(frame, [(frames[j], states[j].w, certain[j]) for j in partners])
    if state.w is None:
        w, confidence = seen, trust * 0.5
        if state.proposal is not None:
            proposed = _inverse(state.proposal, frame.size, w.device)
            return torch.where(w > 0, w, proposed), torch.where(w > 0, confidence, PROPOSED * (proposed > 0))
        flat = 1.0 / ranges.middle([s.photo for s in states], index, state.scope.known)
        if not bool((w > 0).any()):
            return torch.full(frame.size, flat, device=frame.gray.device), torch.full(frame.size, 0.02, device=frame.gray.device)
        blue = torch.zeros_like(w, dtype=torch.bool)
    else:
        w, confidence = state.w, certain[index]
        blue = w == 0
        w, confidence = _corrected(judge, w, confidence, seen, trust)
    known = (confidence >= UNSURE) & (w > 0) & (judge.refutations(w) <= confidence)
    if not bool(known.any()):
        return w, confidence * 0.5
    # small islands in the unknown are mostly wrong, and nothing is spread from larger ones either
    islands = torch.where(known, w, torch.zeros_like(w))
    known &= ~(consistency.specks(islands, area=3e-4) & (confidence < 0.9))
    firmness = ((confidence - UNSURE) / (FIRM - UNSURE)).clamp(0, 1) * known
    sources = (firmness > 0.5) & ~consistency.specks(islands, area=1e-3)
    if not bool(known.any()):
        return w, confidence * 0.5
    filled, fetched = consistency.fill(w, sources if bool(sources.any()) else known, frame.image)
    if state.w is None:
        return torch.where(known, w, filled), torch.where(known, confidence, confidence.clamp(0.02, 0.2))
    matched, firmness = w, torch.where(blue, torch.ones_like(firmness), firmness)
    w, cost, plane = _chosen(state, judge, firmness, w, filled, fetched, surfaces)
    known = (known | blue) & ((w - matched).abs() <= CHANGED * matched)
    confidence = torch.where(known, confidence, (0.6 - 1.5 * cost).clamp(aggregator.GUESS, 0.5))
    others = [state.w, state.before, filled, seen, plane]
    step = _pixel_step(state, frame, [frames[j] for j in state.scope.partners])
    return aggregate(cues.Findings(judge, w, others, confidence, _confidence(state), state.agree, state.cost, known, step))


def _corrected(judge: completion.Judge, w, confidence, seen, trust) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse depth and confidence (H, W), those of the others, ``seen`` and ``trust`` (H, W), where the own depth is unsure.

    What they know of behind it speaks against it only if they see past it.
    """
    better = (confidence < UNSURE) & (trust > 0.5) & ((seen > w) | (judge.refutations(w) > confidence))
    return torch.where(better, seen, w), torch.where(better, trust * 0.7, confidence)


def _chosen(state: _State, judge: completion.Judge, firmness, w, filled, fetched, surfaces: np.ndarray):
    """:func:`completion.choose` among what was matched, what the surroundings suggest, and the scene's large planes (K, 4).

    Twice: what little spoke against the first time belongs to the surroundings then.
    """
    frame = judge.frame
    hypotheses = [planes.seen_from(plane, frame.camera, frame.size, w.device) for plane in surfaces]
    proposal = None
    if state.proposal is not None:
        proposed = _inverse(state.proposal, frame.size, w.device)
        proposal = matching.Planes(proposed, *patchmatch.slopes(proposed))

    def choice(w, filled, fetched):
        own, around = (matching.Planes(x, *patchmatch.slopes(x)) for x in (w, filled))
        return completion.choose(judge, firmness, own, around, fetched, hypotheses, proposal)

    w, cost, plane = choice(w, filled, fetched)
    firm = firmness > 0.5
    settled = (firm | (cost < SETTLED)) & (w > 0)
    settled &= firm | ~consistency.specks(torch.where(settled, w, torch.zeros_like(w)), area=1e-3)
    if not bool(settled.any()):
        return w, cost, plane
    return choice(w, *consistency.fill(w, settled, frame.image))


def _seen_by_others(index: int, states, certain, frames) -> tuple[torch.Tensor, torch.Tensor]:
    """What the other photos' sure depths say of this photo: inverse depth, 0 = nothing, and confidence (H, W).

    Where this photo shows something else in front of what they are sure of, colours tell.
    """
    frame = frames[index]
    best, trust = torch.zeros(frame.size, device=frame.gray.device), torch.zeros(frame.size, device=frame.gray.device)
    for j, other in enumerate(states):
        if j == index or other.w is None:
            continue
        kept = torch.where(certain[j] >= 0.6, other.w, torch.zeros_like(other.w))
        seen = consistency.reproject(kept, other.camera, frame.camera, frame.size)
        nearer = (seen > best) & (matching.unlike(frame, frames[j], seen) < UNLIKE)
        best, trust = torch.where(nearer, seen, best), torch.where(nearer, torch.full_like(trust, 0.7), trust)
    return best, trust
