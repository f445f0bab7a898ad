"""Inside Blender: what a person does, for the plays of test_application.py.

Steps are generators that yield how long to wait, so Blender's own loop goes on in between. Pictures are taken of the
whole screen, from outside Blender. What was found ends up in result.json.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import bpy

OUT = Path(os.environ["CLOSEUP_APP_OUT"])
PHOTOS = sorted(Path(os.environ["CLOSEUP_APP_PHOTOS"]).iterdir())
ENGINES = json.loads(os.environ["CLOSEUP_APP_ENGINES"])
"""Interpreters by what they do."""
PACKAGE = "bl_ext.user_default.closeup"
found: dict = {"gaps": {}}
CLICKS: list[tuple[int, int]] = []
"""Where :func:`click` has pressed the mouse."""


def module(name: str):
    return importlib.import_module(f"{PACKAGE}.closeup_addon.{name}")


def window():
    return bpy.context.window_manager.windows[0]


def area():
    return next(item for item in window().screen.areas if item.type == "VIEW_3D")


def sidebar():
    return next(item for item in area().regions if item.type == "UI")


def press(operator: str, **arguments) -> None:
    """A button of the sidebar, wherever it stands."""
    region = next(item for item in area().regions if item.type == "WINDOW")
    with bpy.context.temp_override(window=window(), area=area(), region=region):
        getattr(bpy.ops.closeup, operator)("INVOKE_DEFAULT", True, **arguments)


def picture(name: str):
    """A picture of the screen, taken while Blender goes on."""
    area().tag_redraw()
    yield 0.4
    for preview in module("thumbnails")._collection.values():  # Blender reads them in a thread; one that is asked for is read
        tuple(preview.icon_size)
    area().tag_redraw()
    yield 0.2
    region = sidebar()
    found.setdefault("sidebars", {})[name] = [region.x, region.y, region.width, region.height]
    process = subprocess.Popen(["import", "-window", "root", str(OUT / f"{name}.png")])
    while process.poll() is None:
        yield 0.05


def click(x: int, y: int):
    """A click of the left mouse button; the origin is at the bottom left."""
    CLICKS.append((x, y))
    simulate = window().event_simulate
    simulate(type="MOUSEMOVE", value="NOTHING", x=x, y=y)
    yield 0.15
    simulate(type="LEFTMOUSE", value="PRESS", x=x, y=y)
    yield 0.1
    simulate(type="LEFTMOUSE", value="RELEASE", x=x, y=y)
    yield 0.3


def engine(kind: str) -> None:
    bpy.context.preferences.addons[PACKAGE].preferences.engine_python = ENGINES[kind]


def open_sidebar():
    area().spaces.active.show_region_ui = True
    area().tag_redraw()
    yield 0.6
    sidebar().active_panel_category = "Close-up"
    area().tag_redraw()
    yield 0.6


def add_photos() -> None:
    """As the file dialog would, with its own undo step."""
    files = [{"name": path.name} for path in PHOTOS]
    bpy.ops.closeup.add_photos("EXEC_DEFAULT", True, directory=str(PHOTOS[0].parent), files=files)
    area().tag_redraw()


def give_cameras() -> None:
    """The photos on the list get cameras of the user's own, side by side."""
    scene, job = bpy.context.scene, importlib.import_module(f"{PACKAGE}.engine.job")
    for index, item in enumerate(scene.closeup.photos):
        pose = ((1, 0, 0, index - 1.0), (0, 0, 1, -4.0), (0, -1, 0, 0), (0, 0, 0, 1))
        camera = job.Camera(320, 240, 400.0, 400.0, 168.0, 112.0, pose)
        item.camera = module("photo_cameras").new(scene, item.name, camera, item.absolute())


def drop(paths: list[Path]):
    """As the window does with files that are dropped into the 3D view; returns where the mouse is then.

    Blender asks who shall take them, and puts us, who were registered last, under the mouse.
    """
    region = next(item for item in area().regions if item.type == "WINDOW")
    x, y = region.x + region.width // 3, region.y + region.height // 2
    window().event_simulate(type="MOUSEMOVE", value="NOTHING", x=x, y=y)
    yield 0.2
    with bpy.context.temp_override(window=window(), area=area(), region=region):
        files = [{"name": path.name} for path in paths]
        bpy.ops.wm.drop_import_file("INVOKE_DEFAULT", directory=f"{paths[0].parent}/", files=files)
    yield 0.5
    return x, y


