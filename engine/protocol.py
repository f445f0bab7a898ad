"""The language between Blender and the engine: one JSON object a line, over stdin and stdout.

Standard library only: both sides import this module. Blender sends requests (see REQUESTS), such as
{"request": "run", "job": FOLDER, "id": N}; the engine answers with events (see EVENTS). Arrays never travel
here; they are files of the job folder, and those of a live preview of Blender's temporary folder.
"""

from __future__ import annotations

import json
import math

VERSION = 3
MAX_LINE = 1 << 20
"""Bytes; a longer line is an error on either side."""
BEAT_SECONDS = 2.0
"""Between two heartbeats while a job runs."""

_TEXT = (str,)
_WHOLE = (int,)
_NUMBER = (int, float)
_MAYBE = (int, float, type(None))
_OBJECT = (dict,)
_FLAG = (bool,)

EVENTS: dict[str, dict[str, tuple]] = {
    "hello": {"protocol": _WHOLE, "engine": _TEXT, "device": _TEXT},
    "stage": {"stage": _TEXT, "message": _TEXT},
    "progress": {"stage": _TEXT, "done": _NUMBER, "total": _NUMBER, "seconds_left": _MAYBE},
    "frame": {"frame": _WHOLE, "path": _TEXT},
    "warning": {"message": _TEXT},
    "heartbeat": {"quiet": _NUMBER, "cpu": _NUMBER},
    "done": {"folder": _TEXT, "seconds": _NUMBER},
    "error": {"code": _TEXT, "message": _TEXT, "fix": _TEXT},
    "cancelled": {"folder": _TEXT},
    "preview": {"width": _WHOLE, "height": _WHOLE, "final": _FLAG, "seconds": _NUMBER},
    "no_preview": {"code": _TEXT, "message": _TEXT},
    "pong": {},
    "goodbye": {"message": _TEXT},
}
"""Each event's own keys and their types; all may carry "id", the number of the request they answer.

heartbeat: ``quiet`` is how many seconds ago the job last said or asked anything, ``cpu`` how many seconds of processor
time the engine has used; so a job that computes in silence is told from one that hangs. preview: a picture stands in the
request's folder as :func:`preview_file`; a coarse one may come before the final one; ``seconds`` is what computing it took.
no_preview: there will be none, with a code of ERRORS; no job has failed. goodbye: nobody asked for anything in a long while,
and the engine ends.
"""

REQUESTS: dict[str, dict[str, tuple]] = {
    "run": {"job": _TEXT},
    "preview": {"job": _TEXT, "camera": _OBJECT, "pictures": _TEXT, "id": _WHOLE},
    "cancel": {"id": _WHOLE},
    "ping": {},
    "quit": {},
}
"""Each request's own keys and their types; all may carry "id".

preview: what the photos of a job whose depth is measured show at a camera (an object as in job.json), as files in the folder
``pictures``. Only the newest one counts, older ones are dropped without a word; and a job that runs or waits goes first.
"""

FIXES = {
    "": "nothing but what the sentence says",
    "continue": "run the job's folder again; what is finished is kept",
    "photos": "change the photos or their settings, then generate again",
    "smaller": "choose a smaller resolution or fewer photos, then generate again",
    "install": "press Install Engine",
    "report": "copy the diagnostics and report the problem",
}
"""What helps after an error; the panels offer a button for each."""

