"""A camera's path, evaluated without touching the user's scene.

A temporary scene that holds only the cameras is stepped instead of the user's own: constraints,
drivers, parents and animated lenses are evaluated with all they depend on, a heavy scene is not,
and the user's current frame stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import bpy

from ..engine.job import Camera
from .cameras import Frame, Lens, job_camera
from .errors import CloseUpError

_TIME = ("fps", "fps_base", "frame_map_old", "frame_map_new", "resolution_x", "resolution_y", "resolution_percentage")


def camera_at(scene, frame: float):
    """The scene's camera at a frame: that of the last marker with a camera, else the active one (as Blender renders)."""
    bound = [(m.frame, m.camera) for m in scene.timeline_markers if m.camera and not m.camera.hide_render]
    if not bound:
        return scene.camera
    before = [item for item in bound if item[0] <= frame]
    return (max if before else min)(before or bound, key=lambda item: item[0])[1]


def sample(scene, camera, frames: Sequence[float], size: Frame) -> list[Camera]:
    """The job's camera at every frame (fractions allowed).

    camera: an object, or None for the scene's camera and the markers that switch it.
    Raises CloseUpError when there is no camera or it is not a perspective one.
    """
    chosen = [camera or camera_at(scene, frame) for frame in frames]
    if not all(chosen):
        raise CloseUpError("The scene has no camera; add one, or choose it as the move's camera.")
    with _temporary_scene(scene, chosen) as temporary:
        result = []
        for frame, item in zip(frames, chosen):
            whole = math.floor(frame)
            temporary.frame_set(whole, subframe=frame - whole)
            evaluated = item.evaluated_get(temporary.view_layers[0].depsgraph)
            result.append(job_camera(evaluated.matrix_world, Lens.of(evaluated.data), size))
        return result


def sample_now(scene, cameras: Sequence) -> list[tuple]:
    """(matrix_world, Lens) of each camera object at the scene's current frame."""
    if not cameras:
        return []
    with _temporary_scene(scene, cameras) as temporary:
        temporary.frame_set(scene.frame_current, subframe=scene.frame_subframe)
        graph = temporary.view_layers[0].depsgraph
        evaluated = [camera.evaluated_get(graph) for camera in cameras]
        return [(item.matrix_world.copy(), Lens.of(item.data)) for item in evaluated]


@contextmanager
def _temporary_scene(scene, cameras: Sequence) -> Iterator:
    temporary = bpy.data.scenes.new("CloseUp sampling")
    try:
        for name in _TIME:
            setattr(temporary.render, name, getattr(scene.render, name))
        temporary.frame_start, temporary.frame_end = scene.frame_start, scene.frame_end
        _copy_what_drivers_read(scene, temporary)
        for camera in dict.fromkeys(cameras):
            temporary.collection.objects.link(camera)
        temporary.camera = cameras[0]
        yield temporary
    finally:
        bpy.data.scenes.remove(temporary)


def _copy_what_drivers_read(scene, temporary) -> None:
    """Custom properties, units and clip: to a driver or constraint that asks for the active scene, the temporary one is it."""
    temporary.active_clip = scene.active_clip
    for key, value in scene.items():
        if isinstance(value, (bool, int, float, str)):
            temporary[key] = value
    for name in ("system", "scale_length"):
        setattr(temporary.unit_settings, name, getattr(scene.unit_settings, name))
