"""Camera objects that belong to one photo each: they stand still, carry their photo, and remember its size."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..engine.job import Camera
from . import cameras
from .cloud import COLLECTION_KEY
from .gather import CAMERA_KEY, SHOT_KEY, SIZE_KEY

COLLECTION = "Close-up"
PHOTO_KEY = "closeup_photo"
"""Custom property of a photo's camera: the photo's name."""
DISPLAY_SIZE = 0.2


def collection(scene):
    """Where everything stands that CloseUp brings into a scene; made when the scene has none."""
    for item in scene.collection.children_recursive:
        if item.get(COLLECTION_KEY) and item.library is None:
            return item
    result = bpy.data.collections.new(COLLECTION)
    result[COLLECTION_KEY] = True
    scene.collection.children.link(result)
    return result


def new(scene, name: str, camera: Camera, image: Path | None = None, source: str = ""):
    """A camera object with the photo as its background.

    image: the photo's file; None for a camera without one. source: what the camera was solved by, kept as a custom
    property: such cameras may still have to be aligned to the scene.
    """
    stem = Path(name).stem
    obj = bpy.data.objects.new(stem, bpy.data.cameras.new(stem))
    obj[PHOTO_KEY] = name
    if source:
        obj[SHOT_KEY] = source
    collection(scene).objects.link(obj)
    place(obj, camera)
    if image is not None:
        show(scene, obj, bpy.data.images.load(str(image), check_existing=True))
    return obj


def place(obj, camera: Camera) -> None:
    """Give a camera object the lens and place of a job's camera."""
    cameras.apply(camera, obj.data)
    obj.matrix_world = cameras.blender_matrix(camera)
    obj[SIZE_KEY], obj[CAMERA_KEY] = cameras.own_size(camera), cameras.numbers(camera)
    obj.data.display_size = DISPLAY_SIZE


def of_source(scene, source: str) -> dict[str, object]:
    """The cameras that came from a source, by their photos' names."""
    return {obj[PHOTO_KEY]: obj for obj in scene.objects if obj.get(SHOT_KEY) == source and PHOTO_KEY in obj}


def show(scene, obj, image) -> None:
    """The photo, and only it, behind the camera's view: it fills the frame's width, as the lens does in every frame."""
    width, height, *_ = obj[SIZE_KEY]
    obj.data.background_images.clear()
    background = obj.data.background_images.new()
    background.image, background.alpha = image, 1.0
    frame = cameras.frame_of(scene.render)
    flatter = frame.width * frame.aspect_x * height > frame.height * frame.aspect_y * width
    background.frame_method = "CROP" if flatter else "FIT"
    obj.data.show_background_images = True