ERRORS: dict[str, tuple[str, str]] = {
    "backend": ("the job asks for a generator that does not exist", ""),
    "bad-depth": ("a depth file is none, is damaged or has the wrong shape", "photos"),
    "bad-mask": ("a mask is no picture that can be read", "photos"),
    "bad-model": ("the weights of a learned model are damaged or are another's", ""),
    "bad-photo": ("a photo is missing, damaged or no picture that can be read", "photos"),
    "bad-scan": ("a scan is missing, damaged or of a kind that cannot be read", "photos"),
    "busy": ("a live preview was asked for while a job runs; it goes on when the job is done", ""),
    "camera-size": ("a photo's camera is for a picture of other proportions", "photos"),
    "changed-photo": ("a photo is not the one that the job was made with", "photos"),
    "changed-scan": ("a scan is not the one that the job was made with", "photos"),
    "checkpoint": ("training was to go on from a file that is no checkpoint", ""),
    "cloud": ("the point cloud is missing or damaged", "continue"),
    "crashed": ("the engine's process ended by itself", "report"),
    "damaged": ("a file that the engine had stored is damaged; it will be made again", "continue"),
    "device": ("the device that was asked for is not in this machine", ""),
    "disk-full": ("the disk of the job is full", "continue"),
    "drive-gone": ("the drive of the job or of the photos does not answer", "continue"),
    "failed": ("something could not be done; the sentence says what", ""),
    "fetch": ("a learned model could not be fetched", ""),
    "hung": ("the engine's process had stopped answering and was ended", "continue"),
    "internal": ("a mistake in CloseUp; the log holds the details", "report"),
    "job": ("job.json, or a file that it names, is not as it must be", ""),
    "killed": ("the system ended the engine's process, most often because the memory ran out", "smaller"),
    "large-photo": ("a picture declares more pixels than are read", "photos"),
    "link": ("a folder or file that the engine would write is a link to another place", ""),
    "locked": ("another engine is at work in the job's folder, or its drive cannot tell", ""),
    "memory": ("the memory of the machine or of the device is used up", "smaller"),
    "missing": ("a file or folder that is needed is not there", "continue"),
    "misplaced-scan": ("no photo looks at a scan: it lies elsewhere, or has another scale", "photos"),
    "no-cameras": ("the photos' cameras could not be solved", "photos"),
    "no-depth": ("only given depth is to be used, and a photo has none", "photos"),
    "no-model": ("a learned model is not known, or its weights are not there yet", ""),
    "protocol": ("Blender and the engine did not understand each other", "report"),
    "read-only": ("the job's folder, or a file in it, may not be written", ""),
    "sizes": ("pictures that are to be compared differ in size", ""),
    "small-photo": ("a photo is too small for anything to be found in it", "photos"),
    "start": ("the engine could not be started, or did not answer in time", "install"),
    "unreadable": ("a file cannot be read", "continue"),
    "version": ("the engine and the extension are of different versions", "install"),
    "weights": ("the generator's weights are missing or are not the ones that were published", "install"),
    "write-failed": ("a file could not be written", "continue"),
}
"""Every code of an error: what it means, and which of FIXES helps. docs/errors.md is made of this."""


class ProtocolError(ValueError):
    """A line that is not of this protocol."""


PREVIEW_PIXEL = 16
"""Bytes of a pixel of a preview's picture."""


def preview_file(number: int, final: bool) -> str:
    """The name of a preview's picture: (height, width, 4) float32 in the machine's byte order, the top row first.

    Red, green and blue are sRGB-coded, 0 to 1; the fourth is the confidence, 0 where no photo saw anything.
    """
    return f"preview-{number}-{'final' if final else 'coarse'}.rgba"


def fix_of(code: str) -> str:
    """Which of FIXES helps after the error ``code``."""
    return ERRORS.get(code, ("", ""))[1]


def encode(message: dict) -> bytes:
    """One line, newline included. Raises ProtocolError when it would be too long or holds NaN."""
    try:
        line = json.dumps(message, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"
    except ValueError as error:
        raise ProtocolError(f"The message cannot be sent: {error}.") from None
    if len(line) > MAX_LINE:
        raise ProtocolError(f"The message has {len(line)} bytes; {MAX_LINE} is the most.")
    return line


def decode_event(line: bytes) -> dict:
    """An engine's line as a dict with "event". Raises ProtocolError."""
    return _decode(line, "event", EVENTS)


def decode_request(line: bytes) -> dict:
    """Blender's line as a dict with "request". Raises ProtocolError."""
    return _decode(line, "request", REQUESTS)


def _decode(line: bytes, kind: str, known: dict[str, dict[str, tuple]]) -> dict:
    if len(line) > MAX_LINE:
        raise ProtocolError(f"A line of {len(line)} bytes is too long.")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("A line is not JSON.") from None
    if not isinstance(message, dict) or not isinstance(message.get(kind), str) or message[kind] not in known:
        raise ProtocolError(f"A line is no known {kind}.")
    name = message[kind]
    for key, types in known[name].items():
        if key not in message:
            raise ProtocolError(f"The {kind} {name!r} lacks {key!r}.")
        if not _is_of(message[key], types):
            raise ProtocolError(f"The {kind} {name!r} has a wrong {key!r}.")
    if not _is_of(message.get("id", 0), (int, type(None))):
        raise ProtocolError(f"The {kind} {name!r} has a wrong 'id'.")
    return message


def _is_of(value: object, types: tuple) -> bool:
    if isinstance(value, bool):
        return bool in types
    if not isinstance(value, types):
        return False
    return not isinstance(value, float) or math.isfinite(value)
