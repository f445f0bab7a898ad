"""What is installed, and whether it is whole: every package lists its files with size and hash (its RECORD).

An installer that was killed, or whose power failed, leaves packages that seem to be there. Looking at the
files finds them; forgetting them lets the next installation put them back.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import places

ACCELERATED = re.compile(r"torch|.*triton.*|(nvidia|cuda|rocm|intel|dpcpp|onemkl|oneccl|mkl|tbb|tcmlib|umf|impi)(-.*)?")
"""Packages that come with a build of torch, and are exchanged when another build is installed."""


@dataclass(frozen=True)
class Package:
    """An installed package. name: normalised. info: its .dist-info folder."""

    name: str
    version: str
    info: Path


def normalised(name: str) -> str:
    """A package's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(venv: Path) -> list[Package]:
    """What stands in a virtual environment, whole or not."""
    site = places.site_packages(venv)
    found = []
    for info in sorted(site.glob("*.dist-info")) if site else []:
        name, _, version = info.name[: -len(".dist-info")].partition("-")
        found.append(Package(normalised(name), version, info))
    return found


def damaged(venv: Path, deep: bool, pause: Callable[[], None] = lambda: None) -> list[Package]:
    """Packages with missing or changed files, and those that are there twice.

    deep: compare hashes too, not only sizes. pause: called between packages; may raise to stop.
    """
    found, names = [], [package.name for package in installed(venv)]
    for package in installed(venv):
        pause()
        if names.count(package.name) > 1 or not _is_whole(package, deep):
            found.append(package)
    return found


def forget(package: Package, venv: Path) -> None:
    """Delete what is left of a package: the files it lists inside the environment, then the list, then empty folders."""
    inside = os.path.realpath(venv) + os.sep
    folders: dict[str, str] = {}
    for path, _, _ in _record(package):
        folder, name = os.path.split(os.path.join(package.info.parent, path))
        real = folders.get(folder) or folders.setdefault(folder, os.path.realpath(folder))
        if (real + os.sep).startswith(inside):
            with contextlib.suppress(OSError):
                os.unlink(places.extended(Path(real, name)))
    places.delete(package.info)
    site = os.path.realpath(package.info.parent) + os.sep
    for folder in sorted(set(folders.values()), key=len, reverse=True):
        _prune(folder, site)


def _prune(folder: str, site: str) -> None:
    """Delete a folder below ``site`` that holds nothing but compiled code, and those above it that become empty."""
    while folder.startswith(site):
        try:
            places.delete(Path(folder, "__pycache__"))
            os.rmdir(places.extended(Path(folder)))
        except OSError:
            return
        folder = os.path.dirname(folder)


def _is_whole(package: Package, deep: bool) -> bool:
    listed = list(_record(package))
    own = {path.rpartition("/")[2] for path, _, _ in listed if path.startswith(f"{package.info.name}/")}
    if not {"RECORD", "METADATA", "WHEEL"} <= own:
        return False
    return all(_is_file(package.info.parent / path, code, length, deep) for path, code, length in listed)


def _is_file(path: Path, code: str, length: str, deep: bool) -> bool:
    """Whether a file is as its line in RECORD says; code: ``sha256=`` and base64, or nothing."""
    place = places.extended(path)
    try:
        if length and os.stat(place).st_size != int(length):
            return False
        if not deep or not code.startswith("sha256="):
            return os.path.exists(place)
        digest = hashlib.sha256()
        with open(place, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except (OSError, ValueError):
        return False
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode() == code[len("sha256=") :]


def _record(package: Package) -> Iterator[tuple[str, str, str]]:
    """Path, hash and length of each file of a package; nothing when the list cannot be read."""
    try:
        text = (package.info / "RECORD").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    for row in csv.reader(text.splitlines()):
        if len(row) == 3:
            yield row[0], row[1], row[2]
