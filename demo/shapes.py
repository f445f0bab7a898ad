"""Meshes from numpy: boxes, lathes, grids, tubes, and type set by Blender's own font."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix


def mesh(name: str, points, faces, material=None, smooth: bool = False, uv=None, matrix=None):
    """A mesh object in the scene. points: (N, 3). uv: (N, 2) per point. matrix: 4×4 world transform."""
    data = bpy.data.meshes.new(name)
    data.from_pydata(np.asarray(points, float).tolist(), [], [tuple(map(int, face)) for face in faces])
    if uv is not None:
        corners = np.empty(len(data.loops), np.int32)
        data.loops.foreach_get("vertex_index", corners)
        data.uv_layers.new().data.foreach_set("uv", np.asarray(uv, np.float32)[corners].ravel())
    if material:
        data.materials.append(material)
    if smooth:
        data.polygons.foreach_set("use_smooth", np.ones(len(data.polygons), bool))
    item = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(item)
    if matrix is not None:
        item.matrix_world = Matrix(np.asarray(matrix, float).tolist())
    return item


def placed(x: float = 0, y: float = 0, z: float = 0, yaw: float = 0, tilt: float = 0, roll: float = 0) -> np.ndarray:
    """4×4: roll about y, then tilt about x, then yaw about z (degrees), then moved."""
    a, b, c = np.radians([yaw, tilt, roll])
    rz = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    rx = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    ry = np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    m = np.eye(4)
    m[:3, :3] = rz @ rx @ ry
    m[:3, 3] = x, y, z
    return m


def bevel(item, width: float, segments: int = 2):
    """Round the edges a little: sharp edges look like a computer's."""
    modifier = item.modifiers.new("bevel", "BEVEL")
    modifier.width, modifier.segments, modifier.limit_method = width, segments, "ANGLE"
    return item


def box(name, size, material, matrix=None, edge: float = 0.01):
    """A box centred in x and y, standing on z = 0."""
    x, y, z = size
    corners = [(i * x / 2, j * y / 2, k * z) for k in (0, 1) for j in (-1, 1) for i in (-1, 1)]
    faces = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    item = mesh(name, corners, faces, material, matrix=matrix)
    return bevel(item, edge) if edge else item


def grid(name, columns: int, rows: int, surface, material, matrix=None, smooth: bool = True):
    """``surface(u, v)`` → (x, y, z) over 0..1 × 0..1; uv are u and v."""
    u, v = (t.ravel() for t in np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows)))
    points = np.stack([np.broadcast_to(t, u.shape) for t in surface(u, v)], 1)
    faces = [
        (r * columns + c, r * columns + c + 1, (r + 1) * columns + c + 1, (r + 1) * columns + c)
        for r in range(rows - 1)
        for c in range(columns - 1)
    ]
    return mesh(name, points, faces, material, smooth, np.stack([u, v], 1), matrix)


def lathe(name, profile, material, matrix=None, segments: int = 64, ripple=None, smooth: bool = True):
    """Turn a profile of (radius, z) about z. ``ripple(angle)`` multiplies the radius."""
    profile = np.asarray(profile, float)
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    factor = np.ones(segments) if ripple is None else ripple(angle)
    radius = profile[:, :1] * factor[None]
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.repeat(profile[:, 1:], segments, 1)], -1)
    n = len(profile)
    faces = [
        (r * segments + s, r * segments + (s + 1) % segments, (r + 1) * segments + (s + 1) % segments, (r + 1) * segments + s)
        for r in range(n - 1)
        for s in range(segments)
    ]
    v = np.repeat(np.linspace(0, 1, n)[:, None], segments, 1)
    uv = np.stack([np.repeat(angle[None] / (2 * np.pi), n, 0), v], -1).reshape(-1, 2)
    item = mesh(name, points.reshape(-1, 3), faces, material, smooth, uv, matrix)
    if smooth:
        split = item.modifiers.new("edges", "EDGE_SPLIT")
        split.split_angle = np.radians(40)
    return item


def tube(name, path, radius: float, material, matrix=None, sides: int = 10, closed: bool = False):
    """A round tube along points (N, 3)."""
    path = np.asarray(path, float)
    tangent = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12
    radius = np.broadcast_to(radius, len(path))
    normal = np.zeros_like(path)
    current = np.cross(tangent[0], (0.3, 0.5, 0.8))
    for i, t in enumerate(tangent):
        current = current - t * (current @ t)
        current = current / (np.linalg.norm(current) + 1e-12)
        normal[i] = current
    side = np.cross(tangent, normal)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(angle)[None, :, None] * normal[:, None] + np.sin(angle)[None, :, None] * side[:, None]
    points = path[:, None] + ring * radius[:, None, None]
    n = len(path)
    faces = [
        (r * sides + s, r * sides + (s + 1) % sides, (r + 1) % n * sides + (s + 1) % sides, (r + 1) % n * sides + s)
        for r in range(n if closed else n - 1)
        for s in range(sides)
    ]
    return mesh(name, points.reshape(-1, 3), faces, material, True, matrix=matrix)


