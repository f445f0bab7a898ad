"""Scans of the scene, on a list: point clouds of laser scanners and other programs, which tell the photos' depth."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import bpy

from ..engine.job import Scan
from . import photo_paths
from .errors import CloseUpError

SUFFIXES = (".ply", ".las", ".laz", ".e57")
"""What the engine reads (engine/geometry/scan_files.py)."""
EVEN = 1e-3
"""Relative difference of an object's scales up to which they are one."""


def add(scene, paths: Iterable[Path]) -> int:
    """Put files on the list, each once; returns how many are new."""
    listed = scene.closeup.scans
    known = {item.absolute() for item in listed}
    chosen = [path for path in dict.fromkeys(paths) if path.suffix.lower() in SUFFIXES and path.is_file() and path not in known]
    for path in chosen:
        item = listed.add()
        item.name, item.filepath = path.name, photo_paths.relative(path)
        scene.closeup.active_scan = len(listed) - 1
    return len(chosen)


def remove(scene, index: int) -> None:
    """Take one off the list."""
    scene.closeup.scans.remove(index)
    scene.closeup.active_scan = max(0, min(index, len(scene.closeup.scans) - 1))


def of_job(scene, folder: Path) -> tuple[Scan, ...]:
    """The scans of a job in ``folder``, where their objects have them now. Raises CloseUpError."""
    return tuple(_scan(item, folder) for item in scene.closeup.scans if item.use)


def _scan(item, folder: Path) -> Scan:
    path, placement = item.absolute(), item.placement
    if not path.is_file():
        raise CloseUpError(f"The scan {item.name} is missing: {path}; put the file back or remove the scan.")
    file = photo_paths.portable(path, folder)
    if placement is None:
        return Scan(file)
    graph = bpy.context.evaluated_depsgraph_get() if placement.name in bpy.context.scene.objects else None
    matrix = (placement.evaluated_get(graph) if graph else placement).matrix_world
    sizes = matrix.to_scale()
    if matrix.determinant() <= 0 or max(sizes) - min(sizes) > EVEN * max(sizes):
        raise CloseUpError(f"{placement.name}, which places a scan, is mirrored or not scaled evenly; make its scales the same.")
    return Scan(file, tuple(tuple(float(value) for value in row) for row in matrix))
