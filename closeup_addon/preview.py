"""The live preview: what the photos show where a 3D view looks, drawn there while the artist moves.

Nothing here waits. Redraws tell what is looked at (:meth:`LivePreview.look`); the pump asks the engine for it and takes what
has come. The newest camera counts; while a job runs the preview pauses.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import bpy

from ..engine.job import Camera
from . import cloud, history, jobs, results
from .errors import CloseUpError
from .gather import SHOT_KEY
from .languages import marked
from .preview_view import View

EVENTS_SECONDS = 0.003
"""What listening to the engine may take of one tick."""
AGAIN_SECONDS = 0.5
"""After this an engine that was busy is asked again."""


@dataclass(frozen=True)
class Wanted:
    """A picture: of a job folder's photos, at a camera of its world. framed: see :class:`View`."""

    folder: Path
    camera: Camera
    framed: bool


@dataclass(frozen=True)
class Picture:
    """What the engine made. pixels: see :func:`engine.protocol.preview_file`. final: no finer one follows."""

    of: Wanted
    width: int
    height: int
    final: bool
    pixels: bytes


@dataclass
class _Region:
    """What one region looks at, since which turn, and the newest picture for it."""

    wanted: Wanted
    turn: int
    picture: Picture | None = None

    @property
    def complete(self) -> bool:
        return self.picture is not None and self.picture.final and self.picture.of == self.wanted


@dataclass(frozen=True)
class _Asked:
    """The request that is being answered: its number, the region that it is for, and what it asks for."""

    number: int
    region: int
    wanted: Wanted


class LivePreview:
    """One for all regions. ``error``: why it went off by itself, a sentence for the panel."""

    def __init__(self) -> None:
        self.on = False
        self.error = ""
        self._regions: dict[int, _Region] = {}
        self._asked: _Asked | None = None
        self._turn = self._number = 0
        self._not_before = 0.0

    def start(self, scene) -> None:
        """Switch it on. Raises CloseUpError when there is nothing to be shown."""
        source(scene)
        self.on, self.error = True, ""

    def stop(self, error: str = "") -> None:
        """Switch it off; the engine gives the memory back after a while."""
        self.on, self.error = False, error
        self._regions.clear()
        self._asked = None
        shutil.rmtree(_folder(), ignore_errors=True)
        _redraw()

    @property
    def awaited(self) -> bool:
        """Whether a picture is being made, or could be."""
        return self.on and not jobs.queue.active and not all(region.complete for region in self._regions.values())

    @property
    def status(self) -> str:
        """What the panel says while no picture shows what happens."""
        if not self.on:
            return self.error
        if jobs.queue.active:
            return marked("Paused while the engine makes a close-up")
        if not self.awaited or any(region.picture for region in self._regions.values()):
            return ""
        return marked("Getting ready; the first time takes a while") if jobs.queue.engine else marked("Starting the engine")

    def look(self, region: int, folder: Path, view: View) -> Picture | None:
        """A region is redrawn: this is what it looks at. Returns the newest picture for it.

        region: whatever tells it from others. A picture of where it looked a moment before is better than none, but not when
        no other one is on its way.
        """
        wanted = Wanted(folder, view.camera, view.framed)
        known = self._regions.get(region)
        if known is None or known.wanted != wanted:
            self._turn += 1
            same = known is not None and (known.wanted.framed, known.wanted.folder) == (view.framed, folder)
            self._regions[region] = _Region(wanted, self._turn, known.picture if same else None)
        picture = self._regions[region].picture
        return picture if picture and (picture.of == wanted or not jobs.queue.active) else None

    def pump(self) -> None:
        """Take what the engine has answered, then ask for what is wanted most; no longer than a tick may take."""
        if not self.on:
            return
        if jobs.queue.active:
            self._asked = None
            return
        until = time.monotonic() + EVENTS_SECONDS
        while self.on and time.monotonic() < until and (event := jobs.queue.preview_event()):
            self._hear(event)
        if self.on and time.monotonic() >= self._not_before:
            self._ask()

    def _ask(self) -> None:
        """For the region that changed last; the others' turn comes when that one rests."""
        waiting = {key: region for key, region in self._regions.items() if not region.complete}
        if not waiting:
            return
        key = max(waiting, key=lambda item: waiting[item].turn)
        wanted = waiting[key].wanted
        if self._asked and (self._asked.region, self._asked.wanted) == (key, wanted):
            return
        folder = _folder()
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            request = {"job": str(wanted.folder), "camera": asdict(wanted.camera), "pictures": str(folder)}
            if jobs.queue.ask_preview({**request, "id": self._number + 1}):
                self._number += 1
                self._asked = _Asked(self._number, key, wanted)
        except OSError as error:
            self.stop(f"The preview's pictures cannot be kept in {folder} ({error.strerror}); check Blender's temporary folder.")
        except CloseUpError as error:
            self.stop(str(error))

    def _hear(self, event: dict) -> None:
        kind, ours = event["event"], self._asked is not None and event.get("id") == self._asked.number
        if kind == "preview" and ours:
            self._take(event)
        elif kind == "closed":
            self._asked = None
            if event["code"] != "idle":
                self.stop(event["message"])
        elif kind == "no_preview" and ours:
            self._asked = None
            if event["code"] != "busy":
                self.stop(event["message"])
            self._not_before = time.monotonic() + AGAIN_SECONDS

    def _take(self, event: dict) -> None:
        """A picture has come that was asked for last."""
        region = self._regions.get(self._asked.region)
        if region and event["pixels"]:
            region.picture = Picture(self._asked.wanted, event["width"], event["height"], event["final"], event["pixels"])
            _redraw(self._asked.region)
        if event["final"]:
            self._asked = None
            if not event["pixels"]:  # it could not be read; it will be asked for again, but not without end
                self._not_before = time.monotonic() + AGAIN_SECONDS


def source(scene) -> tuple[Path, object]:
    """The folder of the job whose cloud the scene shows, and the cloud's object. Raises CloseUpError when there is none."""
    clouds = [obj for obj in results.collection_objects(scene) if cloud.CLOUD_KEY in obj and SHOT_KEY in obj]
    dense = [obj for obj in clouds if cloud.SPARSE_KEY not in obj]
    if not dense:
        which = "holds only the solver's points" if clouds else "is not there yet"
        raise CloseUpError(f"The cloud {which}; press Build Cloud or Generate Close-up first.")
    shown = next((obj for obj in reversed(dense) if not obj.hide_viewport), dense[-1])
    name = shown[SHOT_KEY]
    known = [item.folder for item in (*history.history.records.values(), *reversed(jobs.queue.shots))]
    folder = next((item for item in known if item.name == name), None)
    if folder is None:
        raise CloseUpError(f"The job of {shown.name} is not at hand; press Build Cloud or Generate Close-up again.")
    return folder, shown


def _folder() -> Path:
    """Where the engine puts the pictures; Blender removes it when it quits."""
    return Path(bpy.app.tempdir, "closeup-preview")


def _redraw(region: int | None = None) -> None:
    """One region of a 3D view, or all."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            for item in area.regions if area.type == "VIEW_3D" else ():
                if item.type == "WINDOW" and region in {None, item.as_pointer()}:
                    item.tag_redraw()


live = LivePreview()
