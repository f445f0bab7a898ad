"""What is different on Windows and macOS, with the system's own functions replaced: which are called, and how."""

from __future__ import annotations

import ctypes
import errno
import ntpath
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_environment import Silent, accelerator, environment, places, plan, state

from engine import lifeline

PARENT = 4711


class WindowsOs:
    """The module ``os`` as it is on Windows, as far as names and paths go."""

    name, path, sep = "nt", ntpath, "\\"

    def __getattr__(self, name: str):
        return getattr(os, name)


class Ended:
    """Is called when the parent has gone."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self) -> None:
        self.event.set()


def started(parent: int, ended: Ended) -> threading.Thread:
    thread = threading.Thread(target=lifeline._wait, args=(parent, ended), daemon=True)
    thread.start()
    return thread


# --- the engine's parent ---------------------------------------------------------------


def test_macos_tells_the_engine_of_its_parents_end_by_kqueue(monkeypatch):
    exits, asked, closed = threading.Event(), [], []

    class Queue:
        def control(self, changes, count, timeout):
            asked.append((changes, count, timeout))
            if len(asked) == 1:
                return []  # woken for nothing
            exits.wait(5)
            return changes

        def close(self):
            closed.append(True)

    names = {name: 1 << index for index, name in enumerate(("KQ_EV_ADD", "KQ_EV_ONESHOT", "KQ_FILTER_PROC", "KQ_NOTE_EXIT"))}
    fake = SimpleNamespace(kqueue=Queue, kevent=lambda *arguments: arguments, **names)
    monkeypatch.setattr(lifeline, "select", fake)
    monkeypatch.setattr(sys, "platform", "darwin")
    ended = Ended()
    thread = started(PARENT, ended)
    assert not ended.event.wait(0.2)
    exits.set()
    thread.join(5)
    assert ended.event.is_set() and closed
    event = (PARENT, fake.KQ_FILTER_PROC, fake.KQ_EV_ADD | fake.KQ_EV_ONESHOT, fake.KQ_NOTE_EXIT)
    assert asked == [([event], 1, None)] * 2


def test_macos_refuses_to_watch_a_parent_that_has_gone(monkeypatch):
    def gone():
        raise ProcessLookupError(errno.ESRCH, "No such process")

    monkeypatch.setattr(lifeline, "select", SimpleNamespace(kqueue=gone))
    monkeypatch.setattr(sys, "platform", "darwin")
    ended = Ended()
    lifeline._wait(PARENT, ended)  # it is not our parent
    assert ended.event.is_set()


class Function:
    """A function of a DLL; ``does`` runs when it is called."""

    def __init__(self, does) -> None:
        self._does, self.calls = does, []

    def __call__(self, *arguments):
        self.calls.append(arguments)
        return self._does(*arguments)


def test_windows_tells_the_engine_of_its_parents_end_by_a_handle(monkeypatch):
    exits = threading.Event()
    kernel = SimpleNamespace(OpenProcess=Function(lambda *_: 99), WaitForSingleObject=Function(lambda *_: exits.wait(5) and 0))
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, **options: kernel, raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    ended = Ended()
    thread = started(PARENT, ended)
    assert not ended.event.wait(0.2)
    exits.set()
    thread.join(5)
    assert ended.event.is_set()
    assert kernel.OpenProcess.calls == [(0x00100000, False, PARENT)] and kernel.WaitForSingleObject.calls == [(99, 0xFFFFFFFF)]


# --- the engine's environment ------------------------------------------------------------


def test_on_windows_one_installer_works_and_the_other_waits(monkeypatch, tmp_path):
    held = []

    def locking(descriptor: int, how: int, count: int) -> None:
        assert (how, count) == (2, 1)
        if held:
            raise PermissionError(errno.EACCES, "Permission denied")
        held.append(descriptor)

    monkeypatch.setattr(state, "os", WindowsOs())
    monkeypatch.setattr(state, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2), raising=False)

    class Impatient(Silent):
        def cancelled(self) -> bool:
            return True

    with state.lock(tmp_path, Silent()), pytest.raises(environment.Cancelled), state.lock(tmp_path, waiting := Impatient()):
        pass
    assert "Another Blender" in waiting.lines[0]


def test_on_windows_the_state_is_written_once_nobody_reads_it(monkeypatch, tmp_path):
    tries = []

    class Busy(WindowsOs):
        def replace(self, source, target) -> None:
            tries.append(source)
            if len(tries) < 3:
                raise PermissionError(errno.EACCES, "Access is denied")
            os.replace(source, target)

    monkeypatch.setattr(state, "os", Busy())
    state.write(tmp_path, environment.State("ready"))
    assert len(tries) == 3 and state.read(tmp_path).state == "ready"


@pytest.mark.parametrize(
    "path, wanted",
    [
        ("C:\\Users\\Ada\\CloseUp", "\\\\?\\C:\\Users\\Ada\\CloseUp"),
        ("\\\\server\\share\\CloseUp", "\\\\?\\UNC\\server\\share\\CloseUp"),
        ("\\\\?\\C:\\CloseUp", "\\\\?\\C:\\CloseUp"),
    ],
)
def test_windows_is_given_paths_of_any_length(monkeypatch, path, wanted):
    monkeypatch.setattr(places, "os", WindowsOs())
    assert places.extended(path) == wanted


@pytest.mark.parametrize("letters, enabled, fits", [(59, 0, True), (61, 0, False), (61, 1, True), (61, None, False)])
def test_a_path_that_is_too_long_for_this_windows_is_a_sentence(monkeypatch, letters, enabled, fits):
    class Key:
        __enter__ = __exit__ = lambda self, *_: None

    def query(key, name):
        assert name == "LongPathsEnabled"
        if enabled is None:
            raise FileNotFoundError
        return enabled, 4

    registry = SimpleNamespace(HKEY_LOCAL_MACHINE=0, OpenKey=lambda *_: Key(), QueryValueEx=query)
    monkeypatch.setitem(sys.modules, "winreg", registry)
    monkeypatch.setattr(places, "os", WindowsOs())
    monkeypatch.setattr(sys, "platform", "win32")
    home = "C:\\" + "x" * (letters - 3)
    if fits:
        places.check_length(home)
    else:
        with pytest.raises(environment.InstallError, match="LongPathsEnabled"):
            places.check_length(home)


@pytest.mark.parametrize(
    "name, kind", [("Intel(R) Arc(TM) A770 Graphics", "xpu"), ("Intel(R) UHD Graphics 770", "cpu"), ("AMD Radeon 780M", "cpu")]
)
def test_windows_names_its_graphics_cards(monkeypatch, tmp_path, name, kind):
    monkeypatch.setattr(accelerator, "os", WindowsOs())
    monkeypatch.setattr(accelerator.shutil, "which", lambda tool: None)
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    monkeypatch.setattr(accelerator, "_output", lambda command: f"Microsoft Basic Display\r\n{name}\r\n")
    assert accelerator.find(tmp_path).kind == kind


def test_nvidias_tool_is_found_where_windows_keeps_it(monkeypatch, tmp_path):
    tool = tmp_path / "System32" / "nvidia-smi.exe"
    tool.parent.mkdir()
    tool.touch()
    monkeypatch.setattr(accelerator, "os", WindowsOs())
    monkeypatch.setattr(accelerator.shutil, "which", lambda tool: None)
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    said = {str(tool): "NVIDIA GeForce RTX 4090, 591.44, 8.9"}
    monkeypatch.setattr(accelerator, "_output", lambda command: said[command[0]])
    assert accelerator.find(tmp_path).build == "cu130"


@pytest.mark.parametrize(
    "system, machine, version, name",
    [
        ("darwin", "arm64", "15.1", "macos-arm64"),
        ("darwin", "arm64", "13.6", None),
        ("darwin", "x86_64", "15.1", None),
        ("win32", "AMD64", "", "windows-x86_64"),
        ("win32", "ARM64", "", None),
    ],
)
def test_systems_with_packages(monkeypatch, system, machine, version, name):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(plan.platform, "machine", lambda: machine)
    monkeypatch.setattr(plan.platform, "mac_ver", lambda: (version, (), ""))
    if name:
        assert plan.system() == name
    else:
        with pytest.raises(environment.InstallError):
            plan.system()


def test_where_the_engine_lives(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert places.default_folder() == tmp_path / "CloseUp"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert places.default_folder() == tmp_path / "Library" / "Application Support" / "CloseUp"
