"""The queue of jobs: one engine, one job after the other, never waiting in Blender's interface.

The queue is a Python object and outlives the loading of another file; what belongs to a file that
is not open waits until it is opened again.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import bpy

from ..engine import job as job_file
from ..engine.job import Job
from . import preferences, results
from .engine_client import EngineClient
from .errors import CloseUpError
from .extension import PACKAGE, ROOT, log

MAX_LOG = 4 << 20
"""Bytes of engine.log that are kept when a new engine starts."""
LOG_SECONDS = 5.0
STATES = ("queued", "running", "placing", "waiting", "done", "failed", "cancelled")
ENDED = {"waiting", "done", "failed", "cancelled"}


@dataclass
class Home:
    """The scene a shot belongs to, across undo, renaming, Save As and the loading of other files."""

    uid: int
    scene: str
    blend: str
    session: int
    cameras: list[tuple[int, str]]

    def find(self):
        """(scene, camera objects), or None while another file is open."""
        here = self.session == queue.session
        if not here and (not self.blend or self.blend != bpy.data.filepath):
            return None
        scene = next((item for item in bpy.data.scenes if here and item.session_uid == self.uid), None)
        scene = scene or bpy.data.scenes.get(self.scene)
        if scene is None:
            return None
        found = [
            next((o for o in scene.objects if here and o.session_uid == uid), None) or scene.objects.get(name)
            for uid, name in self.cameras
        ]
        return scene, [obj for obj in found if obj]


@dataclass
class Shot:
    """One job, from the button to the scene. ``state`` is one of :data:`STATES`."""

    number: int
    folder: Path
    name: str
    home: Home
    frame_total: int
    state: str = "queued"
    stage: str = ""
    message: str = "Waiting"
    cancelling: bool = False
    done: float = 0.0
    total: float = 0.0
    seconds_left: float | None = None
    frames: set[int] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0
    placed: results.Placed | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state in ENDED

    @property
    def factor(self) -> float:
        """How much of the current stage is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def solve_only(self) -> bool:
        """Whether only the cameras are wanted."""
        return self.frame_total == 0


