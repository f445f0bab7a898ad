"""Focal length and distortion of lenses that the photos alone do not tell well: what is believed beforehand has its say.

Two photos "determine" a focal length to half a percent that is a third off, for the errors of thousands of matches share causes
that the model lacks: a principal point aside, a rolling shutter, people who walk. So each match counts as if it were far less
exact than it is, the principal point is free within what lenses have, and the deviation says what the photos tell after that.
What is believed of a focal length is mostly right and sometimes wholly off (a cropped photo, a zoom that EXIF does not know), so
it has a Cauchy distribution: photos that contradict it clearly are hardly held back.

Source: B. Triggs et al., "Bundle Adjustment – A Modern Synthesis", 2000, sections 4 (damped Newton), 6 (Schur complement) and 9
(gauge); priors on the lens as in OpenSfM.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from . import sfm

_NOISE, _OUTLIER = 0.002, 0.0008
"""Of the diagonal; the standard deviation of a match, and the error from which it loses weight (Cauchy)."""
_RADIAL, _CENTRE = 0.1, 0.01
"""Standard deviations of lenses: of the distortion k, and of the principal point from the middle (of the diagonal)."""
_OPEN = 1e3
"""Deviation of a focal length of which nothing is believed."""
_STEPS, _NEGLIGIBLE = 40, 0.001
"""At most so many steps, and none after one that gains less than this in twice the log likelihood."""
_LENS, _POSE = 4, 6


@dataclass(frozen=True)
class Lens:
    """focal: pixels. radial: k of COLMAP's SIMPLE_RADIAL.

    deviation: of log(focal); in a belief half of all are nearer to the truth (the scale of its Cauchy distribution), in a result
    the standard deviation by the photos alone.
    """

    focal: float
    radial: float
    deviation: float


def calibrated(model: sfm.Model, shots: list[sfm.Shot], beliefs: dict[int, Lens]) -> dict[int, Lens]:
    """The likeliest lens per camera_id of ``beliefs``, poses and points adjusted with them; known cameras stay as they are.

    A lens of no shot in the model is left out.
    """
    problem = _Problem(model, shots, beliefs)
    if not problem.lenses:
        return {}
    state = problem.start()
    cost, damping = problem.cost(state), 1e-3
    for _ in range(_STEPS):
        equations = problem.equations(state)
        while damping < 1e6:
            trial = problem.moved(state, *equations.step(damping))
            trial_cost = problem.cost(trial)
            if trial_cost < cost:
                break
            damping *= 10
        else:
            break
        gain = cost - trial_cost
        state, cost, damping = trial, trial_cost, max(damping / 10, 1e-9)
        if gain < _NEGLIGIBLE:
            break
    told = problem.equations(state).deviations(problem.information(state)[:, 0])
    return {
        lens: Lens(float(np.exp(values[0])), float(values[1]), deviation)
        for lens, values, deviation in zip(problem.lenses, state.lenses, told)
    }


def deviations(model: sfm.Model, shots: list[sfm.Shot]) -> dict[int, float]:
    """camera_id → standard deviation of the log focal length by the photos alone, for every lens that the model solved."""
    solved = {shots[i].camera.camera_id for i in model.poses if model.cameras[i].model_name == "SIMPLE_RADIAL"}
    if not solved or not len(model.points):
        return {}
    problem = _Problem(model, shots, dict.fromkeys(solved, Lens(1.0, 0.0, _OPEN)))
    start = problem.start()
    return dict(zip(problem.lenses, problem.equations(start).deviations(problem.information(start)[:, 0])))


@dataclass
class _State:
    """lenses: (L, 4) log focal, k, principal point from the middle. poses: world_from_camera (4, 4). points: (P, 3)."""

    lenses: np.ndarray
    poses: dict[int, np.ndarray]
    points: np.ndarray


@dataclass
class _Equations:
    """Normal equations over N numbers of lenses and poses and P points: N × N, N; P × N × 3; P × 3 × 3, P × 3."""

    normal: np.ndarray
    gradient: np.ndarray
    cross: np.ndarray
    blocks: np.ndarray
    by_point: np.ndarray

    def step(self, damping: float) -> tuple[np.ndarray, np.ndarray]:
        """(N,) and (P, 3): Levenberg and Marquardt's step, the points eliminated."""
        inverse = self._inverse(damping)
        normal = self.normal + damping * np.diag(np.diag(self.normal)) - self._eliminated(inverse)
        gradient = self.gradient - np.einsum("nij,njk,nk->i", self.cross, inverse, self.by_point, optimize=True)
        step = -np.linalg.lstsq(normal, gradient, rcond=None)[0]
        return step, -np.einsum("nij,nj->ni", inverse, self.by_point + np.einsum("nij,i->nj", self.cross, step))

    def deviations(self, information: np.ndarray) -> list[float]:
        """Standard deviation of the log focal length of every lens but for what was believed of it (its information)."""
        reduced = self.normal - self._eliminated(self._inverse(0.0))
        result = []
        for lens, believed in enumerate(information):
            own = _LENS * lens
            rest = np.arange(len(reduced)) != own
            scale = 1 / np.sqrt(np.maximum(np.diag(reduced)[rest], 1e-30))
            # Where the world stands is free: directions without curvature, along which the focal length does not move.
            inverse = np.linalg.pinv(reduced[np.ix_(rest, rest)] * scale[:, None] * scale, rcond=1e-11, hermitian=True)
            coupled = reduced[own, rest] * scale
            told = reduced[own, own] - believed - coupled @ inverse @ coupled
            result.append(float(1 / np.sqrt(max(told, 1e-12))))
        return result

    def _inverse(self, damping: float) -> np.ndarray:
        traces = np.trace(self.blocks, axis1=1, axis2=2)[:, None, None]
        return np.linalg.inv(self.blocks + (damping / 3 + 1e-12) * np.maximum(traces, 1e-12) * np.eye(3))

    def _eliminated(self, inverse: np.ndarray) -> np.ndarray:
        return np.einsum("nij,njk,nlk->il", self.cross, inverse, self.cross, optimize=True)


