"""The job: everything that matters to a result, as one JSON file in a folder.

Standard library only: Blender's side and the engine's side both import this module.

Conventions: OpenCV cameras (x right, y down, z forward), ``world_from_camera`` 4×4,
``fx fy cx cy`` in pixels with pixel centres at +0.5, z-depth. Blender's world is the world.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

FORMAT = "closeup.job"
VERSION = 1
FILENAME = "job.json"

MAX_SENTENCE = 1000
"""Characters of an error; names and values of a job can be endless."""

Matrix = tuple[tuple[float, ...], ...]


class JobError(ValueError):
    """A job that cannot be run; the message is one sentence a user can act on, on one line, whatever the job says."""

    def __init__(self, message: str):
        line = " ".join(message.splitlines())
        super().__init__(line if len(line) <= MAX_SENTENCE else f"{line[:MAX_SENTENCE]}…")


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in OpenCV's convention.

    width, height: pixels. fx, fy, cx, cy: pixels, pixel centres at +0.5.
    world_from_camera: rigid 4×4, row-major.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    world_from_camera: Matrix


@dataclass(frozen=True)
class Source:
    """One photo. Paths are relative to the job folder or absolute; ``camera`` None means "solve it". exposure: stops by which it
    is brightened."""

    image: str
    mask: str | None = None
    depth: str | None = None
    camera: Camera | None = None
    sha256: str | None = None
    focal_35mm: float | None = None
    exposure: float = 0.0


@dataclass(frozen=True)
class Scan:
    """A point cloud of the scene from a laser scanner or another program: .ply, .las, .laz or .e57.

    file: relative to the job folder or absolute. world_from_scan: 4×4 of a rotation, a position and one scale; None when the
    points are in the scene's world already.
    """

    file: str
    world_from_scan: Matrix | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class PathFrame:
    """One frame of the camera's path. ``frame`` may be fractional only in Blender; here it is the number of the file."""

    frame: int
    camera: Camera


@dataclass(frozen=True)
class GeometrySettings:
    """``method``: "auto" (given depth and scans where there are any, stereo elsewhere), "stereo", "given", or a learned model
    that proposes depth where stereo is unsure. ``matcher``: what finds the points that photos have in common. ``dense``: with
    an empty path, measure depth and fuse the cloud nevertheless."""

    method: str = "auto"
    matcher: str = "sift"
    max_size: int = 1600
    cloud_points: int = 2_000_000
    dense: bool = False


@dataclass(frozen=True)
class ConditioningSettings:
    """``levels``: how many halvings of the target resolution are splatted; 0 lets the zoom decide."""

    levels: int = 0


@dataclass(frozen=True)
class GeneratorSettings:
    """``backend``: "embedded" (ours) or "none" (the condition itself is the result)."""

    backend: str = "embedded"
    steps: int = 4
    seed: int = 0


@dataclass(frozen=True)
class OutputSettings:
    """``format``: "png" (8-bit sRGB) or "exr" (half float, linear)."""

    format: str = "png"


@dataclass(frozen=True)
class Job:
    """A whole job; docs/job-format.md explains every key. An empty path means: only solve the cameras."""

    sources: tuple[Source, ...]
    path: tuple[PathFrame, ...]
    name: str = "close-up"
    geometry: GeometrySettings = field(default_factory=GeometrySettings)
    conditioning: ConditioningSettings = field(default_factory=ConditioningSettings)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    scans: tuple[Scan, ...] = ()


LEARNED_DEPTH = ("depth-anything-3-small", "depth-anything-3-base")
"""Learned models of depth; their weights are the user's to fetch."""
_CHOICES = {
    "geometry.method": ("auto", "stereo", "given", *LEARNED_DEPTH),
    "geometry.matcher": ("sift", "efficient-loftr"),
    "generator.backend": ("embedded", "none"),
    "output.format": ("png", "exr"),
}
_RANGES = {
    "geometry.max_size": (64, 8192),
    "geometry.cloud_points": (1_000, 20_000_000),
    "conditioning.levels": (0, 12),
    "generator.steps": (1, 64),
    "generator.seed": (0, 2**31 - 1),
}
RESERVED = ("geometry", "undistorted", "condition", "frames", "depth", "provenance", ".closeup")
"""Folders of a job folder that the engine fills and empties; nothing of the user's may lie there."""
MAX_EXPOSURE = 10
"""Stops by which a photo may be brightened or darkened."""
MAX_FILE = 8 << 30
"""Bytes of a photo, mask or depth file; what is larger is no picture."""
MAX_SCAN = 64 << 30
"""Bytes of a scan."""
MAX_TEXT = 64 << 20
"""Bytes of job.json."""
MAX_SIDE = 16384
MAX_FRAMES = 100_000


