"""The extension's tests, with the installed zip in a profile of its own: in Blender as a Python module, and in the application.

CLOSEUP_ZIP: the zip to install. CLOSEUP_ENGINE_PYTHON: an interpreter with the engine's packages. BLENDER_USER_RESOURCES: the
profile, which the application has read before these tests begin; a module gets one here.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
if "bpy" not in sys.modules:
    os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="closeup-profile-")
PROFILE = os.environ["BLENDER_USER_RESOURCES"]

import bpy  # noqa: E402, I001 - Blender reads the profile's place when it is imported, and brings addon_utils
import addon_utils  # noqa: E402

PACKAGE = "bl_ext.user_default.closeup"
_status = 0


def module(name: str):
    """A module of the installed extension."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def pytest_configure() -> None:
    """Install the zip once for the whole run."""
    archive = os.environ.get("CLOSEUP_ZIP")
    if not archive:
        raise pytest.UsageError("Set CLOSEUP_ZIP to the extension's zip (python build.py test does).")
    bpy.ops.extensions.package_install_files(filepath=archive, repo="user_default", enable_on_install=True)
    if not addon_utils.check(PACKAGE)[1]:
        raise pytest.UsageError(f"{archive} was not enabled; Blender's output says why.")


def pytest_sessionfinish(session, exitstatus) -> None:
    """Remember the status for the end."""
    global _status
    _status = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """End without Blender's own exit, which old versions do not survive as a module."""
    addon_utils.disable(PACKAGE)
    shutil.rmtree(PROFILE, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_status)


@pytest.fixture(autouse=True)
def scene():
    """An empty file with one camera, and an empty queue."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    if not addon_utils.check(PACKAGE)[1]:
        addon_utils.enable(PACKAGE, default_set=True)
    module("closeup_addon.jobs").queue.shots.clear()
    result = bpy.context.scene
    result.render.resolution_x, result.render.resolution_y, result.render.resolution_percentage = 64, 48, 100
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    result.collection.objects.link(camera)
    result.camera = camera
    return result


@pytest.fixture
def fake_engine(tmp_path, monkeypatch):
    """Let jobs run in :mod:`fake_engine`; call it with a fault's name to provoke that."""
    launcher = tmp_path / "fake-python"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{HERE / "fake_engine.py"}" "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("CLOSEUP_ENGINE_PYTHON", str(launcher))
    monkeypatch.delenv("CLOSEUP_FAULT", raising=False)
    yield lambda fault: monkeypatch.setenv("CLOSEUP_FAULT", fault)
    module("closeup_addon.jobs").queue.shut_down()


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """Three small pictures on the disk."""
    paths = []
    for index in range(3):
        image = bpy.data.images.new("made", 40, 30)
        image.pixels = [(index + 1) / 4, 0.5, 0.25, 1.0] * 1200
        path = tmp_path / f"photo {index} ü.png"
        image.filepath_raw, image.file_format = str(path), "PNG"
        image.save()
        bpy.data.images.remove(image)
        paths.append(path)
    return paths
