"""Blender's cameras and the job's cameras, exactly (the same in Blender 4.2 to 5.2).

Blender: x right, y up, looking along -z; lens and sensor in mm; shift in parts of the fitted side.
Job: OpenCV's convention, see :mod:`engine.job`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mathutils import Matrix

from ..engine.job import Camera
from .errors import CloseUpError

FLIP = Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))
"""Blender's camera axes to OpenCV's; its own inverse."""
SENSOR = 36.0
"""Width in mm of the sensor that solved cameras get."""
ROUNDING = 4e-6
"""Relative error at most of what Blender keeps of a camera, in single precision and with angles for its rotation."""


@dataclass(frozen=True)
class Frame:
    """The picture a camera takes: size in pixels, after the percentage, and the pixels' own proportions."""

    width: int
    height: int
    aspect_x: float = 1.0
    aspect_y: float = 1.0


@dataclass(frozen=True)
class Lens:
    """The values of a Blender camera that decide its projection (mm; shift in parts of the fitted side)."""

    lens: float
    sensor_width: float
    sensor_height: float
    sensor_fit: str
    shift_x: float
    shift_y: float

    @classmethod
    def of(cls, data) -> Lens:
        """From ``bpy.types.Camera``, evaluated where it is animated. Raises CloseUpError unless it is perspective."""
        if data.type != "PERSP":
            raise CloseUpError(f"The camera {data.name} is not a perspective camera; set its lens type to Perspective.")
        return cls(data.lens, data.sensor_width, data.sensor_height, data.sensor_fit, data.shift_x, data.shift_y)


