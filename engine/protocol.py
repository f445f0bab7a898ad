"""The language between Blender and the engine: one JSON object a line, over stdin and stdout.

Standard library only: both sides import this module. Blender sends requests, the engine answers
with events. Arrays never travel here; they are files of the job folder.

Requests:  {"request": "run", "job": FOLDER, "id": N} · {"request": "cancel", "id": N} · {"request": "ping"} · {"request": "quit"}
Events:    hello, stage, progress, frame, warning, done, error, cancelled, pong (see EVENTS).
"""

from __future__ import annotations

import json

VERSION = 1
MAX_LINE = 1 << 20
"""Bytes; a longer line is an error on either side."""

EVENTS = {
    "hello": {"protocol", "engine", "device"},
    "stage": {"stage", "message"},
    "progress": {"stage", "done", "total", "seconds_left"},
    "frame": {"frame", "path"},
    "warning": {"message"},
    "done": {"folder", "seconds"},
    "error": {"code", "message"},
    "cancelled": {"folder"},
    "pong": set(),
}
"""Each event's own keys; all may carry "id", the number of the request they answer."""

REQUESTS = {"run": {"job"}, "cancel": set(), "ping": set(), "quit": set()}


class ProtocolError(ValueError):
    """A line that is not of this protocol."""


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


def _decode(line: bytes, kind: str, known: dict[str, set[str]]) -> dict:
    if len(line) > MAX_LINE:
        raise ProtocolError(f"A line of {len(line)} bytes is too long.")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("A line is not JSON.") from None
    if not isinstance(message, dict) or not isinstance(message.get(kind), str) or message[kind] not in known:
        raise ProtocolError(f"A line is no known {kind}.")
    missing = sorted(known[message[kind]] - set(message))
    if missing:
        raise ProtocolError(f"The {kind} {message[kind]!r} lacks {missing[0]!r}.")
    return message
