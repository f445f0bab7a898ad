"""The lines between Blender and the engine."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import protocol


def test_events_and_requests_round_trip():
    event = {"event": "progress", "stage": "frames", "done": 1, "total": 4, "seconds_left": None, "id": 3}
    assert protocol.decode_event(protocol.encode(event)) == event
    request = {"request": "run", "job": "/tmp/ein Ordner/ü", "id": 1}
    assert protocol.decode_request(protocol.encode(request)) == request
    assert protocol.encode(request).count(b"\n") == 1


@pytest.mark.parametrize(
    "line", [b"", b"hello", b"[]", b'{"event": "party"}', b'{"event": "frame"}', b'{"event": 3}', b"[" * 99_999]
)
def test_what_is_no_event_is_refused(line):
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_event(line)


def test_what_cannot_be_sent_is_refused():
    with pytest.raises(protocol.ProtocolError):
        protocol.encode({"event": "progress", "done": float("nan")})
    with pytest.raises(protocol.ProtocolError):
        protocol.encode({"event": "warning", "message": "x" * protocol.MAX_LINE})
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_event(b" " * (protocol.MAX_LINE + 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_a_protocol_error(line):
    with contextlib.suppress(protocol.ProtocolError):
        assert protocol.decode_event(line)["event"] in protocol.EVENTS