# --- writing -----------------------------------------------------------------


def to_dict(job: Job) -> dict:
    """The JSON object of a job."""
    return {"format": FORMAT, "version": VERSION, **asdict(job)}


def save(job: Job, folder: str | os.PathLike) -> Path:
    """Write ``job.json`` into ``folder`` (made when missing), whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / FILENAME
    temporary = folder / f".{FILENAME}.{os.getpid()}.tmp"
    text = json.dumps(to_dict(job), indent=1, ensure_ascii=False, allow_nan=False)
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, target)
    return target


def sha256_of(path: str | os.PathLike) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


# --- reading -----------------------------------------------------------------


def load(folder: str | os.PathLike, files: bool = True) -> Job:
    """Read and check ``job.json`` of a folder (or the path of the file itself).

    Raises JobError with one sentence for anything that is wrong with it. files: those that a source names must exist; who
    only looks at results, perhaps on another machine, need not ask for that.
    """
    folder = Path(folder)
    path = folder if folder.suffix == ".json" else folder / FILENAME
    try:
        if path.stat().st_size > MAX_TEXT:
            raise JobError(f"{path.name} has more than {MAX_TEXT >> 20} MB; it is no job of CloseUp.")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise JobError(f"There is no {FILENAME} in {folder}; give the folder of a job.") from None
    except UnicodeDecodeError:
        raise JobError(f"{path.name} is not UTF-8 text; write it again with CloseUp.") from None
    except OSError as error:
        raise JobError(f"{path} cannot be read ({error.strerror}); check the folder's permissions.") from None
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except JobError:
        raise
    except (ValueError, RecursionError) as error:
        raise JobError(f"{path.name} is not valid JSON ({error}); write it again with CloseUp.") from None
    job = from_dict(data)
    for index, source in enumerate(job.sources if files else ()):
        for kind in ("image", "mask", "depth"):
            name = getattr(source, kind)
            if name is not None:
                _check_file(path.parent, name, f"{kind} of photo {index + 1}", "remove the photo")
    for index, scan in enumerate(job.scans if files else ()):
        _check_file(path.parent, scan.file, f"scan {index + 1}", "remove the scan", MAX_SCAN)
    return job


def _check_file(folder: Path, name: str, what: str, otherwise: str, most: int = MAX_FILE) -> None:
    """A source must be a file, not a device or the kernel's endless ones, and not lie where the engine writes."""
    place = folder / name
    try:
        there, size = place.is_file(), place.stat().st_size if place.is_file() else 0
    except (OSError, ValueError):  # a name that no file can have
        there, size = False, 0
    if not there:
        raise JobError(f"The {what} is missing: {name}; put the file back or {otherwise}.")
    if size == 0:  # also what the kernel's endless files say of themselves
        raise JobError(f"The {what} is an empty file: {name}; copy it again or {otherwise}.")
    if size > most:
        raise JobError(f"The {what} has {size / 1e9:.0f} GB: {name}; use a smaller file.")
    inside = os.path.relpath(os.path.realpath(place), os.path.realpath(folder)) if _same_drive(place, folder) else ""
    first = inside.replace("\\", "/").split("/")[0].casefold()
    if first in RESERVED:
        raise JobError(f"The {what} lies in the folder {first} of the job, which the engine empties: {name}; put it elsewhere.")


def _same_drive(place: Path, folder: Path) -> bool:
    drives = [os.path.splitdrive(os.path.realpath(item))[0].casefold() for item in (place, folder)]
    return drives[0] == drives[1]


def _refuse_constant(name: str):
    raise JobError(f"job.json holds {name}, which is not a number; every value must be finite.")


