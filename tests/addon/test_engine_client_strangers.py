"""Job folders of strangers, brought into Blender: a result or a sentence, and never another file than those of the folder."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from pathlib import Path

import bpy
import pytest
from conftest import HERE, module

sys.path.append(str(HERE.parent / "lab"))
from spoil import spoiled

INPUTS = 2000 if os.environ.get("CLOSEUP_LAB") == "full" else 60


def test_spoiled_results_are_a_sentence_or_a_result(scene, photos, fake_engine, tmp_path):
    api = module("closeup_addon.api")
    finished = api.generate(photos=photos, frames=[1, 2]).folder
    names = ["job.json", "cameras.json", "cloud.ply", "frames/0001.png", "frames/0002.png"]
    refused = 0
    for number in range(INPUTS):
        chance = random.Random(number)
        folder = tmp_path / "strangers" / "job"
        shutil.copytree(finished, folder)
        place = folder / chance.choice(names[: 3 if chance.random() < 0.8 else 5])
        place.write_bytes(spoiled(place.read_bytes(), chance, text=place.suffix == ".json"))
        before = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
        try:
            api.import_result(folder, scene)
        except api.CloseUpError as error:
            refused += 1
            assert "\n" not in str(error) and "Traceback" not in str(error)
        assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == before
        shutil.rmtree(tmp_path / "strangers")
        if number % 50 == 49:
            bpy.data.orphans_purge(do_recursive=True)
    assert 0 < refused < INPUTS


@pytest.mark.parametrize(
    ("key", "value"),
    [("fx", -1.0), ("width", 0), ("world_from_camera", [["1", 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])],
)
def test_a_solved_camera_that_is_none_is_a_sentence(scene, photos, fake_engine, key, value):
    api = module("closeup_addon.api")
    folder = api.generate(photos=photos, frames=[1]).folder
    rows = json.loads((folder / "cameras.json").read_text())
    rows[0]["camera"][key] = value
    (folder / "cameras.json").write_text(json.dumps(rows))
    with pytest.raises(api.CloseUpError, match="cannot be understood; run the job again"):
        api.import_result(folder, scene)


def test_a_solved_camera_shows_no_picture_from_elsewhere(scene, photos, fake_engine, tmp_path):
    api = module("closeup_addon.api")
    folder = api.generate(photos=photos, frames=[1]).folder
    secret = shutil.copy(photos[0], tmp_path / "secret.png")
    rows = json.loads((folder / "cameras.json").read_text())
    for row in rows:
        row["image"] = os.path.relpath(secret, folder)
    (folder / "cameras.json").write_text(json.dumps(rows))
    api.import_result(folder, scene)
    assert not [
        image
        for image in bpy.data.images
        if Path(image.filepath).name == "secret.png" and Path(bpy.path.abspath(image.filepath)).exists()
    ]


@pytest.mark.parametrize("number", range(20))
def test_a_spoiled_job_is_never_run_as_anything_but_data(scene, photos, fake_engine, number):
    """Continuing a stranger's folder: what is no job is refused before any engine hears of it."""
    api = module("closeup_addon.api")
    folder = api.generate(photos=photos, frames=[1]).folder
    place, chance = folder / "job.json", random.Random(number)
    place.write_bytes(spoiled(place.read_bytes(), chance, text=True))
    try:
        assert api.resume(folder, scene).state == "done"
    except api.CloseUpError as error:
        assert "\n" not in str(error) and "Traceback" not in str(error)
    assert not list(Path(folder).glob(".[0-9]*"))
