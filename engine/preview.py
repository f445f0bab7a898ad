"""What the photos show at a camera, at once: the live preview. The geometry of one job stays loaded between two requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from . import job, memory, pipeline, protocol
from .artifacts import JobFolder
from .camera import resized
from .conditioning import Warper
from .device import pick
from .file_errors import file_error
from .job import Camera
from .progress import EngineError
from .records import Condition

MAX_SIDE = 2048
"""Pixels; a larger preview is refused."""
COARSE = 4
"""The first picture is so many times smaller."""
QUICK_SECONDS = 0.1
"""Where a whole picture takes no longer than this, none comes before it."""
LEAST_CONFIDENCE = 1 / 255
"""Of what a photo saw: it must not become a hole where Blender keeps bytes."""


class Previewer:
    """Answers preview requests, one after the other.

    device: where it computes, None for the best there is.
    """

    def __init__(self, device: str | None = None):
        self._device = device
        self._loaded: tuple[tuple, Warper] | None = None
        self._seconds = float("inf")

    def forget(self) -> None:
        """Give the memory back; the next request loads its job again."""
        self._loaded = None

    def pictures(self, request: dict, superseded: Callable[[], bool]) -> Iterator[dict]:
        """Write a coarse picture, then the final one; yields after each what its event tells besides the number.

        superseded: whether the pictures that are still to come are not wanted any more. Raises JobError or EngineError with
        a sentence for the user.
        """
        camera = _camera(request["camera"])
        warper = self._warper(Path(request["job"]))
        if superseded():
            return
        warper = warper.choose(memory.retrieve(warper, [camera]))  # what a job would make this frame from
        for step in (1,) if self._seconds <= QUICK_SECONDS else (COARSE, 1):
            started = time.perf_counter()
            condition = warper.condition(_smaller(camera, step))
            seconds = time.perf_counter() - started
            final = step == 1
            _write(Path(request["pictures"], protocol.preview_file(request["id"], final)), rgba(condition))
            if final:
                self._seconds = seconds
            size = condition.camera
            yield {"width": size.width, "height": size.height, "final": final, "seconds": round(seconds, 4)}
            if superseded():
                return

    def _warper(self, folder: Path) -> Warper:
        """The job's photos, ready to be looked up; kept while the job's depth is the same."""
        key = _key(folder)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded, self._seconds = None, float("inf")
            self._loaded = key, _load(JobFolder(folder), self._device)
        return self._loaded[1]


def rgba(condition: Condition) -> np.ndarray:
    """(H, W, 4) float32: the condition's colours, sRGB-coded, and its confidence, which is 0 in holes and nowhere else."""
    confidence = np.where(condition.level > 0, np.maximum(condition.confidence, LEAST_CONFIDENCE), 0)
    return np.dstack([condition.rgb, confidence]).astype(np.float32)


def _camera(value: dict) -> Camera:
    camera = job.camera_from_dict(value, "The preview's camera")
    if max(camera.width, camera.height) > MAX_SIDE:
        sentence = f"A preview of {camera.width}×{camera.height} pixels is too large; {MAX_SIDE} a side is the most."
        raise EngineError(sentence, "failed")
    return camera


def _smaller(camera: Camera, step: int) -> Camera:
    return camera if step == 1 else resized(camera, -(-camera.width // step), -(-camera.height // step))


def _key(folder: Path) -> tuple:
    """What tells one state of a job's depth from another."""
    if not folder.is_dir():
        raise EngineError(f"The folder of the job is gone: {folder}; build the cloud again.", "missing")
    try:
        found = (folder / ".closeup" / "depth.json").stat()
    except OSError:
        raise EngineError(f"The photos of {folder.name} have no depth yet; build the cloud first.", "missing") from None
    return str(folder), found.st_mtime_ns, found.st_ino


def _load(store: JobFolder, device: str | None) -> Warper:
    """While the folder is held, so that no other engine exchanges what is read."""
    levels = job.load(store.root, files=False).conditioning.levels
    with store.lock():
        try:
            views = pipeline.warped_views(store)
        except EngineError as error:
            if error.code in {"damaged", "missing"}:
                store.forget()
            raise
    return Warper(views, pick(device), levels=levels)


def _write(path: Path, picture: np.ndarray) -> None:
    """A file of its own, never through a link: nobody reads it before its event has come."""
    try:
        path.unlink(missing_ok=True)
        with open(path, "xb") as stream:
            stream.write(np.ascontiguousarray(picture).data)
    except OSError as error:
        raise file_error(error, path) from error
