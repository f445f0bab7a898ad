"""PLY files, read back by ourselves and by trimesh."""

import numpy as np
import pytest
import trimesh
from plyfile import PlyData, PlyElement

from engine.geometry import ply
from engine.progress import EngineError
from engine.records import PointCloud


def some_cloud(count=50):
    rng = np.random.default_rng(3)
    normals = rng.normal(size=(count, 3))
    return PointCloud(
        rng.normal(size=(count, 3)).astype(np.float32),
        rng.integers(0, 256, (count, 3)).astype(np.uint8),
        (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
        rng.random(count).astype(np.float32),
        rng.integers(0, 9, count).astype(np.int16),
    )


@pytest.mark.parametrize("count", [0, 1, 50])
def test_round_trip_is_exact(tmp_path, count):
    cloud = some_cloud(count)
    ply.write(tmp_path / "a cloud é.ply", cloud)
    back = ply.read(tmp_path / "a cloud é.ply")
    for name in ("points", "colors", "normals", "confidence", "source"):
        assert getattr(back, name).dtype == getattr(cloud, name).dtype
        assert np.array_equal(getattr(back, name), getattr(cloud, name))


def test_trimesh_reads_points_and_colours(tmp_path):
    cloud = some_cloud()
    ply.write(tmp_path / "cloud.ply", cloud)
    loaded = trimesh.load(tmp_path / "cloud.ply")
    assert np.allclose(loaded.vertices, cloud.points)
    assert np.array_equal(np.asarray(loaded.colors)[:, :3], cloud.colors)


def test_layout(tmp_path):
    ply.write(tmp_path / "cloud.ply", some_cloud())
    header = (tmp_path / "cloud.ply").read_bytes().split(b"end_header")[0].decode()
    assert "format binary_little_endian 1.0" in header
    names = [line.split()[-1] for line in header.splitlines() if line.startswith("property")]
    assert names == ["x", "y", "z", "nx", "ny", "nz", "red", "green", "blue", "confidence", "source"]


def test_plain_points_of_another_program(tmp_path):
    rows = np.array([(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)], dtype=[("x", "f8"), ("y", "f8"), ("z", "f8")])
    PlyData([PlyElement.describe(rows, "vertex")], text=True).write(str(tmp_path / "plain.ply"))
    cloud = ply.read(tmp_path / "plain.ply")
    assert cloud.points.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert (cloud.colors == 128).all() and (cloud.confidence == 1).all()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a cloud",
        b"\xff\xfe\x00" * 40,
        b"ply\n",
        b"ply\nformat binary_little_endian 1.0\nelement vertex 99\nproperty float x\nend_header\n\x00",
        b"ply\nformat ascii 1.0\nelement face 0\nproperty float x\nend_header\n",
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty list uchar float x\nproperty float y\nproperty float z\n"
        b"end_header\n1 1 2 3\n",
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\nabc\n",
    ],
)
def test_garbage_is_one_sentence(tmp_path, content):
    (tmp_path / "bad.ply").write_bytes(content)
    with pytest.raises(EngineError, match=r"bad\.ply"):
        ply.read(tmp_path / "bad.ply")


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(EngineError, match="no point cloud"):
        ply.read(tmp_path / "none.ply")
    with pytest.raises(EngineError, match="cannot be read"):
        ply.read(tmp_path)
