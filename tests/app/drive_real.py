"""A play inside Blender: real photos through the real engine; its pictures are for the eye only."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from person import add_photos, area, engine, finished, found, module, open_sidebar, picture, play

MAX_SIZE = 240
"""Pixels; small enough for a busy machine."""


def steps():
    yield 1.5
    scene, queue = bpy.context.scene, module("jobs").queue
    for obj in list(scene.objects):
        bpy.data.objects.remove(obj)
    scene.render.resolution_percentage = 25
    engine("real")
    yield from open_sidebar()
    add_photos()
    yield from picture("real-photos")
    bpy.ops.closeup.solve_cameras(max_size=MAX_SIZE)
    yield from finished(300)
    found["solve"] = (queue.latest.state, queue.latest.error)
    space, view = area().spaces.active, area().spaces.active.region_3d
    view.view_perspective = "PERSP"
    look_over(view)
    yield from picture("real-solved")
    bpy.ops.closeup.add_move("EXEC_DEFAULT", True, frames=3, zoom=3.0)
    bpy.ops.closeup.generate(max_size=MAX_SIZE)
    while not (queue.latest.ended or queue.latest.frames):
        yield 0.5
    yield from picture("real-running")
    yield from finished(600)
    found["generate"] = (queue.latest.state, queue.latest.error)
    look_over(view)
    yield 1.0
    yield from picture("real-solid")
    space.shading.type = "MATERIAL"
    yield 30.0
    yield from picture("real-material")
    space.shading.type = "SOLID"
    scene.frame_set(scene.frame_end)
    view.view_perspective = "CAMERA"
    yield 1.5
    yield from picture("real-camera")


def look_over(view) -> None:
    """From behind the first photo's camera, at what the photos see best."""
    camera = module("jobs").queue.shots[0].placed.cameras[0]
    view.view_location = module("moves").target_point(bpy.context.scene, "AUTO")
    view.view_rotation = camera.matrix_world.to_quaternion()
    view.view_distance = 1.8 * (camera.matrix_world.translation - view.view_location).length


play(steps)
