"""The shots of the open .blend, from its job folders: looked for in a thread, kept for the panels, which never touch the disk.

A .blend knows its shots by a project id that is saved in its scenes and stands in every job's record. So they are found again
after undo, reload, renaming, Save As and moving the whole project, and when Blender was closed, or crashed, meanwhile.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from pathlib import Path

import bpy
from bpy.props import CollectionProperty, IntProperty, StringProperty

from . import folders, record
from .errors import CloseUpError
from .extension import log
from .gather import SHOT_KEY
from .record import Record


class CloseUpShotItem(bpy.types.PropertyGroup):
    """A row of the list of shots; what it shows is in :data:`history`."""

    folder: StringProperty(name="Folder", description="Folder of the shot's job")


class History:
    """The records that the panels show, newest first. Only :meth:`refresh` and :meth:`pump` change them.

    problem: a sentence when the folders could not be read the last time.
    """

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.project = ""
        self.problem = ""
        self._scan: _Scan | None = None
        self._again = False
        self._published: list[str] = []

    @property
    def busy(self) -> bool:
        """Whether a scan is under way."""
        return self._scan is not None

    def refresh(self) -> None:
        """Look through the folders again, in a thread; :meth:`pump` shows what it found."""
        if self._scan:
            self._again = True
            return
        blend = Path(os.path.normpath(bpy.data.filepath)) if bpy.data.filepath else None
        self._scan = _Scan(folders.bases(), projects(), linked(), blend)
        self._scan.start()

    def pump(self) -> bool:
        """Take over what a scan has found; True when there is something new to show. One that failed leaves the list as it is."""
        if self._scan is None or self._scan.is_alive():
            return False
        scan, self._scan = self._scan, None
        if self._again:  # something has changed since it began
            self._again = False
            self.refresh()
            return False
        self.problem = scan.problem
        if self.problem:
            return True
        self.records = {str(item.folder): item for item in scan.found}
        self.project = self.project or next((item.project for item in scan.found if item.project), "")
        self.publish()
        return True

    def wait(self) -> list[Record]:
        """The records of the open file, at once; for scripts, which may wait. Raises CloseUpError."""
        self.refresh()
        while self._scan:
            self._scan.join()
            self.pump()
        if self.problem:
            raise CloseUpError(self.problem)
        return list(self.records.values())

    def add(self, new: Record) -> None:
        """A shot that has just been asked for stands on top of the list, and is chosen there."""
        self._again = self.busy
        self.records = {str(new.folder): new, **{key: value for key, value in self.records.items() if key != str(new.folder)}}
        self.publish()
        bpy.context.window_manager.closeup_shot_index = 0

    def drop(self, folder: Path) -> None:
        """Take a deleted shot off the list."""
        self._again = self.busy
        self.records.pop(str(folder), None)
        self.publish()

    def chosen(self, context: bpy.types.Context) -> Record | None:
        """The record of the list's active row."""
        manager = context.window_manager
        items = manager.closeup_shots
        if not 0 <= manager.closeup_shot_index < len(items):
            return None
        return self.records.get(items[manager.closeup_shot_index].folder)

    def publish(self) -> None:
        """Let Blender's list have a row for every record; loading a file empties it."""
        manager = bpy.context.window_manager
        items, keys = manager.closeup_shots, list(self.records)
        if keys == self._published and len(items) == len(keys):
            return
        active = items[manager.closeup_shot_index].folder if manager.closeup_shot_index < len(items) else ""
        items.clear()
        for key in keys:
            items.add().folder = key
        manager.closeup_shot_index = keys.index(active) if active in self.records else 0
        self._published = keys


class _Scan(threading.Thread):
    """A look through the folders, see :func:`.record.scan`. found: the records. problem: a sentence when it failed."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(name="closeup-history", daemon=True)
        self.found: list[Record] = []
        self.problem = ""
        self._arguments = arguments

    def run(self) -> None:
        """In the thread."""
        try:
            self.found = record.scan(*self._arguments)
        except Exception as error:  # noqa: BLE001 - an error in a thread would be lost
            log.exception("The shots' folders cannot be read")
            why = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
            self.problem = f"The shots' folders cannot be read ({why}); check the disk, then refresh the list in its menu."


def projects() -> set[str]:
    """The ids of the open .blend."""
    return {scene.closeup.project for scene in bpy.data.scenes} - {""} | ({history.project} - {""})


def linked() -> set[Path]:
    """Job folders whose frames the .blend shows, such as those of an appended camera."""
    shown = [image for image in bpy.data.images if SHOT_KEY in image and image.filepath and image.library is None]
    return {Path(os.path.normpath(bpy.path.abspath(image.filepath))).parents[1] for image in shown}


def project_of(scene) -> str:
    """The project's id, made at its first shot. Undo takes it out of the scene, so it is also kept here."""
    history.project = scene.closeup.project or next(iter(sorted(projects())), "") or uuid.uuid4().hex
    scene.closeup.project = history.project
    return history.project


def file_loaded() -> None:
    """Another file is open."""
    history.project = ""
    history.records, history.problem = {}, ""
    history.publish()
    history.refresh()


def before_saving() -> None:
    """The project's id must be in the file."""
    for scene in bpy.data.scenes if history.project else ():
        if not scene.closeup.project and scene.library is None:
            scene.closeup.project = history.project


def delete(folder: Path) -> None:
    """Remove a job's folder and all that is in it, and nothing else. Raises CloseUpError.

    It first gets another name, so that no shot is ever half there; the files then go in a thread.
    """
    if folder.is_symlink() or not (folder / "job.json").is_file():
        raise CloseUpError(f"{folder} is no folder of a shot; delete it yourself if it is not needed.")
    used = [image.name for image in bpy.data.images if _uses(image, folder)]
    if used:
        raise CloseUpError(f"{used[0]} is a picture of a solved camera in {folder.name}; delete that camera first.")
    doomed = folder.with_name(f".deleted-{uuid.uuid4().hex[:8]}-{folder.name}")
    try:
        folder.rename(doomed)
    except OSError as error:
        raise CloseUpError(f"{folder} cannot be deleted ({error.strerror}); close what uses it and try again.") from None
    threading.Thread(target=shutil.rmtree, args=(doomed, True), name="closeup-delete").start()
    history.drop(folder)


def _uses(image, folder: Path) -> bool:
    """Whether an image that is not the shot's own frames lies in its folder."""
    if SHOT_KEY in image or not image.filepath or not image.users or image.packed_file:
        return False
    return Path(bpy.path.abspath(image.filepath, library=image.library)).is_relative_to(folder)


history = History()


def register() -> None:
    """Add the list to the window manager."""
    bpy.utils.register_class(CloseUpShotItem)
    bpy.types.WindowManager.closeup_shots = CollectionProperty(type=CloseUpShotItem)
    bpy.types.WindowManager.closeup_shot_index = IntProperty(
        name="Active Shot", description="The shot whose details are shown", options={"SKIP_SAVE"}
    )


def unregister() -> None:
    """Take it away."""
    del bpy.types.WindowManager.closeup_shots
    del bpy.types.WindowManager.closeup_shot_index
    bpy.utils.unregister_class(CloseUpShotItem)
