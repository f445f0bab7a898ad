"""What a report of a problem needs, as text: versions, device, the last jobs and the engine's log, without anybody's name."""

from __future__ import annotations

import getpass
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import log_file
from .extension import PACKAGE, ROOT

LOG_LINES = 80
SHOTS = 5
_NAME = r"""(?:[^\\/"':;<>|\n]{1,40}(?=[\\/])|[^\\/\s"':;<>|]+)"""
_HOMES = re.compile(rf"(?i)([a-z]:)?([\\/]+)(users|home|documents and settings)\2{_NAME}")
"""A home folder of any user of any system, wherever it was copied from."""


def collect() -> str:
    """The text for the clipboard."""
    import bpy

    from . import installation, preferences
    from .jobs import queue

    hello = queue.engine
    facts = {
        "CloseUp": _version(),
        "Blender": f"{bpy.app.version_string} ({bpy.app.build_hash.decode()})",
        "System": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
        "Engine": preferences.engine_status(),
        "Device": hello.get("device", "no engine runs now"),
        "Device in the preferences": preferences.device() or "automatic",
        "Installation": installation.state.error or "no error",
        "Online access": str(bpy.app.online_access),
    }
    shots = [
        f"{shot.state}, {shot.frame_total} frames, stage {shot.stage}, {shot.error_code or 'no error'}: {shot.error or '-'}"
        for shot in queue.shots[-SHOTS:]
    ]
    lines = log_file.tail(log_path(), LOG_LINES)
    return text(facts, shots, lines, Path.home(), _user(), platform.node())


def log_path() -> Path:
    """The engine's log."""
    import bpy

    return Path(bpy.utils.extension_path_user(PACKAGE)) / "engine.log"


def text(facts: Mapping[str, str], shots: Sequence[str], log: Sequence[str], home: Path, user: str, host: str) -> str:
    """All of it, a line each, with the home folder as ~ and without the names of the user and the computer."""
    lines = [f"{name}: {value}" for name, value in facts.items()]
    lines += ["", "Last jobs:", *(shots or ["none"]), "", "Engine log:", *(log or ["empty"])]
    return anonymous("\n".join(lines), home, user, host) + "\n"


def anonymous(said: str, home: Path, user: str, host: str) -> str:
    """``said`` without what tells whose computer it was: home folders, the user's name and the computer's."""
    place = str(home)
    if len(place) > 1:
        for way in {place, place.replace("\\", "/"), place.replace("\\", "\\\\")}:
            said = re.sub(re.escape(way) + r"(?![\w.-])", "~", said, flags=re.I)
    said = _HOMES.sub("~", said)
    for name, instead in ((user, "USER"), (host, "COMPUTER")):
        if len(name) > 1:
            said = re.sub(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", instead, said, flags=re.I)
    return said


def _version() -> str:
    found = re.search(r'^version = "(.+?)"', (ROOT / "blender_manifest.toml").read_text(encoding="utf-8"), re.M)
    return found.group(1) if found else "unknown"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # an account without a name
        return ""
