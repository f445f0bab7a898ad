"""How close a move goes and how much of it the photos know, before anything is generated: from the cloud and the cameras."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from ..engine.job import Camera
from . import cameras, cloud, gather, moves, results, sampling
from .errors import CloseUpError
from .extension import log
from .languages import iface

FRAMES = 24
"""How many frames of a move are looked at, at most."""
POINTS = 150_000
"""How many of a cloud's points are used, at most."""
CELLS = 12
"""A frame's width is divided into so many cells, each of which is seen or not."""
SPARSE_POINTS = 4_000
FRONT = 0.02
"""A cell's points that lie this much behind its nearest, in parts of the distance, are hidden by it."""


@dataclass(frozen=True)
class Row:
    """One frame. zoom: its pixels for one of the best photo's, in its middle range. seen: share of the frame, 0 to 1."""

    frame: int
    zoom: float
    seen: float


@dataclass
class Check:
    """The last move that was looked at; ``rows`` is empty until the thread is done."""

    camera: str
    cloud: str
    thread: threading.Thread | None = None
    rows: tuple[Row, ...] = ()
    error: str = ""

    @property
    def running(self) -> bool:
        """Whether the thread is still at work."""
        return self.thread is not None and self.thread.is_alive()

    def wait(self) -> None:
        """Until it is done; for scripts."""
        self.thread.join()


latest: Check | None = None


def busy() -> bool:
    """Whether a move is being looked at."""
    return latest is not None and latest.running


def begin(scene) -> Check:
    """Look at the move of the scene's settings, in a thread. Raises CloseUpError when something is missing for that."""
    global latest
    camera = gather.path_camera(scene, gather.Options())
    obj = newest_cloud(scene)
    if obj is None:
        raise CloseUpError("There is no point cloud to compare the move with; solve the cameras or make a preview first.")
    start, end, step = scene.closeup.frame_range()
    frames = list(range(start, end + 1, step))
    if not frames:
        raise CloseUpError("The frame range is empty; its end must not lie before its start.")
    frames = sorted({frames[round(index * (len(frames) - 1) / (FRAMES - 1))] for index in range(FRAMES)})
    path = sampling.sample(scene, camera, frames, cameras.frame_of(scene.render))
    seen = [item.camera for item in moves.photo_cameras(scene)]
    points, radius = _points(obj)
    latest = Check(camera.name if camera else scene.camera.name, obj.name)
    look = measure_sparse if cloud.SPARSE_KEY in obj else measure
    arguments = (latest, look, dict(zip(frames, path)), seen, points, radius)
    latest.thread = threading.Thread(target=_work, args=arguments, name="closeup-coverage", daemon=True)
    latest.thread.start()
    return latest


def newest_cloud(scene):
    """The object of the cloud that is shown, the newest of several; None when there is none."""
    found = [obj for obj in results.collection_objects(scene) if cloud.CLOUD_KEY in obj]
    return next((obj for obj in reversed(found) if not obj.hide_viewport), found[-1] if found else None)


