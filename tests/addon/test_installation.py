"""The engine's installation from Blender: only when asked, only with leave to go online, never in Blender's way.

tests/lab/test_install.py installs; here the installer does what a test tells it.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import bpy
import pytest
from conftest import module


@pytest.fixture
def installation(monkeypatch, tmp_path):
    """The module, nothing done yet, with an empty folder for the engine."""
    result = module("closeup_addon.installation")
    ended = result.state.ended + 1
    result.state.__init__()
    result.state.ended = ended
    monkeypatch.delenv("CLOSEUP_ENGINE_PYTHON", raising=False)
    preferences = module("closeup_addon.preferences").get()
    preferences.engine_folder = str(tmp_path / "engine home")
    yield result
    for name in ("engine_folder", "engine_python", "wheels_folder"):
        setattr(preferences, name, "")
    preferences.device = preferences.accelerator = "AUTO"


@pytest.fixture
def installer(monkeypatch):
    """Replaces what works on the disk: ``installer(name, function)``."""
    environment = module("closeup_addon.environment")
    return lambda name, function: monkeypatch.setattr(environment, name, function)


def wait(installation) -> None:
    until = time.monotonic() + 60
    while installation.state.running and time.monotonic() < until:
        time.sleep(0.01)
    assert not installation.state.running


def set_state(installation, name: str, **more) -> None:
    """Write engine.json as an installer would have left it."""
    environment, preferences = module("closeup_addon.environment"), module("closeup_addon.preferences")
    folder = preferences.engine_folder()
    python = environment.python_of(folder)
    python.parent.mkdir(parents=True, exist_ok=True)
    python.touch()
    module("closeup_addon.environment.state").write(folder, environment.State(name, **more))
    installation.state.ended += 1  # what was read a moment ago is not believed any more


def test_blenders_leave_to_go_online_is_asked(installation, tmp_path):
    assert not bpy.app.online_access
    assert not bpy.ops.closeup.install_engine.poll()
    module("closeup_addon.preferences").get().wheels_folder = str(tmp_path)  # needs no network
    assert bpy.ops.closeup.install_engine.poll()
    module("closeup_addon.preferences").get().wheels_folder = str(tmp_path / "nothing")
    assert not bpy.ops.closeup.install_engine.poll()


def test_it_runs_beside_blender_and_tells_how_far_it_is(installation, installer, tmp_path):
    calls, go_on = [], threading.Event()

    def install(home, root, reporter, options, repair):
        calls.append((home, root, options, repair))
        reporter.line("Downloading torch\n")
        reporter.progress(0.25, "Downloading torch: 1 of 4 packages, 10 of 40 MB")
        assert go_on.wait(10)

    installer("install", install)
    preferences = module("closeup_addon.preferences")
    preferences.get().wheels_folder, preferences.get().accelerator = str(tmp_path), "cpu"
    started = time.monotonic()
    installation.install(preferences.engine_folder(), preferences.install_options())
    assert time.monotonic() - started < 0.05
    until = time.monotonic() + 5
    while installation.state.factor == 0.0 and time.monotonic() < until:
        time.sleep(0.01)
    assert installation.state.running and installation.state.factor == 0.25
    assert "10 of 40 MB" in preferences.engine_status() and list(installation.state.lines) == ["Downloading torch"]
    assert not bpy.ops.closeup.install_engine.poll() and not bpy.ops.closeup.remove_engine.poll()
    assert not preferences.has_engine()
    with pytest.raises(module("closeup_addon.errors").CloseUpError, match="worked on already"):
        installation.verify(tmp_path)
    go_on.set()
    wait(installation)
    home, root, options, repair = calls[0]
    assert home == tmp_path / "engine home" and (root / "engine" / "locks" / "uv.txt").is_file()
    assert options.accelerator == "cpu" and options.wheels == tmp_path and not repair


def test_it_can_be_cancelled(installation, installer, tmp_path):
    environment = module("closeup_addon.environment")

    def install(home, root, reporter, options, repair):
        until = time.monotonic() + 10
        while not reporter.cancelled() and time.monotonic() < until:
            time.sleep(0.01)
        raise environment.Cancelled("Stopped; what is downloaded is kept.")

    installer("install", install)
    assert not bpy.ops.closeup.cancel_engine.poll()
    installation.install(tmp_path, environment.Options())
    assert bpy.ops.closeup.cancel_engine() == {"FINISHED"}
    wait(installation)
    assert installation.state.error == "" and installation.state.line.startswith("Stopped")


@pytest.mark.parametrize("unexpected", [False, True])
def test_a_failure_is_kept_as_a_sentence(installation, installer, tmp_path, unexpected):
    environment = module("closeup_addon.environment")
    error = RuntimeError("disk on fire") if unexpected else environment.InstallError("No space is left; free some.")

    def install(*arguments):
        raise error

    installer("install", install)
    module("closeup_addon.preferences").get().wheels_folder = str(tmp_path)
    with pytest.raises(RuntimeError, match="disk on fire" if unexpected else "No space is left"):
        bpy.ops.closeup.install_engine()  # without an interface it waits, and fails as scripts expect
    assert installation.state.error.startswith("The work on the engine stopped (disk on" if unexpected else "No space is left")


@pytest.mark.parametrize(
    "state, sentence",
    [
        ("incomplete", "was interrupted; press Install Engine, it continues"),
        ("removing", "was interrupted"),
        ("broken", "is damaged: numpy cannot be used. Press Repair"),
    ],
)
def test_only_a_ready_engine_runs_jobs(installation, state, sentence):
    preferences = module("closeup_addon.preferences")
    assert preferences.engine_status().startswith("The engine is not installed")
    set_state(installation, "ready")
    assert preferences.has_engine() and preferences.is_outdated()
    set_state(
        installation, "ready", locks=module("closeup_addon.environment").locks_fingerprint(module("closeup_addon.extension").ROOT)
    )
    assert not preferences.is_outdated()
    set_state(installation, state, problems=["numpy cannot be used."])
    assert sentence in preferences.engine_status() and not preferences.has_engine()
    set_state(installation, "ready")
    preferences.engine_python().unlink()
    installation.state.ended += 1
    assert "press Repair" in preferences.engine_status()


def test_buttons_are_there_for_what_can_be_done(installation, tmp_path):
    module("closeup_addon.preferences").get().wheels_folder = str(tmp_path)
    names = ("install_engine", "repair_engine", "verify_engine", "remove_engine")

    def grey() -> set[str]:
        return {name for name in names if not getattr(bpy.ops.closeup, name).poll()}

    assert grey() == {"repair_engine", "verify_engine", "remove_engine"}
    set_state(installation, "incomplete")
    assert grey() == {"verify_engine"}
    set_state(installation, "ready")
    assert grey() == set()
    module("closeup_addon.preferences").get().engine_python = str(tmp_path / "python")
    assert grey() == {"install_engine", "repair_engine", "remove_engine"}


def test_removing_keeps_the_models(installation):
    set_state(installation, "ready")
    folder = module("closeup_addon.preferences").engine_folder()
    (folder / "models").mkdir()
    assert bpy.ops.closeup.remove_engine() == {"FINISHED"}
    assert [path.name for path in folder.iterdir()] == ["models"]
    assert not bpy.ops.closeup.remove_engine.poll()


def test_a_studios_own_environment_is_checked(installation, tmp_path):
    """This Blender's Python has no torch; that is said, and nothing is changed."""
    import sys

    preferences = module("closeup_addon.preferences")
    preferences.get().engine_python = sys.executable
    before = sorted(path.name for path in Path(sys.prefix).iterdir())
    with pytest.raises(RuntimeError, match=r"packages are missing: .*torch"):
        bpy.ops.closeup.verify_engine()
    assert installation.state.existing[0] == Path(sys.executable)
    assert sorted(path.name for path in Path(sys.prefix).iterdir()) == before


def test_the_engine_is_found_where_the_preferences_say(installation, tmp_path):
    preferences = module("closeup_addon.preferences")
    python = tmp_path / "python"
    python.touch()
    preferences.get().engine_python = str(python)
    assert preferences.engine_python() == python
    assert preferences.device() is None
    preferences.get().device = "cpu"
    assert preferences.device() == "cpu"
    preferences.get().engine_python = ""
    assert preferences.engine_folder() == tmp_path / "engine home"


def test_the_accelerator_is_looked_for_beside_blender(installation):
    started = time.monotonic()
    installation.accelerator()
    assert time.monotonic() - started < 0.05
    until = time.monotonic() + 30
    while installation.accelerator() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert installation.accelerator().kind in {"cpu", "cuda", "rocm", "xpu", "mps"}
