"""A play inside Blender: the demo's file is opened, for the pictures of the docs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from person import area, found, module, open_sidebar, picture, play


def steps():
    yield 1.5
    bpy.ops.wm.open_mainfile(filepath=os.environ["CLOSEUP_APP_DEMO"])
    yield 1.5
    scene, history = bpy.context.scene, module("history").history
    while history.busy:
        yield 0.2
    found["shots"] = [item.state for item in history.records.values()]
    yield from open_sidebar()
    space = area().spaces.active
    space.shading.type = "SOLID"
    space.region_3d.view_perspective = "CAMERA"
    scene.frame_set((scene.frame_start + scene.frame_end) // 2)
    yield 2.0
    yield from picture("demo-camera")
    photo = next(obj for obj in scene.objects if obj.type == "CAMERA" and obj != scene.camera)
    view = space.region_3d
    view.view_perspective = "PERSP"
    view.view_location = module("moves").target_point(scene, "AUTO")
    view.view_rotation = photo.matrix_world.to_quaternion()
    view.view_distance = 1.2 * (photo.matrix_world.translation - view.view_location).length
    yield 2.0
    yield from picture("demo-solid")


play(steps)
