"""A shot's frames where Blender can use them: video strip, image plane, Image Editor, compositor.

Everything refers to the files in the shot's folder; nothing is copied.
"""

from __future__ import annotations

from pathlib import Path

import bpy

from . import photo_cameras, record, sequences
from .errors import CloseUpError
from .gather import SHOT_KEY

PASSES = ("frames", "depth", "provenance", "condition")
LABELS = {"frames": "Colour", "depth": "Depth", "provenance": "Provenance", "condition": "Condition"}


def frames_of(folder: Path, kind: str = "frames") -> dict[int, Path]:
    """As record.frames_of. Raises CloseUpError when there are none."""
    found = record.frames_of(folder, kind)
    if not found:
        raise CloseUpError(f"{folder.name} has no finished frame; continue the shot, or choose another.")
    return found


def image_of(folder: Path, kind: str = "frames"):
    """The image datablock of one of a shot's sequences; depth is data, not colour. Raises CloseUpError."""
    frames = frames_of(folder, kind)
    name = folder.name if kind == "frames" else f"{folder.name} {LABELS[kind].lower()}"
    image = sequences.image_of(folder, name, frames, kind)
    if kind == "depth":
        image.colorspace_settings.name = "Non-Color"
    return image


# --- video strip ---------------------------------------------------------------


def add_strip(scene, folder: Path):
    """The frames as an image strip of the scene's sequencer, each at its own frame, on the first free channel.

    Frames that the shot leaves out, because of its step, are held from the one before. Raises CloseUpError.
    """
    frames = frames_of(folder)
    first, last = min(frames), max(frames)
    editor = scene.sequence_editor or scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences  # before Blender 4.4
    names, held = [], frames[first]
    for number in range(first, last + 1):
        held = frames.get(number, held)
        names.append(held.name)
    channel = _free_channel(strips, first, last + 1)
    path = sequences.portable(frames[first])
    strip = strips.new_image(folder.name, path, channel, first, fit_method="FIT")
    for name in names[1:]:
        strip.elements.append(name)
    strip[SHOT_KEY] = folder.name
    workspace = bpy.context.workspace
    if workspace and hasattr(workspace, "sequencer_scene") and workspace.sequencer_scene is None:
        workspace.sequencer_scene = scene  # since Blender 5.0 the sequencer shows a scene of its own choice
    return strip


def _free_channel(strips, start: int, end: int) -> int:
    taken = {s.channel for s in strips if s.frame_final_start < end and s.frame_final_end > start}
    free = [channel for channel in range(1, 129) if channel not in taken]
    if not free:
        raise CloseUpError("All channels of the sequencer are taken here; make room for the strip.")
    return free[0]


# --- image plane ---------------------------------------------------------------


def add_plane(scene, folder: Path, camera, distance: float = 0.0):
    """A plane that fills the camera's view and shows the frames without light; it moves with the camera.

    distance: from the camera, in scene units; 0 for one that the camera surely sees. Raises CloseUpError.
    """
    if camera is None or camera.type != "CAMERA":
        raise CloseUpError("There is no camera for the plane; choose the scene's camera.")
    frames = frames_of(folder)
    far = distance or max(1.0, 2 * camera.data.clip_start)
    corners = camera.data.view_frame(scene=scene)
    scale = far / -corners[0].z
    mesh = bpy.data.meshes.new(f"{folder.name} plane")
    mesh.from_pydata([corner * scale for corner in corners], [], [(3, 2, 1, 0)])
    layer = mesh.uv_layers.new(name="UVMap")
    for loop, uv in zip(mesh.loops, ((0, 1), (0, 0), (1, 0), (1, 1))):
        layer.data[loop.index].uv = uv
    mesh.materials.append(_material(scene, folder, frames))
    obj = bpy.data.objects.new(mesh.name, mesh)
    obj[SHOT_KEY] = folder.name
    photo_cameras.collection(scene).objects.link(obj)
    obj.parent = camera
    return obj


def _material(scene, folder: Path, frames: dict[int, Path]):
    material = bpy.data.materials.new(f"{folder.name} frames")
    if material.node_tree is None:  # Blender 5 always has a tree
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    picture, emission, output = (nodes.new(f"ShaderNode{name}") for name in ("TexImage", "Emission", "OutputMaterial"))
    for index, node in enumerate((picture, emission, output)):
        node.location.x = 300 * index
    picture.image, picture.extension = image_of(folder), "EXTEND"
    sequences.fit_user(picture.image_user, frames, scene.frame_current)
    links.new(picture.outputs["Color"], emission.inputs["Color"])
    links.new(emission.outputs[0], output.inputs["Surface"])
    return material


# --- compositor ------------------------------------------------------------------


def add_passes(scene, folder: Path) -> list:
    """A node in the scene's compositor for each sequence that the shot has; returns the nodes.

    EXR frames hold depth, normals, confidence and provenance themselves, so that one node has a socket for each. A scene
    without a compositor gets one that puts the colour out as the render. Raises CloseUpError.
    """
    frames_of(folder)
    tree, fresh = _compositor(scene)
    nodes = []
    lowest = min((node.location.y for node in tree.nodes), default=0.0)
    for kind in PASSES:
        if not record.frames_of(folder, kind) or (nodes and LABELS[kind] in nodes[0].outputs):
            continue
        node = tree.nodes.new("CompositorNodeImage")
        node.image = image_of(folder, kind)
        sequences.fit_user(node, frames_of(folder, kind), scene.frame_current)
        node.label = f"{folder.name}: {LABELS[kind]}"
        node.location = (-400, (0 if fresh else lowest - 400) - 360 * len(nodes))
        nodes.append(node)
    if fresh:
        _put_out(tree, nodes[0])
    return nodes


def _compositor(scene):
    """(the scene's compositing tree, whether it is new)."""
    if hasattr(scene, "compositing_node_group"):
        if scene.compositing_node_group:
            return scene.compositing_node_group, False
        scene.compositing_node_group = bpy.data.node_groups.new("Compositor", "CompositorNodeTree")
        return scene.compositing_node_group, True
    if scene.use_nodes:
        return scene.node_tree, False
    scene.use_nodes = True  # until Blender 4.5; it begins with Blender's own nodes
    scene.node_tree.nodes.clear()
    return scene.node_tree, True


def _put_out(tree, node) -> None:
    """The colour as the compositor's result, and in its viewer."""
    if bpy.app.version >= (5, 0):
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        output = tree.nodes.new("NodeGroupOutput")
    else:
        output = tree.nodes.new("CompositorNodeComposite")
    viewer = tree.nodes.new("CompositorNodeViewer")
    output.location, viewer.location = (200, 0), (200, -160)
    for end in (output, viewer):
        tree.links.new(node.outputs[0], end.inputs[0])


# --- Image Editor -----------------------------------------------------------------


def show_in_editor(scene, folder: Path, kind: str = "frames") -> None:
    """In the open Image Editors that are free, else in a new window. Raises CloseUpError."""
    frames, image = frames_of(folder, kind), image_of(folder, kind)
    if sequences.show_in_editors(image, frames) or bpy.app.background:
        return
    before = set(bpy.context.window_manager.windows)
    bpy.ops.wm.window_new()
    for window in set(bpy.context.window_manager.windows) - before:
        area = max(window.screen.areas, key=lambda item: item.width * item.height)
        area.type = "IMAGE_EDITOR"
        area.spaces.active.image = None
    sequences.show_in_editors(image, frames)
