"""How well the photos themselves tell the focal length: its standard deviation from the bundle adjustment's normal equations.

Source: B. Triggs et al., "Bundle Adjustment – A Modern Synthesis", 2000, sections 6 (Schur complement) and 9 (gauge).
"""

from __future__ import annotations

import numpy as np

from . import sfm

_NOISE = 0.5
"""Pixels; no feature is trusted further, whatever the residuals say."""


def relative_deviations(model: sfm.Model, shots: list[sfm.Shot]) -> dict[int, float]:
    """camera_id → standard deviation of the focal length over itself, for every lens that was solved; inf when it is open."""
    lenses = sorted({shots[i].camera.camera_id for i in model.poses if model.cameras[i].model_name == "SIMPLE_RADIAL"})
    if not lenses or not len(model.points):
        return {}
    normal = _reduced_normal_matrix(model, shots, lenses)
    # Gauge freedoms (where the world stands) are directions of zero curvature; the focal length does not move along them.
    scale = 1 / np.sqrt(np.maximum(np.diag(normal), 1e-30))
    values, vectors = np.linalg.eigh(normal * scale[:, None] * scale[None, :])
    result = {}
    for number, lens in enumerate(lenses):
        row = vectors[2 * number]
        open_ = values <= 1e-11 * values[-1]
        if (row[open_] ** 2).sum() > 1e-3:
            result[lens] = float("inf")
            continue
        variance = ((row[~open_] ** 2) / values[~open_]).sum() * scale[2 * number] ** 2
        result[lens] = float(_NOISE * np.sqrt(variance))
    return result


def _reduced_normal_matrix(model: sfm.Model, shots: list[sfm.Shot], lenses: list[int]) -> np.ndarray:
    """Normal matrix over (log f, k) of every lens, then 6 numbers per free pose, the points eliminated."""
    free = [i for i in sorted(model.poses) if shots[i].fixed is None]
    size = 2 * len(lenses) + 6 * len(free)
    normal = np.zeros((size, size))
    cross = np.zeros((len(model.points), size, 3))
    blocks = np.zeros((len(model.points), 3, 3))
    for index in sorted(model.poses):
        by_lens, by_pose, by_point = _jacobians(model, index)
        columns, parts = [], []
        camera_id = shots[index].camera.camera_id
        if camera_id in lenses:
            columns += [2 * lenses.index(camera_id) + j for j in range(2)]
            parts.append(by_lens)
        if index in free:
            columns += [2 * len(lenses) + 6 * free.index(index) + j for j in range(6)]
            parts.append(by_pose)
        seen = model.seen[index]
        np.add.at(blocks, seen, np.einsum("nki,nkj->nij", by_point, by_point))
        if parts:
            jacobian = np.concatenate(parts, axis=2)
            normal[np.ix_(columns, columns)] += np.einsum("nki,nkj->ij", jacobian, jacobian)
            mixed = np.zeros((len(seen), size, 3))
            mixed[:, columns] = np.einsum("nki,nkj->nij", jacobian, by_point)
            np.add.at(cross, seen, mixed)
    traces = np.trace(blocks, axis1=1, axis2=2)
    inverse = np.linalg.inv(blocks + 1e-12 * np.maximum(traces, 1e-12)[:, None, None] * np.eye(3))
    return normal - np.einsum("nij,njk,nlk->il", cross, inverse, cross, optimize=True)


def _jacobians(model: sfm.Model, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derivatives of a shot's pixels by (log f, k) (M, 2, 2), by its pose (M, 2, 6) and by its points (M, 2, 3)."""
    camera, pose = model.cameras[index], model.poses[index]
    solved = camera.model_name == "SIMPLE_RADIAL"
    focal = np.array([camera.focal_length_x, camera.focal_length_y])
    radial = camera.params[3] if solved else 0.0
    local = (model.points[model.seen[index]] - pose[:3, 3]) @ pose[:3, :3]
    z = local[:, 2]
    flat = local[:, :2] / z[:, None]
    square = (flat**2).sum(1)
    bend = (1 + radial * square)[:, None]
    by_lens = np.stack([focal * bend * flat, focal * square[:, None] * flat], axis=2)
    by_flat = focal[:, None] * (bend[:, :, None] * np.eye(2) + 2 * radial * flat[:, :, None] * flat[:, None, :])
    flat_by_local = np.zeros((len(z), 2, 3))
    flat_by_local[:, 0, 0] = flat_by_local[:, 1, 1] = 1 / z
    flat_by_local[:, :, 2] = -flat / z[:, None]
    by_local = by_flat @ flat_by_local
    turn = np.zeros((len(z), 3, 3))
    turn[:, 0, 1], turn[:, 0, 2], turn[:, 1, 2] = local[:, 2], -local[:, 1], local[:, 0]
    turn -= turn.swapaxes(1, 2)
    return by_lens, np.concatenate([by_local @ turn, by_local], axis=2), by_local @ pose[:3, :3].T
