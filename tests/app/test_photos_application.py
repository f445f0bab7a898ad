"""The real application: photos from every source, picking and exchange, while the interface goes on."""

from __future__ import annotations

import looks
import pytest
from test_application import play, write_photos


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> dict:
    """The whole way; no engine is needed."""
    work = tmp_path_factory.mktemp("photos-application")
    write_photos(work / "photos")
    return play(work, "drive_photos.py", {}, 300)


def test_every_step_was_played_and_no_panel_raised(played):
    assert "traceback" not in played, played["traceback"]
    assert "extensions/user_default/closeup" not in played["said"]


def test_dropped_files_come_on_the_list_and_our_tab_opens(played):
    assert played["dropped"] == ["photo-0.png", "photo-1.png", "photo-2.png"]
    assert played["tab"] == [True, "Close-up"]


def test_rendering_photos_does_not_hold_the_interface_and_is_one_undo_step(played):
    assert played["returned_before_the_render"]
    assert played["rendered"] == [True, True, "known", 1]  # picture, depth, state; and no scene is left behind
    assert played["after_undo"] == [True, 1]
    assert played["display"] != "NONE"  # the user's own setting is back


def test_depth_is_measured_on_the_scene_beside_the_interface(played):
    assert played["measured"] == [True, 1]


def test_panels_are_drawn_quickly(played):
    ours = {name: ms for name, ms in played["draw_ms"].items() if name.rpartition("_")[2] in {"photos", "photo", "geometry"}}
    assert {"CLOSEUP_PT_photos", "CLOSEUP_PT_geometry"} <= set(ours)
    assert max(ours.values()) <= 1.0


def test_frames_of_a_film_become_photos(played):
    assert played["film"] == ["000001.png", "000003.png", "000005.png"]


def test_a_click_picks_the_surface_and_keys_do_what_the_status_bar_says(played):
    assert played["picked"] == [1.0]  # on the default cube's side
    assert played["by_key"] == [True, False]


def test_colmap_goes_out_and_in_beside_the_interface(played):
    assert played["imported"] == 1  # the rendered camera; photos without cameras are not exported


@pytest.mark.parametrize("state", ["photos-failed"])
def test_the_sidebar_looks_as_it_should(played, state):
    looks.check(played, state)
