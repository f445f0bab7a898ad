"""The real application: the Engine panel in every state."""

from __future__ import annotations

import looks
import pytest
from test_application import play, write_photos


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> dict:
    """The whole way; the installer is played."""
    work = tmp_path_factory.mktemp("engine-application")
    write_photos(work / "photos")
    return play(work, "drive_engine.py", {}, 300)


def test_every_state_was_drawn_and_nothing_of_ours_raised(played):
    assert "traceback" not in played, played["traceback"]
    assert "extensions/user_default/closeup" not in played["said"]


def test_the_installation_runs_beside_blender(played):
    assert played["running"] == [True, 0.42]
    assert played["click_ms"] < 100


def test_drawing_the_panel_is_quick(played):
    draws, median, _ = played["panel_ms"]
    assert draws >= 50 and median < 2.0


@pytest.mark.parametrize("state", ["engine-absent", "engine-installing", "engine-error", "engine-ready"])
def test_the_panel_looks_as_it_should(played, state):
    looks.check(played, state)
