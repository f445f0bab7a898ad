"""A keyframed push-in: from the photo that sees a surface best, toward that surface."""

from __future__ import annotations

import math
from dataclasses import dataclass

import bpy
from mathutils import Matrix, Quaternion, Vector

from ..engine.job import Camera
from . import cameras, cloud, gather, results, sampling
from .errors import CloseUpError

CELLS = 24
"""A cloud is searched for its best-seen surface in cells of 1/24 of its size."""
MAX_POINTS = 60_000
ARC_STEP = math.radians(10)
"""Between two keys the camera goes straight; so a circle needs one every few degrees."""


@dataclass(frozen=True)
class Seen:
    """A photo's camera object and what it sees."""

    obj: object
    camera: Camera


def photo_cameras(scene) -> list[Seen]:
    """Every photo of the scene whose camera is known. Raises CloseUpError when there is none."""
    listed = [photo.camera for photo in scene.closeup.photos if photo.use and photo.camera]
    objects = list(dict.fromkeys([*listed, *gather.cameras_with_photos(scene)]))
    if not objects:
        raise CloseUpError("No photo has a camera yet; press Solve Cameras, or give cameras photos as background images.")
    poses = sampling.sample_now(scene, objects)
    frame = cameras.frame_of(scene.render)
    found = []
    for obj, (matrix, lens) in zip(objects, poses):
        size = obj.get(gather.SIZE_KEY)
        camera = cameras.own_camera(matrix, lens, tuple(size)) if size else cameras.job_camera(matrix, lens, frame)
        found.append(Seen(obj, camera))
    return found


def target_point(scene, kind: str, active=None) -> Vector:
    """Where a move goes: kind is CURSOR, ACTIVE, or AUTO for the surface that the photos see best."""
    if kind == "CURSOR":
        return scene.cursor.location.copy()
    if kind == "ACTIVE":
        if active is None:
            raise CloseUpError("There is no active object; select the one to move toward.")
        corners = [active.matrix_world @ Vector(corner) for corner in active.bound_box]
        return sum(corners, Vector()) / 8
    seen = photo_cameras(scene)
    shown = [obj for obj in results.collection_objects(scene) if cloud.CLOUD_KEY in obj]
    shown = [obj for obj in shown if not obj.hide_viewport] or shown
    if shown:
        return _best_seen(shown[-1], [item.camera for item in seen])
    return _where_axes_meet([item.camera for item in seen])


