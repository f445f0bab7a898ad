"""What a region of a 3D view shows of the photos' world, as the job's camera. Exact for every lens, shift, zoom and offset."""

from __future__ import annotations

from dataclasses import dataclass

from mathutils import Matrix

from ..engine.job import Camera
from . import cameras
from .errors import CloseUpError

SIDE = 512
"""Pixels of a preview's long side, at most."""
LEAST = 16
"""Pixels of the region; of anything smaller there is no preview."""
_EVEN = 1e-3
"""The sides of a scale may differ by so much."""

Rectangle = tuple[float, float, float, float]
"""Left, bottom, right, top in a region's pixels, origin bottom left."""


@dataclass(frozen=True)
class View:
    """camera: of the picture that is wanted. rectangle: where in the region it belongs. framed: it is the frame of a camera
    that the region looks through, else the whole region."""

    camera: Camera
    rectangle: Rectangle
    framed: bool


def of_region(space, region, view, scene, cloud: Matrix, everywhere: bool) -> View | None:
    """What the region shows; None where there is no preview, as in orthographic views.

    view: the region's ``bpy.types.RegionView3D``. cloud: where the job's world stands in the scene. everywhere: also in views
    that look through no camera. Raises CloseUpError when the cloud is stretched or mirrored.
    """
    if not view.is_perspective:
        return None
    whole, framed = (0.0, 0.0, float(region.width), float(region.height)), view.view_perspective == "CAMERA"
    if not framed and not everywhere:
        return None
    rectangle = whole
    if framed:
        camera = space.camera if space.use_local_camera else scene.camera
        if camera is None or camera.type != "CAMERA" or camera.data.type != "PERSP":
            return None
        frame = camera_frame(camera.data.view_frame(scene=scene), view.window_matrix, region.width, region.height)
        rectangle = tuple(pick(a, b) for pick, a, b in zip((max, max, min, min), whole, frame))
    if min(rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]) < LEAST:
        return None
    matrix = in_cloud(view.view_matrix.inverted(), cloud)
    seen = view_camera(view.window_matrix, matrix, region.width, region.height, rectangle, size_of(rectangle))
    return View(seen, rectangle, framed)


def camera_frame(corners, window: Matrix, width: int, height: int) -> Rectangle:
    """Where the corners of a camera's frame (in its own space) are in a region that looks through it."""
    clipped = [window @ corner.to_4d() for corner in corners]
    across = [(point.x / point.w + 1) / 2 * width for point in clipped]
    up = [(point.y / point.w + 1) / 2 * height for point in clipped]
    return min(across), min(up), max(across), max(up)


def size_of(rectangle: Rectangle) -> tuple[int, int]:
    """Pixels of the picture for a rectangle: its own, unless that is more than SIDE."""
    width, height = rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]
    scale = min(1.0, SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def in_cloud(matrix: Matrix, cloud: Matrix) -> Matrix:
    """A place of the scene in the job's world, which stands at ``cloud``. Raises CloseUpError when that is no similarity."""
    x, y, z = cloud.to_scale()
    if cloud.determinant() <= 0 or max(abs(x - y), abs(x - z)) > _EVEN * abs(x):
        raise CloseUpError("The cloud is stretched or mirrored, so that no photo fits it; give it one positive scale.")
    return cloud.inverted() @ matrix


def view_camera(window: Matrix, matrix: Matrix, width: int, height: int, rectangle: Rectangle, size: tuple[int, int]) -> Camera:
    """The job's camera for a rectangle of a region, as a picture of ``size`` pixels.

    window: the region's projection, as OpenGL has it. matrix: from the view's space to the job's world. width, height: the
    region's, in pixels.
    """
    left, bottom, right, top = rectangle
    across, down = size[0] / (right - left), size[1] / (top - bottom)
    fx, fy = window[0][0] * width / 2, window[1][1] * height / 2
    cx, cy = (1 - window[0][2]) * width / 2 - left, (1 + window[1][2]) * height / 2 - (height - top)
    return Camera(*size, fx * across, fy * down, cx * across, cy * down, cameras.rigid(matrix))
