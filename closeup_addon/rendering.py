"""Renders of temporary scenes: at once in background mode, as Blender's own render jobs in the interface, which never waits.

The user's scene is not touched: what is rendered is a copy of it, or a scene made for the purpose, and removed afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import bpy

from .errors import CloseUpError
from .extension import log

SECONDS = 0.1
"""How often the interface looks whether a render is done."""


@dataclass(frozen=True)
class Step:
    """One render. prepare(scene) sets the scene up; finish(scene) takes what it made, and raises CloseUpError for nothing."""

    prepare: Callable
    finish: Callable
    animation: bool = False


class _Batch:
    """The renders of one temporary scene, and what follows them."""

    def __init__(self, scene, steps: Sequence[Step], done: Callable[[str], None]) -> None:
        self._uid = scene.session_uid
        self._steps = list(steps)
        self._running: Step | None = None
        self._done = done

    def _scene(self):
        """None when an undo took the scene away."""
        return next((scene for scene in bpy.data.scenes if scene.session_uid == self._uid), None)

    def run_blocking(self) -> None:
        """Every step, one after the other. Raises CloseUpError."""
        try:
            for step in self._steps:
                scene = self._scene()
                step.prepare(scene)
                try:
                    bpy.ops.render.render(animation=step.animation, write_still=not step.animation, scene=scene.name)
                except RuntimeError as error:
                    raise CloseUpError(_sentence(error)) from None
                step.finish(scene)
        finally:
            bpy.data.scenes.remove(self._scene())
        self._done("")

    def start(self) -> None:
        """Let Blender's render jobs do the steps; ``done`` is called at the end with an error, or an empty text."""
        bpy.app.timers.register(self._tick, first_interval=SECONDS, persistent=True)

    def _tick(self) -> float | None:
        if bpy.app.is_job_running("RENDER"):
            return SECONDS
        try:
            scene = self._scene()
            if scene is None:
                raise CloseUpError("The renders were stopped by an undo or another file; start them again.")
            if self._running:
                self._running.finish(scene)
                self._running = None
            if self._steps:
                self._begin(scene)
                return SECONDS
        except CloseUpError as error:
            self._end(str(error))
        except Exception as error:  # noqa: BLE001 - a timer that raises ends silently, and its scene would stay for ever
            log.exception("The renders failed")
            self._end(f"The renders failed ({error}); the console holds the details.")
        else:
            self._end("")
        return None

    def _begin(self, scene) -> None:
        step = self._steps.pop(0)
        step.prepare(scene)
        view = bpy.context.preferences.view
        display, view.render_display_type = view.render_display_type, "NONE"  # no window of its own; asked for now only
        try:
            with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
                bpy.ops.render.render(
                    "INVOKE_DEFAULT", animation=step.animation, write_still=not step.animation, scene=scene.name
                )
        except RuntimeError as error:
            raise CloseUpError(_sentence(error)) from None
        finally:
            view.render_display_type = display
        self._running = step

    def _end(self, error: str) -> None:
        scene = self._scene()
        if scene:
            bpy.data.scenes.remove(scene)
        self._done(error)


def run(scene, steps: Sequence[Step], done: Callable[[str], None]) -> None:
    """Render the steps with a temporary scene, which is removed afterwards.

    In background mode this waits and raises CloseUpError; in the interface it returns at once. ``done`` is called at the
    end with an error's sentence, or an empty text.
    """
    batch = _Batch(scene, steps, done)
    if bpy.app.background:
        batch.run_blocking()
    else:
        batch.start()


def _sentence(error: RuntimeError) -> str:
    said = " ".join(str(error).removeprefix("Error:").split())
    return f"Blender could not render ({said}); render the camera by hand to see why."