class _Problem:
    """The cost of lenses, poses and points, and its derivatives. Shots whose lens nobody asks for keep theirs."""

    def __init__(self, model: sfm.Model, shots: list[sfm.Shot], beliefs: dict[int, Lens]):
        self._model = model
        self._lens_of = {i: shots[i].camera.camera_id for i in sorted(model.poses)}
        self.lenses = [lens for lens in sorted(beliefs) if lens in self._lens_of.values()]
        self._free = [i for i in self._lens_of if shots[i].fixed is None]
        believed = [beliefs[lens] for lens in self.lenses]
        self._cameras = [next(model.cameras[i] for i in self._lens_of if self._lens_of[i] == lens) for lens in self.lenses]
        diagonals = [np.hypot(camera.width, camera.height) for camera in self._cameras]
        self._mean = np.array([[np.log(lens.focal), lens.radial, 0, 0] for lens in believed]).reshape(-1, _LENS)
        spread = [[lens.deviation, _RADIAL, *[_CENTRE * diagonal] * 2] for lens, diagonal in zip(believed, diagonals)]
        self._spread = np.array(spread).reshape(-1, _LENS)

    def start(self) -> _State:
        """What the model says."""
        lenses = [[np.log(camera.params[0]), camera.params[3], 0, 0] for camera in self._cameras]
        return _State(np.array(lenses).reshape(-1, _LENS), dict(self._model.poses), self._model.points)

    def cost(self, state: _State) -> float:
        """Twice the negative log likelihood; inf where a point is behind a camera that sees it."""
        squares = self._squares(state)
        total = float(2 * np.log1p(squares[:, 0]).sum() + squares[:, 1:].sum())
        for index in self._lens_of:
            seen = _Seen(self._model, index, self._intrinsics(state, index), state.poses[index], state.points)
            if (seen.local[:, 2] <= 0).any():
                return float("inf")
            total += (_OUTLIER / _NOISE) ** 2 * float(np.log1p(seen.squares).sum())
        return total

    def information(self, state: _State) -> np.ndarray:
        """(L, 4) what is believed of the lenses, as the inverse variances that act at this state."""
        information = self._spread**-2.0
        information[:, 0] *= 2 / (1 + self._squares(state)[:, 0])
        return information

    def _squares(self, state: _State) -> np.ndarray:
        return ((state.lenses - self._mean) / self._spread) ** 2

    def _intrinsics(self, state: _State, index: int) -> tuple[np.ndarray, float, np.ndarray]:
        """Focal lengths (2,), k and the principal point (2,) of a shot."""
        camera = self._model.cameras[index]
        centre = np.array([camera.principal_point_x, camera.principal_point_y])
        if self._lens_of[index] in self.lenses:
            log_focal, radial, x, y = state.lenses[self.lenses.index(self._lens_of[index])]
            return np.full(2, np.exp(log_focal)), radial, centre + np.array([x, y])
        radial = camera.params[3] if camera.model_name == "SIMPLE_RADIAL" else 0.0
        return np.array([camera.focal_length_x, camera.focal_length_y]), radial, centre

    def equations(self, state: _State) -> _Equations:
        size, count = _LENS * len(self.lenses) + _POSE * len(self._free), len(state.points)
        normal, gradient = np.zeros((size, size)), np.zeros(size)
        cross, blocks, by_point = np.zeros((count, size, 3)), np.zeros((count, 3, 3)), np.zeros((count, 3))
        for index in self._lens_of:
            seen = _Seen(self._model, index, self._intrinsics(state, index), state.poses[index], state.points)
            residuals, by_lens, by_pose, by_xyz = seen.derivatives()
            columns, parts = self._columns(index), []
            parts += [by_lens] if self._lens_of[index] in self.lenses else []
            parts += [by_pose] if index in self._free else []
            rows = self._model.seen[index]
            np.add.at(blocks, rows, np.einsum("nki,nkj->nij", by_xyz, by_xyz))
            np.add.at(by_point, rows, np.einsum("nki,nk->ni", by_xyz, residuals))
            if parts:
                jacobian = np.concatenate(parts, axis=2)
                normal[np.ix_(columns, columns)] += np.einsum("nki,nkj->ij", jacobian, jacobian)
                gradient[columns] += np.einsum("nki,nk->i", jacobian, residuals)
                np.add.at(cross, (rows[:, None], columns), np.einsum("nki,nkj->nij", jacobian, by_xyz))
        lenses, information = np.arange(self._mean.size), self.information(state)
        normal[lenses, lenses] += information.ravel()
        gradient[lenses] += (information * (state.lenses - self._mean)).ravel()
        return _Equations(normal, gradient, cross, blocks, by_point)

    def _columns(self, index: int) -> list[int]:
        """Where the numbers of the shot's lens and pose stand, as far as they are free."""
        columns = []
        if self._lens_of[index] in self.lenses:
            start = _LENS * self.lenses.index(self._lens_of[index])
            columns += range(start, start + _LENS)
        if index in self._free:
            start = self._mean.size + _POSE * self._free.index(index)
            columns += range(start, start + _POSE)
        return columns

    def moved(self, state: _State, step: np.ndarray, points: np.ndarray) -> _State:
        """The state after a step; a pose turns, then shifts, in its own camera's axes."""
        poses = dict(state.poses)
        for number, index in enumerate(self._free):
            start = self._mean.size + _POSE * number
            pose = poses[index].copy()
            pose[:3, 3] -= pose[:3, :3] @ step[start + 3 : start + _POSE]
            pose[:3, :3] = pose[:3, :3] @ cv2.Rodrigues(-step[start : start + 3])[0]
            poses[index] = pose
        lenses = state.lenses + step[: self._mean.size].reshape(-1, _LENS)
        return _State(lenses, poses, state.points + points)


