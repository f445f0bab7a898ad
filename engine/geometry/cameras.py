"""Cameras of photos: those given are kept, the others solved from what the photos have in common.

The world is that of the given cameras; without any it is upright, centred and UNITS_TO_SCENE from the cameras.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pycolmap

from .. import camera as pinhole
from ..progress import EngineError, Progress
from ..records import Photo
from . import gauge, latecomers, sfm
from .beliefs import GUESSED_FOCAL_35MM, holding, lenses_believed, report_unsure
from .calibration import Lens, calibrated, deviations
from .lens import focal_pixels, undistorted
from .model_checks import checked, reprojection_errors
from .overlaps import MANY, NORMAL, PATIENT, Evidence
from .placement import colors, placement

SOLVE_SIZE = 1600
"""Pixels; the longest side at which features are looked for."""
_CALIBRATIONS = 2
"""Rounds of calibrating a lens and solving with it."""
_INLIER = 1.0
"""Pixels at the solver's size; a feature farther off than this supports nothing."""
_START, _OTHER_STARTS = 1.2, (0.75, 2.0)
"""Focal length over the longer side from which an unknown one is solved, between wide and long, and those tried as well."""
_MOST = 0.75
"""Share of many photos with which a model is good enough for the others to be registered to it one by one."""
_ENOUGH_POINTS = 200
"""Points that every photo should see; when one sees fewer, features that bear wider baselines are looked for as well."""
_AS_BEFORE = 0.9
"""Share of a pair's inliers that remain without stationary matches when these play no part."""
_MAPPERS = (sfm.MapperSettings(), sfm.MapperSettings(50, 6.0, 0.98, 20, 0.15), sfm.MapperSettings(25, 3.0, 1.0, 15, 0.1))


@dataclass
class Solve:
    """Photos with all cameras known, and what was found on the way.

    photos: those that were placed, in the order given; where the lens bent straight lines the image was straightened for good and
    the mask leaves out what no pixel fills. points: (N, 3) float32, world. colors: (N, 3) uint8, sRGB. unplaced: names of
    the photos left out. errors: mean reprojection error per solved photo, in its pixels.
    """

    photos: list[Photo]
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    colors: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    unplaced: list[str] = field(default_factory=list)
    errors: dict[str, float] = field(default_factory=dict)


@dataclass
class _Attempt:
    """The best that was found: a model, one made free of the known cameras, the photos' overlaps, and the features it is from.

    believed: whether its lenses may be what was believed of them beforehand.
    """

    model: sfm.Model = field(default_factory=sfm.Model)
    free: sfm.Model = field(default_factory=sfm.Model)
    geometries: sfm.Geometries = field(default_factory=dict)
    settings: sfm.FeatureSettings = NORMAL
    believed: bool = False


def solve_cameras(
    photos: list[Photo], progress: Progress, seed: int = 0, evidence_of: Callable[[list[sfm.Shot], Progress], Evidence] = Evidence
) -> Solve:
    """Find the cameras that are None. Photos that cannot be placed are left out with a warning that names them.

    evidence_of: what finds the points that photos have in common.
    Given cameras stay as they are; the others are registered to them. The same photos and seed give the same bytes.
    Raises EngineError, naming the photos and saying what to photograph, when fewer than two can be placed.
    """
    unknown = [i for i, photo in enumerate(photos) if photo.camera is None]
    if not unknown:
        return Solve(list(photos))
    if len(photos) == 1:
        return Solve([_alone(photos[0], progress)])
    shots = _shots(photos)
    with tempfile.TemporaryDirectory(prefix="closeup-") as work:
        evidence = evidence_of(shots, progress)
        given = lenses_believed(photos, shots, guess=False)
        attempt = _search(Path(work), shots, evidence, progress, seed, given=given)
        attempt = _from_other_starts(Path(work), shots, attempt, evidence, progress, seed)
        attempt = _with_sure_focal(Path(work), photos, shots, attempt, evidence, progress, seed)
        attempt.model = latecomers.join(Path(work), shots, attempt.model, evidence, _MAPPERS[0], progress, seed)
    placed = [i for i in range(len(photos)) if i in attempt.model.poses or photos[i].camera is not None]
    _report_unplaced(photos, placed, attempt, progress)
    return _finished(photos, placed, attempt, progress)


