"""How long work tells what it does, and hears that it should stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


class Cancelled(Exception):
    """The user asked to stop; not an error."""


class EngineError(Exception):
    """A failure with a sentence for the user: what is wrong and what to do. ``code`` is a stable short name."""

    def __init__(self, message: str, code: str = "failed"):
        super().__init__(message)
        self.code = code


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's own error, ours, or what PyTorch, OpenCV and graphics drivers say of it."""
    known = isinstance(error, MemoryError) or (isinstance(error, EngineError) and error.code == "memory")
    return known or any(words in str(error).lower() for words in _OUT_OF_MEMORY)


_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "insufficient memory")
STEP_SECONDS = 0.05
"""Between two progress events of a stage; a person sees no more, and Blender has better things to do."""


class Progress:
    """Sends events (see :mod:`engine.protocol`) to ``emit``; every call is also a chance to cancel.

    emit: called with a dict. cancelled: called often; true means stop.
    """

    def __init__(self, emit: Callable[[dict], None] = lambda event: None, cancelled: Callable[[], bool] = lambda: False):
        self._emit = emit
        self._cancelled = cancelled
        self._stage = ""
        self._started = time.monotonic()
        self._stepped = 0.0
        self._heard = time.monotonic()
        self.warnings: list[str] = []
        self.seconds: dict[str, float] = {}

    @property
    def quiet(self) -> float:
        """Seconds since the work last said or asked anything."""
        return time.monotonic() - self._heard

    def check(self) -> None:
        """Raise Cancelled when the user asked to stop."""
        self._heard = time.monotonic()
        if self._cancelled():
            raise Cancelled

    def stage(self, name: str, message: str) -> None:
        """A new stage begins; the time of the last one is kept in ``seconds``."""
        self.check()
        self.end()
        self._stage, self._started, self._stepped = name, time.monotonic(), 0.0
        self._emit({"event": "stage", "stage": name, "message": message})

    def end(self) -> None:
        """The current stage is over."""
        if self._stage:
            elapsed = time.monotonic() - self._started
            self.seconds[self._stage] = round(self.seconds.get(self._stage, 0.0) + elapsed, 3)
            self._stage = ""

    def step(self, done: float, total: float) -> None:
        """``done`` of ``total`` parts of the stage are finished (fractions allowed). Told not too often, the end always."""
        self.check()
        now = time.monotonic()
        if done < total and now < self._stepped + STEP_SECONDS:
            return
        self._stepped = now
        elapsed = now - self._started
        left = elapsed * (total - done) / done if done else None
        seconds_left = None if left is None else round(left, 1)
        self._emit({"event": "progress", "stage": self._stage, "done": done, "total": total, "seconds_left": seconds_left})

    def frame(self, number: int, path: str) -> None:
        """A frame is finished and stands under its final name."""
        self._heard = time.monotonic()
        self._emit({"event": "frame", "frame": number, "path": path})

    def warn(self, message: str) -> None:
        """Something the user should know, once."""
        if message not in self.warnings:
            self.warnings.append(message)
            self._emit({"event": "warning", "message": message})


class Clock:
    """How far a stage is in which ``things`` things pass the same steps, one after the other. weights: the time of each step."""

    def __init__(self, progress: Progress, weights: Sequence[float], things: int):
        self._progress, self._weights, self._things = progress, weights, things

    def of(self, step: int, thing: int) -> Callable[[float], None]:
        """What is to be called with the part, 0..1, that is done of a step (-1: the last) of the thing of that number."""
        before = sum(self._weights[:step]) * self._things + self._weights[step] * thing
        total = sum(self._weights) * max(1, self._things)
        return lambda part: self._progress.step(min(before + self._weights[step] * part, total), total)
