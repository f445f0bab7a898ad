"""The real application: a person's clicks, from photos to a cloud on the screen.

Needs Linux and root (see install_blender.py) and CLOSEUP_ZIP. The pictures go to CLOSEUP_APP_PICTURES when that is set.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import looks
import pytest
from application import HERE, ROOT, Application
from PIL import Image

FAKE = ROOT / "tests" / "addon" / "fake_engine.py"
sys.path.insert(0, str(FAKE.parent))
import fake_engine  # noqa: E402

DEMO = Path(os.environ.get("CLOSEUP_APP_DEMO", ROOT / "dist" / "demo" / "demo.blend"))
"""What ``build.py demo`` has made; where it was not run, its pictures are not taken."""
CAPTURE = ROOT.parent / "shared" / "captures" / "flowerpot"
"""Four photos of a flower pot; where they are not at hand, the test with real photos does not exist."""


def launcher(path: Path, fault: str = "", points: int = 100_000, seconds: float = 0.05) -> Path:
    """An interpreter for the extension that runs the fake engine."""
    path.write_text(
        "#!/bin/sh\n"
        f'export CLOSEUP_FAULT="{fault}" CLOSEUP_FAKE_POINTS={points} CLOSEUP_FAKE_SECONDS={seconds}\n'
        f'exec python3 "{path.parent / FAKE.name}" "$@"\n'
    )
    path.chmod(0o755)
    return path


def write_photos(folder: Path) -> None:
    """Three small pictures."""
    folder.mkdir()
    for index in range(3):
        fake_engine.png(folder / f"photo-{index}.png", 320, 240, (60 + 50 * index, 120, 180 - 40 * index))


def play(work: Path, scripts: str | tuple[str, ...], engines: dict[str, Path], seconds: int, **binds) -> dict:
    """Play scripts in the application, each in a Blender of its own; what the last found, and in ``out`` the pictures."""
    scripts, out = (scripts,) if isinstance(scripts, str) else scripts, work / "out"
    out.mkdir()
    for path in (FAKE, HERE / "person.py", *(HERE / script for script in scripts)):
        shutil.copy(path, work)
    application = Application(work, Path(os.environ["CLOSEUP_ZIP"]), **binds)
    environment = {
        "CLOSEUP_APP_OUT": out,
        "CLOSEUP_APP_PHOTOS": work / "photos",
        "CLOSEUP_APP_DEMO": DEMO,
        "CLOSEUP_APP_ENGINES": json.dumps({name: str(path) for name, path in engines.items()}),
    }
    said = ""
    try:
        for script in scripts:
            application.play(work / script, seconds, screen="1280x1440", **environment)
            said += (work / "blender.log").read_text(errors="replace")
        result = json.loads((out / "result.json").read_text())
    finally:
        if pictures := os.environ.get("CLOSEUP_APP_PICTURES"):
            shutil.copytree(out, Path(pictures) / Path(scripts[-1]).stem, dirs_exist_ok=True)
        log = work / "blender.log"
        print(log.read_text(errors="replace")[-4000:] if log.exists() else "no log")
    result["said"], result["out"] = said, out
    return result


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> dict:
    """The whole way with the fake engine."""
    work = tmp_path_factory.mktemp("application")
    write_photos(work / "photos")
    engines = {
        "works": launcher(work / "works"),
        "rests": launcher(work / "rests", "rests"),
        "fails": launcher(work / "fails", "error"),
        "hangs": launcher(work / "hangs", "hangs"),
    }
    return play(work, "drive.py", engines, 600)


def test_every_step_was_played(played):
    assert "traceback" not in played, played["traceback"]


def test_no_panel_and_no_handler_of_ours_raised(played):
    assert "extensions/user_default/closeup" not in played["said"]


def test_a_click_starts_a_close_up_and_cancel_stops_it(played):
    assert played["cancelled"] == "cancelled"
    assert played["done"] == "done"


def test_the_cloud_is_native_and_its_arrival_is_one_undo_step(played):
    assert played["cloud_type"] == "POINTCLOUD"
    assert played["after_undo"] == {"cloud": False, "photos": 3}
    assert played["after_redo"] == {"cloud": True}


def test_after_undo_and_redo_the_view_shows_the_frame_of_the_timeline(played):
    first, sixth, redone = (colour(played, name) for name in ("done-camera-1", "done-camera", "after-redo"))
    assert redone == sixth != first


def colour(played: dict, name: str) -> tuple:
    """The colour of the frame in a picture of the screen, through the camera."""
    with Image.open(played["out"] / f"{name}.png") as screen:
        return screen.convert("RGB").getpixel((400, 660))


def test_the_panels_speak_the_users_language(played):
    assert played["german"] == "1 von 3 Kameras bekannt"


@pytest.mark.parametrize("state", ["empty", "photos", "solving", "running", "preview", "done-solid", "error", "move", "german"])
def test_the_sidebar_looks_as_it_should(played, state):
    looks.check(played, state)


def test_a_failure_is_shown_as_a_sentence_and_the_file_reopens(played):
    assert played["error"].startswith("The photo a.jpg cannot be read")
    assert played["reopened"]


def test_a_new_user_needs_six_clicks_at_most(tmp_path):
    """From photos dropped into an empty scene to the result on the screen, with a mouse only; the engine is installed."""
    write_photos(tmp_path / "photos")
    found = play(tmp_path, "drive_clicks.py", {"works": launcher(tmp_path / "works")}, 300)
    assert "traceback" not in found, found["traceback"]
    assert "extensions/user_default/closeup" not in found["said"]
    assert (found["photos"], found["state"], found["view"], len(found["shown"])) == (3, "done", "CAMERA", 1)
    assert found["clicks"] <= 6
    assert found["too_early"] == [False] * 3  # nothing to press but what helps now


def test_blender_stays_responsive_during_a_job(tmp_path):
    """What we take of the main thread, a cloud of a million points included: at most 30 ms at a time.

    Blender's own redraws are not counted: without a graphics card they take far longer here, as result.json tells.
    """
    write_photos(tmp_path / "photos")
    found = play(tmp_path, "drive_measure.py", {"works": launcher(tmp_path / "works", points=1_000_000)}, 300)
    assert "traceback" not in found, found["traceback"]
    assert found["done"] == "done" and found["points"] == 1_000_000
    assert max(found["pump_ms"] + found["overlay_ms"]) < 30.0
    assert max(found["panels_ms"].values()) < 1.0
    assert found["redraws"] >= 200


def test_a_clicked_point_of_the_cloud_is_the_moves_target_and_the_panel_tells_of_the_move(played):
    assert played["target"] == pytest.approx(1.0, abs=0.05)  # the cloud is a ball of radius 1
    first, last = played["readout"][0], played["readout"][-1]
    assert first.startswith("Frame 1: ") and last.startswith("Frame 48: ") and "zoom" in last


@pytest.fixture(scope="module")
def returned(tmp_path_factory) -> dict:
    """Blender crashes during the second shot, before anything was saved, and opens the file again."""
    work = tmp_path_factory.mktemp("returned")
    write_photos(work / "photos")
    engines = {"works": launcher(work / "works"), "slow": launcher(work / "slow", "slow", seconds=5.0)}
    return play(work, ("drive_crash.py", "drive_return.py"), engines, 300)


def test_after_a_crash_finished_results_arrive_and_the_interrupted_shot_is_unfinished(returned):
    assert "traceback" not in returned, returned["traceback"]
    assert "extensions/user_default/closeup" not in returned["said"]
    (name, state, made, arrived), finished = returned["returned"]
    assert (name, state, arrived) == ("interrupted-001", "unfinished", False) and 2 <= made < 6
    assert finished == ["finished-001", "done", 6, False]
    assert returned["arrived"] == ["finished"]


def test_shots_continue_are_redone_shown_and_deleted(returned):
    assert returned["continued"][0] == ["interrupted-001", "done", 6, False]
    assert returned["redone"] == ["interrupted-002", "interrupted-001", "finished-001"]
    assert returned["shown"] == ["finished"]
    assert returned["outputs"] == {"strips": 1, "nodes": 1, "plane": True, "windows": 2, "shown": "finished"}
    assert returned["deleted"] == ["interrupted-001", "finished-001"]
    assert returned["reopened"] == {"shots": ["interrupted-001", "finished-001"], "placing": []}


def test_folders_that_cannot_be_read_and_a_queue_that_stumbles_are_told_in_the_panel(tmp_path):
    write_photos(tmp_path / "photos")
    found = play(tmp_path, "drive_trouble.py", {"works": launcher(tmp_path / "works")}, 200)
    assert "traceback" not in found, found["traceback"]
    assert found["kept"] == 1 and not found["problem"]
    looks.check(found, "trouble")


@pytest.mark.parametrize("state", ["shots", "narrow"])
def test_the_sidebar_looks_as_it_should_with_shots_and_narrow(returned, state):
    looks.check(returned, state)


def test_the_command_line(tmp_path):
    """``blender FILE --command closeup`` in the application itself: JSON, exit codes, and the results in the saved file."""
    write_photos(tmp_path / "photos")
    application = Application(tmp_path, Path(os.environ["CLOSEUP_ZIP"]))
    engine, blend = launcher(tmp_path / "works", points=500), tmp_path / "scene.blend"
    shutil.copy(FAKE, tmp_path)
    save = f"import bpy; bpy.ops.wm.save_as_mainfile(filepath={str(blend)!r})"
    application.call("blender", "--background", "--python-expr", save)

    def closeup(*arguments: object) -> dict:
        said = application.call("blender", blend, "--command", "closeup", *arguments, CLOSEUP_ENGINE_PYTHON=engine)
        return json.loads(next(line for line in reversed(said.splitlines()) if line.startswith("{")))

    photos = sorted((tmp_path / "photos").iterdir())
    made = closeup("generate", "--frames", "1-3", "--name", "shot", "--save", "--photos", *photos)
    assert made["frames"] == [1, 2, 3] and made["folder"] == str(tmp_path / "closeup" / "shot-001")
    assert [(shot["name"], shot["state"], shot["made"]) for shot in closeup("shots")["shots"]] == [("shot", "done", 3)]
    look = f"import bpy, sys; sys.exit({made['cloud']!r} not in bpy.data.objects)"
    application.call("blender", "--background", blend, "--python-exit-code", "3", "--python-expr", look)
    with pytest.raises(RuntimeError, match=r"There is no job\.json in"):
        closeup("continue", tmp_path)


if DEMO.is_file():

    def test_the_demos_file_opens_with_its_shot(tmp_path):
        write_photos(tmp_path / "photos")
        found = play(tmp_path, "drive_demo.py", {}, 400, binds=(DEMO.parent,))
        assert "traceback" not in found, found["traceback"]
        assert found["shots"] == ["done"]


if CAPTURE.is_dir():

    def test_real_photos_become_a_close_up(tmp_path):
        engine, photos = Path(os.environ["CLOSEUP_ENGINE_PYTHON"]), sorted(CAPTURE.glob("photo_*.jpg"))
        (tmp_path / "photos").mkdir()
        for photo in photos:
            shutil.copy(photo, tmp_path / "photos")
        binds = (engine.parents[1], engine.resolve().parents[1])
        found = play(tmp_path, "drive_real.py", {"real": engine}, 900, binds=binds)
        assert "traceback" not in found, found["traceback"]
        assert found["solve"] == ["done", ""]
        assert found["generate"] == ["done", ""]
        assert "extensions/user_default/closeup" not in found["said"]
