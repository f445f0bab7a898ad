"""Whole jobs through the real subprocess: what comes out, what is kept, what a killed run leaves."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time

import jobs
import numpy as np
import OpenEXR
import pytest
import synthetic
import trimesh
from PIL import Image

from engine import artifacts, job, protocol
from engine.color import linear_from_srgb
from engine.evaluation import psnr
from engine.geometry import fusion
from engine.records import View

KILLS = 20


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished job of three frames, and what its run printed."""
    folder = jobs.make(tmp_path_factory.mktemp("a job's folder — ü '\""))
    code, events, err = jobs.run(folder)
    assert code == 0, err
    return folder, events


def test_events_are_of_the_protocol_and_end_with_done(finished):
    _, events = finished
    for event in events:
        protocol.decode_event(protocol.encode(event))
    assert events[-1]["event"] == "done"
    assert [event["frame"] for event in events if event["event"] == "frame"] == [1, 2, 3]
    progress = [event["done"] for event in events if event["event"] == "progress" and event["stage"] == "frames"]
    assert progress == sorted(progress) and progress[-1] == 3


def test_every_artifact_stands_and_has_the_right_size(finished):
    folder, _ = finished
    for number in (1, 2, 3):
        for name, mode in (("frames", "RGB"), ("condition", "RGBA"), ("provenance", "P")):
            with Image.open(folder / name / f"{number:04d}.png") as picture:
                assert picture.size == (96, 64) and picture.mode == mode
        assert artifacts.read_depth(folder / "depth" / f"{number:04d}.exr").shape == (64, 96)
    cloud = trimesh.load(folder / "cloud.ply")
    assert len(cloud.vertices) > 1000 and cloud.colors.shape[1] >= 3
    report = json.loads((folder / "report.json").read_text())
    assert {"cameras", "depth", "cloud", "frames"} <= set(report["stages"]) and report["device"]
    assert not jobs.temporaries(folder)


def test_the_frames_are_what_the_camera_would_have_seen(finished):
    folder, _ = finished
    for item in job.load(folder).path:
        truth, depth = synthetic.cast(item.camera)
        frame = artifacts.read_frame(folder / "frames" / f"{item.frame:04d}.png")
        assert psnr(frame, truth) > 22
        found = artifacts.read_depth(folder / "depth" / f"{item.frame:04d}.exr")
        assert np.median(np.abs(found - depth) / depth) < 0.01


def test_a_second_run_keeps_everything(finished):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != "report.json"}
    code, events, _ = jobs.run(folder)
    assert code == 0 and not [event for event in events if event["event"] == "frame"]
    after = {path: path.stat().st_mtime_ns for path in before}
    assert after == before


