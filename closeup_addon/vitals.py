"""Tells an engine that works from one that hangs, by what was heard of it and when. No process, no clock, no bpy here."""

from __future__ import annotations

LOST_SECONDS = 30.0
"""Without a single word while a job runs, heartbeats included: the process stands still."""
STILL_SECONDS = 60.0
"""A job that is silent for so long and does not compute either waits for something."""
STILL_SHARE = 0.05
"""Seconds of processor time per second, below which nothing is computed."""
GIVE_UP_SECONDS = 900.0
"""After so long without a word the engine is ended; its job can be continued."""
GAP_SECONDS = 5.0
"""When nobody looked for so long, Blender itself was busy or the machine slept, and silence means nothing."""


class Vitals:
    """One job's signs of life. Times are seconds of any steady clock."""

    def __init__(self, now: float):
        self._heard = self._looked = now
        self._quiet = 0.0
        self._first: tuple[float, float] | None = None
        self._cpu = 0.0

    def hear(self, event: dict, now: float) -> None:
        """An event of the engine arrived."""
        self._heard = now
        if event["event"] != "heartbeat":
            self._quiet, self._first = 0.0, None
            return
        if self._first is None or event["quiet"] < self._quiet:
            self._first = (event["quiet"], event["cpu"])
        self._quiet, self._cpu = event["quiet"], event["cpu"]

    def look(self, now: float) -> str:
        """ "" for an engine that works; "lost" without any word of it, "still" when it lives but its job does not move, "dead"
        when it should be ended."""
        if now - self._looked > GAP_SECONDS:
            self._heard = now
        self._looked = now
        silence = now - self._heard
        if silence > GIVE_UP_SECONDS:
            return "dead"
        if silence > LOST_SECONDS:
            return "lost"
        return "still" if self._quiet > STILL_SECONDS and self._share() < STILL_SHARE else ""

    def _share(self) -> float:
        """How much it computes in this silence."""
        if self._first is None or self._quiet - self._first[0] < STILL_SECONDS / 2:
            return 1.0
        return (self._cpu - self._first[1]) / (self._quiet - self._first[0])


def sentence(verdict: str) -> str:
    """What to tell the user."""
    if verdict == "lost":
        return "The engine does not answer; the machine may be short of memory. Wait, or press Cancel: finished frames are kept."
    return "The engine waits for something, perhaps for a drive that is gone. Wait, or press Cancel: finished frames are kept."
