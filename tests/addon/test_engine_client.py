"""The fault lab, Blender's side: every way an engine can misbehave, against the real queue.

In each: no tick of the queue takes longer than a person would notice, the sentence is the right one, and the next job works.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import bpy
import proc
import pytest
from conftest import module

TICK = 0.030
"""Seconds that one tick of the queue may keep Blender."""


def queue():
    return module("closeup_addon.jobs").queue


def submit(photos, frames=3):
    return module("closeup_addon.api").generate(photos=photos, frames=range(1, frames + 1), block=False)


def work_off(shot, seconds: float = 20.0, until=None) -> list[float]:
    """Tick as Blender's timer does until the shot has ended; how many seconds each tick took.

    Placing the results is measured elsewhere. What the system took away for other programs does not count: the time for which
    this thread, or the one that it waited for, was ready and had no processor. Every other waiting does.
    """
    ticks, end = [], time.monotonic() + seconds
    until = until or (lambda: shot.ended)
    gc.collect()
    while not until():
        assert time.monotonic() < end, f"{shot.state}: {shot.message}"
        placing, before, started = shot.state == "placing", proc.kept_waiting(), time.perf_counter()
        queue().pump()
        taken = time.perf_counter() - started
        robbed = {thread: total - before.get(thread, 0.0) for thread, total in proc.kept_waiting().items()}
        own = robbed.pop(str(threading.get_native_id()), 0.0)
        if not placing and shot.state != "placing":
            ticks.append(taken - own - max(robbed.values(), default=0.0))
        time.sleep(0.01)
    return ticks


def next_job_works(photos, fake_engine) -> None:
    fake_engine("")
    queue().shut_down()
    shot = submit(photos, 1)
    work_off(shot)
    assert shot.state == "done", shot.error


@pytest.fixture
def quick(monkeypatch):
    """Deadlines of tests rather than of people."""
    client, vitals = module("closeup_addon.engine_client"), module("closeup_addon.vitals")
    for place, name, seconds in (
        (client, "HELLO_SECONDS", 1.5),
        (client, "CANCEL_SECONDS", 0.4),
        (client, "TERMINATE_SECONDS", 0.4),
        (vitals, "LOST_SECONDS", 0.6),
        (vitals, "GIVE_UP_SECONDS", 2.0),
    ):
        monkeypatch.setattr(place, name, seconds)


def worked_off_freely(photos, fake_engine, fault):
    """The shot of a faulty engine, of the first of three tries in which no tick kept Blender: a busy machine may take the reader
    away while it has the lock."""
    longest = []
    while len(longest) < 3 and min(longest, default=1.0) > TICK:
        fake_engine(fault)
        shot = submit(photos)
        longest.append(max(work_off(shot)))
    assert min(longest) <= TICK
    return shot


FAULTS = [
    ("error", "bad-photo", "photos", "The photo a.jpg cannot be read; save it again."),
    ("dies", "crashed", "report", "The engine ended unexpectedly (exit code 3); see "),
    ("dies-mid-job", "crashed", "report", "The engine ended unexpectedly (exit code 7); see "),
    ("dies-mid-frame", "crashed", "report", "The engine ended unexpectedly (exit code 7); see "),
    ("killed", "killed", "smaller", "it was killed, perhaps because the memory ran out"),
    ("silent", "start", "install", "The engine did not start within "),
    ("no-packages", "start", "install", "The engine's packages are not complete; press Install Engine."),
    ("old-protocol", "version", "install", "The engine speaks version 99 and this extension "),
    ("garbage", "protocol", "report", "(A line is not JSON.)"),
    ("bytes", "protocol", "report", "(A line is not JSON.)"),
    ("deep", "protocol", "report", "(A line is not JSON.)"),
    ("nan", "protocol", "report", "(The event 'progress' has a wrong 'done'.)"),
    ("lies", "protocol", "report", "(The event 'progress' has a wrong 'stage'.)"),
    ("odd-id", "protocol", "report", "(The event 'frame' has a wrong 'id'.)"),
    ("huge-line", "protocol", "report", "bytes is too long"),
    ("endless-line", "protocol", "report", "bytes is too long"),
    ("hangs", "hung", "continue", "The engine had stopped answering and was ended"),
    ("reads-nothing", "hung", "continue", "The engine had stopped answering and was ended"),
    ("closes-stdout", "hung", "continue", "The engine had stopped answering and was ended"),
]


@pytest.mark.parametrize("fault, code, fix, sentence", FAULTS, ids=[row[0] for row in FAULTS])
def test_a_fault_is_one_sentence_and_blender_stays_free(scene, photos, fake_engine, quick, fault, code, fix, sentence):
    shot = worked_off_freely(photos, fake_engine, fault)
    assert (shot.state, shot.error_code, shot.fix) == ("failed", code, fix), shot.error
    assert sentence in shot.error and "\n" not in shot.error and "Traceback" not in shot.error
    next_job_works(photos, fake_engine)


@pytest.mark.parametrize("fault", ["strange-numbers", "chatters", "warns", "tires"])
def test_what_an_engine_may_do_stops_no_job(scene, photos, fake_engine, fault):
    shot = worked_off_freely(photos, fake_engine, fault)
    assert shot.state == "done", shot.error


def test_a_flood_of_events_is_stemmed(scene, photos, fake_engine, monkeypatch, caplog):
    monkeypatch.setattr(module("closeup_addon.engine_client"), "FLOOD", 5000)
    shot = worked_off_freely(photos, fake_engine, "floods")
    assert shot.error_code == "protocol" and "5000 messages came in " in shot.error
    told = [record for record in caplog.records if "frame 1 " in record.getMessage()]
    assert 1 <= len(told) <= 3, "a frame is told once in each try"
    next_job_works(photos, fake_engine)


def test_events_that_nobody_fetches_do_not_fill_the_memory(scene, photos, fake_engine, monkeypatch):
    monkeypatch.setattr(module("closeup_addon.engine_client"), "MAX_WAITING", 1000)
    fake_engine("floods")
    shot = submit(photos)
    while shot.state == "queued":
        queue().pump()
    time.sleep(2.0)  # Blender is busy with something else
    work_off(shot)
    assert shot.error_code == "protocol" and "More than 1000 messages wait" in shot.error
    next_job_works(photos, fake_engine)


def test_an_engine_that_hangs_is_told_from_one_that_works_and_can_be_stopped(scene, photos, fake_engine, quick, monkeypatch):
    monkeypatch.setattr(module("closeup_addon.vitals"), "GIVE_UP_SECONDS", 60.0)
    fake_engine("hangs")
    shot = submit(photos)
    work_off(shot, until=lambda: shot.stalled)
    assert shot.stalled.startswith("The engine does not answer") and "Cancel" in shot.stalled
    queue().cancel(shot)
    assert max(work_off(shot)) <= TICK
    assert shot.state == "cancelled" and not shot.stalled
    next_job_works(photos, fake_engine)


def test_a_job_that_waits_for_something_is_told_from_one_that_computes(scene, photos, fake_engine):
    fake_engine("stands-still")
    shot = submit(photos)
    work_off(shot, until=lambda: shot.stalled)
    assert shot.stalled.startswith("The engine waits for something")
    queue().cancel(shot)


def test_a_slow_engine_is_not_called_hanging(scene, photos, fake_engine, monkeypatch):
    monkeypatch.setenv("CLOSEUP_FAKE_SECONDS", "0.3")
    monkeypatch.setattr(module("closeup_addon.vitals"), "LOST_SECONDS", 1.5)
    shot = submit(photos)
    work_off(shot, until=lambda: shot.ended or shot.stalled)
    assert shot.state == "done" and not shot.stalled


def test_half_a_frame_is_never_taken_for_one(scene, photos, fake_engine):
    fake_engine("dies-mid-frame")
    shot = submit(photos)
    work_off(shot)
    assert [path.name for path in (shot.folder / "frames").glob("[0-9]*.png")] == ["0001.png"]


# --- signs of life, judged without any process ---------------------------------


def beat(quiet: float, cpu: float) -> dict:
    return {"event": "heartbeat", "quiet": quiet, "cpu": cpu, "id": 1}


def watch(vitals, beats, seconds: int, look_every: int = 1) -> list[str]:
    """The verdict of every second; ``beats(second)`` is an event or None."""
    verdicts = []
    for now in range(seconds):
        if event := beats(now):
            vitals.hear(event, now)
        if now % look_every == 0:
            verdicts.append(vitals.look(now))
    return verdicts


def test_verdicts():
    vitals = module("closeup_addon.vitals")
    computes = watch(vitals.Vitals(0), lambda now: beat(now, now * 0.9), 600)
    assert set(computes) == {""}
    waits = watch(vitals.Vitals(0), lambda now: beat(now, 1 + now * 0.001), 100)
    assert waits[50] == "" and waits[99] == "still"
    gone = watch(vitals.Vitals(0), lambda now: beat(0, now) if now < 10 else None, 1000)
    assert gone[35] == "" and gone[50] == "lost" and gone[-1] == "dead"
    moves_again = watch(vitals.Vitals(0), lambda now: beat(now, 1) if now < 100 else {"event": "stage"}, 120)
    assert moves_again[99] == "still" and moves_again[119] == ""
    nobody_looked = watch(vitals.Vitals(0), lambda now: None, 600, look_every=60)  # Blender was busy, or the machine slept
    assert set(nobody_looked) == {""}


def test_windows_structure_has_windows_size():
    import ctypes

    process = module("closeup_addon.engine_process")
    assert ctypes.sizeof(process.JobLimits) == (144 if ctypes.sizeof(ctypes.c_void_p) == 8 else 112)
    assert process.JobLimits.flags.offset == 16


class Kernel:
    """Windows' functions for job objects, and the calls of them. refuses: the name of the one that fails."""

    def __init__(self, refuses: str = "") -> None:
        self.calls: list[tuple] = []
        for name in ("CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject", "CloseHandle"):
            setattr(self, name, self._function(name, 0 if name == refuses else 55))

    def _function(self, name: str, result: int):
        def function(*arguments) -> int:
            self.calls.append((name, *arguments))
            return result

        return function


@pytest.mark.parametrize("refuses", ["", "CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject"])
def test_on_windows_a_job_object_ties_the_engine_to_blender_and_is_given_back(monkeypatch, refuses):
    import ctypes
    from types import SimpleNamespace

    process, kernel = module("closeup_addon.engine_process"), Kernel(refuses)
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, **options: kernel, raising=False)
    tie = process._tied(SimpleNamespace(_handle=77))
    names = [call[0] for call in kernel.calls]
    assert tie == (None if refuses else 55)
    assert ("CloseHandle", 55) in kernel.calls if refuses not in ("", "CreateJobObjectW") else "CloseHandle" not in names
    if not refuses:
        _, job, kind, limits, size = kernel.calls[1]
        assert (job, kind, size, limits._obj.flags) == (55, 9, ctypes.sizeof(process.JobLimits), 0x2000)
        assert kernel.calls[2] == ("AssignProcessToJobObject", 55, 77)
        ended = SimpleNamespace(_tie=tie)
        process.EngineProcess.untie(ended)
        process.EngineProcess.untie(ended)
        assert kernel.calls[3:] == [("CloseHandle", 55)]


# --- log ------------------------------------------------------------------------


def test_the_log_is_bounded_and_keeps_its_end(tmp_path):
    log_file = module("closeup_addon.log_file")
    log = log_file.LogFile(tmp_path / "engine.log", max_bytes=1000)
    for index in range(500):
        log.write(f"line {index}\n".encode())
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["engine.log", "engine.log.1", "engine.log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert log_file.tail(tmp_path / "engine.log", 2) == ["line 498", "line 499"]
    log.write(b"x" * 5000)
    assert (tmp_path / "engine.log").stat().st_size <= 1000


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path):
    log_file = module("closeup_addon.log_file")
    (tmp_path / "file").write_text("")
    log_file.LogFile(tmp_path / "file" / "engine.log").write(b"line\n")
    assert log_file.tail(tmp_path / "file" / "engine.log", 3) == []


