"""``--command closeup``: the same jobs, told in JSON and exit codes."""

from __future__ import annotations

import json

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