def _best_seen(obj, seen: list[Camera]) -> Vector:
    """The middle of the part of the cloud that most photos show large and near their middle."""
    import numpy as np

    points = cloud.positions(obj)
    points = points[:: -(-len(points) // MAX_POINTS)].astype(np.float64)
    matrix = np.array(obj.matrix_world)
    points = points @ matrix[:3, :3].T + matrix[:3, 3]
    score = sum(_visibility(points, camera) for camera in seen)
    low, high = np.percentile(points, (2, 98), axis=0)
    cell = max(float((high - low).max()) / CELLS, 1e-9)
    _, inverse = np.unique(np.floor((points - low) / cell).astype(np.int64), axis=0, return_inverse=True)
    inverse = inverse.ravel()
    best = np.argmax(np.bincount(inverse, weights=score))
    chosen = points[inverse == best]
    middle = np.median(chosen, axis=0)
    return Vector(chosen[np.argmin(((chosen - middle) ** 2).sum(axis=1))])


def _visibility(points, camera: Camera):
    """1 in the middle of the picture and falling to 0 at its edge; 0 behind the camera."""
    import numpy as np

    matrix = np.array(camera.world_from_camera)
    local = (points - matrix[:3, 3]) @ matrix[:3, :3]
    z = np.maximum(local[:, 2], 1e-9)
    x = (camera.fx * local[:, 0] / z + camera.cx) / camera.width * 2 - 1
    y = (camera.fy * local[:, 1] / z + camera.cy) / camera.height * 2 - 1
    inside = (local[:, 2] > 0) & (abs(x) < 1) & (abs(y) < 1)
    return np.where(inside, (1 - x * x) * (1 - y * y), 0.0)


def _where_axes_meet(seen: list[Camera]) -> Vector:
    """The point nearest to all optical axes (least squares), in front of the first camera."""
    import numpy as np

    matrices = [np.array(camera.world_from_camera) for camera in seen]
    normal = [np.eye(3) - np.outer(m[:3, 2], m[:3, 2]) for m in matrices]
    total = sum(normal)
    if np.linalg.cond(total) > 1e4:
        raise CloseUpError("The photos look the same way, so no surface is known; place the 3D cursor and move toward it.")
    point = np.linalg.solve(total, sum(n @ m[:3, 3] for n, m in zip(normal, matrices)))
    if (point - matrices[0][:3, 3]) @ matrices[0][:3, 2] <= 0:
        raise CloseUpError("The photos look away from each other; place the 3D cursor and move toward it.")
    return Vector(point)


def best_camera(seen: list[Seen], target: Vector) -> Seen:
    """The photo that shows the target largest, among those that show it well inside their frame."""

    def largeness(item: Seen) -> float:
        matrix = Matrix(item.camera.world_from_camera)
        local = matrix.inverted() @ target
        if local.z <= 0:
            return -1.0
        x = abs((item.camera.fx * local.x / local.z + item.camera.cx) / item.camera.width * 2 - 1)
        y = abs((item.camera.fy * local.y / local.z + item.camera.cy) / item.camera.height * 2 - 1)
        return item.camera.fx / item.camera.width / local.z * max(0.0, 1.2 - max(x, y))

    best = max(seen, key=largeness)
    if largeness(best) <= 0:
        raise CloseUpError("No photo shows the target; move the target into view of a photo.")
    return best


def add_move(
    scene,
    target: Vector,
    *,
    zoom: float = 4.0,
    distance: float = 0.0,
    arc: float = 0.0,
    frames: int = 48,
    ease: str = "BOTH",
    camera=None,
    start: int | None = None,
):
    """Keyframe a push-in from the best photo's place to ``zoom`` times nearer to ``target``; returns the camera object.

    distance: where it ends, in scene units from the target, instead of ``zoom`` when it is not 0. arc: how far it goes around
    the target meanwhile, in radians, around the vertical; positive to the right. camera: an object to animate instead of a new
    one. start: first frame (the scene's when None). The zoom grows by the same factor in the same time (ease LINEAR), or
    starts and ends gently (BOTH). Raises CloseUpError.
    """
    best = best_camera(photo_cameras(scene), target)
    obj = camera or _new_camera(scene, best)
    start = scene.frame_start if start is None else start
    obj.rotation_mode = "QUATERNION"
    first = cameras.blender_matrix(best.camera)
    offset = first.translation - target
    zoom = offset.length / distance if distance else zoom
    last_rotation = _looking(-offset, first.to_quaternion())
    first_rotation = first.to_quaternion()
    if first_rotation.dot(last_rotation) < 0:
        last_rotation.negate()
    keys = max(2, math.ceil(abs(math.log2(zoom)) * 2) + 1, math.ceil(abs(arc) / ARC_STEP) + 1)
    for index in range(keys):
        part = index / (keys - 1)
        eased = part * part * (3 - 2 * part) if ease == "BOTH" else part
        turn = Quaternion((0, 0, 1), arc * eased)
        obj.location = target + turn @ offset * zoom**-eased
        obj.rotation_quaternion = turn @ first_rotation.slerp(last_rotation, min(1.0, eased))
        for path in ("location", "rotation_quaternion"):
            obj.keyframe_insert(path, frame=start + part * (frames - 1))
    return obj


def _new_camera(scene, best: Seen):
    data = bpy.data.cameras.new("Close-up")
    obj = bpy.data.objects.new("Close-up", data)
    scene.collection.objects.link(obj)
    cameras.apply(best.camera, data)
    data.shift_x = data.shift_y = 0.0
    return obj


def _looking(direction: Vector, like):
    """The rotation of a camera that looks along ``direction`` and is otherwise turned as little as possible from ``like``."""
    now = like @ Vector((0, 0, -1))
    return now.rotation_difference(direction) @ like
