"""What Blender remembers of a shot, in ``shot.json`` beside the job's own files. No bpy: any thread may read and write it.

A folder may come from a stranger: what is read here is only ever shown, and nothing but its own folder is touched.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ..engine import job as job_file
from ..engine.job import Job, JobError

FILENAME = "shot.json"
FORMAT = "closeup.shot"
MAX_BYTES = 1 << 16
PREVIEW = "preview"
"""Name of the one folder beside the shots that Preview Frame uses again and again."""
UNFINISHED = "unfinished"


@dataclass
class Record:
    """One job folder as the history shows it.

    frames: how many the job asks for, 0 when it only solves cameras. blend: the file it was last saved in, relative to the
    folder, which tells it before its project's id is saved. created: seconds since the epoch. state: queued, done,
    failed, cancelled or unfinished. arrived: a saved .blend holds the results. made: finished frames on the disk, of which
    ``picture`` is the middle one.
    """

    folder: Path
    name: str
    frames: int = 0
    seed: int = 0
    project: str = ""
    blend: str = ""
    scene: str = ""
    cameras: list[str] = field(default_factory=list)
    created: float = 0.0
    state: str = "queued"
    message: str = ""
    seconds: float = 0.0
    arrived: bool = False
    made: int = 0
    picture: Path | None = None

    def save(self) -> None:
        """Write shot.json, whole or not at all. A folder that cannot be written only loses its place in the history."""
        values = {name: value for name, value in asdict(self).items() if name in _STORED}
        place = self.folder / FILENAME
        temporary = place.with_name(f".{os.getpid()}.{FILENAME}")
        with suppress(OSError):
            temporary.write_text(json.dumps({"format": FORMAT, **values}, indent=1) + "\n", encoding="utf-8")
            os.replace(temporary, place)

    def look(self) -> None:
        """Count the finished frames and see whether the job is."""
        pictures = list(frames_of(self.folder).values())
        self.made = len(pictures)
        self.picture = pictures[len(pictures) // 2] if pictures else None
        report = _json(self.folder / "report.json")
        if report is not None:
            self.state, self.message = "done", ""
            seconds = report.get("seconds")
            self.seconds = self.seconds or (float(seconds) if isinstance(seconds, (int, float)) else 0.0)
        elif self.state not in {"failed", "cancelled"}:
            self.state = UNFINISHED


_STORED = {item.name for item in fields(Record)} - {"folder", "made", "picture"}
_KINDS = {"str": str, "int": int, "float": (int, float), "bool": bool, "list[str]": list}


def frames_of(folder: Path, kind: str = "frames") -> dict[int, Path]:
    """The finished files of a job's sequence by number. kind: frames, depth, provenance or condition."""
    found = {}
    with suppress(OSError), os.scandir(folder / kind) as entries:
        for entry in entries:
            stem, dot, suffix = entry.name.rpartition(".")
            if dot and suffix in {"png", "exr"} and stem.isascii() and stem.isdigit():
                found[int(stem)] = Path(entry.path)
    return dict(sorted(found.items()))


def of_job(job: Job, folder: Path, created: float) -> Record:
    """The record of a job that has just been written, or that was run without Blender."""
    return Record(Path(folder), job.name, len(job.path), job.generator.seed, created=created)


def read(folder: Path) -> Record | None:
    """The record of a job's folder; None where there is no job, or none that can be understood."""
    try:
        written = (folder / job_file.FILENAME).stat().st_mtime
    except OSError:
        return None
    record = _stored(folder)
    if record is None:
        try:
            record = of_job(job_file.load(folder, files=False), folder, written)
        except (JobError, OSError):
            return None
    record.look()
    return record


def _json(path: Path) -> dict | None:
    """A small file's JSON object; None when it is missing or none."""
    try:
        with open(path, "rb") as stream:
            data = json.loads(stream.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _stored(folder: Path) -> Record | None:
    """shot.json; None when it is missing or not ours."""
    data = _json(folder / FILENAME)
    if data is None or data.get("format") != FORMAT:
        return None
    values = {item.name: data.get(item.name) for item in fields(Record) if item.name in _STORED}
    for item in fields(Record):
        if item.name in _STORED and not isinstance(values[item.name], _KINDS[item.type]):
            return None
    if not all(isinstance(name, str) for name in values["cameras"]):
        return None
    return Record(folder, **values)


def relative(blend: str, folder: Path) -> str:
    """What :attr:`Record.blend` holds for a .blend's absolute path; empty where there is none, or it is on another drive."""
    with suppress(ValueError):
        return Path(os.path.relpath(blend, folder)).as_posix() if blend else ""
    return ""


def scan(bases: list[Path], projects: set[str], linked: set[Path], blend: Path | None) -> list[Record]:
    """The shots of a project, newest first.

    bases: folders that hold job folders. linked: job folders that the .blend shows, wherever they are. Of the others those
    count that carry one of ``projects`` or name ``blend``; beside it, where the first base is, also those without a record,
    which were made by hand or on a farm.
    """
    found: dict[Path, Record] = {}
    for folder in [*linked, *(path for base in bases for path in _folders(base))]:
        if folder.name == PREVIEW or folder in found:
            continue
        record = read(folder)
        if record and (folder in linked or record.project in projects or _belongs(record, blend, bases[0])):
            found[folder] = record
    return sorted(found.values(), key=lambda record: record.created, reverse=True)


def _belongs(record: Record, blend: Path | None, beside: Path) -> bool:
    if blend is None:
        return False
    if record.blend:
        return Path(os.path.normpath(record.folder / record.blend)) == blend
    return not record.project and record.folder.parent == beside


def _folders(base: Path) -> list[Path]:
    try:
        with os.scandir(base) as found:
            return [Path(entry.path) for entry in found if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []
