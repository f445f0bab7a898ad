"""Scans as sources of depth: their files, how photos see them, and whole jobs with one."""

import dataclasses
import json

import jobs
import laspy
import numpy as np
import pye57
import pytest
import synthetic
import torch
from plyfile import PlyData, PlyElement

from engine import artifacts, job, pipeline, scans
from engine import camera as cams
from engine.geometry import fusion, ply, scan_files
from engine.progress import EngineError, Progress
from engine.records import View

CPU = torch.device("cpu")
FAR_AWAY = np.array([500_000.0, 5_400_000.0, 312.0])
"""Where surveyors' coordinates lie."""


@pytest.fixture(scope="module")
def surface():
    """(points, colours) on the synthetic scene, as scanners on an arc around it would measure it."""
    points, colours = [], []
    for camera in synthetic.arc(7, 120, 90, spread=120, elevation=1.6):
        image, depth = synthetic.cast(camera)
        points.append(cams.unproject(camera, depth).reshape(-1, 3))
        colours.append((image.reshape(-1, 3) * 255 + 0.5).astype(np.uint8))
    return np.concatenate(points), np.concatenate(colours)


def write_las(path, points, colours, **flags):
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.scales, header.offsets = np.full(3, 1e-4), np.floor(points.min(0))
    las = laspy.LasData(header)
    las.xyz = points
    las.red, las.green, las.blue = (colours.astype(np.uint16) * 257).T
    for name, values in flags.items():
        las[name] = values
    las.write(str(path))


def write_ply(path, points, colours):
    kind = [("x", "f8"), ("y", "f8"), ("z", "f8"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    rows = np.empty(len(points), kind)
    for axis, name in enumerate(("x", "y", "z")):
        rows[name] = points[:, axis]
    for axis, name in enumerate(("red", "green", "blue")):
        rows[name] = colours[:, axis]
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(path))


def write_e57(path, points, colours, translation=(0.0, 0.0, 0.0)):
    with pye57.E57(str(path), mode="w") as file:
        own = points - np.asarray(translation)
        data = {f"cartesian{name}": own[:, axis].copy() for axis, name in enumerate("XYZ")}
        data |= {f"color{name}": colours[:, axis].copy() for axis, name in enumerate(("Red", "Green", "Blue"))}
        file.write_scan_raw(data, rotation=np.array([1.0, 0, 0, 0]), translation=np.asarray(translation))


WRITERS = {".ply": write_ply, ".las": write_las, ".laz": write_las, ".e57": write_e57}


def whole(path):
    points, colours = zip(*scan_files.read(path))
    return np.concatenate(points), np.concatenate(colours)


@pytest.mark.parametrize("suffix", WRITERS)
def test_points_and_colours_come_back(tmp_path, surface, suffix, monkeypatch):
    monkeypatch.setattr(scan_files, "CHUNK", 7_000)
    points, colours = (values[:20_000] for values in surface)
    WRITERS[suffix](tmp_path / f"a scan é{suffix}", points, colours)
    found, shades = whole(tmp_path / f"a scan é{suffix}")
    assert found.dtype == np.float64 and np.abs(found - points).max() < 1e-4
    scale = 257 if suffix in (".las", ".laz") else 1
    assert np.array_equal(shades, colours.astype(int) * scale)


@pytest.mark.parametrize("suffix", (".ply", ".las", ".laz"))
def test_surveyors_coordinates_lose_nothing(tmp_path, surface, suffix):
    points, colours = (values[:1000] for values in surface)
    WRITERS[suffix](tmp_path / f"a{suffix}", points + FAR_AWAY, colours)
    matrix = np.eye(4)
    matrix[:3, 3] = -FAR_AWAY
    scan = job.Scan(f"a{suffix}", tuple(map(tuple, matrix.tolist())))
    found = scans.load([scan], tmp_path, synthetic.arc(3, 160, 120, spread=360 / 3 * 2), Progress())
    distance = np.abs(found.points[:, None, :] - points[None, ::50]).max(-1).min(0)
    assert np.median(distance) < 1e-4


def test_a_standpoint_of_e57_is_put_where_it_stood(tmp_path, surface):
    points, colours = (values[:500] for values in surface)
    write_e57(tmp_path / "a.e57", points, colours, translation=(7.0, -2.0, 1.0))
    assert np.abs(whole(tmp_path / "a.e57")[0] - points).max() < 1e-4


def test_noise_and_withheld_points_are_left_out(tmp_path, surface):
    points, colours = (values[:100] for values in surface)
    noise, withheld = np.zeros(100, np.uint8), np.zeros(100, np.uint8)
    noise[:10], withheld[10:15] = 7, 1
    write_las(tmp_path / "a.las", points, colours, classification=noise, withheld=withheld)
    assert np.abs(whole(tmp_path / "a.las")[0] - points[15:]).max() < 1e-4


@pytest.mark.parametrize("largest, dtype", [(1.0, "f4"), (255, "u1"), (65535, "u2")])
def test_colours_of_any_range_become_8_bits(tmp_path, largest, dtype):
    rows = np.zeros(3, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("r", dtype), ("g", dtype), ("b", dtype)])
    rows["z"], rows["r"][0], rows["g"][1] = 2.0, largest, largest
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(tmp_path / "a.ply"))
    camera = dataclasses.replace(synthetic.arc(1, 16, 16)[0], world_from_camera=tuple(map(tuple, np.eye(4).tolist())))
    found = scans.load([job.Scan("a.ply")], tmp_path, [camera], Progress())
    assert found.colors.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 0]] and found.coloured.all()


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("content", [b"", b"nothing", b"LASF" + b"\xff" * 400, b"ASTM-E57" + b"\xff" * 400])
def test_what_is_no_scan_is_one_sentence(tmp_path, suffix, content):
    (tmp_path / f"bad{suffix}").write_bytes(content)
    with pytest.raises(EngineError, match=rf"bad{suffix} cannot be read as [A-Z0-9]+ \(.*\); export it again\."):
        list(scan_files.read(tmp_path / f"bad{suffix}"))


def test_a_file_that_declares_more_than_it_holds_is_refused_at_once(tmp_path, surface):
    points, colours = (values[:100] for values in surface)
    write_las(tmp_path / "a.las", points, colours)
    data = bytearray((tmp_path / "a.las").read_bytes())
    data[107:111] = (2**32 - 1).to_bytes(4, "little")
    (tmp_path / "a.las").write_bytes(bytes(data))
    with pytest.raises(EngineError, match="declares 4294967295 points"):
        list(scan_files.read(tmp_path / "a.las"))


def test_other_files_and_missing_ones(tmp_path):
    with pytest.raises(EngineError, match=r"none of \.ply, \.las, \.laz, \.e57"):
        list(scan_files.read(tmp_path / "a.xyz"))
    for suffix in WRITERS:
        with pytest.raises(EngineError, match=r"is missing|cannot be read"):
            list(scan_files.read(tmp_path / f"none{suffix}"))


def test_more_points_than_are_kept_are_thinned_evenly(tmp_path, surface, monkeypatch):
    monkeypatch.setattr(scans, "MOST", 5_000)
    monkeypatch.setattr(scan_files, "CHUNK", 4_000)
    write_ply(tmp_path / "a.ply", *surface)
    found = scans.load([job.Scan("a.ply")], tmp_path, synthetic.arc(3, 160, 120), Progress())
    assert 2_500 < len(found) <= 5_000
    share = len(found) / len(surface[0])
    for low, high in ((-2, -0.3), (-0.3, 0.3), (0.3, 2)):
        ours, theirs = (((p[:, 0] > low) & (p[:, 0] < high)).sum() for p in (found.points, surface[0]))
        assert 0.7 * share < ours / theirs < 1.4 * share


# --- as photos see them --------------------------------------------------------------


def test_photos_see_the_front_of_a_scan(surface):
    photos, truths = synthetic.photos(3, 160, 120, spread=40)
    points = scans.Points(*surface, np.ones(len(surface[0]), bool))
    for seen, truth in zip(scans.seen_from(points, [photo.camera for photo in photos], CPU), truths):
        there = seen.depth > 0
        off = np.abs(seen.depth / truth - 1)[there]
        assert there.mean() > 0.9 and np.median(off) < 0.002
        assert (off < 0.01).mean() > seen.confidence[there].mean() - 0.05  # calibrated, and nothing shines through
        assert (seen.confidence[~there] == 0).all()


def a_view(truth, confidence):
    photo = synthetic.photos(1, truth.shape[1], truth.shape[0])[0][0]
    return View("a", photo.image, photo.camera, photo.mask, truth.copy(), np.full(truth.shape, confidence, np.float32))


def test_a_scan_replaces_what_photos_are_unsure_of_only():
    truth = synthetic.cast(synthetic.arc(1, 80, 60)[0])[1]
    scan = scans.Seen(np.where(np.arange(80) < 40, truth, 0).astype(np.float32), np.full(truth.shape, 0.9, np.float32))
    guess = a_view(truth * 1.2, 0.3)
    merged = scans.merged([guess], [scan], Progress())[0]
    assert np.array_equal(merged.depth[:, :40], truth[:, :40]) and np.array_equal(merged.depth[:, 40:], guess.depth[:, 40:])
    assert (merged.confidence[:, :40] == np.float32(0.9)).all() and (merged.confidence[:, 40:] == np.float32(0.3)).all()
    sure = a_view(truth * 1.2, 0.95)
    progress = Progress()
    assert np.array_equal(scans.merged([sure], [scan], progress)[0].depth, sure.depth)
    assert "contradict the scans in 100 %" in progress.warnings[0]
    agreeing = scans.merged([a_view(truth * 1.002, 0.8)], [scan], Progress())[0]
    assert (agreeing.confidence[:, :40] == np.float32(scans.CONFIRMED)).all()


def test_the_cloud_takes_from_a_scan_what_no_photo_sees(surface):
    photos, truths = synthetic.photos(2, 160, 120, spread=20)
    views = [View(p.name, p.image, p.camera, p.mask, t, np.full(t.shape, 0.9, np.float32)) for p, t in zip(photos, truths)]
    behind = np.column_stack([np.full(50, -0.45), np.full(50, 0.6), np.linspace(0.1, 0.4, 50)])  # behind the sphere
    points = np.concatenate([surface[0], behind])
    colours = np.concatenate([surface[1], np.full((50, 3), 7, np.uint8)])
    scan = scans.coloured(scans.Points(points, colours, np.ones(len(points), bool)))
    without, cloud = fusion.fuse(views, 10**6), fusion.fuse(views, 10**6, scan)
    added = cloud.points[cloud.source == -1]
    assert len(cloud) > len(without) and (cloud.source == -1).sum() > 50
    for axis in range(3):
        assert np.abs(added[:, None, axis] - behind[None, :, axis]).min(0).max() < 0.05
    for view, truth in zip(views, truths):  # none in front of what a photo saw
        pixel, z = cams.project(view.camera, added)
        inside = (z > 0) & (pixel > 1).all(1) & (pixel < (159, 119)).all(1)
        x, y = pixel[inside].astype(int).T
        assert (z[inside] > truth[y, x] * 1.0).mean() > 0.99


# --- whole jobs ----------------------------------------------------------------------


def depth_errors(folder):
    return [
        np.abs(view.depth / synthetic.cast(view.camera)[1] - 1)[view.confidence > 0]
        for view in pipeline.load_views(artifacts.JobFolder(folder))
    ]


def test_a_job_with_a_scan_has_its_depth_and_shows_it_in_the_cloud(tmp_path, surface):
    folder = jobs.make(tmp_path / "job", photos=2, frames=0, depth=False, geometry=job.GeometrySettings(dense=True))
    write_las(folder / "scan.laz", *surface)
    jobs.change(folder, lambda data: data.update(scans=[{"file": "scan.laz"}]))
    report = pipeline.run(folder, Progress(), "cpu")
    assert report["warnings"] == []
    assert all(np.median(errors) < 0.002 and (errors < 0.01).mean() > 0.9 for errors in depth_errors(folder))
    assert (ply.read(folder / "cloud.ply").source == -1).sum() > 100
    kept = (folder / "geometry" / "depth-00.npz").read_bytes()
    (folder / "scan.laz").write_bytes((folder / "scan.laz").read_bytes() + b"\0")  # another file: measured anew
    events = []
    pipeline.run(folder, Progress(events.append), "cpu")
    assert "Reading scans" in [event.get("message") for event in events]
    assert (folder / "geometry" / "depth-00.npz").read_bytes() == kept