def from_dict(data: object) -> Job:
    """Check a JSON object and make the Job of it. Raises JobError naming the place that is wrong."""
    data = _object(data, "job.json")
    if data.get("format") != FORMAT:
        raise JobError(f'job.json: "format" must be "{FORMAT}", not {data.get("format")!r}.')
    if data.get("version") != VERSION:
        raise JobError(
            f"job.json is of version {data.get('version')!r} and this CloseUp reads {VERSION}; use the CloseUp that wrote it."
        )
    _known(data, {"format", "version"} | {f.name for f in fields(Job)}, "job.json")
    sources = tuple(_source(item, f"sources[{i}]") for i, item in enumerate(_list(data.get("sources"), "sources")))
    path = tuple(_path_frame(item, f"path[{i}]") for i, item in enumerate(_list(data.get("path"), "path")))
    if not sources:
        raise JobError("The job has no photos; add at least one.")
    if len(path) > MAX_FRAMES:
        raise JobError(f"The camera's path has {len(path)} frames; {MAX_FRAMES} is the most one job can hold.")
    numbers = [item.frame for item in path]
    if len(set(numbers)) != len(numbers):
        twice = next(n for n in numbers if numbers.count(n) > 1)
        raise JobError(f"Frame {twice} stands twice in the camera's path; every frame number must be its own.")
    scans = tuple(_scan(item, f"scans[{i}]") for i, item in enumerate(_list(data.get("scans", []), "scans")))
    _check_scans(scans, sources)
    return Job(
        sources=sources,
        path=path,
        scans=scans,
        name=_text(data.get("name", "close-up"), "name"),
        geometry=_settings(GeometrySettings, data.get("geometry", {}), "geometry"),
        conditioning=_settings(ConditioningSettings, data.get("conditioning", {}), "conditioning"),
        generator=_settings(GeneratorSettings, data.get("generator", {}), "generator"),
        output=_settings(OutputSettings, data.get("output", {}), "output"),
    )


def _object(value: object, where: str) -> dict:
    if not isinstance(value, dict):
        raise JobError(f"{where} must be an object, not {_kind(value)}.")
    return value


def _list(value: object, where: str) -> list:
    if not isinstance(value, list):
        raise JobError(f"{where} must be a list, not {_kind(value)}.")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or "\0" in value or len(value) > 4096:
        raise JobError(f"{where} must be a text, not {_kind(value)}.")
    return value


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise JobError(f"{where} must be a number, not {_kind(value)}.")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise JobError(f"{where} must be a finite number.")
    return value


def _integer(value: object, where: str) -> int:
    number = _number(value, where)
    if number != int(number):
        raise JobError(f"{where} must be a whole number, not {number}.")
    return int(number)


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise JobError(f"{where} must be true or false, not {_kind(value)}.")
    return value


_READERS = {str: _text, int: _integer, bool: _flag}


def _kind(value: object) -> str:
    names = {type(None): "nothing", bool: "true/false", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), repr(value)[:40])


def _known(data: dict, names: set[str], where: str) -> None:
    unknown = sorted(set(data) - names)
    if unknown:
        raise JobError(f"{where} has an unknown key {unknown[0]!r}; known are {', '.join(sorted(names))}.")


def _optional(data: dict, key: str, read, where: str):
    value = data.get(key)
    return None if value is None else read(value, f"{where}.{key}")


def _source(value: object, where: str) -> Source:
    data = _object(value, where)
    _known(data, {f.name for f in fields(Source)}, where)
    if data.get("image") is None:
        raise JobError(f"{where} names no image.")
    focal = _optional(data, "focal_35mm", _number, where)
    if focal is not None and not 1 <= focal <= 5000:
        raise JobError(f"{where}.focal_35mm is {focal} mm; a focal length lies between 1 and 5000 mm.")
    exposure = _number(data.get("exposure", 0.0), f"{where}.exposure")
    if abs(exposure) > MAX_EXPOSURE:
        raise JobError(f"{where}.exposure is {exposure} stops; give at most {MAX_EXPOSURE} up or down.")
    return Source(
        image=_text(data["image"], f"{where}.image"),
        mask=_optional(data, "mask", _text, where),
        depth=_optional(data, "depth", _text, where),
        camera=_optional(data, "camera", camera_from_dict, where),
        sha256=_optional(data, "sha256", _text, where),
        focal_35mm=focal,
        exposure=exposure,
    )


def _scan(value: object, where: str) -> Scan:
    data = _object(value, where)
    _known(data, {f.name for f in fields(Scan)}, where)
    return Scan(
        file=_text(data.get("file"), f"{where}.file"),
        world_from_scan=_optional(data, "world_from_scan", _similarity, where),
        sha256=_optional(data, "sha256", _text, where),
    )


