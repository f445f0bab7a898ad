"""``--command closeup``: the same jobs, told in JSON and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import pytest
from conftest import module


def run(capsys, *argv: str) -> tuple[int, str, str]:
    code = module("closeup_addon.command_line").main(list(argv))
    said = capsys.readouterr()
    return code, said.out.strip().splitlines()[-1] if said.out.strip() else "", said.err


def test_generate_says_what_it_made_and_saves_it(scene, photos, fake_engine, tmp_path, capsys):
    path = str(tmp_path / "scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    code, last, _ = run(capsys, "generate", "--frames", "1-5x2,9", "--save", "--photos", *map(str, photos))
    assert code == 0
    result = json.loads(last)
    assert result["frames"] == [1, 3, 5, 9]
    assert len(result["cameras"]) == 3
    bpy.ops.wm.open_mainfile(filepath=path)
    assert result["cloud"] in bpy.data.objects and result["image"] in bpy.data.images


def test_solve(scene, photos, fake_engine, capsys):
    code, last, _ = run(capsys, "solve", "--focal-35mm", "28", "--photos", *map(str, photos))
    assert code == 0
    assert json.loads(last)["image"] is None


@pytest.mark.parametrize(
    "argv, sentence",
    [
        (["generate"], "There are no photos"),
        (["generate", "--camera", "Nobody"], "no camera named Nobody"),
        (["generate", "--frames", "1-"], "is no range of frames"),
        (["dance"], "invalid choice"),
        (["generate", "--save", "--photos", "nothing.jpg"], "nothing.jpg is missing"),
    ],
)
def test_what_is_wrong_is_a_sentence_and_a_code(scene, fake_engine, capsys, argv, sentence):
    code, _, err = run(capsys, *argv)
    assert code != 0
    assert sentence in err and "Traceback" not in err


def test_shots_are_listed_redone_continued_and_imported(scene, photos, fake_engine, tmp_path, capsys):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    names = ("--photos", *map(str, photos))
    code, last, _ = run(capsys, "generate", "--frames", "1-3", "--name", "shot", "--width", "32", "--height", "20", *names)
    folder = json.loads(last)["folder"]
    camera = module("engine.job").load(folder).path[0].camera
    assert (camera.width, camera.height) == (32, 20)
    assert run(capsys, "redo", folder, "--seed", "7")[0] == 0
    code, last, _ = run(capsys, "shots")
    second, first = json.loads(last)["shots"]
    assert (first["state"], first["made"], first["seed"], second["seed"]) == ("done", 3, 0, 7)
    (tmp_path / "closeup" / "shot-002" / "frames" / "0002.png").unlink()
    code, last, _ = run(capsys, "continue", second["folder"], "--save")
    assert code == 0 and json.loads(last)["frames"] == [1, 2, 3]
    bpy.ops.wm.read_homefile(use_empty=True)
    code, last, _ = run(capsys, "import", folder)
    assert code == 0 and json.loads(last)["cloud"] in bpy.data.objects
    code, last, err = run(capsys, "import", str(tmp_path))
    assert code == 1 and json.loads(last)["error"] == err.strip().splitlines()[-1]
    assert err.startswith("There is no job.json in")


def test_a_console_batches_three_cameras(scene, photos, fake_engine):
    """The example of docs/td.md, as it stands there."""
    for index in range(3):
        camera = bpy.data.objects.new(f"Shot {index}", bpy.data.cameras.new("Camera"))
        camera.location.x = index
        scene.collection.objects.link(camera)
    module("closeup_addon.photos").add(scene, photos)
    page = Path(__file__).resolve().parents[2] / "docs" / "td.md"
    example = page.read_text(encoding="utf-8").split("```python\n# three cameras")[1].split("```")[0]
    said = {}
    exec(compile("# three cameras" + example, str(page), "exec"), said)
    queue = module("closeup_addon.jobs").queue
    assert [shot.name for shot in queue.shots] == ["Shot 0", "Shot 1", "Shot 2"]
    assert all(shot.state == "done" and len(shot.frames) == 3 for shot in queue.shots)
    paths = [module("engine.job").load(shot.folder).path[0].camera.world_from_camera[0][3] for shot in queue.shots]
    assert paths == [0, 1, 2]
