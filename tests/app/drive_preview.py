"""A play inside Blender: the live preview while the camera moves, the timeline is scrubbed, and a job runs."""

from __future__ import annotations

import importlib
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import bpy
from mathutils import Euler

sys.path.insert(0, str(Path(__file__).resolve().parent))
from person import OUT, PACKAGE, area, click_button, engine, found, module, open_sidebar, picture, play

JOB, OTHER = (Path(os.environ["CLOSEUP_APP_PHOTOS"]).parent / name for name in ("job", "other"))
"""Jobs that the test has made: one is finished, the other waits."""
STEPS = 6
"""Frames of the way in."""


def until(what, seconds: float = 90.0):
    """Wait for something to come true."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(f"it did not come true; the preview says: {module('preview').live.status}")
        yield 0.002


def shown():
    """The picture that the 3D view shows of where it looks now, or None."""
    live = module("preview").live
    region = next((item for item in live._regions.values() if item.complete), None)
    return region.picture if region else None


def region():
    return next(item for item in area().regions if item.type == "WINDOW")


class Timed:
    """What the preview takes of Blender's main thread, in seconds: wall time where the system left us the processor."""

    def __init__(self) -> None:
        self.draws, self.ticks, self.painted, self.sent, self.came = [], [], [], {}, {}
        draw, live, client = module("preview_draw"), module("preview").live, module("engine_client").EngineClient
        self._wrap(draw, "_draw", self.draws)
        self._wrap(live, "pump", self.ticks)
        put, ask, paint = client._put, client.preview, draw._texture

        def came(client, event):
            if event["event"] == "preview":
                self.came[event["id"], event["final"]] = time.perf_counter(), event["seconds"]
            put(client, event)

        def asked(client, request):
            self.sent[request["id"]] = time.perf_counter()
            ask(client, request)

        def painted(key, item):
            self.painted.append((item, time.perf_counter()))
            return paint(key, item)

        client._put, client.preview, draw._texture = came, asked, painted

    def _wrap(self, place, name: str, times: list) -> None:
        function = getattr(place, name)

        def timed():
            wall, own = time.perf_counter(), time.thread_time()
            try:
                return function()
            finally:
                times.append((time.perf_counter() - wall, time.thread_time() - own))

        setattr(place, name, timed)


def steps():
    yield 1.0
    scene = bpy.context.scene
    for obj in [item for item in scene.objects if item.type in {"MESH", "LIGHT"}]:
        bpy.data.objects.remove(obj)
    scene.render.resolution_x, scene.render.resolution_y, scene.frame_end = 1024, 576, STEPS
    engine("real")
    yield from open_sidebar()
    found["grey"] = bpy.ops.closeup.live_preview.poll()
    module("api").bring(JOB, block=False)
    yield from until(lambda: module("jobs").queue.latest.ended)
    found["brought"] = module("jobs").queue.latest.state
    # Without a graphics card Blender takes seconds for a redraw with the cloud, and the preview covers it
    module("preview").source(scene)[1].hide_viewport = True
    bpy.context.preferences.system.viewport_aa = "OFF"
    the_move(scene)
    times = Timed()
    yield from switched_on(times)
    yield from moved(scene, times)
    yield from scrubbed(scene, times)
    yield from looked_aside(scene, times)
    yield from orbited(scene, times)
    yield from a_job_meanwhile(scene)
    yield from switched_off()
    for name in ("draws", "ticks"):
        found[f"{name}_ms"] = [[round(1000 * value, 2) for value in pair] for pair in sorted(getattr(times, name))[-12:]]
        found[name] = len(getattr(times, name))


def the_move(scene) -> None:
    """A camera that goes the job's way, with the job's lens."""
    cameras, camera = module("cameras"), scene.camera
    path = importlib.import_module(f"{PACKAGE}.engine.job").load(JOB, files=False).path
    camera.rotation_mode = "QUATERNION"
    cameras.apply(path[0].camera, camera.data)
    for item in path:
        camera.matrix_world = cameras.blender_matrix(item.camera)
        for name in ("location", "rotation_quaternion"):
            camera.keyframe_insert(name, frame=item.frame)
    scene.frame_set(1)


def switched_on(times):
    """A click; the view looks through the camera, and there is the picture."""
    started = time.perf_counter()
    yield from click_button("closeup.live_preview")
    live = module("preview").live
    found["on"], found["view"] = live.on, area().spaces.active.region_3d.view_perspective
    yield from until(lambda: live.status != "" or shown())
    yield from picture("starting")
    yield from until(shown, 240)  # the engine may have to compile itself
    found["first_seconds"] = round(time.perf_counter() - started, 2)
    yield from kept("first", times)