def _alone(photo: Photo, progress: Progress) -> Photo:
    """One photo without a camera: it looks along +y, level, at a scene around the origin."""
    if photo.focal_35mm is None:
        progress.warn(f"The focal length of {photo.name} is not known; {GUESSED_FOCAL_35MM:g} mm (35 mm equivalent) is assumed.")
    height, width = photo.image.shape[:2]
    focal = focal_pixels(photo.focal_35mm or GUESSED_FOCAL_35MM, width, height)
    pose = np.array([[1.0, 0, 0, 0], [0, 0, 1, -gauge.UNITS_TO_SCENE], [0, -1, 0, 0], [0, 0, 0, 1]])
    k = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return replace(photo, camera=pinhole.from_arrays(width, height, k, pose))


def _shots(photos: list[Photo]) -> list[sfm.Shot]:
    """What the solver sees of the photos; photos of one size and focal length share a lens."""
    shots, lenses = [], {}
    for photo in photos:
        grey = sfm.grey_for_solving(photo.image, SOLVE_SIZE)
        height, width = grey.shape
        mask = photo.mask
        if mask.shape != grey.shape:
            rows = (np.arange(height) + 0.5) * mask.shape[0] / height
            columns = (np.arange(width) + 0.5) * mask.shape[1] / width
            mask = mask[rows.astype(int)[:, None], columns.astype(int)]
        if photo.camera is not None:
            given = pinhole.resized(photo.camera, width, height)
            key = (width, height, given.fx, given.fy, given.cx, given.cy)
            camera = pycolmap.Camera(model="PINHOLE", width=width, height=height, params=list(key[2:]))
            camera.has_prior_focal_length = True
            fixed = pinhole.world_from_camera(photo.camera)
        else:
            key = (width, height, photo.focal_35mm)
            focal = focal_pixels(photo.focal_35mm, width, height) if photo.focal_35mm else _START * max(width, height)
            camera = pycolmap.Camera(
                model="SIMPLE_RADIAL", width=width, height=height, params=[focal, width / 2, height / 2, 0.0]
            )
            camera.has_prior_focal_length = photo.focal_35mm is not None
            fixed = None
        camera.camera_id = lenses.setdefault(key, len(lenses) + 1)
        shots.append(sfm.Shot(grey, mask, camera, fixed, hold_lens=fixed is not None))
    return shots


def _search(
    work: Path,
    shots: list[sfm.Shot],
    evidence: Evidence,
    progress: Progress,
    seed: int,
    rounds: tuple[sfm.FeatureSettings, ...] = (NORMAL, PATIENT),
    given: dict[int, Lens] | None = None,
) -> _Attempt:
    """Ever more patient tries until every photo is placed and well tied to the others; the best of them otherwise.

    given: lenses to be held before more patience is tried, where the free ones run away (straight ahead they fit anything).
    """
    best = _Attempt()
    for settings in rounds:
        before = best.model
        _look(work, shots, settings, evidence, progress, seed, best)
        if given and len(best.model.poses) < 2:
            _look(work, holding(shots, given), settings, evidence, progress, seed, best)
            best.believed = len(best.model.poses) >= 2
        if best.model is not before:
            best.settings = settings
        if len(best.model.poses) >= 2 and (len(shots) > MANY or (_complete(best.model, shots) and not _thin(best.model, shots))):
            break
    return best


def _look(
    work: Path,
    shots: list[sfm.Shot],
    settings: sfm.FeatureSettings,
    evidence: Evidence,
    progress: Progress,
    seed: int,
    best: _Attempt,
) -> None:
    """Models from these features, by ever less demanding mappers, until all photos (most, of many) are placed; into ``best``."""
    features = list(evidence.features(settings, list(range(len(shots)))).values())
    pairs = evidence.all_matches(settings)
    before: sfm.Geometries = {}
    progress.stage("cameras", "Placing the cameras")
    for stationary in (True, False):
        geometries = sfm.verify(shots, features, pairs, stationary, progress, seed)
        if not stationary and _as_before(geometries, before):
            return
        before = geometries
        if len(geometries) > len(best.geometries):
            best.geometries = geometries
        sfm.write_database(work / "database.db", shots, features, pairs, geometries)
        for mapper in _MAPPERS:
            progress.check()
            found = _reconstruct(work, shots, mapper, seed, best)
            if any(_complete(m, shots) or (len(shots) > MANY and len(m.poses) >= _MOST * len(shots)) for m in found):
                return


