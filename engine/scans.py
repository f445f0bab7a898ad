"""Scans as sources of depth: what a laser scanner or another program measured, seen from the photos' cameras."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from . import camera as cams
from .conditioning.cloud import Cloud, project_cloud, typical
from .geometry import scan_files
from .geometry.matching import largest
from .job import Camera, Scan, sha256_of
from .progress import EngineError, Progress
from .records import PointCloud, View

MOST = 8_000_000
"""Points kept of all scans; of more, every second is dropped until there are fewer."""
MARGIN = 0.1
"""Points are kept this share of a frame beyond its border."""
AGREE = 0.01
"""Relative difference of depth within which scan and photos mean the same surface."""
CONTRADICTS = 0.03
"""Relative difference of depth from which they mean different ones."""
SURE = 0.9
"""Confidence of a photo's own depth from which on it is believed rather than the scan: things have moved since, or are glass."""
CONFIRMED = 0.97
"""Confidence where scan and photos agree."""
LASTS, LASTS_AT_EDGES = 0.35, 0.105
"""Spacing of a scan's points, share of the photo's longer side, at which its word counts 1/e, and the same beside steps of depth;
fitted to scans of 2 to 40 pixels' spacing of a scene with known depth."""
BESIDE, EDGE = 2, 0.04
"""Pixels from a depth edge that are beside it, and the relative step of inverse depth that is an edge."""
MISPLACED = 0.4
"""Share of the sure pixels that contradict a scan from which on it is called misplaced."""


@dataclass
class Points:
    """What is kept of the scans. points: (N, 3) float64, world. colors: (N, 3) uint8, sRGB. coloured: (N,) bool, where a colour
    is known."""

    points: np.ndarray
    colors: np.ndarray
    coloured: np.ndarray

    def __len__(self) -> int:
        return len(self.points)


def load(scans: Sequence[Scan], folder: Path, cameras: Sequence[Camera], progress: Progress) -> Points:
    """All scans, in the world, as far as a camera has them in sight; thinned evenly to MOST.

    Raises EngineError when one cannot be read, or has nothing that any of the cameras looks at.
    """
    kept = []
    for number, scan in enumerate(scans):
        progress.step(number, len(scans))
        found = _load_one(scan, Path(folder), cameras, progress)
        if not len(found):
            raise EngineError(
                f"No camera looks at anything of the scan {Path(scan.file).name}; move it to where the photos were taken, "
                "or leave it out.",
                "misplaced-scan",
            )
        kept.append(found)
    return _thinned(Points(*(np.concatenate([getattr(part, key) for part in kept]) for key in ("points", "colors", "coloured"))))


def _load_one(scan: Scan, folder: Path, cameras: Sequence[Camera], progress: Progress) -> Points:
    if scan.sha256 is not None and sha256_of(folder / scan.file) != scan.sha256.lower():
        raise EngineError(
            f"The scan {Path(scan.file).name} has changed since the job was made; put the original back or make the job again.",
            "changed-scan",
        )
    matrix = np.eye(4) if scan.world_from_scan is None else np.asarray(scan.world_from_scan, np.float64)
    points, colours, step, held = [np.zeros((0, 3))], [np.zeros((0, 3))], 1, 0
    for own, colour in scan_files.read(folder / scan.file, progress.check):
        world = own @ matrix[:3, :3].T + matrix[:3, 3]
        chosen = np.flatnonzero(_in_sight(world, cameras))[::step]
        points.append(world[chosen])
        colours.append(np.full((len(chosen), 3), -1.0) if colour is None else colour[chosen].astype(np.float64))
        held += len(chosen)
        while held > 2 * MOST:
            points, colours = [np.concatenate(points)[::2]], [np.concatenate(colours)[::2]]
            step, held = 2 * step, len(points[0])
    return _thinned(_coloured(np.concatenate(points), np.concatenate(colours)))


def _coloured(points: np.ndarray, colours: np.ndarray) -> Points:
    """Colours of 0..1, of 8 or of 16 bits, whichever the largest shows, as 8 bits; below 0 is none."""
    coloured = (colours >= 0).all(1)
    largest = colours.max(initial=0)
    scale = 255.0 if largest <= 1 else 1.0 if largest <= 255 else 255.0 / 65535.0
    known = np.where(coloured[:, None], colours * scale, 128)
    return Points(points, np.clip(np.rint(known), 0, 255).astype(np.uint8), coloured & (largest > 0))


