"""Depth Anything 3 on tiny random weights in the published format, and what becomes of its depth."""

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from typing import ClassVar

import jobs
import numpy as np
import pytest
import synthetic
import torch
from safetensors.torch import save_file

from engine import artifacts, job, models, pipeline
from engine import camera as cams
from engine.geometry import aggregator, stereo
from engine.geometry.models import learned_depth
from engine.geometry.models.depth_anything_3 import DepthAnything3
from engine.progress import EngineError, Progress

CPU = torch.device("cpu")
SIZES = {"width": 64, "depth": 12, "heads": 4, "grid": 5, "channels": [8, 12, 16, 20], "features": 16, "camera_depth": 4}
# What the authors' implementation (depth-anything-3 0.1.1) makes of random_state() and sample_input(), at PIXELS of each photo.
PIXELS = ((3, 5), (20, 60), (50, 30))
DEPTH = [[0.362586, 0.587904, 0.271892], [0.37449, 0.556142, 0.304549], [0.489066, 0.504877, 0.718878]]
CONFIDENCE = [[1.544417, 1.590782, 1.515269], [1.650813, 1.663738, 1.67943], [1.994553, 1.626326, 1.532619]]


def random_state() -> dict[str, torch.Tensor]:
    """A checkpoint of a tiny network, the same on every system, with some of what the published ones hold besides."""
    with torch.device("meta"):
        net = DepthAnything3(**SIZES)
    rng = np.random.default_rng(5)
    state = {}
    for name, value in sorted(net.state_dict().items()):
        spread, middle = (0.1, 1.0) if ("norm" in name and name.endswith("weight")) or "gamma" in name else (0.12, 0.0)
        state[f"model.{name}"] = torch.from_numpy(rng.normal(middle, spread, tuple(value.shape)).astype(np.float32))
    state["model.cam_dec.fc_t.weight"] = torch.zeros(3, 128)
    return state


def sample_input() -> tuple[torch.Tensor, torch.Tensor]:
    """Three photos of 56×84 and their cameras."""
    rng = np.random.default_rng(6)
    images = torch.from_numpy(rng.normal(size=(3, 3, 56, 84)).astype(np.float32))
    turned = torch.tensor([[0, 0, 0, 1], [0, 0.19866933, 0, 0.98006658], [0.09983342, 0, 0, 0.99500417]])
    places = torch.tensor([[0.0, 0, 0], [1, 0.1, -0.2], [-0.7, 0.4, 0.3]])
    return images, torch.cat([places, turned, torch.tensor([[0.7, 1.0]]).expand(3, -1)], 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A models folder."""
    root = tmp_path_factory.mktemp("models é")
    (root / "depth-anything-3-small").mkdir()
    save_file(random_state(), root / "depth-anything-3-small" / "model.safetensors")
    (root / "depth-anything-3-small" / "config.json").write_text('{"model_name": "da3-small"}')
    return root


def test_it_computes_what_the_authors_network_computes():
    images, cameras = sample_input()
    depth, confidence = DepthAnything3.from_state(random_state())(images, cameras)
    for found, expected in ((depth, DEPTH), (confidence, CONFIDENCE)):
        assert found.shape == (3, 56, 84)
        values = torch.stack([found[:, y, x] for y, x in PIXELS], 1)
        assert torch.allclose(values, torch.tensor(expected), rtol=1e-4)


# --- cameras, scale, photos ----------------------------------------------------------


def test_cameras_are_told_as_places_turns_and_fields_of_view():
    cameras = synthetic.arc(3, 160, 120, spread=60)
    told, unit = learned_depth.network_cameras(cameras)
    assert torch.allclose(told[0, :7], torch.tensor([0, 0, 0, 0, 0, 0, 1.0]), atol=1e-6)
    distances = [np.linalg.norm(cams.position(camera) - cams.position(cameras[0])) for camera in cameras]
    assert unit == pytest.approx(sorted(distances)[1])
    assert np.allclose(np.linalg.norm(told[:, :3].numpy(), axis=1) * unit, distances, atol=1e-5)
    assert np.allclose(np.degrees(told[:, 8].numpy()), 45.0, atol=1e-4)
    angle = 2 * np.degrees(np.arccos(told[1:, 6].numpy()))
    apart = [np.degrees(np.arccos((np.trace(_turn(cameras[0]).T @ _turn(camera)) - 1) / 2)) for camera in cameras[1:]]
    assert np.allclose(angle, apart, atol=1e-3)
    assert learned_depth.network_cameras(cameras[:1])[1] == 1.0
    assert learned_depth.network_cameras(cameras[:2])[1] == pytest.approx(distances[1])


def _turn(camera):
    return cams.world_from_camera(camera)[:3, :3]


@pytest.mark.parametrize("wrong", (0.0, 0.4))
def test_scale_and_shift_are_found_among_wrong_points(wrong):
    rng = np.random.default_rng(0)
    known = rng.uniform(0.2, 2.0, 200)
    proposed = (known - 0.13) / 3.7
    bad = rng.random(200) < wrong
    known = np.where(bad, rng.uniform(0.2, 2.0, 200), known)
    scale, shift = learned_depth.aligned(proposed, known, np.ones(200))
    assert scale == pytest.approx(3.7, rel=0.01) and shift == pytest.approx(0.13, abs=0.01)


def test_scale_is_never_negative_nor_a_plane_a_division_by_zero():
    known = np.linspace(0.5, 2, 50)
    assert learned_depth.aligned(2.5 - known, known, np.ones(50))[0] > 0
    assert learned_depth.aligned(np.full(50, 0.5), known, np.ones(50)) == (pytest.approx(2.5), 0.0)


@pytest.mark.parametrize(
    "size, shown", [((800, 600), (378, 504)), ((600, 800), (504, 378)), ((64, 48), (378, 504)), ((2000, 16), (14, 504))]
)
def test_photos_are_shown_at_the_size_the_network_knows(size, shown):
    camera = synthetic.look_at((0, -3, 1), (0, 0, 0), *size)
    assert learned_depth.network_size(camera) == shown
    assert learned_depth.network_image(np.zeros((size[1], size[0], 3), np.float32), shown).shape == (3, *shown)


def test_every_photo_gets_a_depth_of_its_size_in_scene_units(folder):
    photos = synthetic.photos(2, 96, 72, spread=20)[0] + synthetic.photos(1, 72, 96)[0]
    net = learned_depth.load(folder / "depth-anything-3-small", CPU)
    for photo, depth in zip(photos, learned_depth.propose(net, photos, CPU, Progress())):
        assert depth.shape == photo.image.shape[:2] and depth.dtype == np.float32
        assert np.isfinite(depth).all() and (depth >= 0).all() and 0.3 < np.median(depth[depth > 0]) < 30


# --- the models folder ---------------------------------------------------------------


def test_a_missing_model_is_told_before_any_work(tmp_path, monkeypatch):
    settings = job.GeometrySettings(method="depth-anything-3-small", dense=True)
    place = jobs.make(tmp_path / "job", photos=2, frames=0, depth=False, geometry=settings)
    monkeypatch.delenv(models.FOLDER, raising=False)
    with pytest.raises(EngineError, match=r"fetch-model \S+ --to FOLDER, or put config\.json, model\.safetensors of"):
        pipeline.run(place, Progress(), "cpu")
    assert not (place / "cameras.json").exists()
    monkeypatch.setenv(models.FOLDER, str(tmp_path))
    with pytest.raises(EngineError, match=r"into .*depth-anything-3-small"):
        models.find("depth-anything-3-small")


def test_weights_of_something_else_are_refused(tmp_path):
    for content in (b"", b"x" * 100, (2**63).to_bytes(8, "little") + b"{}"):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(EngineError, match="holds no weights of Depth Anything 3"):
            learned_depth.load(tmp_path, CPU)
    state = random_state()
    del state["model.head.scratch.refinenet2.out_conv.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(EngineError, match=r"refinenet2\.out_conv\.bias"):
        learned_depth.load(tmp_path, CPU)


def test_a_job_names_a_model_and_never_a_place():
    for name in ("../models/x", "/tmp/x", "depth-anything-3"):
        with pytest.raises(job.JobError, match=r"geometry\.method is"):
            job._settings(job.GeometrySettings, {"method": name}, "geometry")


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download asks for."""

    files: ClassVar = {"config.json": b"{}", "model.safetensors": b"weights"}
    commit = "c" * 40

    def _answer(self, body: bool) -> None:
        name = self.path.split("?")[0].rsplit("/", 1)[-1]
        data = self.files.get(name)
        self.send_response(404 if data is None else 200)
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hashlib.sha256(data or b"").hexdigest()}"')
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if body:
            self.wfile.write(data or b"")

    def do_GET(self):
        self._answer(True)

    def do_HEAD(self):
        self._answer(False)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("sha256", [None, hashlib.sha256(b"weights").hexdigest(), "0" * 64])
