"""Structure from motion of a handful of photos with COLMAP, made deterministic.

Features, matches and two-view geometries are computed here, one by one with fixed seeds, and handed to COLMAP's incremental
mapper through a database file, so that neither file names nor the order in which threads finish play any part.

Source: J. L. Schönberger, J.-M. Frahm, "Structure-from-Motion Revisited", CVPR 2016.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pycolmap

from ..progress import Progress

pycolmap.logging.minloglevel = pycolmap.logging.Level.FATAL.value
_COARSEST, _LIKELY = 2000, 4
"""Features of a shot that are compared first, and matches among them that make it worth comparing all."""


_FILTER = 2.0
"""Pixels; COLMAP's own 4 leaves few photos with wrong matches that pull a focal length 4 % and a rotation 1.5° aside."""


@dataclass(frozen=True)
class Shot:
    """A picture as the solver sees it.

    grey: (H, W) uint8. mask: (H, W) bool. camera: COLMAP's, its camera_id shared by shots of one lens.
    fixed: world_from_camera (4, 4) when it is known and must stay, else None. hold_lens: the lens is not refined.
    """

    grey: np.ndarray
    mask: np.ndarray
    camera: pycolmap.Camera
    fixed: np.ndarray | None = None
    hold_lens: bool = False


@dataclass(frozen=True)
class FeatureSettings:
    """What SIFT looks for; the second choice is slower and bears wider baselines (affine shape, domain-size pooling)."""

    peak_threshold: float = 0.02 / 3
    affine: bool = False
    count: int = 8192
    max_ratio: float = 0.8


@dataclass(frozen=True)
class MapperSettings:
    """How sure the incremental mapper must be; see COLMAP's IncrementalMapperOptions."""

    init_inliers: int = 100
    init_angle: float = 16.0
    init_forward: float = 0.95
    pose_inliers: int = 30
    pose_ratio: float = 0.25


@dataclass
class Features:
    """keypoints: (N, 2) float64, pixels with centres at +0.5. descriptors: (N, 128) uint8, each of length about 512.

    scales: (N,), the larger the coarser.
    """

    keypoints: np.ndarray
    descriptors: np.ndarray
    scales: np.ndarray


@dataclass
class Model:
    """What one run of the mapper found. Indices are those of the shots.

    poses: world_from_camera (4, 4). cameras: COLMAP's. points: (P, 3). seen, pixels: per shot the indices of the points it
    observes (M,) and where (M, 2).
    """

    poses: dict[int, np.ndarray] = field(default_factory=dict)
    cameras: dict[int, pycolmap.Camera] = field(default_factory=dict)
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    seen: dict[int, np.ndarray] = field(default_factory=dict)
    pixels: dict[int, np.ndarray] = field(default_factory=dict)


Pairs = dict[tuple[int, int], np.ndarray]
Geometries = dict[tuple[int, int], pycolmap.TwoViewGeometry]


def _in_order(function: Callable, items: list, progress: Progress) -> list:
    """``function`` of every item, on all cores, results in the items' order."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            results = []
            for future in futures:
                results.append(future.result())
                progress.step(len(results), len(items))
            return results
        finally:
            for future in futures:
                future.cancel()


def detect(shots: list[Shot], settings: FeatureSettings, progress: Progress) -> list[Features]:
    """SIFT features of every shot, those under the mask's black left out."""
    options = pycolmap.FeatureExtractionOptions()
    options.num_threads = 1
    options.sift.peak_threshold = settings.peak_threshold
    options.sift.max_num_features = settings.count
    options.sift.estimate_affine_shape = settings.affine
    options.sift.domain_size_pooling = settings.affine

    def extract(shot: Shot) -> Features:
        extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
        keypoints, descriptors = extractor.extract_from_uint8_array(np.ascontiguousarray(shot.grey))
        xy = np.array([(k.x, k.y) for k in keypoints], np.float64).reshape(-1, 2)
        scales = np.array([k.compute_scale() for k in keypoints], np.float32)
        height, width = shot.mask.shape
        usable = shot.mask[np.clip(xy[:, 1].astype(int), 0, height - 1), np.clip(xy[:, 0].astype(int), 0, width - 1)]
        return Features(xy[usable], np.array(descriptors.data).reshape(-1, 128)[usable], scales[usable])

    return _in_order(extract, shots, progress)


def match(features: dict[int, Features], pairs: list[tuple[int, int]], max_ratio: float, progress: Progress) -> Pairs:
    """Mutual nearest descriptors of these pairs of shots that pass the ratio test, as (M, 2) uint32 indices.

    Exact: products of bytes summed over 128 entries stay below 2**24, so float32 holds them without rounding.
    """
    descriptors = {index: features[index].descriptors.astype(np.float32) for index in sorted(set(itertools.chain(*pairs)))}
    matched = {}
    for a, b in pairs:
        matched[a, b] = match_pair(descriptors[a], descriptors[b], max_ratio)
        progress.step(len(matched), len(pairs))
    return matched


