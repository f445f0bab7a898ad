"""The engine's environment: what is ready, what is not, and whose settings are honoured. No network."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("closeup_environment", ROOT / "closeup_addon" / "environment.py")
environment = importlib.util.module_from_spec(spec)
spec.loader.exec_module(environment)


@pytest.fixture
def home(tmp_path) -> Path:
    """A finished installation: the marker and an interpreter."""
    requirements = tmp_path / "extension" / "engine" / "requirements.txt"
    requirements.parent.mkdir(parents=True)
    requirements.write_text("torch==2.13.0\n")
    place = tmp_path / "home"
    python = environment.python_of(place)
    python.parent.mkdir(parents=True)
    python.touch()
    environment._write_state(place, "ready", [requirements])
    return place


def requirements_of(home: Path) -> list[Path]:
    return [home.parent / "extension" / "engine" / "requirements.txt"]


def test_a_finished_installation_is_ready_and_is_left_alone(home):
    assert environment.is_ready(home) and environment.is_ready(home, requirements_of(home))
    said = []
    environment.install(home, home.parent / "extension", said.append)
    assert said == []


@pytest.mark.parametrize("state", ["", "{", "[]", '{"state": "incomplete"}'])
def test_an_interrupted_installation_is_not_ready(home, state):
    (home / "engine.json").write_text(state)
    assert not environment.is_ready(home)


def test_without_its_interpreter_it_is_not_ready(home):
    environment.python_of(home).unlink()
    assert not environment.is_ready(home)


def test_new_requirements_ask_for_an_update(home):
    requirements_of(home)[0].write_text("torch==2.14.0\n")
    assert environment.is_ready(home) and not environment.is_ready(home, requirements_of(home))


def test_removing_leaves_everything_else(home):
    (home / "models").mkdir()
    environment.remove(home)
    assert not environment.is_ready(home) and (home / "models").exists()
    assert sorted(path.name for path in home.iterdir()) == ["models"]


def test_too_little_space_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(environment.InstallError, match="free some space"):
        environment.install(tmp_path / "home", ROOT, print)
    assert not environment.is_ready(tmp_path / "home")


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(environment.InstallError, match="choose another folder"):
        environment.install(tmp_path / "file" / "home", ROOT, print)


def test_pips_settings_become_uvs(monkeypatch):
    listed = {"index-url": "https://a/simple", "extra-index-url": "https://b https://c", "find-links": "/w /x", "cert": "/c.pem"}
    monkeypatch.setattr(environment, "_pip_settings", lambda python: listed)
    for name in [name for name in os.environ if name.startswith("UV_") or name == "SSL_CERT_FILE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_INDEX", "https://mine")
    settings = environment.uv_settings(Path("/nowhere/uv/bin/uv"))
    assert settings["UV_DEFAULT_INDEX"] == "https://a/simple"
    assert settings["UV_FIND_LINKS"] == "/w,/x" and settings["SSL_CERT_FILE"] == "/c.pem"
    assert "UV_INDEX" not in settings  # what is set for uv itself wins


def test_pips_own_files_and_environment_are_read(tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nfind-links = /from/file\nindex-url = https://file/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_FIND_LINKS", "/from/environment")
    pip = Path(getattr(sys, "_base_executable", sys.executable))
    settings = environment._pip_settings(pip)
    assert settings["find-links"] == "/from/environment" and settings["index-url"] == "https://file/simple"


@pytest.mark.parametrize(
    "files, env, expected",
    [
        (["torch-2.13.0+cpu-cp311.whl"], {}, []),
        (["numpy.whl"], {}, ["--torch-backend=auto"]),
        ([], {"UV_TORCH_BACKEND": "cu130"}, []),
        ([], {"UV_DEFAULT_INDEX": "https://mirror"}, []),
    ],
)
def test_a_local_build_of_torch_or_a_mirror_decides(tmp_path, files, env, expected):
    for name in files:
        (tmp_path / name).touch()
    assert environment._torch_backend({"UV_FIND_LINKS": str(tmp_path), **env}) == expected


def test_a_command_that_fails_says_why():
    command = [sys.executable, "-c", "print('error: no such package'); raise SystemExit(2)"]
    said = []
    with pytest.raises(environment.InstallError, match="no such package"):
        environment._call(command, said.append, "The packages could not be installed")
    assert said == ["error: no such package"]
    with pytest.raises(environment.InstallError, match="Python could not"):
        environment._call(["/nowhere/python"], said.append, "Python could not be installed")


def test_the_state_file_is_plain_json(home):
    assert json.loads((home / "engine.json").read_text())["state"] == "ready"
