"""The one material and the one geometry node group that all point clouds share."""

from __future__ import annotations

import bpy

NAME = "CloseUp Points"
COLOR = "Col"


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
    """The one geometry node group of all clouds: what the filters leave becomes points of a radius, with the material."""
    found = bpy.data.node_groups.get(NAME)
    if found and any(item.name == "Photo" for item in found.interface.items_tree):
        return found
    if found:  # of an earlier version, for clouds of then
        found.name = f"{NAME} (old)"
    group = bpy.data.node_groups.new(NAME, "GeometryNodeTree")
    group.is_modifier = True
    _sockets(group.interface)
    connect = group.links.new

    def node(kind: str, column: int, row: int = 0, **settings):
        made = group.nodes.new(kind)
        made.location = (220 * column, -180 * row)
        for name, value in settings.items():
            setattr(made, name, value)
        return made

    def named(name: str, kind: str, row: int):
        made = node("GeometryNodeInputNamedAttribute", 0, row, data_type=kind)
        made.inputs["Name"].default_value = name
        return made.outputs["Attribute"]

    def compare(operation: str, kind: str, a, b, column: int, row: int):
        made = node("FunctionNodeCompare", column, row, data_type=kind, operation=operation)
        sockets = [item for item in made.inputs if item.enabled and item.name in {"A", "B"}]
        for socket, value in zip(sockets, (a, b)):
            if hasattr(value, "is_linked"):
                connect(value, socket)
            else:
                socket.default_value = value
        return made.outputs[0]

    def either(a, b, column: int, row: int, operation: str):
        made = node("FunctionNodeBooleanMath", column, row, operation=operation)
        connect(a, made.inputs[0])
        connect(b, made.inputs[1])
        return made.outputs[0]

    given = node("NodeGroupInput", -1)
    unsure = compare("LESS_THAN", "FLOAT", named("confidence", "FLOAT", 1), given.outputs["Confidence"], 1, 1)
    one = node("ShaderNodeMath", 0, 3, operation="SUBTRACT")
    connect(given.outputs["Photo"], one.inputs[0])
    one.inputs[1].default_value = 1.0
    other = compare("NOT_EQUAL", "INT", named("source", "INT", 2), one.outputs[0], 1, 2)
    chosen = compare("GREATER_THAN", "INT", given.outputs["Photo"], 0, 1, 3)
    hidden = either(unsure, either(other, chosen, 2, 2, "AND"), 3, 1, "OR")
    kept = node("GeometryNodeDeleteGeometry", 4, domain="POINT")
    connect(given.outputs["Geometry"], kept.inputs["Geometry"])
    connect(hidden, kept.inputs["Selection"])
    parts = node("GeometryNodeSeparateComponents", 5)  # a cloud is a mesh in older versions of Blender
    points = node("GeometryNodeMeshToPoints", 6, 0)
    sized = node("GeometryNodeSetPointRadius", 6, 1)
    joined = node("GeometryNodeJoinGeometry", 7)
    painted = node("GeometryNodeSetMaterial", 8)
    result = node("NodeGroupOutput", 9)
    connect(kept.outputs[0], parts.inputs[0])
    connect(parts.outputs["Mesh"], points.inputs[0])
    connect(parts.outputs["Point Cloud"], sized.inputs[0])
    for item in (points, sized):
        connect(given.outputs["Radius"], item.inputs["Radius"])
        connect(item.outputs[0], joined.inputs[0])
    connect(joined.outputs[0], painted.inputs["Geometry"])
    connect(given.outputs["Material"], painted.inputs["Material"])
    connect(painted.outputs[0], result.inputs[0])
    return group


def _sockets(interface) -> None:
    """What the modifier shows."""

    def socket(name: str, kind: str, **settings) -> None:
        made = interface.new_socket(name, in_out="INPUT", socket_type=f"NodeSocket{kind}")
        for key, value in settings.items():
            setattr(made, key, value)

    socket("Geometry", "Geometry")
    socket("Radius", "Float", default_value=0.01, min_value=0.0, subtype="DISTANCE", description="Size of a point")
    socket("Material", "Material")
    sure = "Points that the photos agree on less than this are hidden"
    socket("Confidence", "Float", default_value=0.0, min_value=0.0, max_value=1.0, subtype="FACTOR", description=sure)
    socket("Photo", "Int", default_value=0, min_value=0, description="Only points that this photo saw; 0 for all photos")
    interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
