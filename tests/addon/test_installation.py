"""The engine's installation from Blender: only when asked, only with leave to go online, never in Blender's way."""

from __future__ import annotations

import time

import bpy
import pytest
from conftest import module


@pytest.fixture
def installation(monkeypatch):
    """The module, with an installer that does what a test tells it."""
    result = module("closeup_addon.installation")
    result.state.__init__()
    return result


def wait(installation) -> None:
    until = time.monotonic() + 5
    while installation.state.running and time.monotonic() < until:
        time.sleep(0.01)
    assert not installation.state.running


def test_blenders_leave_to_go_online_is_asked(scene):
    assert not bpy.app.online_access
    assert not bpy.ops.closeup.install_engine.poll()


def test_it_runs_beside_blender_and_tells_how_far_it_is(installation, monkeypatch, tmp_path):
    calls = []

    def install(home, root, report):
        calls.append((home, root))
        report("Downloading torch\n")
        time.sleep(0.2)

    monkeypatch.setattr(module("closeup_addon.environment"), "install", install)
    installation.start(tmp_path)
    assert installation.state.running
    with pytest.raises(module("closeup_addon.errors").CloseUpError, match="being installed already"):
        installation.start(tmp_path)
    wait(installation)
    assert installation.state.line == "Downloading torch"
    assert calls[0][0] == tmp_path
    assert (calls[0][1] / "engine" / "requirements.txt").is_file()


@pytest.mark.parametrize("unexpected", [False, True])
def test_a_failure_is_kept_as_a_sentence(installation, monkeypatch, tmp_path, unexpected):
    environment = module("closeup_addon.environment")
    error = RuntimeError("disk on fire") if unexpected else environment.InstallError("No space is left; free some.")

    def install(home, root, report):
        raise error

    monkeypatch.setattr(environment, "install", install)
    installation.start(tmp_path)
    wait(installation)
    assert installation.state.error.startswith("The installation stopped (disk on fire)" if unexpected else "No space is left")


def test_the_engine_is_found_where_the_preferences_say(scene, monkeypatch, tmp_path):
    preferences = module("closeup_addon.preferences")
    monkeypatch.delenv("CLOSEUP_ENGINE_PYTHON", raising=False)
    python = tmp_path / "python"
    python.touch()
    preferences.get().engine_python = str(python)
    try:
        assert preferences.engine_python() == python
        assert preferences.device() is None
        preferences.get().device = "cpu"
        assert preferences.device() == "cpu"
    finally:
        preferences.get().engine_python, preferences.get().device = "", "AUTO"
    preferences.get().engine_folder = str(tmp_path)
    try:
        assert preferences.engine_folder() == tmp_path
        assert preferences.engine_status().startswith("The engine is not installed")
    finally:
        preferences.get().engine_folder = ""