def _as_before(geometries: sfm.Geometries, before: sfm.Geometries) -> bool:
    """Whether dropping stationary matches left every pair nearly all of its inliers."""
    left = {pair: len(geometry.inlier_matches) for pair, geometry in geometries.items()}
    return all(left.get(pair, 0) >= _AS_BEFORE * len(geometry.inlier_matches) for pair, geometry in before.items())


def _from_other_starts(
    work: Path, shots: list[sfm.Shot], attempt: _Attempt, evidence: Evidence, progress: Progress, seed: int
) -> _Attempt:
    """The best of what is found from other first focal lengths, where none is known.

    Three or four photos of a rather flat scene fit a wrong focal length almost as well, and from near it the solver stays there.
    """
    if len(shots) > MANY or all(shot.camera.has_prior_focal_length for shot in shots):
        return attempt
    for ratio in _OTHER_STARTS:
        started = []
        for shot in shots:
            if not shot.camera.has_prior_focal_length:
                camera = pycolmap.Camera(shot.camera.todict())
                camera.params = [ratio * max(camera.width, camera.height), *camera.params[1:]]
                shot = replace(shot, camera=camera)
            started.append(shot)
        other = _search(work, started, evidence, progress, seed, (attempt.settings,))
        if _rank(other.model, shots) > _rank(attempt.model, shots):
            attempt = replace(attempt, model=other.model, free=other.free)
    return attempt


def _reconstruct(work: Path, shots: list[sfm.Shot], mapper: sfm.MapperSettings, seed: int, best: _Attempt) -> list[sfm.Model]:
    """One run of the mapper, two when cameras are known (holding them, and free of them); what is better goes into ``best``.

    Returns the models that hold a known camera, when there are any.
    """
    useful = []
    free_shots = [replace(shot, fixed=None) for shot in shots]
    for chosen in (shots, free_shots) if _known_in(range(len(shots)), shots) else (free_shots,):
        for model in sfm.reconstruct(work, chosen, mapper, seed):
            model = checked(model, chosen)
            if _useful(model, shots):
                useful.append(model)
                if _rank(model, shots) > _rank(best.model, shots):
                    best.model = model
            if chosen is free_shots and _known_in(model.poses, shots) > max(1, _known_in(best.free.poses, shots)):
                best.free = model
    return useful


def _known_in(indices: Iterable[int], shots: list[sfm.Shot]) -> int:
    """How many of these shots have a camera that was given."""
    return sum(shots[i].fixed is not None for i in indices)


def _useful(model: sfm.Model, shots: list[sfm.Shot]) -> bool:
    """Whether the model can be placed in the world: it holds a known camera when there are any."""
    return len(model.poses) >= 2 and (not _known_in(range(len(shots)), shots) or _known_in(model.poses, shots) > 0)


def _rank(model: sfm.Model, shots: list[sfm.Shot]) -> tuple[int, float]:
    """How many photos a model places, then how many features support each, less by the square of their error (MSAC)."""
    solved = [i for i in model.poses if shots[i].fixed is None]
    support = sum(np.maximum(0.0, 1 - (reprojection_errors(model, i) / _INLIER) ** 2).sum() for i in solved)
    return len(solved), support / max(len(solved), 1)


def _complete(model: sfm.Model, shots: list[sfm.Shot]) -> bool:
    return all(i in model.poses for i, shot in enumerate(shots) if shot.fixed is None)


def _thin(model: sfm.Model, shots: list[sfm.Shot]) -> bool:
    """Whether a photo hangs on so few points that it can stand wrong though each of them fits."""
    return any(len(model.seen[i]) < _ENOUGH_POINTS for i in model.poses if shots[i].fixed is None)


def _with_sure_focal(
    work: Path,
    photos: list[Photo],
    shots: list[sfm.Shot],
    attempt: _Attempt,
    evidence: Evidence,
    progress: Progress,
    seed: int,
) -> _Attempt:
    """Solve again with what is believed of the lenses where the photos tell hardly more, or found no place without.

    The user is told of what remains unsure.
    """
    beliefs, told = lenses_believed(photos, shots), deviations(attempt.model, shots)
    if len(attempt.model.poses) > 2 and not attempt.believed:
        beliefs = {lens: belief for lens, belief in beliefs.items() if told.get(lens, 0.0) > belief.deviation}
    if beliefs:
        attempt = _calibrated(work, photos, shots, attempt, beliefs, evidence, progress, seed)
        told = deviations(attempt.model, shots)
    report_unsure(photos, shots, attempt.model, told, progress)
    return attempt


