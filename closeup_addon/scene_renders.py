"""Photos of the scene itself: renders of its cameras with exact depth and exactly known cameras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy

from ..engine.job import Camera
from . import cameras, folders, photo_cameras, photos, sampling
from .errors import CloseUpError
from .rendering import Step, run


@dataclass(frozen=True)
class _Shot:
    """One render to be: the user's camera object, what it is in the job, and the files."""

    obj: object
    camera: Camera
    image: Path
    depth: Path


def render(scene, objects: Sequence, done: Callable[[str, int], None]) -> None:
    """Render camera objects at the scene's frame and put the pictures on the list, each with its depth and a camera of its own.

    The picture is what the scene's render settings give (engine, samples, view transform), without compositor, sequencer,
    motion blur and border; the depth is the z-depth pass. The cameras that are added stand still and keep the photo's size,
    whatever the scene and the rendered camera do later. done(error, number of photos). Raises CloseUpError.
    """
    if not objects:
        raise CloseUpError("No camera is selected; select the cameras to render from.")
    poses = sampling.sample_now(scene, objects)
    copy = _copy(scene)
    try:
        folder = folders.new_job_folder("Renders")
        frame = cameras.frame_of(copy.render)
        shots = []
        for number, (obj, (matrix, lens)) in enumerate(zip(objects, poses), 1):
            stem = f"{number:02d}-{bpy.path.clean_name(obj.name)}"
            camera = cameras.job_camera(matrix, lens, frame)
            shots.append(_Shot(obj, camera, folder / f"{stem}.png", folder / f"{stem}.exr"))
        steps = [Step(lambda copy, shot=shot: _prepare(copy, shot), lambda copy, shot=shot: _save(copy, shot)) for shot in shots]
    except CloseUpError:
        bpy.data.scenes.remove(copy)
        raise
    uid = scene.session_uid

    def finished(error: str) -> None:
        home = next((item for item in bpy.data.scenes if item.session_uid == uid), None)
        made = [shot for shot in shots if shot.image.is_file() and shot.depth.is_file()]
        for shot in made if home else ():
            own = photo_cameras.new(home, shot.image.name, shot.camera, shot.image)
            photos.add_file(home, shot.image, camera=own, depth=shot.depth)
        done(error, len(made))

    run(copy, steps, finished)


def _copy(scene):
    """The scene again, with the same objects, set up for a picture and its depth in one file."""
    copy = scene.copy()
    render = copy.render
    frame = cameras.frame_of(render)
    smaller = min(frame.aspect_x, frame.aspect_y)  # photos have square pixels
    render.resolution_x = max(4, round(frame.width * frame.aspect_x / smaller))
    render.resolution_y = max(4, round(frame.height * frame.aspect_y / smaller))
    render.resolution_percentage = 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    for name in ("use_border", "use_multiview", "use_compositing", "use_sequencer", "use_motion_blur", "use_stamp"):
        setattr(render, name, False)
    render.use_file_extension = render.use_overwrite = True
    copy.timeline_markers.clear()  # they would choose the camera
    layers = [layer for layer in copy.view_layers if layer.use] or list(copy.view_layers)
    for layer in copy.view_layers:
        layer.use = layer == layers[0]
    layers[0].use_pass_z = layers[0].use_pass_combined = True
    return copy


def _prepare(copy, shot: _Shot) -> None:
    copy.camera = shot.obj
    settings = copy.render.image_settings
    if hasattr(settings, "media_type"):  # Blender 5
        settings.media_type = "MULTI_LAYER_IMAGE"
    settings.file_format, settings.color_depth, settings.exr_codec = "OPEN_EXR_MULTILAYER", "32", "ZIP"
    if hasattr(settings, "use_exr_interleave"):
        settings.use_exr_interleave = True
    copy.render.filepath = str(shot.depth)


def _save(copy, shot: _Shot) -> None:
    """The picture, as the scene's view transform shows it, beside the depth that the render has written."""
    if not shot.depth.is_file():
        raise CloseUpError("The renders were cancelled; those that were finished are on the list.")
    settings = copy.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "IMAGE"
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGBA", "8"
    try:
        bpy.data.images["Render Result"].save_render(str(shot.image), scene=copy)
    except (RuntimeError, KeyError) as error:
        raise CloseUpError(f"The render {shot.image.name} cannot be written ({error}); check the disk.") from None
