"""One point cloud from many depth maps: what the photos agree on, once, as fine as it was seen.

A point is kept when the weight of the views that agree with it exceeds that of the views that look through it
(visibility, after Merrell et al. 2007); agreeing depths are averaged by confidence; voxels as large as a pixel's
footprint keep one point each, so near surfaces are fine and far ones coarse.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import cKDTree

from .. import camera as cams
from ..records import PointCloud, View

AGREE = 0.01
"""Relative difference of depth within which two views mean the same surface."""
THROUGH = 0.03
"""A view that sees further than a point by this share of the depth looks through it."""
PARTNERS = 8
"""At most so many views, the most alike, are asked about each point."""
BAND = 128
"""Rows worked on at once; bounds the memory."""
CANDIDATES, LEAST_CANDIDATES = 4, 1_000_000
"""Pixels that are looked at for each point of the cloud, at most, and at most in any case; of more, every so many-th."""
BLOCK = 1_000_000
"""Points of a scan worked on at once."""


def fuse(views: list[View], max_points: int, scan: PointCloud | None = None) -> PointCloud:
    """The cloud of all views, consistency-checked and voxel-thinned to at most ``max_points``.

    views: with depth and confidence; sky, unknown and masked pixels give no points. scan: points from elsewhere, which stand for
    what no view sees (what they see, the views' depth says already). The result does not depend on
    anything but the input; no usable pixel gives an empty cloud. Normals point to the camera that saw the point.
    """
    steps = _steps(views, max(CANDIDATES * max_points, LEAST_CANDIDATES))
    parts: list[dict[str, np.ndarray]] = []
    for index, view in enumerate(views):
        partners = _partners(views, index)
        for top in range(0, view.depth.shape[0], BAND):
            part = _band(views, index, partners, slice(top, min(top + BAND, view.depth.shape[0])), steps)
            if len(part["points"]):
                parts.append(part)
    if scan is not None:
        parts += _unseen(views, scan)
    if not parts:
        none = np.zeros((0, 3), np.float32)
        return PointCloud(none, none.astype(np.uint8), none, np.zeros(0, np.float32), np.zeros(0, np.int16))
    whole, scale = _joined(parts), 1.0
    cloud = _thin(whole, scale)
    for _ in range(12):
        if len(cloud["points"]) <= max_points:
            break
        scale *= max(1.1, np.sqrt(len(cloud["points"]) / max_points))
        cloud = _thin(whole, scale)
    if len(cloud["points"]) > max_points:
        best = np.sort(np.argsort(-cloud["confidence"], kind="stable")[:max_points])
        cloud = {key: value[best] for key, value in cloud.items()}
    return PointCloud(**{key: cloud[key] for key in ("points", "colors", "normals", "confidence", "source")})


def _steps(views: list[View], most: int) -> tuple[int, int]:
    """Every so many-th row, and of it every so many-th pixel, of all views makes at most about ``most`` points."""
    ratio = math.ceil(sum(view.depth.size for view in views) / most)
    rows = math.isqrt(ratio)
    return max(1, rows), math.ceil(ratio / max(1, rows))


def normals(view: View) -> np.ndarray:
    """(H, W, 3) float32 unit normals in the world, toward the camera; 0 where the depth gives none.

    Differences are taken on the side where the depth changes less, so that edges keep their own surface's normal.
    """
    depth = np.where(np.isfinite(view.depth), view.depth, 0).astype(np.float64)
    local = cams.pixel_rays(view.camera) * depth[..., None]
    across, down = (_difference(local, depth, axis) for axis in (1, 0))
    normal = np.cross(across, down)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = np.where(length > 1e-20, normal / np.maximum(length, 1e-20), 0)
    flip = (normal * local).sum(-1, keepdims=True) > 0
    return (np.where(flip, -normal, normal) @ cams.world_from_camera(view.camera)[:3, :3].T).astype(np.float32)


def _difference(local: np.ndarray, depth: np.ndarray, axis: int) -> np.ndarray:
    """Difference of neighbouring points along an axis: both sides where they continue each other, else the nearer side."""
    ahead = np.roll(local, -1, axis) - local
    behind = local - np.roll(local, 1, axis)
    jump_ahead = np.abs(np.roll(depth, -1, axis) - depth)
    jump_behind = np.abs(depth - np.roll(depth, 1, axis))
    first, last = [slice(None)] * 2, [slice(None)] * 2
    first[axis], last[axis] = 0, -1
    jump_behind[tuple(first)] = np.inf
    jump_ahead[tuple(last)] = np.inf
    jump_ahead[np.roll(depth, -1, axis) <= 0] = np.inf
    jump_behind[np.roll(depth, 1, axis) <= 0] = np.inf
    both = np.maximum(jump_ahead, jump_behind) < 3 * np.minimum(jump_ahead, jump_behind) + 0.002 * depth
    one = np.where((jump_ahead < jump_behind)[..., None], ahead, behind)
    result = np.where(both[..., None], ahead + behind, one)
    result[np.minimum(jump_ahead, jump_behind) > 0.1 * np.maximum(depth, 1e-12)] = 0
    return result


def _partners(views: list[View], index: int) -> list[int]:
    """The views most alike: by direction, then by number."""
    toward = cams.direction(views[index].camera)
    others = [j for j in range(len(views)) if j != index]
    return sorted(others, key=lambda j: (-round(float(toward @ cams.direction(views[j].camera)), 6), j))[:PARTNERS]


def _band(views: list[View], index: int, partners: list[int], rows: slice, steps: tuple[int, int]) -> dict[str, np.ndarray]:
    """The points that one view's rows contribute; steps: see ``_steps``."""
    view = views[index]
    low, high = max(0, rows.start - 1), min(view.depth.shape[0], rows.stop + 1)
    direction = normals(_rows_of(view, low, high))[rows.start - low : rows.stop - low]
    depth = view.depth[rows].astype(np.float64)
    weight = np.where(view.mask[rows], view.confidence[rows], 0).astype(np.float64)
    use = np.isfinite(depth) & (depth > 0) & (weight > 0) & (np.abs(direction).sum(-1) > 0)
    use[np.arange(rows.start, rows.stop) % steps[0] > 0] = False
    use[:, np.arange(use.shape[1]) % steps[1] > 0] = False
    camera = view.camera
    v, u = np.nonzero(use)
    z, weight = depth[use], weight[use]
    rays = np.stack([(u + 0.5 - camera.cx) / camera.fx, (v + rows.start + 0.5 - camera.cy) / camera.fy, np.ones(len(u))], 1)
    rotation, position = cams.world_from_camera(camera)[:3, :3], cams.position(camera)
    points = (rays * z[:, None]) @ rotation.T + position
    total, sum_z, against, doubt = weight.copy(), weight * z, np.zeros(len(z)), 1 - weight
    for j in partners:
        ratio, sure = _look(views[j], points)
        agrees = np.abs(ratio - 1) < AGREE
        total += np.where(agrees, sure, 0)
        sum_z += np.where(agrees, sure * z * np.where(agrees, ratio, 1), 0)
        doubt *= np.where(agrees, 1 - sure, 1)
        against += np.where(ratio > 1 + THROUGH, sure, 0)
    keep = total > against
    confidence = (1 - doubt) * total / np.maximum(total + against, 1e-12)
    points = (rays * (sum_z / np.maximum(total, 1e-12))[:, None]) @ rotation.T + position
    image = np.clip(np.rint(view.image[rows][use] * 255), 0, 255).astype(np.uint8)
    return {
        "points": points[keep].astype(np.float32),
        "colors": image[keep],
        "normals": direction[use][keep],
        "confidence": confidence[keep].astype(np.float32),
        "source": np.full(int(keep.sum()), index, np.int16),
        "size": (z[keep] * math.sqrt(steps[0] * steps[1]) / min(camera.fx, camera.fy)).astype(np.float32),
    }


def _unseen(views: list[View], scan: PointCloud) -> list[dict[str, np.ndarray]]:
    """The scan's points that no view has a surface at, or looks through; in a list, which may be empty."""
    hidden = np.ones(len(scan), bool)
    for start in range(0, len(scan), BLOCK):
        block = slice(start, start + BLOCK)
        for view in views:
            hidden[block] &= _look(view, scan.points[block].astype(np.float64))[0] < 1 - THROUGH
    if not hidden.any():
        return []
    part = {key: getattr(scan, key)[hidden] for key in ("points", "colors", "normals", "confidence", "source")}
    some = part["points"][:: max(1, len(part["points"]) // 4000)]
    apart = np.median(cKDTree(part["points"]).query(some, k=min(2, len(part["points"])))[0][..., -1])
    part["size"] = np.full(len(part["points"]), max(float(apart), 1e-9), np.float32)
    return [part]


def _rows_of(view: View, low: int, high: int) -> View:
    """A view of some of the rows only."""
    rows, camera = slice(low, high), cams.rows(view.camera, low, high)
    return View(view.name, view.image[rows], camera, view.mask[rows], view.depth[rows], view.confidence[rows])


def _look(view: View, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What ``view`` says of points (N, 3): its depth over the point's (0 where it sees nothing), and how sure it is."""
    pixel, z = cams.project(view.camera, points)
    h, w = view.depth.shape
    with np.errstate(invalid="ignore"):
        inside = (z > 1e-9) & (pixel > 0).all(-1) & (pixel[:, 0] < w) & (pixel[:, 1] < h)
    x = np.where(inside, pixel[:, 0], 0).astype(np.int64)
    y = np.where(inside, pixel[:, 1], 0).astype(np.int64)
    seen = view.depth[y, x].astype(np.float64)
    sure = np.where(inside & view.mask[y, x] & (seen > 0), view.confidence[y, x], 0).astype(np.float64)
    return np.where(sure > 0, seen / np.where(inside, z, 1), 0), sure


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """All parts as one; they are emptied on the way, so that nothing is held twice."""
    return {key: np.concatenate([part.pop(key) for part in parts]) for key in list(parts[0])}


def _thin(cloud: dict[str, np.ndarray], scale: float) -> dict[str, np.ndarray]:
    """One point a voxel as large as a pixel's footprint times ``scale`` (powers of two); coarse points give way to finer ones."""
    points = cloud["points"].astype(np.float64)
    origin = points.min(0)
    unit = float(cloud["size"].min()) * scale
    level = np.floor(np.log2(cloud["size"].astype(np.float64) * scale / unit) + 1e-6).astype(np.int64)
    kept: dict[str, list[np.ndarray]] = {key: [] for key in cloud}
    finer = np.zeros((0, 3))
    for step in range(int(level.max()) + 1):
        chosen = np.nonzero(level == step)[0]
        if not len(chosen):
            continue
        edge = unit * 2.0**step
        key = _keys(points[chosen] - origin, edge)
        if len(finer):
            free = ~np.isin(key, _keys(finer - origin, edge))
            chosen, key = chosen[free], key[free]
        group = _merge(cloud, points, chosen, key)
        for name, values in group.items():
            kept[name].append(values)
        finer = np.concatenate([finer, group["points"].astype(np.float64)])
    return {name: np.concatenate(values) for name, values in kept.items()}


def _keys(offsets: np.ndarray, edge: float) -> np.ndarray:
    """One uint64 a voxel: a hash, since near voxels are too small to number all the way to far points."""
    cell = np.floor(offsets / edge).astype(np.int64).astype(np.uint64)
    key = np.zeros(len(cell), np.uint64)
    for axis in range(3):
        key = (key ^ cell[:, axis]) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


def _merge(cloud, points, chosen: np.ndarray, key: np.ndarray) -> dict[str, np.ndarray]:
    """One point a key: the place averaged by confidence, all else from the surest (of equals the finest, then the first)."""
    order = np.lexsort((chosen, cloud["size"][chosen], -cloud["confidence"][chosen], key))
    chosen, key = chosen[order], key[order]
    first = np.ones(len(key), bool)
    first[1:] = key[1:] != key[:-1]
    starts = np.nonzero(first)[0]
    if not len(starts):
        return {name: values[:0] for name, values in cloud.items()}
    weight = np.maximum(cloud["confidence"][chosen], 1e-6).astype(np.float64)
    mean = np.add.reduceat(points[chosen] * weight[:, None], starts) / np.add.reduceat(weight, starts)[:, None]
    best = chosen[starts]
    return {name: (mean.astype(np.float32) if name == "points" else values[best]) for name, values in cloud.items()}
