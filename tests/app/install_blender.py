#!/usr/bin/env python3
"""The real Blender application of Debian unstable in a folder of its own, for the tests that need a window.

Debian or Ubuntu, as root. Packages come from the mirror that this machine's own apt uses.
Usage: python tests/app/install_blender.py [FOLDER]    (default: .build/blender-5.2; about two minutes, 1.8 GB)
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = "blender xvfb openbox imagemagick libgl1-mesa-dri x11-utils python3-numpy python3-pytest"
MARKER = "closeup-ready"
"""A file in the folder, written last: the packages that are there."""


def mirror() -> str:
    """The Debian mirror of this machine's apt."""
    texts = [path.read_text(errors="replace") for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources"))]
    texts.append(Path("/etc/apt/sources.list").read_text() if Path("/etc/apt/sources.list").exists() else "")
    found = re.findall(r"^(?:URIs:|deb(?:\s+\[.*?\])?)\s+(\S+/debian/?)\s*", "\n".join(texts), re.M)
    if not found:
        raise SystemExit("No Debian mirror is set up in /etc/apt; add one and try again.")
    return found[0]


def run(*command: object) -> None:
    """A command whose failure ends this script."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    line = [str(part) for part in command]
    if subprocess.call(line, env=environment):
        raise SystemExit(
            f"Blender could not be installed for the tests: `{shlex.join(line)}` failed; check the network, then retry."
        )


def inside(folder: Path, *command: object, binds: tuple[Path, ...] = ()) -> list[str]:
    """The command line that runs ``command`` inside the folder.

    binds: folders that are seen inside under the same path. All mounts live in a namespace of their own and vanish with
    the command, so nothing outside can be reached, or deleted, through the folder afterwards.
    """
    places = [Path("/proc"), Path("/dev"), *binds]
    script = "".join(f'mkdir -p "{folder}{place}" && mount --bind "{place}" "{folder}{place}" && ' for place in places)
    script += f'exec chroot "{folder}" "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "inside", *map(str, command)]


def install(folder: Path) -> Path:
    """Make the folder when it is missing or incomplete; returns it."""
    if (folder / MARKER).exists() and (folder / MARKER).read_text() == PACKAGES:
        return folder
    if os.geteuid():
        raise SystemExit("Blender can be installed for the tests by root only; run them as root, or without --app.")
    if not shutil.which("apt-get"):
        raise SystemExit("Blender can be installed for the tests on Debian and Ubuntu only; run them without --app.")
    if not shutil.which("debootstrap"):
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "debootstrap")
    if not (folder / "usr/bin/apt-get").exists() or not (folder / "var/lib/dpkg/status").exists():
        folder.mkdir(parents=True, exist_ok=True)
        run("debootstrap", "--variant=minbase", "sid", folder, mirror())
    for settings in Path("/etc/apt/apt.conf.d").glob("99*"):  # proxies and the like
        shutil.copy(settings, folder / "etc/apt/apt.conf.d")
    run(*inside(folder, "apt-get", "update", "-qq"))
    run(*inside(folder, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES.split()))
    (folder / MARKER).write_text(PACKAGES)
    return folder


if __name__ == "__main__":
    print(install(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".build" / "blender-5.2"))
