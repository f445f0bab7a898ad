"""Whole frames of the CPU's kernels against the reference in PyTorch."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import synthetic
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_kernels import share_within
from warp_scenes import cloud_of, push_in, scene

from engine import camera as cams
from engine.conditioning import prepare_all, reference
from engine.conditioning.cloud import Cloud, project_cloud
from engine.conditioning.kernels import cloud as fast_cloud
from engine.conditioning.kernels import warp as kernels

CPU = torch.device("cpu")
NAMES = ("rgb", "level", "depth", "confidence", "source", "global_rgb", "global_depth")


@pytest.fixture(scope="module", params=[(s, n) for s in (False, True) for n in (False, True)], ids=str)
def sources(request):
    return prepare_all(list(scene(*request.param)), CPU)


def frames(sources, camera, levels: int = 0):
    """The kernels' and the reference's frame, as arrays."""
    with torch.no_grad():
        both = (path.condition(sources, camera, None, levels, CPU) for path in (kernels, reference))
        return [{name: value.numpy() for name, value in found.items()} for found in both]


def assert_alike(found: dict, expected: dict, share: float = 0.997) -> None:
    """All but a few pixels, beside depth edges, where a rounding tips a decision."""
    for name in NAMES:
        assert found[name].dtype == expected[name].dtype, name
        assert found[name].shape == expected[name].shape, name
    assert ((found["level"] == 0) == (expected["level"] == 0)).mean() > share
    assert share_within(found["rgb"], expected["rgb"], 3e-3) > share
    assert share_within(found["depth"], expected["depth"], 1e-3) > share
    assert share_within(found["confidence"], expected["confidence"], 0.02) > share
    assert (np.abs(found["level"].astype(int) - expected["level"]) <= 1).mean() > share
    assert (found["source"] == expected["source"]).mean() > share - 0.004  # ties of two photos


@pytest.mark.parametrize("amount", [-1.5, 0.0, 0.5, 0.95])
def test_frames_equal_the_reference(sources, amount):
    assert_alike(*frames(sources, push_in(amount)))


@pytest.mark.parametrize("levels", [1, 4])
def test_levels_that_are_asked_for(sources, levels):
    assert_alike(*frames(sources, push_in(0.8, 160, 90), levels))


@pytest.mark.parametrize("count", [1, 2])
def test_holes_of_few_photos_equal_the_reference(count):
    few = prepare_all(list(scene(True)[:count]), CPU)
    camera = synthetic.look_at((1.8, -1.8, 1.2), (0.0, 0.1, 0.4), 200, 130, 60)
    found, expected = frames(few, camera)
    assert (expected["level"] == 0).mean() > 0.05
    assert_alike(found, expected, 0.99)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    position=st.tuples(st.floats(-4, 4), st.floats(-4, -1), st.floats(0.1, 3)),
    target=st.tuples(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    fov=st.floats(1, 120),
)
@example((0.0, -3.0, 0.1015625), (1.0, 0.0, 0.0), (20, 8), 1.0)
def test_any_view_equals_the_reference(position, target, size, fov):
    camera = synthetic.look_at(position, target, *size, fov)
    sources = prepare_all(list(scene(True, True, 64, 48, 3)), CPU)
    found, expected = frames(sources, camera)
    pixels = size[0] * size[1]
    covered = (camera.fx / sources[0].camera.fx) ** 2 / pixels  # by one pixel of a photo: one decision moves them all
    assert_alike(found, expected, 0.97 - 3 / pixels - min(covered, 0.25))


def test_visible_contributions_equal_the_reference(sources):
    camera = push_in(0.6, 160, 90)
    expected = reference.visible(sources, camera, 0)
    assert expected.min() > 0.1
    np.testing.assert_allclose(kernels.visible(sources, camera, 0), expected, atol=2e-3)


def test_clouds_equal_the_reference():
    points, colors = [], []
    for view in scene():
        points.append(cams.unproject(view.camera, view.depth)[::2, ::2].reshape(-1, 3))
        colors.append((view.image[::2, ::2].reshape(-1, 3) * 255).astype(np.uint8))
    cloud = Cloud.of(cloud_of(np.concatenate(points), np.concatenate(colors)), CPU)
    for amount in (-1.0, 0.3, 0.9):
        camera = push_in(amount)
        rgb, depth = fast_cloud.project_cloud(cloud, camera)
        expected_rgb, expected_depth = project_cloud(cloud, camera, CPU)
        assert share_within(depth, expected_depth, 1e-4) > 0.995
        assert share_within(rgb, expected_rgb, 1e-4) > 0.995


def test_the_number_of_threads_changes_no_byte(sources):
    camera, before = push_in(0.8, 400, 230), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5, 2):
            torch.set_num_threads(threads)
            found.append(kernels.condition(sources, camera, None, 0))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for name in NAMES:
            assert torch.equal(found[0][name], other[name]), name


def test_frames_can_be_made_by_several_threads_at_once(sources):
    """As a preview and a job in one worker may."""
    cameras = [push_in(amount, 200, 120) for amount in (0.1, 0.5, 0.9)]
    alone = [kernels.condition(sources, camera, None, 0)["rgb"] for camera in cameras]
    together: dict[int, torch.Tensor] = {}
    make = lambda i: together.__setitem__(i, kernels.condition(sources, cameras[i], None, 0)["rgb"])  # noqa: E731
    threads = [threading.Thread(target=make, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert all(torch.equal(alone[i], together[i]) for i in range(3))


def test_what_is_packed_follows_the_source():
    """Photos prepared alone and then checked against each other are read as they are now."""
    views = list(scene())
    dimmed = [replace(view, image=view.image * gain) for view, gain in zip(views, np.float32([1, 0.7, 1, 0.9]))]
    sources = prepare_all(dimmed, CPU)
    assert not all((source.gain == 1).all() for source in sources)
    assert_alike(*frames(sources, push_in(0.5)))
