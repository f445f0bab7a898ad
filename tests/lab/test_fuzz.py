"""Spoiled files: a sentence or a result, never a crash, a hang, a traceback or a file that should not be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fuzz
import jobs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spoil import spoiled

from engine import job, protocol

FULL = os.environ.get("CLOSEUP_LAB") == "full"
INPUTS = 8_000 if FULL else 250
"""Per reader."""


@pytest.mark.parametrize("name", fuzz.READERS)
def test_spoiled_files_are_read_or_refused(tmp_path, name):
    read, refused = counted(tmp_path, name, 0, INPUTS)
    assert read + refused == INPUTS
    assert read and refused  # else the mistakes are too small or too large to tell anything


@pytest.mark.parametrize(("name", "number"), [(".laz", 1545)])
def test_what_once_ended_a_reader_does_no_more(tmp_path, name, number):
    assert sum(counted(tmp_path, name, number, 1)) == 1


def counted(tmp_path: Path, name: str, first: int, count: int) -> tuple[int, int]:
    """Inputs read and refused, in a process of its own: a crash of a library is a failure and not the end of all tests."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    command = [sys.executable, str(Path(fuzz.__file__)), name, str(first), str(count), str(folder)]
    with open(tmp_path / "errors", "wb") as errors:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, timeout=60 + count, check=False)
    if done.returncode:
        number = (tmp_path / "inputs.number").read_text()
        said = (tmp_path / "errors").read_text(errors="replace")[-3000:]
        pytest.fail(f"{name}: input {number} ended the reader with code {done.returncode}; see {folder}\n{said}")
    read, refused = (int(word) for word in done.stdout.splitlines()[-1].split()[::2])  # OpenEXR prints there too
    return read, refused


# --- values rather than bytes ------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The path of every value in a JSON object."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


@settings(max_examples=3000 if FULL else 300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_job_with_any_value_anywhere_is_a_job_or_a_sentence(data):
    import json

    good = json.loads(fuzz.job_files()[0][1])
    where = data.draw(st.sampled_from(places(good)[1:]))
    target = good
    for key in where[:-1]:
        target = target[key]
    target[where[-1]] = data.draw(VALUES)
    try:
        found = job.from_dict(good)
    except job.JobError as error:
        assert "\n" not in str(error) and len(str(error)) <= job.MAX_SENTENCE + 1
    else:
        assert job.from_dict(json.loads(json.dumps(job.to_dict(found)))) == found


@settings(max_examples=3000 if FULL else 300, deadline=None)
@given(st.sampled_from(sorted(protocol.EVENTS)), st.dictionaries(st.text(max_size=8), VALUES, max_size=3), st.data())
def test_an_event_with_any_values_is_of_its_types_or_refused(kind, more, data):
    event = {**more, **{key: data.draw(VALUES) for key in protocol.EVENTS[kind]}, "event": kind}
    try:
        line = protocol.encode(event)
        found = protocol.decode_event(line)
    except protocol.ProtocolError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(found[key], types) for key, types in protocol.EVENTS[kind].items())


# --- whole jobs of a stranger --------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished job, small enough to be run hundreds of times."""
    from engine import worker
    from engine.progress import Progress

    folder = jobs.make(tmp_path_factory.mktemp("finished") / "job", frames=2, size=(24, 16))
    assert worker.run_job(str(folder), Progress(), "cpu")["event"] == "done"
    return folder


@pytest.mark.parametrize("number", range(300 if FULL else 25))
def test_a_spoiled_job_folder_harms_nothing_beside_it(finished, tmp_path, number):
    """Some file of a finished job is spoiled, or is a link, and its last frame is missing: it is made again, or refused."""
    import random
    import shutil

    from engine import worker
    from engine.progress import Progress

    chance = random.Random(number)
    folder, canary = tmp_path / "job", tmp_path / "canary"
    shutil.copytree(finished, folder)
    canary.mkdir()
    (canary / ".1.mine.png").write_bytes(b"mine")
    (folder / "frames" / "0002.png").unlink()
    (folder / ".closeup" / "frames.json").unlink()
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    for path in chance.sample(files, 2):
        if chance.random() < 0.2:
            path.unlink()
            path.symlink_to(canary / ".1.mine.png")
        else:
            path.write_bytes(spoiled(path.read_bytes(), chance, text=path.suffix == ".json"))
    last = worker.run_job(str(folder), Progress(), "cpu")
    assert last["event"] in ("done", "error")
    assert last["event"] == "done" or ("\n" not in last["message"] and "Traceback" not in last["message"])
    assert last.get("code") != "internal", last["message"]
    assert [path.name for path in canary.iterdir()] == [".1.mine.png"] and (canary / ".1.mine.png").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary", "job"]