def test_a_scan_alone_gives_the_depth_of_one_photo(tmp_path, surface):
    geometry = job.GeometrySettings(dense=True, method="given")
    folder = jobs.make(tmp_path / "job", photos=1, frames=0, depth=False, geometry=geometry)
    write_ply(folder / "scan.ply", *surface)
    jobs.change(folder, lambda data: data.update(scans=[{"file": "scan.ply"}]))
    pipeline.run(folder, Progress(), "cpu")
    assert np.median(depth_errors(folder)[0]) < 0.002


def test_a_scan_in_another_place_is_told(tmp_path, surface):
    folder = jobs.make(tmp_path / "job", photos=2, frames=0, depth=False, geometry=job.GeometrySettings(dense=True))
    write_ply(folder / "scan.ply", surface[0] + (0, 0, 5000.0), surface[1])
    jobs.change(folder, lambda data: data.update(scans=[{"file": "scan.ply"}]))
    with pytest.raises(EngineError, match=r"No camera looks at anything of the scan scan\.ply"):
        pipeline.run(folder, Progress(), "cpu")


POSE = np.eye(4).tolist()


@pytest.mark.parametrize(
    "scan, message",
    [
        ({"file": "none.ply"}, "scan 1 is missing: none.ply"),
        ({"file": "frames/a.ply"}, "which the engine empties"),
        ({"file": "empty.ply"}, "empty file"),
        ({"path": "a.ply"}, "unknown key 'path'"),
        ({}, r"scans\[0\].file must be a text"),
        ({"file": "a.ply", "world_from_scan": [[1, 0], [0, 1]]}, "4×4"),
        ({"file": "a.ply", "world_from_scan": [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, "one scale"),
        ({"file": "a.ply", "world_from_scan": [[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, "mirroring"),
    ],
)
def test_scans_of_a_job_are_checked(tmp_path, scan, message):
    folder = jobs.make(tmp_path / "job", photos=1, frames=0, depth=False)
    (folder / "frames").mkdir()
    (folder / "frames" / "a.ply").write_bytes(b"x")
    (folder / "empty.ply").write_bytes(b"")
    (folder / "a.ply").write_bytes(b"x")
    jobs.change(folder, lambda data: data.update(scans=[scan]))
    with pytest.raises(job.JobError, match=message):
        job.load(folder)


def test_a_scan_may_be_scaled_and_survives_the_round_trip(tmp_path):
    folder = jobs.make(tmp_path / "job", photos=1, frames=0, depth=False)
    (folder / "a.ply").write_bytes(b"x")
    matrix = [[0, -0.3048, 0, 1], [0.3048, 0, 0, 2], [0, 0, 0.3048, 3], [0, 0, 0, 1]]
    jobs.change(folder, lambda data: data.update(scans=[{"file": "a.ply", "world_from_scan": matrix}]))
    loaded = job.load(folder)
    assert loaded.scans[0].world_from_scan[2][3] == 3
    assert job.from_dict(json.loads(json.dumps(job.to_dict(loaded)))) == loaded


def test_scans_need_known_cameras(tmp_path):
    folder = jobs.make(tmp_path / "job", photos=3, frames=0, depth=False)
    (folder / "a.ply").write_bytes(b"x")

    def forget(count):
        def edit(data):
            data["scans"] = [{"file": "a.ply"}]
            for source in data["sources"][:count]:
                source["camera"] = None

        return edit

    jobs.change(folder, forget(1))
    job.load(folder)
    jobs.change(folder, forget(2))
    with pytest.raises(job.JobError, match="give the cameras of two photos or leave the scans out"):
        job.load(folder)