def _check_scans(scans: tuple[Scan, ...], sources: tuple[Source, ...]) -> None:
    """Scans lie in the scene's world, so photos must have a place and a size in it."""
    known = sum(source.camera is not None for source in sources)
    if scans and known < min(2, len(sources)):
        raise JobError(
            "Scans lie in the scene's world, which photos without cameras know nothing of; give the cameras of "
            f"{'two photos' if len(sources) > 1 else 'the photo'} or leave the scans out."
        )


def _path_frame(value: object, where: str) -> PathFrame:
    data = _object(value, where)
    _known(data, {"frame", "camera"}, where)
    frame = _integer(data.get("frame"), f"{where}.frame")
    if not -(10**6) < frame < 10**6:
        raise JobError(f"{where}.frame is {frame}; frame numbers lie within a million.")
    return PathFrame(frame=frame, camera=camera_from_dict(data.get("camera"), f"{where}.camera"))


def camera_from_dict(value: object, where: str) -> Camera:
    """Check a JSON object and make the Camera of it. Raises JobError naming the place, which begins with ``where``."""
    data = _object(value, where)
    names = {f.name for f in fields(Camera)}
    _known(data, names, where)
    missing = sorted(names - set(data))
    if missing:
        raise JobError(f"{where} lacks {missing[0]!r}.")
    size = {key: _integer(data[key], f"{where}.{key}") for key in ("width", "height")}
    for key, side in size.items():
        if not 1 <= side <= MAX_SIDE:
            raise JobError(f"{where}.{key} is {side}; it must lie between 1 and {MAX_SIDE} pixels.")
    intrinsics = {key: _number(data[key], f"{where}.{key}") for key in ("fx", "fy", "cx", "cy")}
    for key in ("fx", "fy"):
        if not 1e-3 <= intrinsics[key] <= 1e9:
            raise JobError(f"{where}.{key} is {intrinsics[key]}; a focal length must be positive, in pixels.")
    return Camera(**size, **intrinsics, world_from_camera=_rigid(data["world_from_camera"], f"{where}.world_from_camera"))


def _matrix(value: object, where: str) -> Matrix:
    rows = _list(value, where)
    if len(rows) != 4 or any(len(_list(row, where)) != 4 for row in rows):
        raise JobError(f"{where} must be a 4×4 matrix.")
    return tuple(tuple(_number(x, where) for x in row) for row in rows)


def _determinant(m: Matrix) -> float:
    """Of the upper left 3×3."""
    return (
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
        - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    )


def _is_rigid(m: Matrix, scale: float = 1.0) -> bool:
    """Whether a matrix is a rotation times ``scale``, and a position."""
    dots = [sum(m[k][i] * m[k][j] for k in range(3)) / scale**2 for i in range(3) for j in range(3)]
    orthonormal = all(abs(dot - (i % 4 == 0)) < 1e-3 for i, dot in enumerate(dots))
    return orthonormal and _determinant(m) > 0 and all(abs(a - b) <= 1e-6 for a, b in zip(m[3], (0, 0, 0, 1)))


def _rigid(value: object, where: str) -> Matrix:
    """A 4×4 rotation and translation; a camera that is scaled or mirrored is refused."""
    m = _matrix(value, where)
    if not _is_rigid(m):
        raise JobError(f"{where} must be a rotation and a position, without scale, shear or mirroring.")
    return m


def _similarity(value: object, where: str) -> Matrix:
    """A 4×4 rotation, translation and one scale."""
    m = _matrix(value, where)
    volume = _determinant(m)
    if not 1e-27 < volume < 1e27 or not _is_rigid(m, math.cbrt(volume)):
        raise JobError(f"{where} must be a rotation, a position and one scale, without shear or mirroring.")
    return m


def _settings(kind: type, value: object, where: str):
    """A settings dataclass from an object; what is missing keeps its default."""
    data = _object(value, where)
    _known(data, {f.name for f in fields(kind)}, where)
    result = kind()
    for key, item in data.items():
        place = f"{where}.{key}"
        item = _READERS[type(getattr(result, key))](item, place)
        if place in _CHOICES and item not in _CHOICES[place]:
            raise JobError(f"{place} is {item!r}; it must be one of {', '.join(_CHOICES[place])}.")
        if place in _RANGES and not _RANGES[place][0] <= item <= _RANGES[place][1]:
            low, high = _RANGES[place]
            raise JobError(f"{place} is {item}; it must lie between {low} and {high}.")
        result = replace(result, **{key: item})
    return result
