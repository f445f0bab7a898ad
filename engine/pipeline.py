"""A job folder from photos to frames: the stages, in order, each kept while its inputs are unchanged.

    photos -> cameras -> depth -> cloud -> frames (segment by segment: condition, generate, remember)

Every stage reads what the one before it *stored*, so a run that was killed and continued
gives the same bytes as one that was not.
"""

from __future__ import annotations

import functools
import os
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from . import __version__, artifacts, job, memory, models, passes, photos, scans
from .artifacts import JobFolder, key_of
from .color import exposed
from .conditioning import Warper
from .device import pick, release_memory
from .generation import open_backend
from .geometry import cameras, fusion, ply, stereo, trust
from .geometry.models import learned_depth, semi_dense
from .geometry.overlaps import Evidence
from .job import Camera, Job, PathFrame
from .memory import agreement, temporal
from .progress import EngineError, Progress, is_out_of_memory
from .records import Condition, Geometry, Photo, PointCloud, View

SEGMENT = 12
"""Frames that are generated together, between two updates of the memory."""
AHEAD = 2
"""Frames beyond a segment that are made as well, so that its last ones are tied to what follows, too."""

PROVENANCE_PALETTE = bytes((200, 60, 160, 40, 150, 70, 150, 190, 60, 230, 200, 60, 240, 150, 50, 220, 90, 50, 170, 60, 40))
"""Colours of provenance/NNNN.png: 0 generated (magenta), 1 photo at full resolution (green), then ever coarser levels."""


def run(folder: str | os.PathLike, progress: Progress, device: str | None = None) -> dict:
    """Run the job in ``folder`` to its end, or continue it. Returns the report, also written to report.json.

    Raises JobError or EngineError with a sentence for the user, Cancelled when ``progress`` says so.
    """
    started = time.monotonic()
    store = JobFolder(Path(folder).resolve())
    what = job.load(store.root)
    where = pick(device)
    with store.lock():
        try:
            _run_stages(store, what, where, progress)
        except EngineError as error:
            if error.code in {"damaged", "missing", "cloud"}:
                store.forget()
            raise
        progress.end()
        report = _report(store, what, where, progress, time.monotonic() - started)
        artifacts.write_json(store.path("report.json"), report)
    return report


def _run_stages(store: JobFolder, what: Job, device: torch.device, progress: Progress) -> None:
    for name in {what.geometry.method, what.geometry.matcher} & set(models.MODELS):
        models.find(name)  # a missing one is told at once
    solve_stage(store, what, device, progress)
    if what.path or what.geometry.dense:
        key = depth_stage(store, what, device, progress)
        key = cloud_stage(store, what, key, progress)
    if what.path:
        frames_stage(store, what, key, device, progress)


# --- geometry ----------------------------------------------------------------


def solve_stage(store: JobFolder, what: Job, device: torch.device, progress: Progress) -> None:
    """Photos read and upright, every camera known: cameras.json, geometry/photo-NN.npz."""
    progress.stage("cameras", "Reading photos")
    hashes = [[_hash(store, name) for name in (s.image, s.mask, s.depth)] for s in what.sources]
    described = [{**asdict(s), "image": Path(s.image).name} for s in what.sources]
    key = key_of("cameras", __version__, hashes, described, what.geometry.max_size, what.geometry.matcher)
    if store.is_kept("cameras", key, progress):
        return
    store.begin("cameras", key, ("geometry/photo-*.npz", "undistorted", "cameras.json"))
    loaded = photos.load(what, store.root, progress)
    unknown = sum(photo.camera is None for photo in loaded)
    if unknown:
        progress.stage("cameras", f"Solving the cameras of {unknown} photo{'s' if unknown > 1 else ''}")
    solved = cameras.solve_cameras(loaded, progress, evidence_of=_evidence_of(what.geometry.matcher, device))
    _store_photos(store, what, loaded, solved.photos)
    if not (what.path or what.geometry.dense):
        cloud = _sparse_cloud(solved.points, solved.colors)
        artifacts.write_atomically(store.path("cloud.ply"), lambda temporary: ply.write(temporary, cloud))
    store.finish("cameras", key, progress)


