"""A play inside Blender: after drive_crash.py the file is opened again."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from person import OUT, area, click, engine, finished, found, module, open_sidebar, picture, play, press, sidebar, stop_the_clock


def steps():
    yield 1.5
    bpy.ops.wm.open_mainfile(filepath=str(OUT / "project.blend"))
    yield 1.5
    yield from finished(30)
    history, queue = module("history").history, module("jobs").queue
    stop_the_clock()
    yield from open_sidebar()
    bpy.context.window_manager.closeup_shot_index = 0
    yield from picture("returned")
    found["returned"] = shots()
    found["arrived"] = [item.image.name for item in bpy.context.scene.camera.data.background_images if item.image]
    engine("works")
    bpy.ops.closeup.continue_shot()
    yield from finished(60)
    yield 0.5
    found["continued"] = shots()
    random.seed(5)  # the panel shows the seed that is drawn
    bpy.ops.closeup.redo_shot(seed="NEW")
    yield from finished(60)
    yield 0.5
    found["redone"] = [name for name, *_ in shots()]
    yield from picture("shots")
    bpy.ops.closeup.show_shot(folder=next(key for key in history.records if "finished" in key))
    yield 0.5
    shown = [item.image.name for item in bpy.context.scene.camera.data.background_images if item.show_background_image]
    found["shown"] = shown
    yield from outputs()
    bpy.ops.wm.save_mainfile()
    yield 0.5
    bpy.ops.closeup.delete_shot("EXEC_DEFAULT", folder=next(iter(history.records)))
    yield 0.5
    found["deleted"] = [name for name, *_ in shots()]
    bpy.ops.wm.open_mainfile(filepath=str(OUT / "project.blend"))
    yield 1.0
    while history.busy:
        yield 0.2
    found["reopened"] = {
        "shots": [name for name, *_ in shots()],
        "placing": [shot.state for shot in queue.shots if not shot.ended],
    }
    yield from narrow()


def outputs():
    """The frames of "finished" in the sequencer, the compositor, on a plane and in an Image Editor of its own window."""
    scene, manager = bpy.context.scene, bpy.context.window_manager
    folder = next(key for key in module("history").history.records if "finished" in key)
    for name in ("add_strip", "add_passes", "add_plane", "show_in_editor"):
        press(name, folder=folder)
        yield 0.5
    editors = [item for window in manager.windows for item in window.screen.areas if item.type == "IMAGE_EDITOR"]
    yield from picture("outputs")
    found["outputs"] = {
        "strips": len(scene.sequence_editor.strips),
        "nodes": len([node for node in scene.compositing_node_group.nodes if node.bl_idname == "CompositorNodeImage"]),
        "plane": any(child.name.endswith("plane") for child in scene.camera.children),
        "windows": len(manager.windows),
        "shown": editors[0].spaces.active.image.name,
    }
    for window in list(manager.windows)[1:]:
        with bpy.context.temp_override(window=window):
            bpy.ops.wm.window_close()
    yield 0.5


def shots() -> list[tuple]:
    return [(item.folder.name, item.state, item.made, item.arrived) for item in module("history").history.records.values()]


def narrow():
    """The sidebar as narrow as Blender lets it be dragged, as a person would."""
    yield from open_sidebar()
    region = sidebar()
    x, y = region.x, region.y + region.height // 3
    simulate = bpy.context.window_manager.windows[0].event_simulate
    for kind, value, at in (
        ("MOUSEMOVE", "NOTHING", x),
        ("LEFTMOUSE", "PRESS", x),
        ("MOUSEMOVE", "NOTHING", x + 40),
        ("MOUSEMOVE", "NOTHING", x + 90),
    ):
        simulate(type=kind, value=value, x=at, y=y)
        yield 0.2
    simulate(type="LEFTMOUSE", value="RELEASE", x=x + 90, y=y)
    yield 0.5
    found["narrow"] = sidebar().width
    area().tag_redraw()
    yield from picture("narrow")
    yield from click(x - 200, y)


play(steps)