def _points(obj):
    """((N, 3) float64 in the world, the radius of one that stands for those left out)."""
    import numpy as np

    position = cloud.positions(obj)
    step = -(-len(position) // POINTS) or 1
    matrix = np.array(obj.matrix_world)
    points = position[::step].astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    return points, obj[cloud.CLOUD_KEY] * max(obj.matrix_world.to_scale()) * step**0.5


def _work(check: Check, look, path: dict[int, Camera], photos: list[Camera], points, radius: float) -> None:
    """In a thread."""
    try:
        check.rows = tuple(look(frame, camera, photos, points, radius) for frame, camera in path.items())
    except Exception as error:  # noqa: BLE001 - a thread's error would be lost
        log.exception("The move cannot be compared with the cloud")
        check.error = f"The move cannot be compared with the cloud ({error})."


def measure(frame: int, camera: Camera, photos: list[Camera], points, radius: float) -> Row:
    """One frame against the cloud. points: (N, 3) in the world; radius: of one of them."""
    import numpy as np

    x, y, z, inside = _project(points, camera)
    rows = max(1, round(CELLS * camera.height / camera.width))
    size = camera.width / CELLS, camera.height / rows
    column, row = (x[inside] / size[0]).astype(np.int64), (y[inside] / size[1]).astype(np.int64)
    cell, depth = row * CELLS + column, z[inside]
    nearest = np.full(rows * CELLS, np.inf)
    np.minimum.at(nearest, cell, depth)
    front = depth <= nearest[cell] * (1 + FRONT) + 2 * radius
    if not front.any():
        return Row(frame, 0.0, 0.0)
    # a point covers a disc, and a cell is seen as far as discs cover it
    area = np.pi * (radius * camera.fx / depth[front]) * (radius * camera.fy / depth[front]) / (size[0] * size[1])
    seen = np.minimum(1.0, np.bincount(cell[front], weights=area, minlength=rows * CELLS)).mean()
    return Row(frame, _zoom(camera, depth[front], _closest(points[inside][front], photos)), float(seen))


def measure_sparse(frame: int, camera: Camera, photos: list[Camera], points, radius: float) -> Row:
    """As :func:`measure`, with points that are no surface: a cell is seen when a photo's frame holds the place that it shows.

    The place lies as deep as the point that is nearest in the picture.
    """
    import numpy as np

    x, y, z, inside = _project(points, camera)
    if not inside.any():
        return Row(frame, 0.0, 0.0)
    rows = max(1, round(CELLS * camera.height / camera.width))
    across, down = np.meshgrid((np.arange(CELLS) + 0.5) / CELLS * camera.width, (np.arange(rows) + 0.5) / rows * camera.height)
    across, down = across.ravel(), down.ravel()
    some = np.flatnonzero(inside)[:: -(-int(inside.sum()) // SPARSE_POINTS)]
    nearest = ((across[:, None] - x[some]) ** 2 + (down[:, None] - y[some]) ** 2).argmin(axis=1)
    depth = z[some][nearest]
    local = np.stack([(across - camera.cx) / camera.fx * depth, (down - camera.cy) / camera.fy * depth, depth], axis=-1)
    matrix = np.array(camera.world_from_camera)
    best = _closest(local @ matrix[:3, :3].T + matrix[:3, 3], photos)
    return Row(frame, _zoom(camera, depth, best), float((best > 0).mean()))


def _closest(points, photos: list[Camera]):
    """Pixels per scene unit at each point in the photo that shows it largest, (N,); 0 where none does."""
    import numpy as np

    best = np.zeros(len(points))
    for photo in photos:
        _, _, far, known = _project(points, photo)
        best = np.maximum(best, np.where(known, photo.fx / np.maximum(far, 1e-9), 0.0))
    return best


def _zoom(camera: Camera, depth, best) -> float:
    import numpy as np

    zoom = camera.fx / depth[best > 0] / best[best > 0]
    return float(np.median(zoom)) if len(zoom) else 0.0


def _project(points, camera: Camera):
    """(x, y in pixels, depth, whether the camera sees that place at all), each (N,)."""
    import numpy as np

    matrix = np.array(camera.world_from_camera)
    local = (points - matrix[:3, 3]) @ matrix[:3, :3]
    z = local[:, 2]
    safe = np.maximum(z, 1e-9)
    x = camera.fx * local[:, 0] / safe + camera.cx
    y = camera.fy * local[:, 1] / safe + camera.cy
    return x, y, z, (z > 1e-9) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)


def summary(rows: tuple[Row, ...]) -> list[str]:
    """What a panel says of a move: its ends, and where least is seen."""
    if not rows:
        return []
    ends = [rows[0], rows[-1]]
    worst = min(rows, key=lambda row: row.seen)
    chosen = (
        dict.fromkeys([rows[0], worst, rows[-1]]) if worst.seen < 0.95 * min(row.seen for row in ends) else dict.fromkeys(ends)
    )
    return [iface("Frame {}: {:.1f}× zoom, {:.0%} seen", row.frame, row.zoom, row.seen) for row in chosen]


def belongs_to(scene) -> bool:
    """Whether the last check was of the camera and the cloud that are chosen now."""
    chosen = gather.path_camera(scene, gather.Options()) or scene.camera
    shown = newest_cloud(scene) if latest and chosen else None
    return shown is not None and (latest.camera, latest.cloud) == (chosen.name, shown.name)