def likely_pairs(features: dict[int, Features], max_ratio: float, progress: Progress) -> list[tuple[int, int]]:
    """The pairs of which a few of the coarsest features match: a tenth of the time of matching them all.

    Source: C. Wu, "Towards Linear-time Incremental Structure from Motion", 3DV 2013 (preemptive matching).
    """
    coarse = {}
    for index, feature in features.items():
        rows = np.sort(np.argsort(-feature.scales, kind="stable")[:_COARSEST])
        coarse[index] = replace(feature, descriptors=feature.descriptors[rows])
    matched = match(coarse, list(itertools.combinations(sorted(features), 2)), max_ratio, progress)
    return [pair for pair, matches in matched.items() if len(matches) >= _LIKELY]


def match_pair(a: np.ndarray, b: np.ndarray, max_ratio: float, max_angle: float = 0.7) -> np.ndarray:
    """Mutual nearest neighbours by the angle between descriptors of length 512, with Lowe's ratio test both ways."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2), np.uint32)
    forth, good = _nearest(a, b, max_ratio, max_angle)
    rows = np.flatnonzero(good)
    wanted, place = np.unique(forth[rows], return_inverse=True)  # only these can be mutual
    back, back_good = _nearest(b[wanted], a, max_ratio, max_angle)
    rows = rows[back_good[place] & (back[place] == rows)]
    return np.stack([rows, forth[rows]], axis=1).astype(np.uint32)


def _nearest(a: np.ndarray, b: np.ndarray, max_ratio: float, max_angle: float, rows: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Index of the nearest of ``b`` to each of ``a``, and whether it is near and clearly nearer than the second."""
    index = np.zeros(len(a), np.int64)
    good = np.zeros(len(a), bool)
    for start in range(0, len(a), rows):
        block = a[start : start + rows] @ b.T
        here = np.arange(len(block))
        best = block.argmax(1)
        first = block[here, best]
        block[here, best] = -1
        angle, other = (np.arccos(np.clip(dot / 512.0**2, -1, 1)) for dot in (first, block.max(1)))
        index[start : start + rows] = best
        good[start : start + rows] = (angle <= max_angle) & (angle < max_ratio * other)
    return index, good


def verify(
    shots: list[Shot], features: list[Features], pairs: Pairs, stationary: bool, progress: Progress, seed: int
) -> Geometries:
    """Two-view geometry of every pair with enough inliers.

    stationary: False drops matches that stay at the same pixel: what does not move while the subject turns (a turntable's
    background, dirt on the lens).
    """
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = seed
    options.filter_stationary_matches = not stationary
    options.compute_relative_pose = True

    def verified(item) -> pycolmap.TwoViewGeometry:
        (a, b), matches = item
        return pycolmap.estimate_two_view_geometry(
            shots[a].camera, features[a].keypoints, shots[b].camera, features[b].keypoints, matches, options
        )

    enough = [item for item in pairs.items() if len(item[1]) >= options.min_num_inliers]
    found = zip((pair for pair, _ in enough), _in_order(verified, enough, progress))
    return {pair: geometry for pair, geometry in found if len(geometry.inlier_matches) >= options.min_num_inliers}


def write_database(path: Path, shots: list[Shot], features: list[Features], pairs: Pairs, geometries: Geometries) -> None:
    """All of it as COLMAP's database; image, frame and index + 1 are one number."""
    path.unlink(missing_ok=True)
    database = pycolmap.Database.open(path)
    try:
        written = set()
        for index, (shot, feature) in enumerate(zip(shots, features)):
            if shot.camera.camera_id not in written:
                written.add(shot.camera.camera_id)
                database.write_camera(shot.camera, use_camera_id=True)
                rig = pycolmap.Rig(rig_id=shot.camera.camera_id)
                rig.add_ref_sensor(shot.camera.sensor_id)
                database.write_rig(rig, use_rig_id=True)
            image = pycolmap.Image(name=f"{index:05d}", camera_id=shot.camera.camera_id, image_id=index + 1, frame_id=index + 1)
            frame = pycolmap.Frame(frame_id=index + 1, rig_id=shot.camera.camera_id)
            frame.add_data_id(image.data_id)
            database.write_frame(frame, use_frame_id=True)
            database.write_image(image, use_image_id=True)
            database.write_keypoints(index + 1, feature.keypoints.astype(np.float32))
        for (a, b), geometry in geometries.items():
            database.write_matches(a + 1, b + 1, pairs[a, b])
            database.write_two_view_geometry(a + 1, b + 1, geometry)
    finally:
        database.close()


