"""The live preview: a camera in, the condition picture out."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import jobs
import numpy as np
import pytest
import torch
from test_worker import Engine

from engine import job, pipeline, preview, protocol
from engine.artifacts import JobFolder
from engine.conditioning import Warper
from engine.inbox import Inbox
from engine.progress import EngineError, Progress

SIZE = (96, 64)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A job whose depth is measured."""
    folder = jobs.make(tmp_path_factory.mktemp("preview") / "job", frames=1)
    pipeline.run(folder, Progress(), "cpu")
    return folder


@pytest.fixture
def engine():
    worker = Engine()
    worker.event()
    yield worker
    worker.end()


def camera(step: float = 0.5) -> job.Camera:
    """Somewhere on the way in."""
    return jobs.push_in(101, SIZE)[int(100 * step)].camera


def request(folder: Path, pictures: Path, number: int, seen: job.Camera | None = None, **changes) -> dict:
    """As Blender sends it."""
    seen = json.loads(json.dumps(asdict(seen or camera())))
    return {"request": "preview", "job": str(folder), "camera": seen, "pictures": str(pictures), "id": number, **changes}


def answers(engine: Engine, number: int) -> list[dict]:
    """Events up to the last one that answers a request."""
    events = []
    while not events or events[-1]["id"] != number or (events[-1]["event"] == "preview" and not events[-1]["final"]):
        events.append(engine.event())
    return events


def picture(folder: Path, event: dict) -> np.ndarray:
    """What an event tells of; reading takes it away, as Blender does."""
    path = folder / protocol.preview_file(event["id"], event["final"])
    found = np.fromfile(path, np.float32).reshape(event["height"], event["width"], 4)
    path.unlink()
    return found


def truth(folder: Path, seen: job.Camera) -> np.ndarray:
    return preview.rgba(Warper(pipeline.warped_views(JobFolder(folder)), torch.device("cpu")).condition(seen))


def test_a_coarse_picture_comes_first_then_what_the_warper_makes_at_full_size(engine, finished, tmp_path):
    engine.ask(**request(finished, tmp_path, 1))
    coarse, final = answers(engine, 1)
    assert (coarse["event"], coarse["final"], coarse["width"], coarse["height"]) == ("preview", False, 24, 16)
    assert (final["event"], final["final"], final["width"], final["height"]) == ("preview", True, *SIZE)
    small, full = picture(tmp_path, coarse), picture(tmp_path, final)
    expected = truth(finished, camera())
    np.testing.assert_allclose(full, expected, atol=1e-3)
    blocks = expected.reshape(16, 4, 24, 4, 4).mean((1, 3))
    assert np.abs(small - blocks)[..., :3].mean() < 0.05 < np.abs(expected[..., :3] - expected[..., :3].mean()).mean()
    assert not list(tmp_path.iterdir())


def test_confidence_is_nothing_in_holes_and_only_there(finished):
    aside = replace(camera(), cx=-20.0)  # looks past what the photos saw
    condition = Warper(pipeline.warped_views(JobFolder(finished)), torch.device("cpu")).condition(aside)
    confidence = preview.rgba(condition)[..., 3]
    assert ((confidence == 0) == (condition.level == 0)).all() and 0 < (confidence == 0).mean() < 1
    assert confidence[confidence > 0].min() >= preview.LEAST_CONFIDENCE


def test_the_newest_camera_wins(engine, finished, tmp_path):
    for number in range(1, 6):  # while the first one's photos are still being read
        engine.ask(**request(finished, tmp_path, number, camera(number / 10)))
    events = answers(engine, 5)
    assert {event["id"] for event in events} == {5}
    np.testing.assert_allclose(picture(tmp_path, events[-1]), truth(finished, camera(0.5)), atol=1e-3)
    engine.ask(request="ping", id=9)
    assert engine.event() == {"event": "pong", "id": 9}  # nothing more is said of the others


