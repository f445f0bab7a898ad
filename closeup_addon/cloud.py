"""A coloured point cloud as an object, in every version of Blender.

Blender 5.2 and newer build a native point cloud; older ones a mesh whose vertices a modifier turns into points. The same
modifier hides points below a confidence, or of other photos than one. Colours come from the attribute ``Col`` through a
material; Solid shading is painted by :mod:`.overlay`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import bpy

from . import ply
from .cloud_nodes import COLOR, NAME, material, node_group
from .languages import marked

COLLECTION_KEY = "closeup_results"
"""Custom property of the collections that hold what close-ups brought."""
FARTHEST = 1e9
"""Scene units; what other programs place further away is no point of anything."""
SPARSE_KEY = "closeup_sparse"
"""Custom property of a solver's cloud: its points are places, not a surface."""
CLOUD_KEY = "closeup_cloud"
"""Custom property of a cloud's object: the radius of its points in scene units."""


@dataclass
class Points:
    """What a cloud is made of.

    position (N, 3) float32. color (N, 4) float32, linear. coded (N, 4) uint8, the same as sRGB. confidence (N,) float32,
    0 to 1. source (N,) int32: the photo's number from 0, -1 where none is named. radius: of one point, in scene units.
    """

    position: object
    color: object
    coded: object
    confidence: object
    source: object
    radius: float


def read(path: Path) -> Points | None:
    """The engine's cloud.ply; None when it holds no point. Raises CloseUpError. Touches no bpy: any thread may call it."""
    import numpy as np

    data = ply.read(path)
    names = data.dtype.names
    position = np.stack([data["x"], data["y"], data["z"]], axis=-1).astype(np.float32)
    good = np.isfinite(position).all(axis=1)
    data, position = data[good], np.ascontiguousarray(position[good])
    if not len(data):
        return None
    coded = np.full((len(data), 4), 255, np.uint8)
    for channel, name in enumerate(("red", "green", "blue")):
        if name in names:
            coded[:, channel] = data[name]
    confidence = data["confidence"].astype(np.float32) if "confidence" in names else np.ones(len(data), np.float32)
    source = data["source"].astype(np.int32) if "source" in names else np.full(len(data), -1, np.int32)
    return Points(position, _linear_table()[coded], coded, confidence, source, _radius(position))


def of_arrays(position, coded) -> Points | None:
    """A cloud of sure points without a photo: position (N, 3), coded (N, 3) uint8 sRGB. None when no point is anywhere."""
    import numpy as np

    good = (np.abs(position) < FARTHEST).all(axis=1)
    position = np.ascontiguousarray(position[good], np.float32)
    if not len(position):
        return None
    codes = np.full((len(position), 4), 255, np.uint8)
    codes[:, :3] = coded[good]
    confidence, source = np.ones(len(position), np.float32), np.full(len(position), -1, np.int32)
    return Points(position, _linear_table()[codes], codes, confidence, source, _radius(position))


def _linear_table():
    """Linear light of the 256 sRGB codes, float32. An alpha of 255 stays 1."""
    import numpy as np

    code = np.arange(256) / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _coded(linear):
    """sRGB codes, uint8, of linear light from 0 to 1; by a table, since every redraw of a new cloud waits for it."""
    import numpy as np

    light = np.arange(8192) / 8191
    table = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    codes = np.round(table * 255).astype(np.uint8)
    return codes[(linear * np.float32(8191) + np.float32(0.5)).astype(np.uint16)]


