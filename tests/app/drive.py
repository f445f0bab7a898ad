"""A play inside Blender: a close-up from the first click to the reopened file, with the fake engine."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from person import (
    OUT,
    add_photos,
    area,
    click,
    engine,
    finished,
    found,
    give_cameras,
    module,
    open_sidebar,
    picture,
    play,
    press,
    press_generate,
    stop_the_clock,
    thumbnails_known,
    until,
)


def steps():
    yield 1.5
    scene = bpy.context.scene
    for obj in [item for item in scene.objects if item.type in {"MESH", "LIGHT"}]:
        bpy.data.objects.remove(obj)
    scene.frame_end = 12
    scene.render.resolution_percentage = 25
    stop_the_clock()
    yield from open_sidebar()
    yield from picture("empty")

    queue = module("jobs").queue
    add_photos()
    yield from until(thumbnails_known)
    yield from picture("photos")
    engine("hangs")
    press("solve_cameras")
    yield from until(lambda: queue.latest.stage == "cameras")
    yield from picture("solving")
    bpy.ops.closeup.cancel()
    yield from finished(30)
    give_cameras()
    engine("rests")
    yield from press_generate()
    yield from until(lambda: queue.latest.frames)
    yield from picture("running")
    bpy.ops.closeup.cancel()
    yield from finished(20)
    found["cancelled"] = queue.latest.state
    yield 0.5
    yield from picture("cancelled")

    engine("works")
    press("preview_frame")
    yield from finished(30)
    found["preview"] = queue.latest.state
    yield 1.0
    yield from picture("preview")
    scene.frame_set(6)  # where undo and redo will come back to
    press("generate")
    yield from finished(60)
    shot = queue.latest
    found["done"], found["cloud_type"] = shot.state, shot.placed.cloud.type
    cloud_name = shot.placed.cloud.name

    space, view = area().spaces.active, area().spaces.active.region_3d
    view.view_perspective = "PERSP"
    view.view_distance, view.view_location = 9.0, (0, 0, 0)
    yield 0.8
    yield from picture("done-solid")
    space.shading.type = "MATERIAL"
    yield 20.0
    yield from picture("done-material")
    space.shading.type = "SOLID"
    view.view_perspective = "CAMERA"
    scene.frame_set(1)
    yield 1.0
    yield from picture("done-camera-1")
    scene.frame_set(6)
    yield 1.0
    yield from picture("done-camera")

    bpy.ops.ed.undo()
    yield 0.5
    found["after_undo"] = {"cloud": cloud_name in bpy.data.objects, "photos": len(bpy.context.scene.closeup.photos)}
    bpy.ops.ed.redo()
    yield 0.5
    yield from picture("after-redo")
    found["after_redo"] = {"cloud": cloud_name in bpy.data.objects}

    engine("fails")
    bpy.ops.closeup.generate()
    yield from finished(20)
    yield 0.5
    yield from picture("error")
    found["error"] = queue.latest.error

    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(OUT / "saved.blend"))
    yield 1.5
    area().spaces.active.region_3d.view_perspective = "PERSP"
    yield from open_sidebar()
    yield from picture("reopened")
    found["reopened"] = cloud_name in bpy.data.objects
    yield from a_move()
    yield from in_german()
    found["shots"] = [(item.folder.name, item.state) for item in module("history").history.records.values()]


def in_german():
    """The same panels in another language."""
    view = bpy.context.preferences.view
    view.language, view.use_translate_interface, view.use_translate_tooltips = "de_DE", True, True
    yield 1.0
    yield from picture("german")
    found["german"] = module("languages").iface("{} of {} cameras known", 1, 3)


def a_move():
    """Toward a point of the cloud that is clicked in the view, and what is told of it."""
    region = next(item for item in area().regions if item.type == "WINDOW")
    press("pick_target")
    yield 0.3
    yield from click(region.x + region.width // 2, region.y + region.height // 2)
    found["target"] = bpy.context.scene.cursor.location.length
    press("add_move")
    while module("coverage").busy():
        yield 0.1
    found["readout"] = module("coverage").summary(module("coverage").latest.rows)
    yield 1.0
    yield from picture("move")


play(steps)
