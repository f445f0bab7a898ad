"""The real application: a person's clicks, from photos to a cloud on the screen.

Needs Linux and root (see install_blender.py) and CLOSEUP_ZIP. The pictures go to CLOSEUP_APP_PICTURES when that is set.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from application import HERE, ROOT, Application

FAKE = ROOT / "tests" / "addon" / "fake_engine.py"
sys.path.insert(0, str(FAKE.parent))
import fake_engine  # noqa: E402

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


def play(work: Path, script: str, engines: dict[str, Path], seconds: int, **binds) -> dict:
    """Play a script in the application; what it found, and in ``out`` the pictures."""
    out = work / "out"
    out.mkdir()
    for path in (FAKE, HERE / "person.py", HERE / script):
        shutil.copy(path, work)
    application = Application(work, Path(os.environ["CLOSEUP_ZIP"]), **binds)
    environment = {
        "CLOSEUP_APP_OUT": out,
        "CLOSEUP_APP_PHOTOS": work / "photos",
        "CLOSEUP_APP_ENGINES": json.dumps({name: str(path) for name, path in engines.items()}),
    }
    try:
        application.play(work / script, seconds, **environment)
        result = json.loads((out / "result.json").read_text())
    finally:
        if pictures := os.environ.get("CLOSEUP_APP_PICTURES"):
            shutil.copytree(out, pictures, dirs_exist_ok=True)
        log = work / "blender.log"
        said = log.read_text(errors="replace") if log.exists() else "no log"
        print(said[-4000:])
    result["said"] = said
    return result


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> dict:
    """The whole way with the fake engine."""
    work = tmp_path_factory.mktemp("application")
    write_photos(work / "photos")
    engines = {
        "works": launcher(work / "works"),
        "slow": launcher(work / "slow", "slow", seconds=1.0),
        "fails": launcher(work / "fails", "error"),
    }
    return play(work, "drive.py", engines, 300)


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


def test_a_failure_is_shown_as_a_sentence_and_the_file_reopens(played):
    assert played["error"].startswith("The photo a.jpg cannot be read")
    assert played["reopened"]


def test_blender_stays_responsive_during_a_job(played):
    """What we take of the main thread: short, but for the one moment that makes the results' datablocks.

    The bounds leave room for a busy machine; the numbers themselves are in result.json.
    """
    *most, longest = played["pump_ms"]
    assert most[-1] < 60.0
    assert longest < 1500.0


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
