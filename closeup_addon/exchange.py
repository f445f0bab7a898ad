"""Cameras, photos and points of other programs into the scene, and the scene's to them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import bpy

from ..engine.job import Camera, Source
from . import cloud, colmap, folders, gather, overlay, photo_cameras, photos, preferences, straighten, transforms
from .errors import CloseUpError
from .languages import iface
from .reconstruction import Y_DOWN, Reconstruction, View
from .results import SPARSE_RADIUS

MAX_POINTS = 1_000_000
"""A cloud is thinned to this many points for other programs."""
_AT_ONCE = 20
"""Cameras that are made between two redraws."""


# --- in ----------------------------------------------------------------------------------


def import_colmap(scene, folder: Path, images: Path | None = None, y_down: bool = True) -> Generator:
    """Steps (see :mod:`.later`) that bring a COLMAP model into the scene and return what to report.

    images: the photos' folder, looked for when None. y_down: turn the model's world, whose y points down, upright.
    """
    return _import(scene, lambda: colmap.read(folder, images), folder.name, y_down)


def import_transforms(scene, path: Path) -> Generator:
    """As :func:`import_colmap`, for a transforms.json."""
    return _import(scene, lambda: transforms.read(path), path.parent.name, False)


def _import(scene, read: Callable[[], Reconstruction], name: str, y_down: bool) -> Generator:
    try:
        what = yield lambda: read().turned(Y_DOWN) if y_down else read()
    except ImportError:
        raise CloseUpError("This Blender has no numpy, which reading needs; use a build from blender.org.") from None
    if any(straighten.wanted(view) for view in what.views):
        what.views = yield from _straightened(what.views, name)
    source = f"Import {name}"
    before, places = photo_cameras.of_source(scene, source), _places(scene)
    for number, view in enumerate(what.views):
        obj = _place_camera(scene, view, source, before.get(view.name))
        if view.image:
            _place_photo(scene, view, obj, places)
        if number % _AT_ONCE == _AT_ONCE - 1:
            yield
    if what.positions is not None:
        yield from _place_points(scene, what, name, source)
    return _told(what)


def _straightened(views: list[View], name: str) -> Generator:
    """By the engine, into a folder of our own; as they are while there is no engine."""
    try:
        python = preferences.engine_python()
    except CloseUpError:
        return views
    folder = folders.new_job_folder(f"{name} straightened")
    return (yield lambda: straighten.straighten(python, views, folder))


def _places(scene) -> dict:
    """Where on the list a camera's photo stands, and where a file does whose camera is not known.

    Numbers, because Blender moves the items of a list that grows.
    """
    places = {}
    for index, item in enumerate(scene.closeup.photos):
        places[item.camera or item.absolute()] = index
    return places


def _place_camera(scene, view: View, source: str, before):
    """before: the camera that an earlier import of the same made, which is used again, or None."""
    if before is None:
        return photo_cameras.new(scene, view.name, view.camera, view.image, source)
    photo_cameras.place(before, view.camera)
    if view.image:
        photo_cameras.show(scene, before, bpy.data.images.load(str(view.image), check_existing=True))
    return before


def _place_photo(scene, view: View, obj, places: dict) -> None:
    index = places.get(obj, places.get(view.image))
    item = photos.add_file(scene, view.image) if index is None else scene.closeup.photos[index]
    item.filepath = photos.relative(view.image)
    item.camera, item.problem = obj, _problem(view)
    if view.mask:
        item.mask = bpy.data.images.load(str(view.mask), check_existing=True)


def _problem(view: View) -> str:
    if view.distortion.unknown:
        return f"Its lens model {view.distortion.unknown} cannot be straightened; undistort the photos where they were solved."
    if view.distortion.bends:
        return "Its lens bends straight lines, and the photo was not straightened; install the engine and import it again."
    return ""


def _place_points(scene, what: Reconstruction, name: str, source: str) -> Generator:
    points = yield lambda: cloud.of_arrays(what.positions, what.colors)
    if points is None:
        return
    points.radius *= SPARSE_RADIUS
    obj = yield from cloud.build(f"{name} points", points)
    for old in [item for item in scene.objects if item.get(gather.SHOT_KEY) == source and cloud.CLOUD_KEY in item]:
        data = old.data
        bpy.data.objects.remove(old)
        if data.users == 0:
            bpy.data.batch_remove([data])
    obj.name, obj[gather.SHOT_KEY] = f"{name} points", source
    overlay.prepare(obj, points.position, points.coded)
    photo_cameras.collection(scene).objects.link(obj)


def _told(what: Reconstruction) -> str:
    missing = [view.name for view in what.views if view.image is None]
    bent = [view.name for view in what.views if view.image and view.distortion.bends]
    told = [iface("{} cameras imported", len(what.views))]
    if missing:
        told.append(iface("{} photos were not found, the first is {}", len(missing), missing[0]))
    if bent:
        told.append(iface("{} photos have a bent lens and were not straightened (see the list)", len(bent)))
    return "; ".join([*told, *(warning.rstrip(".") for warning in what.warnings)])


# --- out ---------------------------------------------------------------------------------


def can_export(scene) -> bool:
    """Whether any photo has a camera."""
    return gather.count_photos(scene)[1] > 0


def export_colmap(scene, folder: Path, binary: bool = True, y_down: bool = True) -> Generator:
    """Steps that write FOLDER/images, FOLDER/masks and FOLDER/sparse/0 and return what to report."""

    def write(what: Reconstruction) -> None:
        turned = what.turned(tuple(zip(*Y_DOWN))) if y_down else what
        colmap.write(folder / "sparse" / "0", turned, binary)

    return _export(scene, folder, write)


def export_transforms(scene, folder: Path) -> Generator:
    """Steps that write FOLDER/images, FOLDER/masks and FOLDER/transforms.json and return what to report."""
    return _export(scene, folder, lambda what: transforms.write(folder / "transforms.json", what))


def _export(scene, folder: Path, write: Callable[[Reconstruction], None]) -> Generator:
    with tempfile.TemporaryDirectory(prefix="closeup-") as work:
        sources = [item for item in gather.sources(scene, Path(work), gather.Options()) if item.camera]
        if not sources:
            raise CloseUpError("No photo has a camera yet; solve the cameras first.")
        what = Reconstruction(_views(sources, Path(work)))
        what.positions, what.colors = _points(scene)

        def work_on_files() -> None:
            try:
                _copy(what.views, folder)
                write(what)
            except OSError as error:
                raise CloseUpError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from None

        yield work_on_files
    return iface("{} cameras exported to {}", len(what.views), folder)


def _views(sources: list[Source], base: Path) -> list[View]:
    """Every source under a file name of its own, its camera at the size of its file."""
    views, taken = [], set()
    for index, source in enumerate(sources):
        image, mask = base / source.image, base / source.mask if source.mask else None
        name = "_".join(image.name.split())  # COLMAP's text files end a name at its first space
        name = name if name.lower() not in taken else f"{index:04d}-{name}"
        taken.add(name.lower())
        views.append(View(name, _at_full_size(source.camera, image), image, mask))
    return views


def _at_full_size(camera: Camera, image: Path) -> Camera:
    """The engine solves cameras for photos that it has shrunk; other programs want them for the files."""
    width, height = transforms.image_size(image) or _blender_size(image)
    across, down = width / camera.width, height / camera.height
    if abs(across / down - 1) > 0.02:
        raise CloseUpError(
            f"{image.name} is stored turned ({width} × {height}), which others do not see; save it upright and solve again."
        )
    focal = {"fx": camera.fx * across, "fy": camera.fy * down}
    return replace(camera, width=width, height=height, cx=camera.cx * across, cy=camera.cy * down, **focal)


def _blender_size(path: Path) -> tuple[int, int]:
    image = bpy.data.images.load(str(path))
    try:
        return gather.size_of(image)
    finally:
        bpy.data.images.remove(image)


def _points(scene):
    """World positions and colours of the clouds that are seen, thinned; None twice without any."""
    import numpy as np

    positions, colors = [], []
    for obj in scene.objects:
        if cloud.CLOUD_KEY in obj and obj.visible_get():
            local, coded = cloud.arrays(obj)
            matrix = np.array(obj.matrix_world)
            positions.append(local @ matrix[:3, :3].T + matrix[:3, 3])
            colors.append(coded[:, :3])
    if not positions:
        return None, None
    positions, colors = np.concatenate(positions), np.concatenate(colors)
    step = -(-len(positions) // MAX_POINTS)
    return positions[::step], colors[::step]


def _copy(views: list[View], folder: Path) -> None:
    for name in ("images", *(["masks"] if any(view.mask for view in views) else [])):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for view in views:
        copies = [(view.image, folder / "images" / view.name)]
        if view.mask:
            copies.append((view.mask, folder / "masks" / f"{view.name}.png"))
        for source, target in copies:
            if not (target.exists() and target.samefile(source)):
                shutil.copyfile(source, target)