def test_a_model_is_fetched_by_the_users_command(tmp_path, sha256):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "engine", "fetch-model", "depth-anything-3-small", "--to", str(tmp_path / "models")]
        command += [] if sha256 is None else ["--sha256", sha256]
        done = subprocess.run(command, cwd=jobs.ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    finally:
        server.shutdown()
    place = tmp_path / "models" / "depth-anything-3-small"
    if sha256 == "0" * 64:
        assert done.returncode == 1 and "they were not kept" in done.stderr and not (place / "model.safetensors").exists()
        return
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(b"weights").hexdigest() in done.stdout
    assert sorted(path.name for path in place.iterdir() if path.is_file()) == ["config.json", "model.safetensors"]


def test_nothing_is_fetched_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EngineError, match="no model called"):
        models.fetch("somebody/else", tmp_path)
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EngineError, match="could not be fetched"):
        models.fetch("depth-anything-3-small", tmp_path)


# --- whole jobs ----------------------------------------------------------------------


def measured(tmp_path, name, **settings):
    place = jobs.make(tmp_path / name, photos=2, frames=0, depth=False, geometry=job.GeometrySettings(dense=True, **settings))
    pipeline.run(place, Progress(), "cpu")
    return [
        np.median(np.abs(view.depth / synthetic.cast(view.camera)[1] - 1)[view.confidence > 0.5])
        for view in pipeline.load_views(artifacts.JobFolder(place))
    ]


def test_a_model_that_knows_nothing_does_no_harm(tmp_path, folder, monkeypatch):
    monkeypatch.setenv(models.FOLDER, str(folder))
    plain = measured(tmp_path, "plain")
    learned = measured(tmp_path, "learned", method="depth-anything-3-small")
    assert all(ours < 1.2 * theirs + 1e-3 for ours, theirs in zip(learned, plain))


def test_a_right_proposal_fills_what_photos_cannot_tell_and_a_wrong_one_does_not_stand():
    photos, truths = synthetic.photos(3, 120, 90, spread=40)

    def right_share(proposals):
        views = stereo.estimate(photos, CPU, Progress(), proposals=proposals, aggregate=aggregator.classical)
        return np.mean([(np.abs(view.depth / truth - 1) < 0.01).mean() for view, truth in zip(views, truths)])

    plain = right_share(())
    assert right_share([truth * np.float32(1.002) for truth in truths]) > plain + 0.05
    assert right_share([truth * np.float32(0.8) for truth in truths]) > plain - 0.02