def mapper_options(settings: MapperSettings, fixed_cameras: set[int], seed: int) -> pycolmap.IncrementalPipelineOptions:
    """COLMAP's options for few photos, one thread and a seed."""
    options = pycolmap.IncrementalPipelineOptions()
    options.min_model_size = 2
    options.max_num_models = 10
    options.extract_colors = False
    options.num_threads = 1
    options.random_seed = seed
    options.triangulation.random_seed = seed
    options.triangulation.ignore_two_view_tracks = False
    options.min_focal_length_ratio, options.max_focal_length_ratio = 0.2, 10.0
    options.constant_cameras = fixed_cameras
    options.mapper.random_seed = seed
    options.mapper.num_threads = 1
    options.mapper.filter_max_reproj_error = _FILTER
    options.mapper.init_min_num_inliers = settings.init_inliers
    options.mapper.init_min_tri_angle = settings.init_angle
    options.mapper.init_max_forward_motion = settings.init_forward
    options.mapper.abs_pose_min_num_inliers = settings.pose_inliers
    options.mapper.abs_pose_min_inlier_ratio = settings.pose_ratio
    return options


def reconstruct(work: Path, shots: list[Shot], settings: MapperSettings, seed: int) -> list[Model]:
    """Run the incremental mapper on ``work``/database.db; every model it found, shots with fixed poses at their places.

    With two fixed poses or more the points they see are triangulated first, and the other shots registered to these.
    """
    pycolmap.set_random_seed(seed)
    fixed = {index for index in _tied(work / "database.db") if shots[index].fixed is not None}
    held = {shot.camera.camera_id for shot in shots if shot.hold_lens}
    options = mapper_options(settings, held, seed)
    output = work / "models"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    if len(fixed) < 2:
        found = pycolmap.incremental_mapping(work / "database.db", work, output, options)
        return [_model(reconstruction) for _, reconstruction in sorted(found.items())]
    start = _triangulated(work, shots, fixed, options)
    if start.num_points3D() < settings.pose_inliers or all(shot.fixed is not None for shot in shots):
        return [_model(start)]
    given = work / "given"
    shutil.rmtree(given, ignore_errors=True)
    given.mkdir()
    start.write(given)
    options.fix_existing_frames = True
    options.multiple_models = False
    found = pycolmap.incremental_mapping(work / "database.db", work, output, options, input_path=given)
    return [_model(reconstruction) for _, reconstruction in sorted(found.items())] or [_model(start)]


def _tied(database_path: Path) -> set[int]:
    """Shots that share verified matches with another; COLMAP's mapper does not know the others, and fails on their poses."""
    database = pycolmap.Database.open(database_path)
    try:
        pairs, _ = database.read_two_view_geometry_num_inliers()
    finally:
        database.close()
    return {image_id - 1 for pair in pairs for image_id in pycolmap.pair_id_to_image_pair(pair)}


def _triangulated(work: Path, shots: list[Shot], fixed: set[int], options) -> pycolmap.Reconstruction:
    """Points seen by the shots whose poses are fixed."""
    start = pycolmap.Reconstruction()
    database = pycolmap.Database.open(work / "database.db")
    try:
        for index in sorted(fixed):
            camera = shots[index].camera
            if not start.exists_camera(camera.camera_id):
                start.add_camera_with_trivial_rig(camera)
            keypoints = database.read_keypoints(index + 1)[:, :2].astype(np.float64)
            image = pycolmap.Image(name=f"{index:05d}", keypoints=keypoints, camera_id=camera.camera_id, image_id=index + 1)
            pose = np.linalg.inv(shots[index].fixed)
            start.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose[:3]))
    finally:
        database.close()
    output = work / "triangulated"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    return pycolmap.triangulate_points(start, work / "database.db", work, output, options=options)


def _model(reconstruction: pycolmap.Reconstruction) -> Model:
    """COLMAP's records as arrays."""
    model = Model()
    ids = sorted(reconstruction.point3D_ids())
    row_of = {point_id: row for row, point_id in enumerate(ids)}
    model.points = np.array([reconstruction.point3D(i).xyz for i in ids]).reshape(-1, 3)
    for image_id in sorted(reconstruction.reg_image_ids()):
        image = reconstruction.image(image_id)
        pose = np.eye(4)
        pose[:3] = image.cam_from_world().inverse().matrix()
        index = int(image.name)
        model.poses[index] = pose
        model.cameras[index] = pycolmap.Camera(reconstruction.camera(image.camera_id).todict())
        observed = [p for p in image.points2D if p.has_point3D()]
        model.seen[index] = np.array([row_of[p.point3D_id] for p in observed], int)
        model.pixels[index] = np.array([p.xy for p in observed]).reshape(-1, 2)
    return model


def grey_for_solving(image: np.ndarray, max_side: int) -> np.ndarray:
    """(H, W) uint8 of an sRGB-coded (H, W, 3) picture, its longest side at most ``max_side``."""
    grey = cv2.cvtColor(np.clip(image, 0, 1).astype(np.float32), cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    if max(height, width) > max_side:
        factor = max_side / max(height, width)
        grey = cv2.resize(grey, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    return (grey * 255 + 0.5).astype(np.uint8)
