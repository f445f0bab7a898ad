"""A play inside Blender: the shots' folders cannot be read, and the queue stumbles."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from person import (
    OUT,
    add_photos,
    area,
    engine,
    finished,
    found,
    give_cameras,
    module,
    open_sidebar,
    picture,
    play,
    press_generate,
    sidebar,
    stop_the_clock,
)


def steps():
    yield 1.5
    scene = bpy.context.scene
    scene.frame_end, scene.render.resolution_percentage = 4, 25
    stop_the_clock()
    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "project.blend"))
    yield from open_sidebar()
    add_photos()
    give_cameras()
    engine("works")
    yield from press_generate()
    yield from finished(60)
    yield 0.5
    record, queue, history = module("record"), module("jobs").queue, module("history").history
    scan = record.scan

    def unreadable(*_):
        raise PermissionError(13, "Permission denied")

    record.scan, queue.pump = unreadable, lambda: {}["nothing"]
    bpy.ops.closeup.refresh_shots()
    yield 1.0
    record.scan = scan
    del queue.pump
    module("pump").start()
    while history.busy:
        yield 0.2
    yield 0.5
    found["kept"] = len(bpy.context.window_manager.closeup_shots)
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=area(), region=sidebar()):
        for _ in range(10):
            bpy.ops.view2d.scroll_down()
    yield 0.5
    yield from picture("trouble")
    bpy.ops.closeup.refresh_shots()
    while history.busy:
        yield 0.2
    yield 0.5
    found["problem"] = history.problem


play(steps)