class _Seen:
    """What a shot sees of the points, and how far that is from where it saw them."""

    def __init__(self, model: sfm.Model, index: int, intrinsics: tuple, pose: np.ndarray, points: np.ndarray):
        self._focal, self._radial, centre = intrinsics
        self._rotation = pose[:3, :3]
        self.local = (points[model.seen[index]] - pose[:3, 3]) @ self._rotation
        with np.errstate(divide="ignore", invalid="ignore"):
            self._flat = self.local[:, :2] / self.local[:, 2:]
        self._square = (self._flat**2).sum(1)
        self._bend = (1 + self._radial * self._square)[:, None]
        self._errors = self._focal * self._bend * self._flat + centre - model.pixels[index]
        self._diagonal = np.hypot(model.cameras[index].width, model.cameras[index].height)
        self.squares = (self._errors**2).sum(1) / (_OUTLIER * self._diagonal) ** 2

    def derivatives(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Residuals (M, 2) and their derivatives by lens (M, 2, 4), pose (M, 2, 6) and point (M, 2, 3), weighted."""
        flat, z, count = self._flat, self.local[:, 2], len(self.local)
        centre = np.broadcast_to(np.eye(2), (count, 2, 2))
        by_lens = np.stack([self._focal * self._bend * flat, self._focal * self._square[:, None] * flat], axis=2)
        by_lens = np.concatenate([by_lens, centre], axis=2)
        by_flat = self._focal[:, None] * (
            self._bend[:, :, None] * np.eye(2) + 2 * self._radial * flat[:, :, None] * flat[:, None, :]
        )
        flat_by_local = np.zeros((count, 2, 3))
        flat_by_local[:, 0, 0] = flat_by_local[:, 1, 1] = 1 / z
        flat_by_local[:, :, 2] = -flat / z[:, None]
        by_local = by_flat @ flat_by_local
        turn = np.zeros((count, 3, 3))
        turn[:, 0, 1], turn[:, 0, 2], turn[:, 1, 2] = self.local[:, 2], -self.local[:, 1], self.local[:, 0]
        by_pose = np.concatenate([by_local @ (turn - turn.swapaxes(1, 2)), by_local], axis=2)
        weight = 1 / (np.sqrt(1 + self.squares) * _NOISE * self._diagonal)
        parts = (by_lens, by_pose, by_local @ self._rotation.T)
        return self._errors * weight[:, None], *(part * weight[:, None, None] for part in parts)
