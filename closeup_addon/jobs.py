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
from . import history, notice, photos, preferences, record, results
from .arrival import Arrival
from .engine_client import EngineClient
from .errors import CloseUpError
from .extension import PACKAGE, ROOT, log
from .home import Home
from .languages import iface, marked

LOG_SECONDS = 5.0
STATES = ("queued", "running", "placing", "waiting", "done", "failed", "cancelled")
ENDED = {"waiting", "done", "failed", "cancelled"}


@dataclass
class Shot:
    """One job, from the button to the scene. ``state`` is one of :data:`STATES`.

    record: what stands of it in its folder. preview: one frame to look at, which is not kept among the shots. brought: it was
    made before, or elsewhere, and only its results come into the scene.
    stalled: a sentence while the engine seems to hang. error_code, fix: of a failure, see engine/protocol.py.
    """

    number: int
    folder: Path
    name: str
    home: Home
    frame_total: int
    record: record.Record
    preview: bool = False
    brought: bool = False
    state: str = "queued"
    stage: str = ""
    message: str = marked("Waiting")
    cancelling: bool = False
    done: float = 0.0
    total: float = 0.0
    seconds_left: float | None = None
    frames: set[int] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    stalled: str = ""
    error: str = ""
    error_code: str = ""
    fix: str = ""
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
    def step_text(self) -> str:
        """What is being done."""
        if self.frame_total and self.stage == "frames" and self.state == "running" and not self.cancelling:
            return iface("Frame {} of {}", min(len(self.frames) + 1, self.frame_total), self.frame_total)
        return iface(self.message)

    @property
    def progress_text(self) -> str:
        """What is being done, and for how much longer."""
        left = self.seconds_left
        return self.step_text if left is None else iface("{}, {} left", self.step_text, duration(left))

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
        self._arrival: Arrival | None = None

    # --- asked for by the user -------------------------------------------------

    def submit(self, job: Job, folder: Path, scene, followed: Sequence = (), preview: bool = False) -> Shot:
        """Write the job and queue it. Raises CloseUpError."""
        preferences.engine_python()
        try:
            job_file.from_dict(_plain(job))  # what the engine would refuse is said now
            job_file.save(job, folder)
        except job_file.JobError as error:
            raise CloseUpError(str(error)) from None
        except OSError as error:
            raise CloseUpError(f"The job cannot be written to {folder} ({error.strerror}); save the .blend elsewhere.") from None
        return self.enqueue(folder, job, scene, followed, preview)

    def enqueue(self, folder: Path, job: Job, scene, followed: Sequence = (), preview: bool = False) -> Shot:
        """Queue a folder whose job.json stands; one that was run before continues."""
        if self.running(folder):
            raise CloseUpError(f"{folder.name} is running already; wait for it or cancel it.")
        made = record.of_job(job, folder, time.time())
        made.project, made.scene = history.project_of(scene), scene.name
        made.blend = record.relative(bpy.data.filepath, folder)
        made.cameras = [camera.name for camera in followed]
        with contextlib.suppress(OSError):
            (folder / "report.json").unlink()  # it says that the job is done
        shot = self._add(made, scene, followed)
        shot.preview = preview
        if not preview:
            made.save()
            history.history.add(made)
        return shot

    def bring(self, found: record.Record, scene, followed: Sequence = ()) -> Shot:
        """Queue what a finished job's folder holds for the scene; the engine is not needed."""
        shot = self.running(found.folder)
        if shot is None:
            shot = self._add(found, scene, followed)
            shot.brought = True
            self._read_results(shot)
        return shot

    def _add(self, made: record.Record, scene, followed: Sequence) -> Shot:
        number = self.shots[-1].number + 1 if self.shots else 1
        home = Home.of(scene, followed, self.session)
        shot = Shot(number, made.folder, made.name, home, made.frames, made)
        shot.seconds = made.seconds
        self.shots.append(shot)
        self.changed = True
        notice.withdraw("generate")
        return shot

    def running(self, folder: Path) -> Shot | None:
        """The shot of a folder that has not ended."""
        return next((shot for shot in self.shots if shot.folder == Path(folder) and not shot.ended), None)

    def cancel(self, shot: Shot) -> None:
        """Stop a shot; what is finished of it stays in its folder."""
        if shot.state == "queued":
            self._end(shot, "cancelled", marked("Cancelled"))
        elif shot.state == "running" and self._client:
            shot.cancelling, shot.message = True, marked("Cancelling")
            self._client.cancel(shot.number)
        self.changed = True

    @property
    def active(self) -> Shot | None:
        """The shot that is being worked on, else the next one."""
        going = [shot for shot in self.shots if not shot.ended]
        return next((shot for shot in going if shot.state != "placing"), going[0] if going else None)

    @property
    def placing(self) -> bool:
        """Whether results are coming into the scene."""
        return self._arrival is not None and self._arrival.placing

    @property
    def engine(self) -> dict:
        """What the running engine said of itself; empty when there is none."""
        return (self._client.hello if self._client else None) or {}

    @property
    def latest(self) -> Shot | None:
        """The shot whose state is worth showing."""
        return self.active or (self.shots[-1] if self.shots else None)

    @property
    def shown(self) -> Shot | None:
        """As :attr:`latest`, but none that ended while another file was open."""
        shot = self.latest
        return shot if shot and (not shot.ended or shot.home.session == self.session or shot.placed) else None

    # --- the live preview, while the engine works on no shot -----------------------

    def ask_preview(self, request: dict) -> bool:
        """Let the engine make a picture (see :meth:`EngineClient.preview`); it is started when there is none.

        False when its predecessor's last words have not been heard yet. Raises CloseUpError.
        """
        if self._client and not self._client.alive:
            return False
        self._engine().preview(request)
        return True

    def preview_event(self) -> dict | None:
        """The engine's next event (see :meth:`EngineClient.poll`), None when there is none."""
        event = self._client.poll() if self._client else None
        if event and event["event"] == "closed":
            self._drop_client()
        return event

    # --- the pump ----------------------------------------------------------------

    def pump(self, seconds: float = 0.004) -> bool:
        """Do what can be done without waiting, within a time budget; False when nothing is left to do."""
        until = time.monotonic() + seconds
        shot = self.active
        if shot and shot.state == "queued":
            self._begin(shot)
        while self._client and shot and shot.state == "running" and time.monotonic() < until:
            event = self._client.poll()
            if event is None:
                break
            self._handle(shot, event)
        arrived = next((item for item in self.shots if item.state == "placing"), None)
        while arrived and arrived.state == "placing" and self._bring_on(arrived) and time.monotonic() < until:
            pass
        return self.active is not None

    def _begin(self, shot: Shot) -> None:
        try:
            self._engine().run(shot.folder, shot.number)
        except CloseUpError as error:
            self._fail(shot, str(error))
            return
        shot.state = "running"
        shot.message = marked("Starting the engine") if self._client.hello is None else marked("Starting")
        self.changed = True

    def _engine(self) -> EngineClient:
        """The warm engine, or a new one when there is none or the preferences changed."""
        key = (preferences.engine_python(), preferences.device(), preferences.outlive(), preferences.models_folder())
        if self._client and (not self._client.alive or key != self._client_key):
            self._drop_client()
        if self._client is None:
            path = Path(bpy.utils.extension_path_user(PACKAGE, create=True)) / "engine.log"
            self._client, self._client_key = EngineClient(key[0], ROOT, path, *key[1:]), key
        return self._client

    def _handle(self, shot: Shot, event: dict) -> None:
        kind = event["event"]
        self.changed = True
        if kind == "closed":
            self._drop_client()
            if shot.cancelling:
                self._end(shot, "cancelled", "Cancelled")
            elif event["code"] == "idle":  # it ended as we asked; a new one takes the job
                shot.state = "queued"
            else:
                self._fail(shot, event["message"], event["code"], event["fix"])
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
            self._note_frame(shot, event["frame"])
        elif kind == "stalled":
            shot.stalled = event["message"]
            if shot.stalled:
                log.warning("%s: %s", shot.name, shot.stalled)
        elif kind == "warning":
            shot.warnings.append(event["message"])
            log.warning("%s: %s", shot.name, event["message"])
        elif kind == "error":
            self._fail(shot, event["message"], event["code"], event["fix"])
        elif kind == "cancelled":
            self._end(shot, "cancelled", "Cancelled")
        elif kind == "done":
            shot.seconds = event["seconds"]
            self._read_results(shot)

    def _note_frame(self, shot: Shot, frame: int) -> None:
        """A frame is told once: an engine that repeats itself must not fill the console."""
        if frame in shot.frames:
            return
        shot.frames.add(frame)
        left = "" if shot.seconds_left is None else f", {duration(shot.seconds_left)} left"
        log.info("%s: frame %s (%d of %d)%s", shot.name, frame, len(shot.frames), shot.frame_total, left)

    def _log_progress(self, shot: Shot) -> None:
        """Every few seconds a line for who looks at the console."""
        if time.monotonic() > self._logged + LOG_SECONDS:
            self._logged = time.monotonic()
            left = "" if shot.seconds_left is None else f", {duration(shot.seconds_left)} left"
            log.info("%s: %s, %d%%%s", shot.name, shot.message, 100 * shot.factor, left)

    def _fail(self, shot: Shot, sentence: str, code: str = "failed", fix: str = "") -> None:
        """``code`` and ``fix``: of protocol.ERRORS and protocol.FIXES."""
        shot.error, shot.error_code, shot.fix = sentence, code, fix
        log.error("%s: %s", shot.name, sentence)
        self._end(shot, "failed", sentence)
        home = shot.home.find(self.session)
        if home and (shot.solve_only or fix == "photos"):
            photos.mark(home[0], shot.folder, sentence)

    def _end(self, shot: Shot, state: str, message: str) -> None:
        shot.state, shot.message, shot.seconds_left, shot.stalled = state, message, None, ""
        self.changed = True
        if not (shot.preview or shot.brought):
            noted = shot.record
            noted.state, noted.seconds = "done" if state == "waiting" else state, shot.seconds
            noted.message = shot.error
            _write(noted)

    # --- results -------------------------------------------------------------------

    def _read_results(self, shot: Shot) -> None:
        """The engine has done its part; the pump does the rest."""
        shot.state, shot.message, shot.done, shot.total = "placing", marked("Bringing the results into the scene"), 0, 0

    def _bring_on(self, shot: Shot) -> bool:
        """One short step of placing a shot's results; False when there is nothing more to do now."""
        if self._arrival is None:
            self._arrival = Arrival(shot.folder, shot.home, shot.preview)
        arrival = self._arrival
        arrival.step(self.session)
        if not arrival.ended:
            return arrival.placing
        self._arrival = None
        shot.warnings += arrival.warnings
        if arrival.error:
            self._fail(shot, arrival.error)
        elif arrival.placed is None:
            name = Path(shot.home.blend).name if shot.home.blend else "its file, which was never saved,"
            self._end(shot, "waiting", f"Finished; its results appear when {name} is open")
        else:
            shot.placed = arrival.placed
            self._placed(shot)
        return False

    def _placed(self, shot: Shot) -> None:
        home = shot.home.find(self.session)
        if home and shot.placed.cameras:
            photos.mark(home[0], shot.folder)
        if not bpy.app.background:
            bpy.ops.ed.undo_push(message=f"Close-up: {shot.name}")
        solved = len(shot.placed.cameras) if shot.solve_only else 0
        taken = duration(shot.seconds)
        what = iface("{} cameras solved in {}", solved, taken) if solved else iface("{} done in {}", shot.name, taken)
        message = iface("{} was brought into the scene", shot.name) if shot.brought else what
        self._end(shot, "done", message)
        log.info("%s: %s: %s", shot.name, message, shot.folder)

    def scene_changed(self) -> None:
        """Undo, redo or another file have made what was being placed void; it begins again."""
        if self._arrival:
            self._arrival.begin_again()

    # --- files and ends --------------------------------------------------------------

    def file_loaded(self) -> None:
        """Another file is open: place what waited for it."""
        self.session += 1
        self.changed = True
        self.scene_changed()
        for shot in self.shots:
            shot.placed = None
            if shot.state == "waiting" and shot.home.find(self.session):
                self._read_results(shot)

    def file_saved(self) -> None:
        """The open file may have a new name, and what was placed in it is safe there now."""
        for shot in self.shots:
            if shot.home.session == self.session:
                shot.home.blend = bpy.data.filepath
                self._note_file(shot)

    def _note_file(self, shot: Shot) -> None:
        noted, blend = shot.record, record.relative(bpy.data.filepath, shot.folder)
        if not shot.preview and (noted.blend != blend or (shot.placed and not noted.arrived)):
            noted.blend, noted.arrived = blend, noted.arrived or shot.placed is not None
            _write(noted)

    def bring_arrivals(self) -> None:
        """What was finished while the file was closed, or was lost with a Blender that ended without saving."""
        known = {shot.folder for shot in self.shots}
        for found in history.history.records.values():
            if found.state == "done" and found.project and not found.arrived and found.folder not in known:
                scene = bpy.data.scenes.get(found.scene) or bpy.context.scene
                self.bring(found, scene, [scene.objects[name] for name in found.cameras if name in scene.objects])

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


def _write(noted: record.Record) -> None:
    """Save a record, and count what its folder holds now; in a thread, since a disk may be slow, where somebody may wait."""

    def save() -> None:
        state, message = noted.state, noted.message
        noted.save()
        noted.look()
        if noted.state == record.UNFINISHED:
            noted.state, noted.message = state, message

    if bpy.app.background:
        save()
    else:
        threading.Thread(target=save, name="closeup-record").start()


def _plain(job: Job) -> dict:
    """The job as its file would say it: lists for tuples."""
    return json.loads(json.dumps(job_file.to_dict(job)))


def duration(seconds: float) -> str:
    """A time as people write it: 0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


queue = Queue()
