"""A play inside Blender: a new user, with a mouse only, from photos dropped into an empty scene to the result on the screen."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from person import CLICKS, PHOTOS, area, click, click_button, drop, engine, finished, found, module, picture, play, window


def steps():
    yield 1.5
    scene = bpy.context.scene
    for obj in list(scene.objects):
        bpy.data.objects.remove(obj)
    scene.frame_end = 12
    scene.render.resolution_percentage = 25
    engine("works")  # it was installed before
    area().spaces.active.show_region_ui = False
    yield 0.5

    x, y = yield from drop(PHOTOS)
    window().event_simulate(type="MOUSEMOVE", value="NOTHING", x=x + 1, y=y)
    yield from picture("clicks-1-dropped")
    yield from click(x, y)  # Blender asks who shall take them; ours lies under the mouse
    yield 1.0
    yield from picture("clicks-2-photos")
    found["photos"] = len(scene.closeup.photos)
    found["too_early"] = [getattr(bpy.ops.closeup, name).poll() for name in ("add_move", "preview_frame", "generate")]
    yield from click_button("closeup.solve_cameras")
    yield from finished(30)
    yield 0.5
    yield from picture("clicks-3-solved")
    yield from click_button("closeup.add_move")
    yield 1.0
    yield from picture("clicks-4-move")
    yield from click_button("closeup.generate")
    yield 0.5
    yield from finished(60)
    yield 0.5
    yield from picture("clicks-5-done")
    yield from click_button("closeup.show_shot")
    yield 1.0
    window().event_simulate(type="MOUSEMOVE", value="NOTHING", x=400, y=400)
    yield from picture("clicks-6-shown")
    shot, camera = module("jobs").queue.latest, bpy.context.scene.camera
    found["clicks"], found["state"] = len(CLICKS), shot.state
    found["shown"] = [item.image.name for item in camera.data.background_images if item.show_background_image]
    found["view"] = area().spaces.active.region_3d.view_perspective


play(steps)
