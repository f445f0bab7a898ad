"""A play inside Blender: how long we keep its main thread during a job that ends in a cloud of a million points."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from person import (
    Gaps,
    add_photos,
    area,
    engine,
    found,
    give_cameras,
    module,
    open_sidebar,
    picture,
    play,
    press,
    sidebar,
    timed_overlay,
    timed_panels,
    timed_pump,
)


def steps():
    yield 1.5
    scene = bpy.context.scene
    for obj in [item for item in scene.objects if item.type in {"MESH", "LIGHT"}]:
        bpy.data.objects.remove(obj)
    scene.frame_end = 12
    scene.render.resolution_percentage = 25
    yield from open_sidebar()
    engine("works")
    add_photos()
    give_cameras()
    yield from a_job()
    yield from panels()
    yield from picture("million")


def a_job():
    """How long Blender's main thread is kept by us, and by all, from the click to the results."""
    queue = module("jobs").queue
    gaps = Gaps()
    yield 1.0
    found["gaps"]["idle"] = gaps.end()
    gaps = Gaps()
    for _ in range(10):  # what Blender itself takes for it, here without a graphics card
        area().tag_redraw()
        yield 0.1
    found["gaps"]["redraws"] = gaps.end()
    pumped, painted = timed_pump(), timed_overlay()
    press("generate")
    gaps = Gaps()
    while queue.latest.state != "placing":
        yield 0.02
    found["gaps"]["job"], gaps, started = gaps.end(), Gaps(), time.perf_counter()
    while not queue.latest.ended:
        yield 0.02
    found["placing_seconds"] = round(time.perf_counter() - started, 3)
    yield 1.0
    found["gaps"]["placing"] = gaps.end()
    found["overlay_ms"] = [round(1000 * seconds, 1) for seconds in sorted(painted)[-5:]]
    found["pump_ms"] = [round(1000 * seconds, 1) for seconds in sorted(pumped)[-8:]]
    found["done"] = queue.latest.state
    found["points"] = len(queue.latest.placed.cloud.data.attributes["position"].data)


def panels():
    """200 redraws of the sidebar."""
    times = timed_panels()
    for _ in range(200):
        sidebar().tag_redraw()
        yield 0.005
    middle = {name: sorted(values)[len(values) // 2] for name, values in times.items() if values}
    found["panels_ms"] = {name: round(1000 * value, 3) for name, value in middle.items()}
    found["redraws"] = max(len(values) for values in times.values())


play(steps)