def kept(name: str, times):
    """A picture of the screen without the sidebar, and what it must show: where, at which camera, and the picture itself."""
    area().spaces.active.show_region_ui = False
    for _ in range(2):  # the first redraw tells where the view looks now
        drawn = len(times.draws)
        area().tag_redraw()
        yield from until(lambda before=drawn: len(times.draws) > before)
        yield from until(shown)
    item, place = shown(), region()
    left, bottom, right, top = _rectangle()
    found.setdefault("kept", {})[name] = {
        "camera": asdict(item.of.camera),
        "rectangle": [left + place.x, bottom + place.y, right + place.x, top + place.y],
    }
    (OUT / f"{name}.rgba").write_bytes(item.pixels)
    yield from picture(name)
    area().spaces.active.show_region_ui = True
    yield 0.3


def _rectangle():
    view, space, scene = area().spaces.active.region_3d, area().spaces.active, bpy.context.scene
    cloud = module("preview").source(scene)[1].matrix_world
    everywhere = scene.closeup.preview_free
    return module("preview_view").of_region(space, region(), view, scene, cloud, everywhere).rectangle


def moved(scene, times):
    """Single moves, each with the time until its picture is drawn; then a move that does not wait for pictures."""
    found["moves"] = []
    for _ in range(8):
        scene.camera.location.x += 0.01
        before = time.perf_counter()
        yield from until(lambda: shown() is None, 5)  # the redraw has told where the view looks now
        yield from until(shown)
        last = shown()
        yield from until(lambda item=last: times.painted and times.painted[-1][0] is item)
        drawn = [when - before for item, when in times.painted if item.of == last.of]
        asked = module("preview").live._number
        answers = [times.came[asked, final] for final in (False, True) if (asked, final) in times.came]
        computed = sum(seconds for _, seconds in answers)
        # between the two are Blender's own redraws, which take long without a graphics card
        move = {"first": drawn[0], "final": drawn[-1], "engine": computed, "ways": answers[-1][0] - times.sent[asked] - computed}
        found["moves"].append({name: round(1000 * value, 1) for name, value in move.items()})
        yield 0.1
    painted = len(times.painted)
    for number in range(24):
        scene.camera.location.x += 0.01 * (1 if number < 12 else -1)
        yield 0.03
    found["pictures_while_moving"] = len({id(item) for item, _ in times.painted[painted:]})
    yield from kept("moved", times)


def scrubbed(scene, times):
    for frame in range(1, 4):
        scene.frame_set(frame)
        yield 0.05
    yield from kept("scrubbed", times)


def looked_aside(scene, times):
    """Past what the photos saw; the frame is zoomed and shifted in the view."""
    view = area().spaces.active.region_3d
    view.view_camera_zoom, view.view_camera_offset = 10.0, (0.05, -0.04)
    scene.camera.data.shift_x = 0.25
    scene.frame_set(2)
    yield from kept("aside", times)
    scene.camera.data.shift_x = 0.0
    view.view_camera_zoom, view.view_camera_offset = 0.0, (0.0, 0.0)


def orbited(scene, times):
    """A free view, turned by the mouse's own operator."""
    view = area().spaces.active.region_3d
    view.view_perspective = "PERSP"
    view.view_location, view.view_distance = (0.0, 0.0, 0.4), 3.2
    view.view_rotation = Euler((1.2, 0.0, -0.2)).to_quaternion()
    yield 0.5
    found["free_without"] = module("preview").live.awaited
    scene.closeup.preview_free = True
    area().tag_redraw()
    yield from until(lambda: module("preview").live.awaited, 5)
    for number in range(12):
        view.view_rotation = Euler((1.2, 0.0, -0.2 + 0.03 * number)).to_quaternion()
        yield 0.03
    yield from kept("orbited", times)
    scene.closeup.preview_free = False
    view.view_perspective = "CAMERA"
    yield 0.3


def a_job_meanwhile(scene):
    """It pauses while the engine works, and goes on."""
    module("api").resume(OTHER, scene, block=False)
    queue, live = module("jobs").queue, module("preview").live
    yield from until(lambda: queue.active and queue.active.state == "running")
    scene.camera.location.x += 0.1
    yield 0.3
    found["paused"] = live.status
    yield from picture("paused")
    yield from until(lambda: not queue.active, 200)
    found["job"] = queue.latest.state
    yield from until(lambda: live.status == "" and shown())
    yield 0.3


def switched_off():
    live = module("preview").live
    yield from click_button("closeup.live_preview")
    found["off"] = not live.on
    yield from picture("off")
    live.start(bpy.context.scene)
    bpy.ops.wm.read_homefile()
    yield 0.5
    found["off_with_file"] = not live.on


play(steps)
