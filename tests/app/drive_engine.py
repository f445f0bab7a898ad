"""A play inside Blender: the Engine panel in every state. The installer itself is played; tests/lab installs."""

from __future__ import annotations

import importlib
import shutil
import sys
import threading
import time
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from person import OUT, PACKAGE, area, found, module, open_sidebar, picture, play, sidebar, timed_panels, window

FOLDER = Path("/var/tmp/closeup-engine-of-a-play")
LINES = ("Making a Python 3.11 environment", "Downloading numpy (16.1MiB)", "Downloading torch (502.2MiB)")
PROGRESS = (0.42, "Downloading torch: 7 of 12 packages, 310 of 738 MB")


def steps():
    yield 1.5
    panels = importlib.import_module(f"{PACKAGE}.panels")
    for cls in panels.CLASSES:  # without the panels above it, the one to be seen is on the screen
        bpy.utils.unregister_class(cls)
    engine = [cls for cls in panels.CLASSES if cls.__name__.startswith("CLOSEUP_PT_engine")]
    engine[0].bl_options = set()
    for cls in engine:
        bpy.utils.register_class(cls)
    yield from open_sidebar()
    preferences, environment = module("preferences"), module("environment")
    area().spaces.active.overlay.show_overlays = False  # behind the panel there is nothing that graphics drivers draw otherwise
    # the same folder and the same machine in every picture
    shutil.rmtree(FOLDER, ignore_errors=True)
    preferences.get().engine_folder = str(FOLDER)
    environment.find_accelerator = lambda: environment.Accelerator("cpu", "CPU", "cpu")
    installation = module("installation")
    installation._accelerator[:] = [environment.find_accelerator()]
    yield 1.0
    yield from picture("engine-absent")

    go_on = threading.Event()

    def install(home, root, reporter, options, repair):
        for line in LINES:
            reporter.line(line)
        reporter.progress(*PROGRESS)
        go_on.wait(60)
        raise environment.InstallError("The packages could not be installed (dns error); check the network, then install again.")

    environment.install = install
    preferences.get().wheels_folder = str(OUT)
    started = time.perf_counter()
    bpy.ops.closeup.install_engine()
    found["click_ms"] = 1000 * (time.perf_counter() - started)
    yield 1.0
    yield from picture("engine-installing")
    found["running"] = [installation.state.running, installation.state.factor]
    go_on.set()
    yield 1.0
    yield from picture("engine-error")
    installation.state.error = ""

    folder = preferences.engine_folder()
    python = environment.python_of(folder)
    python.parent.mkdir(parents=True)
    python.touch()
    state = importlib.import_module(f"{PACKAGE}.closeup_addon.environment.state")
    device = {"device": "cuda", "device_name": "NVIDIA GeForce RTX 4090", "packages": {"torch": "2.13.0+cu130"}, "notes": []}
    state.write(folder, environment.State("ready", found=device, accelerator="cuda", bytes=5 << 30))
    installation.state.ended += 1
    yield 0.6
    yield from picture("engine-ready")
    bpy.ops.preferences.addon_show(module=PACKAGE)
    yield 1.5
    yield from picture("engine-preferences")
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[-1]):
        bpy.ops.wm.window_close()
    yield 0.5
    times = timed_panels()
    for _ in range(60):
        area().tag_redraw()
        yield 0.0
    drawn = sorted(times["CLOSEUP_PT_engine"])
    found["panel_ms"] = [len(drawn), 1000 * drawn[len(drawn) // 2], 1000 * drawn[-1]]
    with bpy.context.temp_override(window=window(), area=area(), region=sidebar()):
        window().event_simulate(type="MOUSEMOVE", value="NOTHING", x=500, y=700)
        bpy.ops.closeup.remove_engine("INVOKE_DEFAULT")
    yield 0.5
    yield from picture("engine-remove")
    shutil.rmtree(FOLDER)
    for cls in panels.CLASSES:  # Blender unregisters them all when it quits
        if cls not in engine:
            bpy.utils.register_class(cls)


play(steps)