def frame_of(render, width: int = 0, height: int = 0) -> Frame:
    """The frame of ``bpy.types.RenderSettings``; ``width`` and ``height`` override the size when given.

    The percentage truncates, as in Blender.
    """
    percentage = render.resolution_percentage
    return Frame(
        width or max(1, render.resolution_x * percentage // 100),
        height or max(1, render.resolution_y * percentage // 100),
        render.pixel_aspect_x,
        render.pixel_aspect_y,
    )


def intrinsics(lens: Lens, frame: Frame) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy in pixels, pixel centres at +0.5. Pixels that are not square make fx differ from fy."""
    ratio = frame.aspect_y / frame.aspect_x
    fit, sensor = lens.sensor_fit, lens.sensor_width
    if fit == "AUTO":  # always measured by the sensor's width, whichever side is fitted
        fit = "HORIZONTAL" if frame.width * frame.aspect_x >= frame.height * frame.aspect_y else "VERTICAL"
    elif fit == "VERTICAL":
        sensor = lens.sensor_height
    view = frame.width if fit == "HORIZONTAL" else ratio * frame.height
    fx = lens.lens / sensor * view
    return fx, fx / ratio, frame.width / 2 - lens.shift_x * view, frame.height / 2 + lens.shift_y * view / ratio


def rigid(matrix_world: Matrix) -> tuple[tuple[float, ...], ...]:
    """``world_from_camera`` of a Blender camera; scale (its own or its parents') does not matter to a camera.

    Raises CloseUpError for a mirrored one, whose picture no real lens could take.
    """
    if matrix_world.determinant() < 0:
        raise CloseUpError("A camera is mirrored by a negative scale; make its scale and its parents' positive.")
    location, rotation, _ = matrix_world.decompose()
    matrix = Matrix.Translation(location) @ rotation.normalized().to_matrix().to_4x4() @ FLIP
    return tuple(tuple(float(x) for x in row) for row in matrix)


def job_camera(matrix_world: Matrix, lens: Lens, frame: Frame) -> Camera:
    """The job's camera for the frames that Blender's camera would render."""
    return Camera(frame.width, frame.height, *intrinsics(lens, frame), rigid(matrix_world))


def photo_camera(matrix_world: Matrix, lens: Lens, frame: Frame, background, size: tuple[int, int]) -> Camera:
    """The job's camera for the pixels of a camera's background image, as Blender lays it into the camera's frame.

    frame: the scene's. background: ``bpy.types.CameraBackgroundImage``. size: the image's width and height in pixels.
    Raises CloseUpError for a background that is rotated, flipped or moved.
    """
    image = background.image
    if background.rotation or background.use_flip_x or background.use_flip_y or any(background.offset):
        raise CloseUpError(f"The background {image.name} is rotated, flipped or moved; clear that, so the camera fits the photo.")
    fx, fy, cx, cy = intrinsics(lens, frame)
    frame_width, frame_height = frame.width * frame.aspect_x, frame.height * frame.aspect_y
    width, height = size
    wide, high = width * image.display_aspect[0], height * image.display_aspect[1]
    scales = frame_width / wide, frame_height / high
    if background.frame_method != "STRETCH":
        scales = ((min if background.frame_method == "FIT" else max)(scales),) * 2
    step_x = scales[0] * image.display_aspect[0] * background.scale
    step_y = scales[1] * image.display_aspect[1] * background.scale
    return Camera(
        width,
        height,
        fx * frame.aspect_x / step_x,
        fy * frame.aspect_y / step_y,
        (cx * frame.aspect_x - frame_width / 2) / step_x + width / 2,
        (cy * frame.aspect_y - frame_height / 2) / step_y + height / 2,
        rigid(matrix_world),
    )


def blender_matrix(camera: Camera) -> Matrix:
    """``matrix_world`` of a job's camera."""
    return Matrix(camera.world_from_camera) @ FLIP


def apply(camera: Camera, data) -> None:
    """Give ``bpy.types.Camera`` the lens of a job's camera, whatever the scene's proportions are.

    Blender's lens has one focal length; where fx and fy differ, fy lives in :func:`own_size`.
    """
    data.type = "PERSP"
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = SENSOR
    data.lens = camera.fx * SENSOR / camera.width
    data.shift_x = (camera.width / 2 - camera.cx) / camera.width
    data.shift_y = (camera.cy - camera.height / 2) * (camera.fx / camera.fy) / camera.width


def own_size(camera: Camera) -> tuple[float, ...]:
    """What a Blender camera made by :func:`apply` must remember besides its lens: width, height, and fx / fy unless that is 1."""
    size = (camera.width, camera.height)
    return size if camera.fx == camera.fy else (*size, camera.fx / camera.fy)


def own_camera(matrix_world: Matrix, lens: Lens, size: Sequence[float]) -> Camera:
    """The job's camera of a photo whose Blender camera was made by :func:`apply`; size: as from :func:`own_size`."""
    width, height, *ratio = size
    return job_camera(matrix_world, lens, Frame(int(width), int(height), 1.0, *ratio))


def numbers(camera: Camera) -> tuple[float, ...]:
    """fx, fy, cx, cy and ``world_from_camera``, row by row: what Blender rounds of a camera that :func:`apply` gives it."""
    return (camera.fx, camera.fy, camera.cx, camera.cy, *(value for row in camera.world_from_camera for value in row))


def unrounded(camera: Camera, known: Sequence[float]) -> Camera:
    """``camera`` as Blender has it, exactly as it was before Blender rounded it; unless it was moved or changed since.

    known: :func:`numbers` of the camera that it was made from.
    """
    own = numbers(camera)
    if len(known) != len(own):
        return camera
    reach = max(abs(row[3]) for row in camera.world_from_camera[:3])
    sizes = (camera.fx, camera.fy, camera.width, camera.height, *(1.0, 1.0, 1.0, reach) * 4)
    if any(abs(a - b) > ROUNDING * size for a, b, size in zip(own, known, sizes)):
        return camera
    pose = tuple(tuple(known[start : start + 4]) for start in range(4, 20, 4))
    return Camera(camera.width, camera.height, *known[:4], pose)