def test_brightened_photos_make_brighter_frames(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    before = np.asarray(Image.open(folder / "frames" / "0002.png"), float) / 255
    jobs.change(folder, lambda data: [source.update(exposure=-1.0) for source in data["sources"]])
    assert jobs.run(folder)[0] == 0
    after = np.asarray(Image.open(folder / "frames" / "0002.png"), float) / 255
    assert np.median(linear_from_srgb(after) / linear_from_srgb(before).clip(1e-3)) == pytest.approx(0.5, abs=0.05)


def test_deleted_frames_are_made_again_and_no_others(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    before = jobs.results(folder)
    (folder / "frames" / "0002.png").unlink()
    kept = (folder / "frames" / "0003.png").stat().st_mtime_ns
    assert jobs.run(folder)[0] == 0
    assert jobs.results(folder) == before
    assert (folder / "frames" / "0003.png").stat().st_mtime_ns == kept


def test_the_same_job_gives_the_same_bytes(finished, tmp_path):
    folder, _ = finished
    again = jobs.make(tmp_path / "again")
    assert jobs.run(again)[0] == 0
    assert jobs.results(again) == jobs.results(folder)


def test_another_seed_keeps_the_geometry(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    jobs.change(folder, lambda data: data["generator"].update(seed=7))
    cloud = (folder / "cloud.ply").stat().st_mtime_ns
    code, events, _ = jobs.run(folder)
    assert code == 0 and len([event for event in events if event["event"] == "frame"]) == 3
    assert (folder / "cloud.ply").stat().st_mtime_ns == cloud


def test_a_killed_run_continues_to_the_same_bytes(tmp_path):
    """Stereo, several segments and the memory between them; killed at random moments until it is through."""
    whole = jobs.make(tmp_path / "whole", frames=10, size=(48, 32), depth=False)
    started = time.monotonic()
    assert jobs.run(whole)[0] == 0
    duration = time.monotonic() - started
    wanted = jobs.results(whole)
    chance = random.Random(5)
    folder, kills = jobs.make(tmp_path / "killed", frames=10, size=(48, 32), depth=False), 0
    pristine = tmp_path / "pristine"
    shutil.copytree(folder, pristine)
    while kills < KILLS:
        process = jobs.start("run", folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(chance.uniform(0.3, 1.1) * duration)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            kept = {name: value for name, value in jobs.results(folder).items() if name in wanted}
            assert all(wanted[name] == value for name, value in kept.items())
            continue
        assert jobs.results(folder) == wanted
        shutil.rmtree(folder)
        shutil.copytree(pristine, folder)
    assert jobs.run(folder)[0] == 0
    assert jobs.results(folder) == wanted
    assert not jobs.temporaries(folder)


def test_depth_of_solved_cameras_serves_a_job_that_is_given_them(tmp_path):
    """As Blender asks for it after a solve; and it is what that job makes by itself. One photo lies on its head in its file."""
    dense = job.GeometrySettings(dense=True)
    solved = jobs.make(tmp_path / "solved", photos=4, frames=0, depth=False, photo_size=(320, 240), geometry=dense)
    _put_on_its_head(solved / "photo-1.png")
    jobs.change(solved, lambda data: [item.update(camera=None, sha256=None) for item in data["sources"]])
    code, _, message = jobs.run(solved)
    assert code == 0, message
    rows = json.loads((solved / "cameras.json").read_text())
    known = tuple(job.Source(f"../solved/{row['image']}", camera=job.camera_from_dict(row["camera"], "")) for row in rows)
    assert known[1].image == "../solved/undistorted/01-photo-1.png"
    what = job.Job(known, jobs.push_in(2, (48, 32)), geometry=dense)
    heir, alone = tmp_path / "heir", tmp_path / "alone"
    for folder in (heir, alone):
        job.save(what, folder)
    for name in ("geometry", ".closeup"):
        shutil.copytree(solved / name, heir / name)
    shutil.copy(solved / "cloud.ply", heir)
    for folder in (heir, alone):
        code, _, message = jobs.run(folder)
        assert code == 0, message
    stages = [set(json.loads((folder / "report.json").read_text())["stages"]) for folder in (heir, alone)]
    assert stages == [{"cameras", "frames"}, {"cameras", "depth", "cloud", "frames"}]
    assert jobs.results(heir) == jobs.results(alone)


def _put_on_its_head(path) -> None:
    """The file's pixels are turned, and its EXIF tells it, as those of a phone that was held the other way round."""
    with Image.open(path) as picture:
        turned, exif = picture.rotate(180), Image.Exif()
    exif[0x0112] = 3
    turned.save(path, exif=exif)


def test_an_empty_path_only_solves(tmp_path):
    folder = jobs.make(tmp_path, frames=1, depth=False)
    jobs.change(folder, lambda data: data.update(path=[]))
    code, events, _ = jobs.run(folder)
    assert code == 0 and events[-1]["event"] == "done"
    assert len(json.loads((folder / "cameras.json").read_text())) == 3
    assert (folder / "cloud.ply").exists() and not (folder / "frames").exists()


def test_an_empty_path_and_dense_make_the_cloud(tmp_path):
    folder = jobs.make(tmp_path, frames=1, geometry=job.GeometrySettings(dense=True))
    jobs.change(folder, lambda data: data.update(path=[]))
    assert jobs.run(folder)[0] == 0
    cloud = trimesh.load(folder / "cloud.ply")
    assert len(cloud.vertices) > 2000 and not (folder / "frames").exists()
    jobs.change(folder, lambda data: data["geometry"].update(dense="yes"))
    code, _, message = jobs.run(folder)
    assert code != 0 and "geometry.dense must be true or false" in message


def test_exr_output(tmp_path):
    folder = jobs.make(tmp_path, frames=1, output=job.OutputSettings("exr"), generator=job.GeneratorSettings("none"))
    assert jobs.run(folder)[0] == 0
    camera = job.load(folder).path[0].camera
    truth, depth = synthetic.cast(camera)
    path = folder / "frames" / "0001.exr"
    assert psnr(artifacts.read_frame(path), truth) > 22
    with OpenEXR.File(str(path), separate_channels=True) as file:
        planes = {name: channel.pixels.astype(np.float32) for name, channel in file.channels().items()}
    level = artifacts.read_indices(folder / "provenance" / "0001.png")
    assert np.array_equal(planes["Depth.Z"], np.nan_to_num(artifacts.read_depth(folder / "depth" / "0001.exr"), posinf=1e10))
    assert np.array_equal(planes["Provenance.V"], level)
    assert np.array_equal(planes["Confidence.V"] > 0, level > 0)
    normal = np.stack([planes[f"Normal.{axis}"] for axis in "XYZ"], axis=-1)
    true_view = View("truth", truth, camera, depth > 0, depth, np.ones_like(depth))
    cosine = (normal * fusion.normals(true_view)).sum(-1)
    assert np.median(cosine[level > 0]) > 0.99  # in the world, toward the camera
