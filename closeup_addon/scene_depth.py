"""Depth of photos from what stands in the scene: a scan, a LiDAR cloud, a model. Measured along the photos' own cameras."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import bpy

from ..engine.job import Camera
from . import cameras, folders, gather, photos
from .cloud import COLLECTION_KEY
from .errors import CloseUpError
from .rendering import Step, run

_NAME = "CloseUp depth"


@dataclass(frozen=True)
class _Shot:
    """One photo's depth to be. index: the photo's place on the list."""

    index: int
    camera: Camera
    file: Path


def measure(scene, done: Callable[[str, int], None]) -> None:
    """Give every photo of the list that has a camera the z-depth of the scene's objects, as an .exr file each.

    What CloseUp itself has made is left out, and so is what is hidden in renders. Where a photo's camera sees nothing its
    depth is unknown (0), not sky: a scan ends somewhere. done(error, number of photos). Raises CloseUpError.
    """
    chosen = _known(scene)
    if not chosen:
        raise CloseUpError("No photo on the list has a camera yet; solve the cameras first.")
    folder = folders.new_job_folder("Depths")
    shots = []
    for index, camera in chosen:
        stem = bpy.path.clean_name(Path(scene.closeup.photos[index].name).stem)
        shots.append(_Shot(index, _shrunk(camera, scene.closeup.photo_size), folder / f"{index:03d}-{stem}.exr"))
    copy = _copy(scene)
    steps = [Step(lambda copy, shot=shot: _prepare(copy, shot), lambda copy, shot=shot: _check(shot)) for shot in shots]
    uid = scene.session_uid
    names = {shot.index: scene.closeup.photos[shot.index].name for shot in shots}

    def finished(error: str) -> None:
        _remove_helpers()
        home = next((item for item in bpy.data.scenes if item.session_uid == uid), None)
        listed = home.closeup.photos if home else ()
        made = [s for s in shots if s.file.is_file() and s.index < len(listed) and listed[s.index].name == names[s.index]]
        for shot in made:
            listed[shot.index].depth = photos.relative(shot.file)
        done(error, len(made))

    try:
        run(copy, steps, finished)
    except CloseUpError:
        _remove_helpers()
        raise


def _known(scene) -> list[tuple[int, Camera]]:
    """(place on the list, camera) of the photos in use whose camera is known."""
    used = [index for index, item in enumerate(scene.closeup.photos) if item.use]
    with tempfile.TemporaryDirectory(prefix="closeup-") as work:
        sources = gather.sources(scene, Path(work), gather.Options()) if used else []
    return [(index, source.camera) for index, source in zip(used, sources) if source.camera]


def _shrunk(camera: Camera, size: int) -> Camera:
    """The camera for a picture of at most ``size`` pixels a side."""
    scale = min(1.0, size / max(camera.width, camera.height))
    width, height = max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
    x, y = width / camera.width, height / camera.height
    return replace(camera, width=width, height=height, fx=camera.fx * x, fy=camera.fy * y, cx=camera.cx * x, cy=camera.cy * y)


def _copy(scene):
    """The scene again, in which every surface shines as brightly as it is far away."""
    copy = scene.copy()
    render = copy.render
    render.engine = "CYCLES"
    render.resolution_percentage = 100
    for name in ("use_border", "use_multiview", "use_compositing", "use_sequencer", "use_motion_blur", "use_stamp"):
        setattr(render, name, False)
    render.use_file_extension = render.use_overwrite = render.film_transparent = True
    settings = render.image_settings
    if hasattr(settings, "media_type"):  # Blender 5
        settings.media_type = "IMAGE"
    settings.file_format, settings.color_mode, settings.color_depth, settings.exr_codec = "OPEN_EXR", "RGB", "32", "ZIP"
    cycles = copy.cycles
    cycles.samples, cycles.max_bounces, cycles.film_exposure, cycles.filter_width = 1, 0, 1.0, 0.01
    cycles.use_denoising = cycles.use_adaptive_sampling = False
    copy.world = None
    copy.timeline_markers.clear()
    layers = [layer for layer in copy.view_layers if layer.use] or list(copy.view_layers)
    for layer in copy.view_layers:
        layer.use = layer == layers[0]
    layers[0].material_override = _material()
    _leave_out_ours(layers[0].layer_collection)
    camera = bpy.data.objects.new(_NAME, bpy.data.cameras.new(_NAME))
    copy.collection.objects.link(camera)
    copy.camera = camera
    return copy


def _material():
    material = bpy.data.materials.new(_NAME)
    if material.node_tree is None:  # Blender 5 always has a tree
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    distance, shine, output = (nodes.new(f"ShaderNode{name}") for name in ("CameraData", "Emission", "OutputMaterial"))
    links.new(distance.outputs["View Z Depth"], shine.inputs["Strength"])
    shine.inputs["Color"].default_value = (1, 1, 1, 1)
    links.new(shine.outputs[0], output.inputs["Surface"])
    return material


def _leave_out_ours(layer_collection) -> None:
    for child in layer_collection.children:
        if child.collection.get(COLLECTION_KEY):
            child.exclude = True
        else:
            _leave_out_ours(child)


def _prepare(copy, shot: _Shot) -> None:
    camera, render = shot.camera, copy.render
    cameras.apply(camera, copy.camera.data)
    copy.camera.data.clip_start, copy.camera.data.clip_end = 1e-3, 1e6
    copy.camera.matrix_world = cameras.blender_matrix(camera)
    render.resolution_x, render.resolution_y = camera.width, camera.height
    ratio = camera.fx / camera.fy
    render.pixel_aspect_x, render.pixel_aspect_y = max(1.0, 1 / ratio), max(1.0, ratio)
    render.filepath = str(shot.file)


def _check(shot: _Shot) -> None:
    if not shot.file.is_file():
        raise CloseUpError("Measuring the depth was cancelled; the photos that were finished have theirs.")


def _remove_helpers() -> None:
    """The camera and the material, which outlive the temporary scene; those of no other purpose have these names."""
    for group in (bpy.data.objects, bpy.data.cameras, bpy.data.materials):
        for item in [item for item in group if item.name.partition(".")[0] == _NAME and item.users == 0]:
            group.remove(item)