# --- soak -----------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts what Linux shows of a process")
def test_many_jobs_over_two_clients_leave_nothing_behind(scene, photos, fake_engine, tmp_path):
    """A short form of a long day: CLOSEUP_LAB=full runs 500 jobs, and twelve engines die in it."""
    jobs = 500 if os.environ.get("CLOSEUP_LAB") == "full" else 40
    client, root = module("closeup_addon.engine_client"), module("closeup_addon.extension").ROOT
    python = Path(os.environ["CLOSEUP_ENGINE_PYTHON"])
    folder = submit(photos, 2).folder
    queue().shut_down()
    before = footprint()
    clients = [client.EngineClient(python, root, tmp_path / "engine.log") for _ in range(2)]
    for number in range(1, jobs + 1):
        which = number % 2
        if number % 41 == 0:
            clients[which].kill()
            end_of(clients[which], "closed")
            clients[which].stop()
            clients[which] = client.EngineClient(python, root, tmp_path / "engine.log")
        clients[which].run(folder, number)
        assert end_of(clients[which], "done", "error", "closed")["event"] == "done"
    for each in clients:
        each.stop()
    deadline = time.monotonic() + 5
    while footprint() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert footprint() == before
    assert not [path for path in folder.rglob(".[0-9]*") if path.is_file()]
    assert sorted(path.name for path in tmp_path.glob("engine.log*")) == ["engine.log"]


