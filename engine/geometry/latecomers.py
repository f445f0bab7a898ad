"""Photos that found no place when the others were solved: a second look at them and at what resembles them most.

Wide baselines need features that are slow to find and to match (affine shape, domain-size pooling). Once most cameras stand,
only the photos left over and a few neighbours need them, and there is no choice left but where the one photo was taken from.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..progress import Progress
from . import sfm
from .model_checks import checked
from .overlaps import NORMAL, PATIENT, Evidence

_NEIGHBOURS = 5
"""Photos with a place that a latecomer is compared with."""
_MIN_POINTS = 50
"""Points it must see, more than a photo solved with the others: this pose is not checked by anything that follows."""


def join(
    work: Path,
    shots: list[sfm.Shot],
    model: sfm.Model,
    evidence: Evidence,
    mapper: sfm.MapperSettings,
    progress: Progress,
    seed: int,
) -> sfm.Model:
    """The model with the shots that could be added to it; what it holds already stays as it is."""
    refused: set[int] = set()
    while len(model.poses) >= 2:
        left = [i for i, shot in enumerate(shots) if shot.fixed is None and i not in model.poses and i not in refused]
        if not left:
            break
        index = left[0]
        progress.check()
        part = _registered(work, shots, model, index, evidence, mapper, progress, seed)
        if part is None:
            refused.add(index)
        else:
            model = _merged(model, part, index)
            refused.clear()  # who is new may be the neighbour another one lacked
    return model


def _registered(
    work: Path,
    shots: list[sfm.Shot],
    model: sfm.Model,
    index: int,
    evidence: Evidence,
    mapper: sfm.MapperSettings,
    progress: Progress,
    seed: int,
) -> sfm.Model | None:
    """A model of the shot and its neighbours, these where they stand; None when the shot found no place that can be believed."""
    chosen = sorted([index, *_neighbours(model, index, evidence)])
    place = {i: number for number, i in enumerate(chosen)}
    local = [_held(shots[i], model, i, shots) for i in chosen]
    features = list(evidence.features(PATIENT, chosen).values())
    matches = evidence.matches(PATIENT, list(itertools.combinations(chosen, 2)))
    pairs = {(place[a], place[b]): found for (a, b), found in matches.items()}
    geometries = sfm.verify(local, features, pairs, False, progress, seed)
    sfm.write_database(work / "database.db", local, features, pairs, geometries)
    models = [checked(part, local, _MIN_POINTS) for part in sfm.reconstruct(work, local, mapper, seed)]
    models = [part for part in models if place[index] in part.poses]
    if not models:
        return None
    part = max(models, key=lambda part: len(part.seen[place[index]]))
    poses, cameras, seen, pixels = (
        {chosen[number]: value for number, value in each.items()} for each in (part.poses, part.cameras, part.seen, part.pixels)
    )
    return sfm.Model(poses, cameras, part.points, seen, pixels)


def _held(shot: sfm.Shot, model: sfm.Model, index: int, shots: list[sfm.Shot]) -> sfm.Shot:
    """The shot with what the model tells of its pose and lens, which are to stay so."""
    lens = next((model.cameras[i] for i in model.poses if shots[i].camera.camera_id == shot.camera.camera_id), None)
    if lens is not None:
        shot = replace(shot, camera=lens, hold_lens=True)
    return replace(shot, fixed=model.poses.get(index))


def _neighbours(model: sfm.Model, index: int, evidence: Evidence) -> list[int]:
    """The placed shots with most matches to this one, before any geometry."""
    placed = sorted(model.poses)
    found = evidence.matches(NORMAL, [(min(i, index), max(i, index)) for i in placed])
    counts = {i: len(found[min(i, index), max(i, index)]) for i in placed}
    return sorted(placed, key=lambda i: (-counts[i], abs(i - index)))[:_NEIGHBOURS]


def _merged(model: sfm.Model, part: sfm.Model, index: int) -> sfm.Model:
    """The model, one shot of ``part`` with its pose and lens, and the points it sees."""
    used = np.unique(part.seen[index])
    number = np.full(len(part.points), -1)
    number[used] = np.arange(len(used)) + len(model.points)
    seen, pixels = dict(model.seen), dict(model.pixels)
    for i in part.poses:
        rows = number[part.seen[i]] >= 0
        before = (seen[i], pixels[i]) if i in seen else (np.zeros(0, int), np.zeros((0, 2)))
        seen[i] = np.concatenate([before[0], number[part.seen[i][rows]]])
        pixels[i] = np.concatenate([before[1], part.pixels[i][rows]])
    return sfm.Model(
        poses={**model.poses, index: part.poses[index]},
        cameras={**model.cameras, index: part.cameras[index]},
        points=np.concatenate([model.points, part.points[used]]),
        seen=seen,
        pixels=pixels,
    )