def plate(name, outline, holes, thickness: float, material, matrix=None, edge: float = 0.004):
    """A flat part cut from sheet: an outline (N, 2) with holes, from z = 0 to ``thickness``."""
    curve = bpy.data.curves.new(name, "CURVE")
    curve.dimensions, curve.fill_mode, curve.extrude = "2D", "BOTH", thickness / 2
    curve.bevel_depth, curve.bevel_resolution = edge, 1
    for loop in (outline, *holes):
        spline = curve.splines.new("POLY")
        spline.points.add(len(loop) - 1)
        spline.points.foreach_set("co", np.c_[np.asarray(loop, float), np.zeros(len(loop)), np.ones(len(loop))].ravel())
        spline.use_cyclic_u = True
    points, faces = _evaluated(curve)
    points[:, 2] += thickness / 2
    return mesh(name, points, faces, material, matrix=matrix)


def _evaluated(curve) -> tuple[np.ndarray, list]:
    """The mesh of a curve or text datablock, which is removed: points (N, 3) and faces."""
    item = bpy.data.objects.new("temporary", curve)
    bpy.context.scene.collection.objects.link(item)
    graph = bpy.context.evaluated_depsgraph_get()
    data = bpy.data.meshes.new_from_object(item.evaluated_get(graph))
    points = np.empty(len(data.vertices) * 3)
    data.vertices.foreach_get("co", points)
    faces = [tuple(polygon.vertices) for polygon in data.polygons]
    bpy.data.objects.remove(item)
    bpy.data.curves.remove(curve)
    bpy.data.meshes.remove(data)
    return points.reshape(-1, 3), faces


def _refined(points: np.ndarray, faces: list, limit: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Triangles with no edge longer than ``limit``, so that they follow a curved surface."""
    triangles = np.array([(face[0], face[i], face[i + 1]) for face in faces for i in range(1, len(face) - 1)]).reshape(-1, 3)
    while len(triangles):
        edges = points[np.roll(triangles, -1, 1)] - points[triangles]
        lengths = np.linalg.norm(edges, axis=2)
        long = np.flatnonzero(lengths.max(1) > limit)
        if not len(long):
            break
        which = lengths[long].argmax(1)
        a, b, c = (triangles[long, (which + k) % 3] for k in range(3))
        middle = len(points) + np.arange(len(long))
        points = np.concatenate([points, 0.5 * (points[a] + points[b])])
        rest = np.delete(triangles, long, 0)
        triangles = np.concatenate([rest, np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)])
    return points, triangles


def type_set(
    text: str, size: float, align: str = "CENTER", width: float = 0.0, leading: float = 1.0, spacing: float = 1.0, bold=0.0
):
    """Type as flat outlines: points (N, 3) in the plane, x right and y up, and faces. ``width`` wraps lines."""
    curve = bpy.data.curves.new("type", "FONT")
    curve.body, curve.size, curve.align_x, curve.align_y = text, size, align, "TOP" if width else "CENTER"
    curve.resolution_u = 2 if size < 0.08 else 4 if size < 0.15 else 8
    curve.space_line, curve.space_character, curve.offset = leading, spacing, bold
    if width:
        curve.text_boxes[0].width = width
    return _evaluated(curve)


def lettering(name, text, size, material, matrix, lift: float = 0.002, bend=None, fit: float = 0.0, **options):
    """Type printed on a surface: on the plane of ``matrix``, or where ``bend(x, y)`` → (x, y, z) takes it.

    ``fit`` is the widest a line may be; wider ones are set smaller.
    """
    points, faces = type_set(text, size, **options)
    if fit and np.ptp(points[:, 0]) > fit:
        points *= fit / np.ptp(points[:, 0])
    if bend is not None:
        points, faces = _refined(points, faces)
        points = np.stack(bend(points[:, 0], points[:, 1]), 1)
    else:
        points[:, 2] += lift
    item = mesh(name, points, faces, material, matrix=matrix)
    item.visible_shadow = False  # ink throws none
    return item


def around(radius: float, z: float = 0.0, lift: float = 0.002):
    """For :func:`lettering`: onto a standing cylinder, the middle of the line toward -y."""

    def bend(x, y):
        angle = x / radius - np.pi / 2
        return (radius + lift) * np.cos(angle), (radius + lift) * np.sin(angle), y + z

    return bend