def _evidence_of(matcher: str, device: torch.device):
    """What finds the points that photos have in common (see ``solve_cameras``); a learned model is loaded when it is asked."""
    if matcher == "sift":
        return Evidence

    def learned(shots, progress: Progress) -> Evidence:
        net = semi_dense.load(models.find(matcher), device)
        return semi_dense.SemiDense(shots, progress, functools.partial(semi_dense.match, net))

    return learned


def _hash(store: JobFolder, name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return job.sha256_of(store.root / name)
    except OSError as error:
        raise EngineError(f"{Path(name).name} cannot be read ({error.strerror}); check the file.", "unreadable") from None


def _store_photos(store: JobFolder, what: Job, loaded: list[Photo], solved: list[Photo]) -> None:
    before = {photo.name: (number, photo, source) for number, (photo, source) in enumerate(zip(loaded, what.sources))}
    rows = []
    for index, photo in enumerate(solved):
        number, original, source = before[photo.name]
        image = source.image
        if photo.image is not original.image or (original.turned and original.camera is None):
            # its lens was straightened, or it was turned upright: the camera belongs to the new picture, for later jobs too
            image, pixels = f"undistorted/{index:02d}-{Path(source.image).stem}.png", artifacts.to_uint8(photo.image)
            # with its mask: beside the straightened border there is no photo
            artifacts.write_png(store.path(image), np.dstack([pixels, 255 * photo.mask.astype(np.uint8)]))
            photo = replace(photo, image=pixels * np.float32(1 / 255))  # as those later jobs will read it
        arrays = {"image": exposed(photo.image, source.exposure).astype(np.float16), "mask": photo.mask}
        if photo.depth is not None:
            arrays["depth"] = photo.depth.astype(np.float32)
        artifacts.write_npz(store.path("geometry", f"photo-{index:02d}.npz"), **arrays)
        rows.append({"name": photo.name, "source": number, "image": image, "camera": asdict(photo.camera)})
    artifacts.write_json(store.path("cameras.json"), rows)


def _sparse_cloud(points: np.ndarray, colors: np.ndarray) -> PointCloud:
    """The solver's points, all that is known before depth is measured; they have no normals."""
    n = len(points)
    normals, confidence, source = np.zeros((n, 3), np.float32), np.ones(n, np.float32), np.full(n, -1, np.int16)
    return PointCloud(points.astype(np.float32), colors.astype(np.uint8), normals, confidence, source)


def load_photos(store: JobFolder) -> list[Photo]:
    """What :func:`solve_stage` stored."""
    result = []
    for index, (name, camera) in enumerate(_load_cameras(store.path("cameras.json"))):
        data = artifacts.read_npz(store.path("geometry", f"photo-{index:02d}.npz"), "image", "mask")
        image = data["image"].astype(np.float32)
        result.append(Photo(name, image, data["mask"], camera, data.get("depth")))
    return result


def _load_cameras(path: Path) -> list[tuple[str, Camera]]:
    """The photos' names and cameras, checked: in a stranger's folder the file may say anything."""
    try:
        rows = [(row["name"], row["camera"]) for row in artifacts.read_json(path)]
        return [(str(name), job.camera_from_dict(camera, path.name)) for name, camera in rows]
    except (KeyError, TypeError, job.JobError):
        raise artifacts.damaged(path) from None


def depth_stage(store: JobFolder, what: Job, device: torch.device, progress: Progress) -> str:
    """z-depth and confidence of every photo: geometry/depth-NN.npz.

    It depends on the photos and cameras that :func:`solve_stage` stored, however these came to be known: a job whose cameras
    were solved and a later one that is given these very cameras share it (see closeup_addon/folders.py).
    """
    key = key_of("depth", __version__, what.geometry.method, _stored_photos(store), _scan_inputs(store, what))
    if store.is_kept("depth", key, progress):
        return key
    progress.stage("depth", "Measuring depth")
    store.begin("depth", key, ("geometry/depth-*.npz", "geometry/scans.npz"))
    for index, view in enumerate(_measured(store, what, device, progress)):
        artifacts.write_npz(
            store.path("geometry", f"depth-{index:02d}.npz"), depth=view.depth, confidence=view.confidence.astype(np.float16)
        )
    store.finish("depth", key, progress)
    return key


def _stored_photos(store: JobFolder) -> list:
    """The camera and the hash of every stored photo, without its name."""
    cameras = [asdict(camera) for _, camera in _load_cameras(store.path("cameras.json"))]
    files = [store.path("geometry", f"photo-{index:02d}.npz") for index in range(len(cameras))]
    try:
        return [(camera, job.sha256_of(path)) for camera, path in zip(cameras, files)]
    except OSError as error:
        raise artifacts.unreadable(error, store.path("geometry")) from None


def _measured(store: JobFolder, what: Job, device: torch.device, progress: Progress) -> list[View]:
    """The photos with their depth: given, of scans, or by stereo, as the job says."""
    method = what.geometry.method
    loaded = load_photos(store)
    if method == "stereo":
        for photo in loaded:
            photo.depth = None
    seen = _scanned(store, what, loaded, device, progress) if _uses_scans(what) else None
    if method == "given":
        for photo, scan in zip(loaded, seen or ()):
            photo.depth = scan.depth if photo.depth is None else photo.depth
        if bare := [photo.name for photo in loaded if photo.depth is None]:
            raise EngineError(f"{bare[0]} has no depth file; give one or set the geometry's method to auto.", "no-depth")
    # without the solver's points: a later job that is given the cameras would not have them, and must make the same
    proposals = [scan.depth for scan in seen or ()]
    if method in job.LEARNED_DEPTH:
        proposals = _with_learned(method, loaded, proposals, device, progress)
    views = stereo.estimate(loaded, device, progress, proposals=proposals)
    return views if seen is None else scans.merged(views, seen, progress)


def _with_learned(name: str, loaded: list[Photo], proposals: list, device: torch.device, progress: Progress) -> list[np.ndarray]:
    """z-depth that a learned model proposes for every photo, but for where a scan knows it."""
    progress.stage("depth", "Asking the depth model")
    found = learned_depth.propose(learned_depth.load(models.find(name), device), loaded, device, progress)
    progress.stage("depth", "Measuring depth")
    return [np.where(scan > 0, scan, depth) for scan, depth in zip(proposals, found)] if proposals else found


def _uses_scans(what: Job) -> bool:
    return bool(what.scans) and what.geometry.method != "stereo"


def _scan_inputs(store: JobFolder, what: Job) -> list:
    """All that decides what is kept of the scans, for the stage's key; empty where they are not used."""
    if not _uses_scans(what):
        return []
    return [[asdict(scan), _hash(store, scan.file)] for scan in what.scans] + [asdict(camera) for camera in _along_path(what)]


def _along_path(what: Job) -> list[Camera]:
    """A few of the path's cameras: they look where a scan must be kept, too."""
    return [item.camera for item in what.path[:: max(1, len(what.path) // 8)]]


def _scanned(store: JobFolder, what: Job, loaded: list[Photo], device: torch.device, progress: Progress) -> list[scans.Seen]:
    """The scans as the photos see them; geometry/scans.npz keeps them for the cloud."""
    progress.stage("depth", "Reading scans")
    cameras = [photo.camera for photo in loaded]
    found = scans.load(what.scans, store.root, [*cameras, *_along_path(what)], progress)
    artifacts.write_npz(store.path("geometry", "scans.npz"), **vars(found))
    progress.stage("depth", "Measuring depth")
    return scans.seen_from(found, cameras, device)


def load_views(store: JobFolder) -> list[View]:
    """The photos with the depth that :func:`depth_stage` stored."""
    views = []
    for index, photo in enumerate(load_photos(store)):
        data = artifacts.read_npz(store.path("geometry", f"depth-{index:02d}.npz"), "depth", "confidence")
        depth, confidence = data["depth"], data["confidence"].astype(np.float32)
        views.append(View(photo.name, photo.image, photo.camera, photo.mask, depth, confidence))
    return views


def cloud_stage(store: JobFolder, what: Job, key: str, progress: Progress) -> str:
    """The fused point cloud: cloud.ply."""
    key = key_of("cloud", key, what.geometry.cloud_points)
    if store.is_kept("cloud", key, progress):
        return key
    release_memory()
    progress.stage("cloud", "Fusing the point cloud")
    store.begin("cloud", key, ("cloud.ply",))
    views = trust.for_cloud(load_views(store))
    cloud = fusion.fuse(views, what.geometry.cloud_points, _stored_scan(store) if _uses_scans(what) else None)
    artifacts.write_atomically(store.path("cloud.ply"), lambda temporary: ply.write(temporary, cloud))
    store.finish("cloud", key, progress)
    return key


def _stored_scan(store: JobFolder) -> PointCloud:
    """What :func:`depth_stage` kept of the scans, as far as it has colours."""
    path = store.path("geometry", "scans.npz")
    try:
        return scans.coloured(scans.Points(**artifacts.read_npz(path, "points", "colors", "coloured")))
    except (TypeError, ValueError, IndexError):
        raise artifacts.damaged(path) from None


def load_geometry(folder: str | os.PathLike) -> Geometry:
    """Views, with the depth that frames are made from, and cloud of a job folder whose geometry is finished."""
    store = JobFolder(Path(folder))
    return Geometry(warped_views(store), ply.read(store.path("cloud.ply")))


def warped_views(store: JobFolder) -> list[View]:
    """The photos with the depth that frames are made from."""
    return trust.for_frames(load_views(store))


# --- frames ------------------------------------------------------------------


def frames_stage(store: JobFolder, what: Job, key: str, device: torch.device, progress: Progress) -> None:
    """condition/, frames/, depth/ and provenance/, segment by segment, with the memory between them."""
    path = [asdict(item) for item in what.path]
    backend = open_backend(what.generator.backend, device)
    key = key_of("frames", key, path, asdict(what.conditioning), asdict(what.generator), backend.version, asdict(what.output))
    if all(_is_stored(store, what, item) for item in what.path) and store.is_kept("frames", key, progress):
        return  # frames that somebody deleted are made again
    progress.stage("frames", "Making frames")
    store.begin("frames", key, ("frames", "depth", "provenance", "condition"))
    geometry = load_geometry(store.root)
    warper = Warper(geometry.views, device, geometry.cloud, what.conditioning.levels)
    remembered: list[View] = []
    for segment in memory.segments(range(len(what.path)), SEGMENT):
        items = what.path[segment.start : segment.stop]
        release_memory()
        if not all(_is_stored(store, what, item) for item in items):
            chosen = memory.retrieve(warper, [item.camera for item in items])
            views = [geometry.views[index] for index in chosen] + remembered
            _make_segment(store, what, segment, warper.choose(chosen, remembered), views, backend, progress)
        progress.step(segment.stop, len(what.path))
        remembered = memory.remember(remembered, _stored_view(store, what, items[-1]))
    store.finish("frames", key, progress)


def _make_segment(store, what, segment: range, warper, views, backend, progress) -> None:
    """The segment's frames, each stored with its condition, the frame last."""
    ahead = 0 if backend.steady else AHEAD
    conditions, frames = _generated(what, range(segment.start, segment.stop + ahead), warper, views, backend, progress)
    if not backend.steady:
        before = _shown(store, what, what.path[segment.start - 1]) if segment.start else None
        frames = temporal.steadied(frames, conditions, before)
    for item, condition, frame in zip(what.path[segment.start : segment.stop], conditions, frames):
        _store_condition(store, item, condition)
        target = _frame_path(store, what, item)
        if not target.exists():
            if backend.inventive:
                frame = agreement.agreeing(frame, condition, warper)
            artifacts.write_depth(store.path("depth", f"{item.frame:04d}.exr"), condition.depth)
            known = passes.of_frame(condition, _level(condition)) if what.output.format == "exr" else None
            artifacts.write_frame(target, frame, known)
        progress.frame(item.frame, str(target.relative_to(store.root)))


def _generated(what, numbers: range, warper, views, backend, progress) -> tuple[list[Condition], list[np.ndarray]]:
    """Condition frames of a stretch of the path, and what the generator makes of each by itself; where the memory is too small
    for all at once, one half of them after the other."""
    items = what.path[numbers.start : numbers.stop]
    try:
        conditions = []
        for number, item in enumerate(items, numbers.start + 1):
            condition = memory.remembering(warper, item.camera)
            condition.references = views
            conditions.append(condition)
            progress.step(0.5 * (numbers.start + number), len(what.path))
        return conditions, backend.generate(conditions, what.generator, progress)
    except (RuntimeError, MemoryError, EngineError) as error:
        if len(items) == 1 or not is_out_of_memory(error):
            raise
    progress.warn(f"The memory is too small for {len(items)} frames at once; fewer are made at a time.")
    middle = numbers.start + len(items) // 2
    parts = range(numbers.start, middle), range(middle, numbers.stop)
    halves = [_generated(what, part, warper, views, backend, progress) for part in parts]
    return tuple(first + second for first, second in zip(*halves))


def _store_condition(store: JobFolder, item: PathFrame, condition: Condition) -> None:
    """The condition with its holes transparent, and where each pixel comes from."""
    name, level = f"{item.frame:04d}.png", _level(condition)
    rgba = np.dstack([condition.rgb, (level > 0).astype(np.float32)])
    artifacts.write_png(store.path("condition", name), rgba)
    artifacts.write_png(store.path("provenance", name), level, PROVENANCE_PALETTE)


def _level(condition: Condition) -> np.ndarray:
    """(H, W) uint8: the level of each pixel as provenance/ tells it; what was generated before stays generated."""
    generated = np.array([view.generated for view in condition.references] + [True])[condition.source]
    level = np.where(generated, 0, condition.level)
    return np.minimum(level, len(PROVENANCE_PALETTE) // 3 - 1).astype(np.uint8)


def _frame_path(store: JobFolder, what: Job, item: PathFrame) -> Path:
    return store.path("frames", f"{item.frame:04d}.{what.output.format}")


def _is_stored(store: JobFolder, what: Job, item: PathFrame) -> bool:
    """The frame is written last, so where it stands the rest does too."""
    return _frame_path(store, what, item).exists()


def _shown(store: JobFolder, what: Job, item: PathFrame) -> temporal.Shown:
    """A finished frame, read from its files, as a resumed run does."""
    depth = artifacts.read_depth(store.path("depth", f"{item.frame:04d}.exr"))
    return temporal.Shown(item.camera, artifacts.read_frame(_frame_path(store, what, item)), depth, temporal.SETTLED)


def _stored_view(store: JobFolder, what: Job, item: PathFrame) -> View | None:
    """What the frame shows that no photo did, as a view for the segments to come."""
    level = artifacts.read_indices(store.path("provenance", f"{item.frame:04d}.png"))
    shown = _shown(store, what, item)
    return memory.generated_view(f"frame {item.frame}", item.camera, shown.frame, shown.depth, level == 0)


def _report(store: JobFolder, what: Job, device: torch.device, progress: Progress, seconds: float) -> dict:
    return {
        "engine": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": str(device),
        "seed": what.generator.seed,
        "backend": what.generator.backend,
        "frames": len(what.path),
        "seconds": round(seconds, 3),
        "stages": progress.seconds,
        "warnings": progress.warnings,
        "folder": store.root.name,
    }