def test_what_cannot_be_shown_is_a_sentence_and_the_next_one_comes(engine, finished, tmp_path):
    bare = jobs.make(tmp_path / "bare", frames=1)
    skewed = asdict(camera())
    skewed["world_from_camera"] = [[2.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    cases = [
        (request(tmp_path / "gone", tmp_path, 1), "missing", "The folder of the job is gone"),
        (request(bare, tmp_path, 2), "missing", "have no depth yet; build the cloud first."),
        (request(finished, tmp_path, 3, camera={}), "job", "The preview's camera lacks"),
        (request(finished, tmp_path, 4, camera=skewed), "job", "must be a rotation and a position"),
        (request(finished, tmp_path, 5, replace(camera(), width=4096)), "failed", "is too large; 2048 a side is the most."),
        (request(finished, tmp_path / "nowhere", 6), "missing", "preview-6-coarse.rgba is missing in"),
        (request("a\0b", tmp_path, 7), "missing", "The folder of the job is gone"),
    ]
    for asked, code, words in cases:
        engine.ask(**asked)
        event = engine.event()
        assert (event["event"], event["code"], event["id"]) == ("no_preview", code, asked["id"]), event
        assert words in event["message"] and "\n" not in event["message"] and event["message"].endswith(".")
    assert not (tmp_path / "gone").exists() and not (tmp_path / "nowhere").exists()
    engine.ask(**request(finished, tmp_path, 8))
    assert answers(engine, 8)[-1]["final"]


def test_a_damaged_depth_is_a_sentence_and_is_measured_again_by_the_next_job(engine, finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "job")
    (folder / "geometry" / "depth-00.npz").write_bytes(b"no depth")
    engine.ask(**request(folder, tmp_path, 1))
    assert engine.event()["code"] == "damaged"
    engine.ask(**request(folder, tmp_path, 2))
    assert "have no depth yet" in engine.event()["message"]
    engine.ask(request="run", job=str(folder), id=3)
    assert engine.until("done", "error")[-1]["event"] == "done"
    engine.ask(**request(folder, tmp_path, 4))
    assert answers(engine, 4)[-1]["final"]


def test_a_job_that_runs_or_waits_goes_first_and_is_as_without(engine, finished, tmp_path):
    engine.ask(**request(finished, tmp_path, 1))
    answers(engine, 1)
    folder = jobs.make(tmp_path / "job", frames=6)
    engine.ask(request="run", job=str(folder), id=2)
    for number in range(3, 60):
        engine.ask(**request(finished, tmp_path, number))
    events = engine.until("done", "error")
    refused = [event for event in events if event["event"] == "no_preview"]
    assert [event["id"] for event in refused] == list(range(3, 60)) and {event["code"] for event in refused} == {"busy"}
    assert events[-1]["event"] == "done" and not [event for event in events if event["event"] == "preview"]
    alone = jobs.make(tmp_path / "alone", frames=6)
    assert jobs.run(alone)[0] == 0 and jobs.results(folder) == jobs.results(alone)
    engine.ask(**request(folder, tmp_path, 99))
    assert answers(engine, 99)[-1]["final"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_no_picture_is_written_through_a_link(engine, finished, tmp_path):
    pictures, mine = tmp_path / "pictures", tmp_path / "mine"
    pictures.mkdir()
    mine.write_bytes(b"mine")
    for final in (False, True):
        (pictures / protocol.preview_file(1, final)).symlink_to(mine)
    engine.ask(**request(finished, pictures, 1))
    assert answers(engine, 1)[-1]["final"]
    assert mine.read_bytes() == b"mine" and not any(path.is_symlink() for path in pictures.iterdir())


def test_photos_stay_loaded_until_their_depth_is_another(finished, tmp_path, monkeypatch):
    folder, loads = shutil.copytree(finished, tmp_path / "job"), []
    load = preview._load
    monkeypatch.setattr(preview, "_load", lambda *arguments: loads.append(1) or load(*arguments))
    previewer = preview.Previewer("cpu")

    def final(seen: job.Camera) -> np.ndarray:
        events = list(previewer.pictures(request(folder, tmp_path, 1, seen), lambda: False))
        return picture(tmp_path, {**events[-1], "id": 1})

    first = final(camera(0.2))
    assert (final(camera(0.4)) != first).any() and len(loads) == 1
    place = folder / "geometry" / "depth-00.npz"
    known = dict(np.load(place))
    np.savez(place, depth=np.zeros_like(known["depth"]), confidence=np.zeros_like(known["confidence"]))
    assert (final(camera(0.2)) == first).all() and len(loads) == 1
    os.utime(folder / ".closeup" / "depth.json")  # as the stage does when it has measured again
    assert (final(camera(0.2)) != first).any() and len(loads) == 2
    previewer.forget()
    final(camera(0.2))
    assert len(loads) == 3


@pytest.mark.parametrize("quick, sizes", [(0.0, [False, True, False, True]), (1e9, [False, True, True])])
def test_where_a_whole_picture_is_quick_none_comes_before_it(finished, tmp_path, monkeypatch, quick, sizes):
    monkeypatch.setattr(preview, "QUICK_SECONDS", quick)
    previewer = preview.Previewer("cpu")
    asked = request(finished, tmp_path, 1)
    assert [found["final"] for _ in range(2) for found in previewer.pictures(asked, lambda: False)] == sizes


def test_a_picture_that_is_not_wanted_any_more_is_not_made(finished, tmp_path):
    previewer = preview.Previewer("cpu")
    asked = request(finished, tmp_path, 1)
    assert list(previewer.pictures(asked, lambda: True)) == []
    answers = iter([False, True])
    assert [found["final"] for found in previewer.pictures(asked, lambda: next(answers))] == [False]


def test_a_preview_waits_for_no_other_engine(finished, tmp_path):
    with JobFolder(finished).lock(), pytest.raises(EngineError, match="Another engine is at work"):
        list(preview.Previewer("cpu").pictures(request(finished, tmp_path, 1), lambda: False))


def test_the_inbox_keeps_jobs_in_order_and_of_previews_the_newest():
    inbox = Inbox()
    first, second = ({"request": "run", "id": number} for number in (1, 2))
    previews = [{"request": "preview", "id": number} for number in (3, 4)]
    assert all(inbox.put(item) for item in previews) and inbox.waits()
    assert inbox.take(0) is previews[1] and not inbox.waits()
    assert inbox.put(previews[0]) and inbox.put(first) and inbox.put(second)
    assert not inbox.put(previews[1])  # a job waits
    assert inbox.take(0) is first and not inbox.put(previews[1])  # a job runs
    assert inbox.take(0) is second
    assert inbox.take(0) is previews[0] and inbox.put(previews[1])
    assert inbox.take(0) is previews[1]
    with pytest.raises(TimeoutError):
        inbox.take(0)
    inbox.close()
    assert inbox.take(0) is None