def end_of(client, *kinds: str) -> dict:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        event = client.poll()
        if event and event["event"] in kinds:
            return event
        time.sleep(0.002)
    raise AssertionError(f"none of {kinds} came")


def footprint() -> tuple[int, int, int]:
    """Open files, threads of ours and child processes of this Blender."""
    found = proc.used()
    return found["files"], found["threads"], found["processes"]


def test_the_scene_is_untouched_by_failures(scene, photos, fake_engine):
    before = sorted(bpy.data.objects.keys())
    fake_engine("garbage")
    work_off(submit(photos))
    assert sorted(bpy.data.objects.keys()) == before


# --- diagnostics -----------------------------------------------------------------


def test_diagnostics_hold_what_helps_and_nobodys_name(scene, photos, fake_engine):
    fake_engine("error")
    shot = submit(photos)
    work_off(shot)
    assert bpy.ops.closeup.copy_diagnostics() == {"FINISHED"}
    said = module("closeup_addon.diagnostics").collect()
    assert bpy.app.version_string in said and "Device: cpu" in said
    assert "failed, 3 frames, stage cameras, bad-photo: The photo a.jpg cannot be read; save it again." in said
    assert "a library prints this" in said
    assert str(Path.home()) + os.sep not in said


@pytest.mark.parametrize(
    "home, user, line, wanted",
    [
        ("/home/ada", "ada", "File /home/ada/x/adam.py of ada@box", "File ~/x/adam.py of USER@COMPUTER"),
        ("/home/ada", "ada", "/home/adalbert/x and /Users/grace/y and C:\\Users\\Grace H\\z", "~/x and ~/y and ~\\z"),
        ("C:\\Users\\Ada", "Ada", '{"job": "c:\\\\users\\\\ada\\\\job"} C:/Users/Ada/x', '{"job": "~\\\\job"} ~/x'),
        ("/", "root", "/usr/lib/x as root", "/usr/lib/x as USER"),
    ],
)
def test_names_are_taken_out(home, user, line, wanted):
    diagnostics = module("closeup_addon.diagnostics")
    assert diagnostics.anonymous(line, home, user, "box") == wanted