def _thinned(points: Points) -> Points:
    step = -(-len(points) // MOST)
    return points if step < 2 else Points(points.points[::step], points.colors[::step], points.coloured[::step])


def _in_sight(points: np.ndarray, cameras: Sequence[Camera]) -> np.ndarray:
    """(N,) bool: in front of a camera and within its frame, a little widened."""
    seen = np.zeros(len(points), bool)
    for camera in cameras:
        pixel, z = cams.project(camera, points)
        size = np.array([camera.width, camera.height])
        with np.errstate(invalid="ignore"):
            seen |= (z > 0) & ((pixel > -MARGIN * size) & (pixel < (1 + MARGIN) * size)).all(1)
    return seen


@dataclass
class Seen:
    """The scans from one camera, (H, W) float32 each. depth: z-depth, 0 where they say nothing. confidence: 0..1."""

    depth: np.ndarray
    confidence: np.ndarray


def seen_from(points: Points, cameras: Sequence[Camera], device: torch.device) -> list[Seen]:
    """The scans in each camera: holes no wider than their points are apart are closed, and what shows through between nearer
    points is dropped."""
    none = np.zeros(0)
    cloud = PointCloud(points.points, points.colors, normals=none, confidence=none, source=none)
    on_device = Cloud.of(cloud, device)
    return [_seen_from(on_device, camera, device) for camera in cameras]


def _seen_from(cloud: Cloud, camera: Camera, device: torch.device) -> Seen:
    depth = project_cloud(cloud, camera, device)[1]
    there = depth > 0
    edge = _beside_edges(torch.where(there, 1 / depth.clamp_min(1e-30), torch.zeros_like(depth)))
    spacing = typical(cloud, camera) / max(camera.width, camera.height)
    confidence = torch.where(edge, math.exp(-spacing / LASTS_AT_EDGES), math.exp(-spacing / LASTS)).clamp_max(CONFIRMED)
    return Seen(depth.cpu().numpy(), torch.where(there, confidence, torch.zeros_like(depth)).cpu().numpy())


def _beside_edges(w: torch.Tensor) -> torch.Tensor:
    """(H, W) bool: pixels beside a depth edge. w: (H, W) inverse depth."""
    high, low = largest(w, BESIDE), -largest(-w, BESIDE)
    return high - low > EDGE * high


def coloured(points: Points) -> PointCloud:
    """Those with a colour of their own, as a cloud without normals."""
    chosen = points.coloured
    count = int(chosen.sum())
    return PointCloud(
        points.points[chosen].astype(np.float32),
        points.colors[chosen],
        np.zeros((count, 3), np.float32),
        np.full(count, CONFIRMED, np.float32),
        np.full(count, -1, np.int16),
    )


def merged(views: Sequence[View], seen: Sequence[Seen], progress: Progress) -> list[View]:
    """Views whose depth is the scans' where these are surer of theirs, unless the photos are sure of another.

    seen: of :func:`seen_from`. Warns when the photos contradict the scans nearly everywhere.
    """
    result, both, against = [], 0, 0
    for view, scan in zip(views, seen):
        there = scan.depth > 0
        own = np.where(np.isfinite(view.depth), view.depth, 1e30)
        off = np.abs(own / np.where(there, scan.depth, 1) - 1)
        sure = there & (view.confidence >= SURE)
        contradicted = sure & (off > CONTRADICTS)
        both, against = both + int(sure.sum()), against + int(contradicted.sum())
        trust = np.where(off < AGREE, CONFIRMED, scan.confidence)
        use = there & ~contradicted & (trust >= view.confidence)
        depth = np.where(use, scan.depth, view.depth).astype(np.float32)
        result.append(replace(view, depth=depth, confidence=np.where(use, trust, view.confidence).astype(np.float32)))
    if against > MISPLACED * max(both, 1000):
        progress.warn(
            f"The photos contradict the scans in {100 * against / both:.0f} % of what both are sure of; check where the "
            "scans lie in the scene, and their scale."
        )
    return result
