"""Requests on their way from the thread that reads them to the one that works: jobs in their order, then the newest preview."""

from __future__ import annotations

import threading
from collections import deque


class Inbox:
    """Any thread may put; one takes."""

    def __init__(self):
        self._changed = threading.Condition()
        self._jobs: deque[dict] = deque()
        self._preview: dict | None = None
        self._working = self._closed = False

    def put(self, request: dict) -> bool:
        """A job waits for its turn; a preview replaces the one before it, and is refused (False) while a job runs or waits."""
        with self._changed:
            if request["request"] != "preview":
                self._jobs.append(request)
            elif self._working or self._jobs:
                return False
            else:
                self._preview = request
            self._changed.notify()
        return True

    def close(self) -> None:
        """Nothing more will come, and what waits is not wanted any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self, seconds: float) -> dict | None:
        """The next request, whose predecessor is now done; None at the end. Raises TimeoutError when none comes in time."""
        with self._changed:
            self._working = False
            if not self._changed.wait_for(lambda: self._closed or self._jobs or self._preview, seconds):
                raise TimeoutError
            if self._closed:
                return None
            self._working = bool(self._jobs)
            if self._jobs:
                return self._jobs.popleft()
            request, self._preview = self._preview, None
            return request

    def waits(self) -> bool:
        """Whether something has come that makes the preview at hand superfluous."""
        return bool(self._closed or self._jobs or self._preview)
