"""Calibration of lenses: derivatives, the step and the deviations against plain definitions, and what beliefs do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import cv2
import numpy as np
import pycolmap
import pytest

from engine.geometry import calibration, sfm
from engine.geometry.calibration import Lens

WIDTH, HEIGHT, FOCAL, RADIAL = 640, 480, 600.0, -0.06


def camera(focal: float, radial: float) -> pycolmap.Camera:
    return pycolmap.Camera(model="SIMPLE_RADIAL", width=WIDTH, height=HEIGHT, params=[focal, WIDTH / 2, HEIGHT / 2, radial])


@dataclass
class World:
    """A model, its shots, and the true camera."""

    model: sfm.Model
    shots: list

    def with_lens(self, focal: float, radial: float = 0.0) -> sfm.Model:
        return replace(self.model, cameras={i: camera(focal, radial) for i in self.model.poses})


def world(views: int = 3, spread: float = 0.5, noise: float = 0.2, count: int = 150) -> World:
    """Points in a box before cameras on an arc (``spread`` radians between two) that look at its middle."""
    generator = np.random.default_rng(4)
    points = generator.uniform(-1, 1, (count, 3)) * (1.3, 1.0, 1.2)
    poses, seen, pixels = {}, {}, {}
    for i in range(views):
        turn = cv2.Rodrigues(np.array([0.1 * i, spread * (i - (views - 1) / 2), 0.05 * i]))[0]
        poses[i] = np.eye(4)
        poses[i][:3, :3] = turn
        poses[i][:3, 3] = turn @ (0, 0, -4 - 0.3 * i)
        seen[i] = np.arange(count)
        local = (points - poses[i][:3, 3]) @ turn
        pixels[i] = camera(FOCAL, RADIAL).img_from_cam(local) + generator.normal(0, noise, (count, 2))
    model = sfm.Model(poses, {i: camera(FOCAL, RADIAL) for i in poses}, points, seen, pixels)
    return World(model, [SimpleNamespace(camera=SimpleNamespace(camera_id=1), fixed=None) for _ in poses])


def problem_of(it: World) -> tuple[calibration._Problem, calibration._State]:
    problem = calibration._Problem(it.model, it.shots, {1: Lens(550.0, 0.0, 0.1)})
    return problem, problem.start()


def test_derivatives_are_those_of_the_cost():
    """The gradient over lens, poses and points against differences of the cost, and that of no other number."""
    it = world(noise=1.0)
    problem, state = problem_of(it)
    equations = problem.equations(state)
    size = len(equations.gradient)
    generator = np.random.default_rng(0)
    for _ in range(6):
        step, points = generator.normal(size=size), generator.normal(size=state.points.shape) * 0.1
        step[:4] *= (0.1, 0.1, 3, 3)
        step[4:] *= 0.1
        expected = 2 * (equations.gradient @ step + (equations.by_point * points).sum())
        ahead, behind = (problem.cost(problem.moved(state, e * step, e * points)) for e in (1e-6, -1e-6))
        assert (ahead - behind) / 2e-6 == pytest.approx(expected, rel=1e-4, abs=1e-3 * problem.cost(state))


def test_the_step_solves_the_whole_normal_equations():
    equations = problem_of(world(count=20))[0].equations(problem_of(world(count=20))[1])
    size, count, damping = len(equations.gradient), len(equations.blocks), 1e-2
    whole = np.zeros((size + 3 * count,) * 2)
    whole[:size, :size] = equations.normal + damping * np.diag(np.diag(equations.normal))
    for n in range(count):
        own = slice(size + 3 * n, size + 3 * n + 3)
        block = equations.blocks[n]
        whole[own, own] = block + damping / 3 * np.trace(block) * np.eye(3)
        whole[:size, own], whole[own, :size] = equations.cross[n], equations.cross[n].T
    expected = -np.linalg.solve(whole, np.concatenate([equations.gradient, equations.by_point.ravel()]))
    step, points = equations.step(damping)
    assert np.allclose(np.concatenate([step, points.ravel()]), expected, rtol=1e-5, atol=1e-9)


def test_three_photos_from_aside_correct_a_wrong_belief():
    it = world()
    found = calibration.calibrated(it.with_lens(660.0), it.shots, {1: Lens(660.0, 0.0, 0.25)})[1]
    assert found.focal == pytest.approx(FOCAL, rel=0.02) and found.radial == pytest.approx(RADIAL, abs=0.02)
    assert found.deviation < 0.1


def test_what_photos_hardly_tell_stays_near_what_was_believed():
    it = world(views=2)
    narrow, wide = (calibration.calibrated(it.with_lens(660.0), it.shots, {1: Lens(660.0, 0.0, d)})[1] for d in (0.01, 0.25))
    assert narrow.focal == pytest.approx(660, rel=0.01)
    assert FOCAL * 0.97 < wide.focal < narrow.focal - 20
    assert min(narrow.deviation, wide.deviation) > 0.08


def test_a_belief_that_is_wholly_off_hardly_holds_the_photos_back():
    it = world()
    near, off = (
        calibration.calibrated(it.model, it.shots, {1: Lens(focal, 0.0, 0.02)})[1] for focal in (1.1 * FOCAL, 1.6 * FOCAL)
    )
    assert off.focal == pytest.approx(FOCAL, rel=0.02) and off.focal < near.focal < 1.1 * FOCAL


def test_the_deviation_falls_with_every_photo_and_with_the_angle_between_them():
    for worlds in ([world(2), world(3), world(4)], [world(3, 0.05), world(3, 0.2), world(3, 0.5)]):
        told = [calibration.deviations(it.model, it.shots)[1] for it in worlds]
        assert told[0] > 1.1 * told[1] > 1.1**2 * told[2]


def test_known_cameras_stay_and_tell_the_lens_of_others():
    """With the poses known, one lens of two is asked for; the other keeps its own."""
    it = world(2)
    poses = it.model.poses
    for i, shot in enumerate(it.shots):
        shot.fixed, shot.camera.camera_id = poses[i], i + 1
    it.model.cameras[1] = camera(660.0, 0.0)
    found = calibration.calibrated(it.model, it.shots, {2: Lens(660.0, 0.0, 0.25)})
    assert list(found) == [2] and found[2].focal == pytest.approx(FOCAL, rel=0.01)
    assert calibration.calibrated(it.model, it.shots, {3: Lens(660.0, 0.0, 0.25)}) == {}
