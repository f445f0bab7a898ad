"""A play inside Blender: one shot is done and not saved, another is half done, and Blender ends like a crash."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from person import OUT, add_photos, engine, finished, give_cameras, module, play


def steps():
    yield 1.5
    scene = bpy.context.scene
    scene.frame_end = 6
    scene.render.resolution_percentage = 25
    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "project.blend"))
    engine("works")
    add_photos()
    give_cameras()
    bpy.ops.closeup.generate(name="finished")
    yield from finished(60)
    engine("slow")
    bpy.ops.closeup.generate(name="interrupted")
    while len(module("jobs").queue.latest.frames) < 2:
        yield 0.1
    os._exit(0)


play(steps)