def _radius(position) -> float:
    """A radius that closes the surface: 0.7 of the spacing of the points, from how many cells of a grid they occupy.

    The grid is coarsened until a cell holds several points, so that the cells cover the surface.
    """
    import numpy as np

    sample = position[:: max(1, len(position) // 200_000)]
    low, high = np.percentile(sample, (2, 98), axis=0)
    extent = float((high - low).max())
    if extent <= 0:
        return 0.01
    for cells in (128, 64, 32, 16, 8, 4):
        grid = (sample - low) * (cells / extent)
        grid = grid[((grid >= 0) & (grid < cells)).all(axis=1)].astype(np.int64)
        occupied = len(np.unique(grid @ np.array([1, cells, cells * cells])))
        if len(grid) >= 6 * occupied:
            break
    whole = len(grid) * len(position) / len(sample)
    return float(0.7 * extent / cells * (occupied / max(1.0, whole)) ** 0.5)


def build(name: str, points: Points, native: bool | None = None) -> Generator[None, None, object]:
    """Steps that end in a new object, not linked yet; each is short enough for Blender to redraw in between.

    native: None for what this Blender can.
    """
    if native is None:
        native = "resize" in bpy.types.PointCloud.bl_rna.functions
    if native:
        data = bpy.data.pointclouds.new(name)
        data.resize(len(points.position))
    else:
        data = bpy.data.meshes.new(name)
        data.vertices.add(len(points.position))
    yield
    yield from _fill(data, points)
    data.materials.append(material())
    obj = bpy.data.objects.new(name, data)
    modifier = obj.modifiers.new(NAME, "NODES")
    modifier.node_group = node_group()
    _set_input(modifier, "Material", material())
    _set_input(modifier, "Photo", 0)
    set_radius(obj, points.radius)
    if native:
        data.update_tag()
    else:
        data.color_attributes.active_color_index = 0
        data.update()
    return obj


def _fill(data, points: Points) -> Iterator[None]:
    """An attribute a step: Blender takes an array as a whole, and only arrays of its own type without converting them."""
    _attribute(data, "position", "FLOAT_VECTOR").data.foreach_set("vector", points.position.ravel())
    yield
    _attribute(data, "confidence", "FLOAT").data.foreach_set("value", points.confidence)
    yield
    _attribute(data, "source", "INT").data.foreach_set("value", points.source)
    yield
    _attribute(data, COLOR, "FLOAT_COLOR")
    yield
    data.attributes[COLOR].data.foreach_set("color", points.color.ravel())
    yield


def _attribute(data, name: str, kind: str):
    return data.attributes.get(name) or data.attributes.new(name, kind, "POINT")


def positions(obj):
    """(N, 3) float32 of a cloud's object, in its own space."""
    import numpy as np

    data = obj.data.attributes["position"].data
    position = np.empty((len(data), 3), np.float32)
    data.foreach_get("vector", position.ravel())
    return position


def arrays(obj):
    """(N, 3) float32 positions, in the object's own space, and (N, 4) uint8 sRGB codes of a cloud's object."""
    import numpy as np

    attributes, position = obj.data.attributes, positions(obj)
    count = len(position)
    coded = np.full((count, 4), 255, np.uint8)
    if COLOR in attributes and attributes[COLOR].data_type == "FLOAT_COLOR":
        linear = np.empty((count, 4), np.float32)
        attributes[COLOR].data.foreach_get("color", linear.ravel())
        coded = _coded(linear.clip(0, 1, out=linear))
    elif COLOR in attributes:  # a cloud of an earlier version
        color = np.empty((count, 4), np.float32)
        attributes[COLOR].data.foreach_get("color_srgb", color.ravel())
        coded = (color * 255 + 0.5).astype(np.uint8)
    return position, coded


def shown(obj):
    """Which points the object's modifier lets through, (N,) bool, or None for all."""
    import numpy as np

    least, photo = filters(obj)
    attributes, keep = obj.data.attributes, None
    count = len(attributes["position"].data)
    if least > 0 and "confidence" in attributes:
        confidence = np.empty(count, np.float32)
        attributes["confidence"].data.foreach_get("value", confidence)
        keep = confidence >= least
    if photo > 0 and "source" in attributes:
        source = np.empty(count, np.int32)
        attributes["source"].data.foreach_get("value", source)
        keep = (source == photo - 1) if keep is None else keep & (source == photo - 1)
    return keep


# --- the modifier ---------------------------------------------------------------


def modifier_of(obj):
    """Our modifier of a cloud's object; None when the user took it away."""
    group = bpy.data.node_groups.get(NAME)
    return next((item for item in obj.modifiers if item.type == "NODES" and item.node_group and item.node_group == group), None)


def filters(obj) -> tuple[float, int]:
    """(least confidence, number of the one photo whose points are shown or 0) as the modifier says."""
    modifier = modifier_of(obj)
    if modifier is None or not modifier.show_viewport:
        return 0.0, 0
    with suppress(KeyError, AttributeError, StopIteration, ValueError):  # the user may have changed the nodes
        values = [place.path_resolve(path) for place, path, _ in filter_controls(modifier)]
        return float(values[0]), int(values[1])
    return 0.0, 0


def filter_controls(modifier) -> list[tuple[object, str, str]]:
    """(data, property, label) of the modifier's sliders, as ``layout.prop`` takes them."""
    labels = {"Confidence": marked("Least Confidence"), "Photo": marked("Only Photo")}
    return [(*_input(modifier, name), label) for name, label in labels.items()]


def _input(modifier, name: str) -> tuple[object, str]:
    """Where a node modifier keeps an input: in a property of its own since Blender 5.2, in a custom property before."""
    sockets = modifier.node_group.interface.items_tree
    identifier = next(item.identifier for item in sockets if item.name == name and item.in_out == "INPUT")
    if hasattr(modifier, "properties"):
        return getattr(modifier.properties.inputs, identifier), "value"
    return modifier, f'["{identifier}"]'


def _set_input(modifier, name: str, value) -> None:
    place, path = _input(modifier, name)
    if path == "value":
        place.value = value
    else:
        place[path[2:-2]] = value


def set_radius(obj, radius: float) -> None:
    """The size of a cloud's points."""
    obj[CLOUD_KEY] = radius
    modifier = modifier_of(obj)
    if modifier:
        _set_input(modifier, "Radius", radius)
