"""What photos have in common, found when it is first asked for and kept: it does not depend on what is believed of the lenses."""

from __future__ import annotations

import itertools

from ..progress import Progress
from . import sfm

NORMAL = sfm.FeatureSettings()
PATIENT = sfm.FeatureSettings(peak_threshold=0.003, affine=True, max_ratio=0.85)
MANY = 8
"""Photos; of more than these only pairs that look alike are compared in full, and the last few are registered by themselves."""


class Evidence:
    """Features and matches of shots; the pixels of the shots must stay as they are, their lenses need not."""

    def __init__(self, shots: list[sfm.Shot], progress: Progress):
        self._shots = shots
        self._progress = progress
        self._features: dict[sfm.FeatureSettings, dict[int, sfm.Features]] = {}
        self._matches: dict[sfm.FeatureSettings, sfm.Pairs] = {}
        self._likely: dict[sfm.FeatureSettings, list[tuple[int, int]]] = {}

    def features(self, settings: sfm.FeatureSettings, chosen: list[int]) -> dict[int, sfm.Features]:
        """Shot → its features."""
        known = self._features.setdefault(settings, {})
        missing = [i for i in chosen if i not in known]
        if missing:
            self._progress.stage("cameras", "Finding details in the photos")
        known.update(zip(missing, sfm.detect([self._shots[i] for i in missing], settings, self._progress)))
        return {i: known[i] for i in chosen}

    def matches(self, settings: sfm.FeatureSettings, pairs: list[tuple[int, int]]) -> sfm.Pairs:
        """(a, b) with a < b → what matches between the two."""
        known = self._matches.setdefault(settings, {})
        missing = [pair for pair in pairs if pair not in known]
        features = self.features(settings, sorted(set(itertools.chain(*missing))))
        if missing:
            self._progress.stage("cameras", "Comparing the photos")
        known.update(sfm.match(features, missing, settings.max_ratio, self._progress))
        return {pair: known[pair] for pair in pairs}

    def all_matches(self, settings: sfm.FeatureSettings) -> sfm.Pairs:
        """The matches of all pairs of shots; of many shots those of the likely pairs."""
        indices = list(range(len(self._shots)))
        if len(indices) <= MANY:
            return self.matches(settings, list(itertools.combinations(indices, 2)))
        if settings not in self._likely:
            features = self.features(settings, indices)
            self._progress.stage("cameras", "Looking for photos that look alike")
            self._likely[settings] = sfm.likely_pairs(features, settings.max_ratio, self._progress)
        return self.matches(settings, self._likely[settings])