def _calibrated(
    work: Path,
    photos: list[Photo],
    shots: list[sfm.Shot],
    attempt: _Attempt,
    beliefs: dict[int, Lens],
    evidence: Evidence,
    progress: Progress,
    seed: int,
) -> _Attempt:
    """The photos solved with the likeliest lenses, by what they tell and by these beliefs.

    Two photos from two ends, the model at hand and one with the lenses as believed: each may be the one that leads astray. A
    guess is too wide to call the model at hand back, so it starts from the guess alone.
    """
    starts = [attempt]
    if len(attempt.model.poses) <= 2 and not attempt.believed:
        held = _search(work, holding(shots, beliefs), evidence, progress, seed)
        guessed = set(beliefs) - set(lenses_believed(photos, shots, guess=False))
        starts = [held] if guessed and len(held.model.poses) >= 2 else [attempt, held]
    solved = []
    for start in starts:
        lenses = beliefs
        for _ in range(_CALIBRATIONS if len(start.model.poses) >= 2 else 0):
            lenses = {**lenses, **calibrated(start.model, shots, beliefs)}
            start = _search(work, holding(shots, lenses), evidence, progress, seed)
        if len(start.model.poses) >= 2:
            solved.append(start)
    if not solved:  # what was found stands on a focal length that nothing supports
        return replace(starts[-1], model=sfm.Model())
    return max(solved, key=lambda found: _rank(found.model, shots))


def _report_unplaced(photos: list[Photo], placed: list[int], attempt: _Attempt, progress: Progress) -> None:
    """Warn of photos that are left out, or raise EngineError when there are too few others."""
    unplaced = [i for i in range(len(photos)) if i not in placed]
    if not unplaced:
        return
    reasons = [_reason(i, photos, placed, attempt) for i in unplaced]
    names = ", ".join(photos[i].name for i in unplaced)
    if len(placed) >= 2:
        progress.warn(f"The camera could not be found for {names}, left out: {'; '.join(dict.fromkeys(reasons))}.")
        return
    raise EngineError(f"The cameras could not be found for {names}: {'; '.join(dict.fromkeys(reasons))}.", "no-cameras")


def _reason(index: int, photos: list[Photo], placed: list[int], attempt: _Attempt) -> str:
    """Why a photo has no place, and what to photograph."""
    others = [i for i in (placed or range(len(photos))) if i != index]
    common = {i: attempt.geometries.get((min(i, index), max(i, index))) for i in others}
    found = {i: g for i, g in common.items() if g is not None}
    best = min(others, key=lambda i: (-len(found[i].inlier_matches) if i in found else 0, abs(i - index)))
    both = " and ".join(photos[i].name for i in sorted((index, best)))
    if not found:
        return f"no overlap between {both}, add a photo between them that shares half of each"
    kinds = pycolmap.TwoViewGeometryConfiguration
    if found[best].config in (kinds.PLANAR, kinds.PLANAR_OR_PANORAMIC):
        return f"what {both} share is flat, or they were taken from almost the same place, add a photo from further aside"
    if np.degrees(found[best].tri_angle) < 2.0 or found[best].config == kinds.PANORAMIC:
        return f"{both} were taken from almost the same place, take one from a step aside"
    return f"too little in common between {both}, add a photo between them"


def _finished(photos: list[Photo], placed: list[int], attempt: _Attempt, progress: Progress) -> Solve:
    """The model in the world, at the photos' sizes, its lenses straightened."""
    model = attempt.model
    move = placement(photos, attempt.model, attempt.free, progress)
    result = Solve([], unplaced=[photo.name for i, photo in enumerate(photos) if i not in placed])
    for i in placed:
        photo = photos[i]
        if i in model.poses:
            scale = photo.image.shape[1] / model.cameras[i].width
            result.errors[photo.name] = round(float(np.mean(reprojection_errors(model, i))) * scale, 3)
            if photo.camera is None:
                camera = model.cameras[i]
                photo = undistorted(photo, camera.params[0] * scale, camera.params[3], move.pose(model.poses[i]))
        result.photos.append(photo)
    result.points = move.points(model.points).astype(np.float32)
    result.colors = colors(photos, model)
    return result
