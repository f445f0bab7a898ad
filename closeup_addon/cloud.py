"""A coloured point cloud as an object, in every version of Blender.

Blender 5.2 and newer build a native point cloud; older ones a mesh whose vertices a modifier turns into points.
Colours come from the attribute ``Col`` through a material; Solid shading is painted by :mod:`.overlay`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import bpy

from . import ply

NAME = "CloseUp Points"
COLOR = "Col"
CLOUD_KEY = "closeup_cloud"
"""Custom property of a cloud's object: the radius of its points in scene units."""


@dataclass
class Points:
    """position (N, 3) float32, color (N, 4) float32 sRGB-coded, confidence (N,) float32, source (N,) int32, radius of one."""

    position: object
    color: object
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
    color = np.ones((len(data), 4), np.float32)
    for channel, name in enumerate(("red", "green", "blue")):
        if name in names:
            color[:, channel] = data[name] / np.float32(255)
    confidence = data["confidence"].astype(np.float32) if "confidence" in names else np.ones(len(data), np.float32)
    source = data["source"].astype(np.int32) if "source" in names else np.full(len(data), -1, np.int32)
    return Points(position, color, confidence, source, _radius(position))


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
        grid = np.floor((sample - low) * (cells / extent)).astype(np.int64)
        grid = grid[((grid >= 0) & (grid < cells)).all(axis=1)]
        occupied = len(np.unique(grid @ np.array([1, cells, cells * cells])))
        if len(grid) >= 6 * occupied:
            break
    whole = len(grid) * len(position) / len(sample)
    return float(0.7 * extent / cells * (occupied / max(1.0, whole)) ** 0.5)


def build(name: str, points: Points, native: bool | None = None):
    """A new object, not linked yet. native: None for what this Blender can."""
    if native is None:
        native = "resize" in bpy.types.PointCloud.bl_rna.functions
    obj = _native(name, points) if native else _mesh(name, points)
    obj[CLOUD_KEY] = points.radius
    return obj


def arrays(obj):
    """(N, 3) positions and (N, 4) sRGB-coded colours of a cloud's object, in its own space."""
    import numpy as np

    attributes = obj.data.attributes
    count = len(attributes["position"].data)
    position, color = np.empty((count, 3), np.float32), np.ones((count, 4), np.float32)
    attributes["position"].data.foreach_get("vector", position.ravel())
    if COLOR in attributes:
        attributes[COLOR].data.foreach_get("color_srgb", color.ravel())
    return position, color


def _attribute(data, name: str, kind: str):
    return data.attributes.get(name) or data.attributes.new(name, kind, "POINT")


def _fill(data, points: Points) -> None:
    _attribute(data, "position", "FLOAT_VECTOR").data.foreach_set("vector", points.position.ravel())
    _attribute(data, "confidence", "FLOAT").data.foreach_set("value", points.confidence)
    _attribute(data, "source", "INT").data.foreach_set("value", points.source)


def _native(name: str, points: Points):
    import numpy as np

    data = bpy.data.pointclouds.new(name)
    data.resize(len(points.position))
    _fill(data, points)
    radius = np.full(len(points.position), points.radius, np.float32)
    _attribute(data, "radius", "FLOAT").data.foreach_set("value", radius)
    _attribute(data, COLOR, "BYTE_COLOR").data.foreach_set("color_srgb", points.color.ravel())
    data.materials.append(material())
    data.update_tag()
    return bpy.data.objects.new(name, data)


def _mesh(name: str, points: Points):
    data = bpy.data.meshes.new(name)
    data.vertices.add(len(points.position))
    _fill(data, points)
    data.color_attributes.new(COLOR, "BYTE_COLOR", "POINT").data.foreach_set("color_srgb", points.color.ravel())
    data.color_attributes.active_color_index = 0
    data.materials.append(material())
    data.update()
    obj = bpy.data.objects.new(name, data)
    modifier = obj.modifiers.new(NAME, "NODES")
    modifier.node_group = node_group()
    _set_input(modifier, "Material", material())
    set_radius(obj, points.radius)
    return obj


def set_radius(obj, radius: float) -> None:
    """The size of a cloud's points; those of a native point cloud are its data's own."""
    obj[CLOUD_KEY] = radius
    for modifier in obj.modifiers:
        if modifier.type == "NODES" and modifier.node_group == bpy.data.node_groups.get(NAME):
            _set_input(modifier, "Radius", radius)


def _set_input(modifier, name: str, value) -> None:
    """A node modifier's input: a property of its own since Blender 5.2, a custom property before."""
    sockets = modifier.node_group.interface.items_tree
    identifier = next(item.identifier for item in sockets if item.name == name and item.in_out == "INPUT")
    if hasattr(modifier, "properties"):
        getattr(modifier.properties.inputs, identifier).value = value
    else:
        modifier[identifier] = value


def material():
    """The one material of all clouds: the photos' colours as they are, without light."""
    found = bpy.data.materials.get(NAME)
    if found:
        return found
    result = bpy.data.materials.new(NAME)
    if result.node_tree is None:  # Blender 5 always has a tree
        result.use_nodes = True
    nodes, links = result.node_tree.nodes, result.node_tree.links
    nodes.clear()
    attribute = nodes.new("ShaderNodeAttribute")
    attribute.attribute_name, attribute.attribute_type = COLOR, "GEOMETRY"
    emission, output = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    emission.location.x, output.location.x = 200, 400
    links.new(attribute.outputs["Color"], emission.inputs["Color"])
    links.new(emission.outputs[0], output.inputs["Surface"])
    return result


def node_group():
    """The one geometry node group of all clouds: vertices become points of a radius, with the material."""
    found = bpy.data.node_groups.get(NAME)
    if found:
        return found
    group = bpy.data.node_groups.new(NAME, "GeometryNodeTree")
    group.is_modifier = True
    sockets = group.interface
    sockets.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    radius = sockets.new_socket("Radius", in_out="INPUT", socket_type="NodeSocketFloat")
    radius.default_value, radius.min_value, radius.subtype = 0.01, 0.0, "DISTANCE"
    sockets.new_socket("Material", in_out="INPUT", socket_type="NodeSocketMaterial")
    sockets.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    names = ("NodeGroupInput", "GeometryNodeMeshToPoints", "GeometryNodeSetMaterial", "NodeGroupOutput")
    nodes = [group.nodes.new(name) for name in names]
    for index, node in enumerate(nodes):
        node.location.x = 200 * index
    inputs, points, painted, outputs = nodes
    connect = group.links.new
    connect(inputs.outputs["Geometry"], points.inputs[0])
    connect(inputs.outputs["Radius"], points.inputs["Radius"])
    connect(points.outputs[0], painted.inputs["Geometry"])
    connect(inputs.outputs["Material"], painted.inputs["Material"])
    connect(painted.outputs[0], outputs.inputs[0])
    return group