def until(what, seconds: float = 60.0):
    """Wait for something to come true, and a little for Blender to settle."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError("it did not come true")
        yield 0.05
    yield 0.3


def finished(seconds: float):
    """Until the latest shot has ended."""

    def ended() -> bool:
        shot = module("jobs").queue.latest
        return shot is not None and shot.ended

    yield from until(ended, seconds)


def thumbnails_known() -> bool:
    """Whether every photo on the list has its picture."""
    return all(module("thumbnails").icon(item) for item in bpy.context.scene.closeup.photos)


def stop_the_clock() -> None:
    """Panels show one date and one duration, so that their pictures can be compared."""
    importlib.import_module(f"{PACKAGE}.panels.shots").time = SimpleNamespace(
        localtime=int, strftime=lambda *_: "21 Nov 2026 12:00"
    )
    module("jobs").duration = lambda seconds: "0:07"


def press_generate():
    """A click on the large button."""
    yield from click_button("closeup.generate")


def click_button(operator: str):
    """A click on a button of the sidebar, where it stands. The mouse looks for it, as eyes would, without pressing anything."""
    region = sidebar()
    x = region.x + region.width // 3
    for y in range(region.y + region.height - 6, region.y, -9):
        window().event_simulate(type="MOUSEMOVE", value="NOTHING", x=x, y=y)
        yield 0.03
        if _under_mouse() == operator:
            yield from click(x, y)
            return
    raise LookupError(f"no button for {operator} stands in the sidebar")


def _under_mouse() -> str:
    """The operator of the button that the mouse is over, such as closeup.generate; empty where there is none."""
    with bpy.context.temp_override(window=window(), area=area(), region=sidebar()):
        if not bpy.ops.ui.copy_python_command_button.poll():
            return ""
        bpy.ops.ui.copy_python_command_button()
    return bpy.context.window_manager.clipboard.removeprefix("bpy.ops.").partition("(")[0]


def timed_pump() -> list[float]:
    """Every time that the queue takes of Blender's main thread, in seconds of that thread: other programs do not count."""
    queue, times = module("jobs").queue, []
    pump = type(queue).pump

    def timed(seconds: float = 0.004) -> bool:
        started = time.thread_time()
        try:
            return pump(queue, seconds)
        finally:
            times.append(time.thread_time() - started)

    queue.pump = timed
    return times


def timed_panels() -> dict[str, list[float]]:
    """Every time that drawing one of our panels takes, in seconds, by the panel's name."""
    times: dict[str, list[float]] = {}
    for name in dir(bpy.types):
        if name.startswith("CLOSEUP_PT_"):
            cls = getattr(bpy.types, name)
            cls.draw = _timed(cls.draw, times.setdefault(name, []))
    return times


def _timed(function, times: list[float]):
    def wrapper(self, context):  # Blender counts the arguments
        started = time.perf_counter()
        try:
            return function(self, context)
        finally:
            times.append(time.perf_counter() - started)

    return wrapper


def timed_overlay() -> list[float]:
    """Every time that a cloud's arrays take on their way to the graphics card, in seconds of the main thread.

    Painting them is the card's part, and here the processor's.
    """
    overlay, times = module("overlay"), []
    batch = overlay._batch

    def timed(obj):
        started = time.thread_time()
        found = batch(obj)
        times.append(time.thread_time() - started)
        return found

    overlay._batch = timed
    return times


class Gaps:
    """The longest time Blender's main loop left a timer waiting."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.running = True
        bpy.app.timers.register(self.tick, persistent=True)

    def tick(self) -> float | None:
        self.times.append(time.perf_counter())
        return 0.001 if self.running else None

    def end(self) -> dict:
        self.running = False
        gaps = sorted(b - a for a, b in zip(self.times, self.times[1:])) or [0.0]
        return {"longest_ms": round(gaps[-1] * 1000, 1), "p99_ms": round(gaps[int(len(gaps) * 0.99)] * 1000, 1), "n": len(gaps)}


def finish() -> None:
    (OUT / "result.json").write_text(json.dumps(found, indent=1))
    sys.stdout.flush()
    bpy.ops.wm.quit_blender()


def play(steps) -> None:
    """Begin; Blender quits when the steps are over."""
    iterator = steps()

    def tick():
        try:
            return next(iterator)
        except StopIteration:
            finish()
        except Exception:  # noqa: BLE001 - whatever it was, the test must hear of it
            found["traceback"] = traceback.format_exc()
            traceback.print_exc()
            finish()
        return None

    bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
