"""job.json: what is written is read back; what is wrong is refused with one sentence that names the place."""

from __future__ import annotations

import copy
import json
import os
import shutil

import jobs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import job
from engine.job import JobError

IDENTITY = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
CAMERA = {"width": 64, "height": 48, "fx": 60, "fy": 60, "cx": 32, "cy": 24, "world_from_camera": IDENTITY}
GOOD = {
    "format": "closeup.job",
    "version": 1,
    "name": "push-in",
    "sources": [{"image": "a.png", "mask": None, "depth": None, "camera": CAMERA}, {"image": "b.png", "camera": None}],
    "path": [{"frame": 1, "camera": CAMERA}, {"frame": 2, "camera": CAMERA}],
    "geometry": {"method": "auto"},
    "conditioning": {},
    "generator": {"backend": "embedded", "steps": 4, "seed": 0},
    "output": {"format": "png"},
}


def changed(place: str, value: object) -> dict:
    """GOOD with the value at a dotted place replaced."""
    data = copy.deepcopy(GOOD)
    *parents, last = (int(part) if part.isdigit() else part for part in place.split("."))
    target = data
    for part in parents:
        target = target[part]
    target[last] = value
    return data


def test_round_trip(tmp_path):
    first = job.from_dict(GOOD)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"a picture")
    job.save(first, tmp_path)
    assert job.load(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir() if "job" in path.name] == ["job.json"]


def test_empty_objects_mean_defaults():
    data = {key: GOOD[key] for key in ("format", "version", "sources", "path")}
    assert job.from_dict(data).generator == job.GeneratorSettings()


@pytest.mark.parametrize(
    "place, value, says",
    [
        ("format", "other", "format"),
        ("version", 2, "version 2"),
        ("surprise", 1, "surprise"),
        ("sources", [], "no photos"),
        ("sources", "a.png", "list"),
        ("sources.0.image", None, "names no image"),
        ("sources.0.image", 7, "text"),
        ("sources.0.lens", 7, "lens"),
        ("sources.0.camera.fx", 0, "positive"),
        ("sources.0.camera.fx", -5, "positive"),
        ("sources.0.camera.cx", "32", "number"),
        ("sources.0.camera.cy", True, "number"),
        ("sources.0.camera.width", 0, "between"),
        ("sources.0.camera.width", 10**9, "between"),
        ("sources.0.camera.height", 47.5, "whole"),
        ("sources.0.camera.roll", 1, "roll"),
        ("sources.0.camera.world_from_camera", IDENTITY[:3], "4×4"),
        ("sources.0.camera.world_from_camera", [[2, 0, 0, 0], *IDENTITY[1:]], "rotation"),
        ("sources.0.camera.world_from_camera", [[-1, 0, 0, 0], *IDENTITY[1:]], "mirror"),
        ("sources.0.camera.world_from_camera", [*IDENTITY[:3], [0, 0, 0, 2]], "rotation"),
        ("sources.0.focal_35mm", 0, "focal"),
        ("sources.0.exposure", 11, "stops"),
        ("sources.0.exposure", "bright", "number"),
        ("path.1.frame", 1, "twice"),
        ("path.1.frame", 1.5, "whole"),
        ("path.1.camera", None, "object"),
        ("generator.steps", 0, "between"),
        ("generator.seed", -1, "between"),
        ("generator.backend", "magic", "embedded"),
        ("geometry.method", "guess", "stereo"),
        ("output.format", "jpg", "exr"),
        ("name", "a\0b", "text"),
    ],
)
def test_what_is_wrong_is_named(place, value, says):
    with pytest.raises(JobError) as error:
        job.from_dict(changed(place, value))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_must_be_finite(tmp_path, number):
    text = json.dumps(GOOD).replace('"fx": 60', f'"fx": {number}', 1)
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(JobError, match="finite"):
        job.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b'"job"'])
def test_files_that_are_no_job(tmp_path, content):
    (tmp_path / "job.json").write_bytes(content)
    with pytest.raises(JobError):
        job.load(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(JobError, match=r"no job\.json"):
        job.load(tmp_path)
    job.save(job.from_dict(GOOD), tmp_path)
    with pytest.raises(JobError, match=r"a\.png"):
        job.load(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
PLACES = [
    "sources", "sources.0", "sources.0.image", "sources.0.camera", "sources.0.camera.world_from_camera", "path", "path.0",
    "path.0.frame", "path.0.camera.fx", "path.0.camera.width", "geometry", "geometry.max_size", "generator", "generator.seed",
    "output", "name", "version", "sources.0.camera.world_from_camera.1", "sources.0.camera.world_from_camera.1.1",
]  # fmt: skip


@given(st.sampled_from(PLACES), JSON)
def test_any_json_anywhere_is_accepted_or_refused_with_a_sentence(place, value):
    try:
        job.from_dict(changed(place, value))
    except JobError as error:
        assert str(error).strip()


# --- a stranger's files ----------------------------------------------------------


@pytest.mark.parametrize("name", ["depth/a.png", "./frames/a.png", "x/../Geometry/a.png", ".closeup/a.png", "link/a.png"])
def test_photos_where_the_engine_writes_are_refused(tmp_path, name):
    """The engine empties these folders when a job begins anew; a photo in one of them would be lost."""
    folder = jobs.make(tmp_path / "job", frames=1)
    (folder / "x").mkdir()
    if name.startswith("link"):
        (folder / "depth").mkdir()
        (folder / "link").symlink_to(folder / "depth", target_is_directory=True)
    place = folder / name
    place.parent.mkdir(exist_ok=True)
    shutil.copy(folder / "photo-0.png", place)
    jobs.change(folder, lambda data: data["sources"][0].update(image=name))
    with pytest.raises(job.JobError, match="put it elsewhere"):
        job.load(folder)
    assert place.exists()


def test_photos_in_folders_of_the_users_are_welcome(tmp_path):
    folder = jobs.make(tmp_path / "job", frames=1)
    (folder / "photos").mkdir()
    shutil.move(folder / "photo-0.png", folder / "photos" / "a.png")
    jobs.change(folder, lambda data: data["sources"][0].update(image="photos/a.png"))
    assert job.load(folder).sources[0].image == "photos/a.png"


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes as files")
@pytest.mark.parametrize("name", ["/dev/zero", "/proc/self/mem", "pipe", "x" * 4000, "a\udcffb", "folder"])
def test_what_is_no_file_is_refused_at_once(tmp_path, name):
    folder = jobs.make(tmp_path / "job", frames=1)
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    jobs.change(folder, lambda data: data["sources"][0].update(image=name, sha256=None))
    with pytest.raises(job.JobError, match=r"missing|empty"):
        job.load(folder)


def test_an_endless_job_is_refused(tmp_path):
    with open(tmp_path / "job.json", "wb") as stream:
        stream.truncate(job.MAX_TEXT + 1)
    with pytest.raises(job.JobError, match="no job of CloseUp"):
        job.load(tmp_path)