class Queue:
    """All shots of this session of Blender."""

    def __init__(self) -> None:
        self.shots: list[Shot] = []
        self.session = 0
        self.changed = True
        self._logged = 0.0
        self._client: EngineClient | None = None
        self._client_key: tuple = ()
        self._reading: tuple[Shot, threading.Thread, list] | None = None

    # --- asked for by the user -------------------------------------------------

    def submit(self, job: Job, folder: Path, scene, followed: Sequence = ()) -> Shot:
        """Write the job and queue it. Raises CloseUpError."""
        preferences.engine_python()
        try:
            job_file.from_dict(_plain(job))  # what the engine would refuse is said now
            job_file.save(job, folder)
        except job_file.JobError as error:
            raise CloseUpError(str(error)) from None
        except OSError as error:
            raise CloseUpError(f"The job cannot be written to {folder} ({error.strerror}); save the .blend elsewhere.") from None
        return self.enqueue(folder, job, scene, followed)

    def enqueue(self, folder: Path, job: Job, scene, followed: Sequence = ()) -> Shot:
        """Queue a folder whose job.json stands; one that was run before continues."""
        if any(shot.folder == folder and not shot.ended for shot in self.shots):
            raise CloseUpError(f"{folder.name} is running already; wait for it or cancel it.")
        cameras = [(camera.session_uid, camera.name) for camera in followed]
        home = Home(scene.session_uid, scene.name, bpy.data.filepath, self.session, cameras)
        number = self.shots[-1].number + 1 if self.shots else 1
        shot = Shot(number, folder, job.name, home, len(job.path))
        self.shots.append(shot)
        self.changed = True
        return shot

    def cancel(self, shot: Shot) -> None:
        """Stop a shot; what is finished of it stays in its folder."""
        if shot.state == "queued":
            self._end(shot, "cancelled", "Cancelled")
        elif shot.state == "running" and self._client:
            shot.cancelling, shot.message = True, "Cancelling"
            self._client.cancel(shot.number)
        self.changed = True

    @property
    def active(self) -> Shot | None:
        """The shot that is being worked on, else the next one."""
        return next((shot for shot in self.shots if not shot.ended), None)

    @property
    def latest(self) -> Shot | None:
        """The shot whose state is worth showing."""
        return self.active or (self.shots[-1] if self.shots else None)

    # --- the pump ----------------------------------------------------------------

    def pump(self, seconds: float = 0.004) -> bool:
        """Do what can be done without waiting, within a time budget; False when nothing is left to do."""
        shot = self.active
        if shot is None:
            return False
        if shot.state == "placing":
            self._place_when_read(shot)
            return True
        if shot.state == "queued":
            self._begin(shot)
        until = time.monotonic() + seconds
        while self._client and not shot.ended and shot.state == "running" and time.monotonic() < until:
            event = self._client.poll()
            if event is None:
                break
            self._handle(shot, event)
        return True

    def _begin(self, shot: Shot) -> None:
        try:
            self._engine().run(shot.folder, shot.number)
        except CloseUpError as error:
            self._fail(shot, str(error))
            return
        shot.state, shot.message = "running", "Starting the engine" if self._client.hello is None else "Starting"
        self.changed = True

    def _engine(self) -> EngineClient:
        """The warm engine, or a new one when there is none or the preferences changed."""
        key = (preferences.engine_python(), preferences.device())
        if self._client and (not self._client.alive or key != self._client_key):
            self._drop_client()
        if self._client is None:
            path = Path(bpy.utils.extension_path_user(PACKAGE, create=True)) / "engine.log"
            with contextlib.suppress(OSError):  # another Blender may be writing to it
                if path.stat().st_size > MAX_LOG:
                    path.unlink()
            self._client, self._client_key = EngineClient(key[0], ROOT, path, key[1]), key
        return self._client

    def _handle(self, shot: Shot, event: dict) -> None:
        kind = event["event"]
        self.changed = True
        if kind == "closed":
            self._drop_client()
            if shot.cancelling:
                self._end(shot, "cancelled", "Cancelled")
            else:
                self._fail(shot, event["message"])
        elif event.get("id") != shot.number:
            return  # hello, or the last words of an earlier job
        elif kind == "stage":
            shot.stage, shot.message = event["stage"], "Cancelling" if shot.cancelling else event["message"]
            shot.done, shot.total, shot.seconds_left = 0.0, 0.0, None
            self._logged = time.monotonic()
            log.info("%s: %s", shot.name, shot.message)
        elif kind == "progress":
            shot.done, shot.total, shot.seconds_left = event["done"], event["total"], event["seconds_left"]
            self._log_progress(shot)
        elif kind == "frame":
            shot.frames.add(event["frame"])
            left = "" if shot.seconds_left is None else f", {duration(shot.seconds_left)} left"
            log.info("%s: frame %s (%d of %d)%s", shot.name, event["frame"], len(shot.frames), shot.frame_total, left)
        elif kind == "warning":
            shot.warnings.append(event["message"])
            log.warning("%s: %s", shot.name, event["message"])
        elif kind == "error":
            self._fail(shot, event["message"])
        elif kind == "cancelled":
            self._end(shot, "cancelled", "Cancelled")
        elif kind == "done":
            shot.seconds = event["seconds"]
            self._read_results(shot)

    def _log_progress(self, shot: Shot) -> None:
        """Every few seconds a line for who looks at the console."""
        if time.monotonic() > self._logged + LOG_SECONDS:
            self._logged = time.monotonic()
            left = "" if shot.seconds_left is None else f", {duration(shot.seconds_left)} left"
            log.info("%s: %s, %d%%%s", shot.name, shot.message, 100 * shot.factor, left)

    def _fail(self, shot: Shot, sentence: str) -> None:
        shot.error = sentence
        log.error("%s: %s", shot.name, sentence)
        self._end(shot, "failed", sentence)

    def _end(self, shot: Shot, state: str, message: str) -> None:
        shot.state, shot.message, shot.seconds_left = state, message, None
        self.changed = True

    # --- results -------------------------------------------------------------------

    def _read_results(self, shot: Shot) -> None:
        """The engine has done its part; the pump does the rest."""
        shot.state, shot.message, shot.done, shot.total = "placing", "Bringing the results into the scene", 0, 0

    def _place_when_read(self, shot: Shot) -> None:
        """Large files are read in a thread; only making the datablocks needs Blender's own."""
        if self._reading is None or self._reading[0] is not shot:
            found: list = []
            thread = threading.Thread(target=_read_folder, args=(shot.folder, found), name="closeup-results", daemon=True)
            self._reading = (shot, thread, found)
            thread.start()
        _, thread, found = self._reading
        if thread.is_alive():
            return
        self._reading = None
        if isinstance(found[0], CloseUpError):
            self._fail(shot, str(found[0]))
        else:
            self._place(shot, found[0])

    def _place(self, shot: Shot, result: results.Result) -> None:
        home = shot.home.find()
        if home is None:
            name = Path(shot.home.blend).name if shot.home.blend else "its file, which was never saved,"
            self._end(shot, "waiting", f"Finished; its results appear when {name} is open")
            return
        try:
            shot.placed = results.place(home[0], result, home[1])
        except CloseUpError as error:
            self._fail(shot, str(error))
            return
        except Exception as error:  # noqa: BLE001 - the frames are made and safe; only Blender's part of them failed
            log.exception("The results of %s cannot be placed", shot.folder)
            self._fail(shot, f"The results are in {shot.folder}, but cannot be brought into the scene ({error}).")
            return
        shot.warnings += result.warnings
        if not bpy.app.background:
            bpy.ops.ed.undo_push(message=f"Close-up: {shot.name}")
        what = f"{len(shot.placed.cameras)} cameras solved" if shot.solve_only else f"{shot.name} done"
        self._end(shot, "done", f"{what} in {duration(shot.seconds)}")
        log.info("%s: done in %s: %s", shot.name, duration(shot.seconds), shot.folder)

    # --- files and ends --------------------------------------------------------------

    def file_loaded(self) -> None:
        """Another file is open: place what waited for it."""
        self.session += 1
        self.changed = True
        for shot in self.shots:
            shot.placed = None
            if shot.state == "waiting" and shot.home.find():
                self._read_results(shot)

    def file_saved(self) -> None:
        """The open file may have a new name."""
        for shot in self.shots:
            if shot.home.session == self.session:
                shot.home.blend = bpy.data.filepath

    def shut_down(self) -> None:
        """End the engine and every shot; Blender quits or the extension goes."""
        for shot in self.shots:
            if not shot.ended:
                self._end(shot, "cancelled", "Cancelled")
        if self._client:
            self._client.stop()
        self._client = None

    def _drop_client(self) -> None:
        """Without waiting for its end."""
        if self._client:
            self._client.leave()
        self._client = None


def _read_folder(folder: Path, found: list) -> None:
    """In a thread: one Result or CloseUpError into ``found``."""
    try:
        found.append(results.read(folder))
    except CloseUpError as error:
        found.append(error)
    except Exception as error:  # noqa: BLE001 - a thread's error would be lost, and the shot never end
        log.exception("The results of %s cannot be read", folder)
        found.append(CloseUpError(f"The results cannot be read ({error}); the console holds the details."))


def _plain(job: Job) -> dict:
    """The job as its file would say it: lists for tuples."""
    return json.loads(json.dumps(job_file.to_dict(job)))


def duration(seconds: float) -> str:
    """A time as people write it: 0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


queue = Queue()
