"""A solve has a place, a turn and a size of its own. Here it is brought to the scene's: by three points, or by the ground.

What moves is everything that was solved or imported: cameras and clouds. Each object is moved itself, so later jobs, which
read where the objects are, agree with what is seen. Cameras keep their size, which has no meaning for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import bpy
from mathutils import Matrix, Vector

from . import cloud
from .errors import CloseUpError
from .gather import SHOT_KEY

MARKER_KEY = "closeup_marker"
"""Custom property of an align marker: "point-1" to "point-3" (on the solve) or "target-1" to "target-3" (where they belong)."""
POINTS, TARGETS = ("point-1", "point-2", "point-3"), ("target-1", "target-2", "target-3")
_THIN = 0.02
"""Three points whose triangle is flatter than this, as height over longest side, tell no plane."""


# --- the markers ------------------------------------------------------------------


def marker(scene, key: str):
    """The scene's marker of that key, or None."""
    return next((obj for obj in scene.objects if obj.get(MARKER_KEY) == key), None)


def place_marker(scene, key: str, location):
    """Put a marker somewhere, made when the scene has none; returns it."""
    obj = marker(scene, key)
    if obj is None:
        kind, number = key.split("-")
        obj = bpy.data.objects.new(f"{'Align' if kind == 'point' else 'Target'} {number}", None)
        obj[MARKER_KEY] = key
        obj.empty_display_type = "SPHERE" if kind == "point" else "PLAIN_AXES"
        obj.empty_display_size = 0.1
        obj.show_name = obj.show_in_front = True
        scene.collection.objects.link(obj)
    obj.matrix_world = Matrix.Translation(location)
    return obj


def marked(scene, keys: Sequence[str]) -> list[Vector]:
    """Where these markers are. Raises CloseUpError naming the first that is missing."""
    found = []
    for key in keys:
        obj = marker(scene, key)
        if obj is None:
            raise CloseUpError(f"{key.replace('-', ' ').capitalize()} is not set; pick it in the view first.")
        found.append(obj.matrix_world.translation.copy())
    return found


# --- the mathematics ----------------------------------------------------------------


def similarity(points: Sequence[Vector], targets: Sequence[Vector]) -> Matrix:
    """The 4×4 turn, scale and move that brings three points nearest to three targets (least squares over place and size;
    the plane and the direction of the triangle decide the turn). Raises CloseUpError for points on one line."""
    frame, other = _frame(points), _frame(targets)
    middle, goal = sum(points, Vector()) / 3, sum(targets, Vector()) / 3
    spread = sum((point - middle).length_squared for point in points)
    turn = _best_turn(frame, other, [p - middle for p in points], [t - goal for t in targets])
    scale = sum((turn @ (p - middle)).dot(t - goal) for p, t in zip(points, targets)) / spread
    if scale <= 0:
        raise CloseUpError("The targets do not fit the points; check that 1, 2 and 3 are in the same order.")
    return Matrix.Translation(goal) @ Matrix.Scale(scale, 4) @ turn.to_4x4() @ Matrix.Translation(-middle)


def _best_turn(frame: Matrix, other: Matrix, points: list[Vector], targets: list[Vector]) -> Matrix:
    """Plane onto plane, then the turn within it that brings the points nearest to the targets (closed form in the plane)."""
    sine = cosine = 0.0
    for point, target in zip(points, targets):
        a, b = frame.transposed() @ point, other.transposed() @ target
        cosine += a.x * b.x + a.y * b.y
        sine += a.x * b.y - a.y * b.x
    length = (sine * sine + cosine * cosine) ** 0.5
    if length == 0:
        raise CloseUpError("The targets do not fit the points; check that 1, 2 and 3 are in the same order.")
    c, s = cosine / length, sine / length
    return other @ Matrix(((c, -s, 0), (s, c, 0), (0, 0, 1))) @ frame.transposed()


def _frame(points: Sequence[Vector]) -> Matrix:
    """Axes of a triangle as columns: along its first side, in its plane, its normal. Raises CloseUpError for a line."""
    first, second = points[1] - points[0], points[2] - points[0]
    normal = first.cross(second)
    longest = max(first.length, second.length, (second - first).length)
    if longest == 0 or normal.length < _THIN * longest * longest:
        raise CloseUpError("The three points lie on one line; pick them further apart from it.")
    x, z = first.normalized(), normal.normalized()
    return Matrix((x, z.cross(x), z)).transposed()


def onto_ground(points: Sequence[Vector], above: Vector, distance: float = 0.0) -> Matrix:
    """The 4×4 that lays three points on the ground (z = 0) with ``above`` over it, turning as little as possible.

    distance: what lies between the first two points afterwards, in scene units; 0 keeps the size. The points' middle
    keeps its place above or below the ground's origin.
    """
    normal = _frame(points).col[2].copy()
    middle = sum(points, Vector()) / 3
    if normal.dot(above - middle) < 0:
        normal.negate()
    scale = distance / (points[1] - points[0]).length if distance > 0 else 1.0
    turn = normal.rotation_difference(Vector((0, 0, 1))).to_matrix().to_4x4()
    goal = Vector((middle.x, middle.y, 0.0))
    return Matrix.Translation(goal) @ Matrix.Scale(scale, 4) @ turn @ Matrix.Translation(-middle)


# --- the scene ------------------------------------------------------------------------


def solved_objects(scene) -> list:
    """Everything that was solved or imported and can be moved: cameras and clouds that nothing else carries."""
    found = [obj for obj in scene.objects if SHOT_KEY in obj and (obj.type == "CAMERA" or cloud.CLOUD_KEY in obj)]
    return [obj for obj in found if obj.parent is None]


def apply(scene, move: Matrix) -> int:
    """Move everything solved, and the markers on it, by a similarity; returns how many objects. Raises CloseUpError."""
    objects = solved_objects(scene)
    if not objects:
        raise CloseUpError("Nothing in this scene was solved or imported; solve the cameras first.")
    fixed = next((obj for obj in objects if obj.animation_data and obj.animation_data.action), None)
    if fixed:
        raise CloseUpError(f"{fixed.name} is animated and cannot be aligned; clear its animation.")
    for obj in objects:
        if obj.type == "CAMERA":
            place, turn, scale = obj.matrix_world.decompose()
            turned = move.to_quaternion() @ turn
            obj.matrix_world = Matrix.LocRotScale(move @ place, turned, scale)
        else:
            obj.matrix_world = move @ obj.matrix_world
    for key in POINTS:
        obj = marker(scene, key)
        if obj:
            obj.matrix_world = Matrix.Translation(move @ obj.matrix_world.translation)
    return len(objects)


def by_points(scene) -> int:
    """Bring the three points to their targets; returns how many objects moved. Raises CloseUpError."""
    return apply(scene, similarity(marked(scene, POINTS), marked(scene, TARGETS)))


def by_ground(scene, distance: float = 0.0) -> int:
    """Lay the three points on the ground, the cameras above it; returns how many objects moved. Raises CloseUpError."""
    points = marked(scene, POINTS)
    seeing = [obj.matrix_world.translation for obj in solved_objects(scene) if obj.type == "CAMERA"]
    above = sum(seeing, Vector()) / len(seeing) if seeing else points[0] + Vector((0, 0, 1))
    return apply(scene, onto_ground(points, above, distance))
