"""The engine's environment: what is found, what is decided, whose settings are honoured. No network, nothing is installed.

tests/lab/test_install.py installs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("environment", ROOT / "closeup_addon" / "environment" / "__init__.py")
environment = sys.modules.setdefault("environment", importlib.util.module_from_spec(spec))
if not hasattr(environment, "install"):
    spec.loader.exec_module(environment)
accelerator, packages, places = environment.accelerator, environment.packages, environment.places
plan, process, settings, state = environment.plan, environment.process, environment.settings, environment.state
linux = pytest.mark.skipif(plan.system() != "linux-x86_64", reason="the files are Linux's")


class Silent(environment.Reporter):
    """Keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


# --- state -----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"state": "done"}', '{"state": 1}', '{"state": "ready", "found": []}'])
def test_a_state_that_is_not_understood_is_an_interrupted_installation(tmp_path, text):
    (tmp_path / "engine.json").write_text(text)
    assert state.read(tmp_path).state == "incomplete"


def test_the_state_is_one_plain_file_that_newer_versions_may_add_to(tmp_path):
    assert state.read(tmp_path).state == "absent"
    state.write(tmp_path, state.State("ready", build="cpu", found={"device": "cpu"}))
    written = json.loads((tmp_path / "engine.json").read_text())
    (tmp_path / "engine.json").write_text(json.dumps({**written, "later": 1}))
    assert state.read(tmp_path) == state.State("ready", build="cpu", found={"device": "cpu"})
    assert [path.name for path in tmp_path.iterdir()] == ["engine.json"]


def test_the_lock_is_for_one_and_is_freed_by_a_crash(tmp_path):
    holder = f"import fcntl, os, time; fcntl.flock(os.open({str(tmp_path / 'engine.lock')!r}, 66), 2); print(1, flush=True)"
    with subprocess.Popen([sys.executable, "-c", f"{holder}; time.sleep(60)"], stdout=subprocess.PIPE) as process_:
        process_.stdout.readline()
        reporter, got = Silent(), threading.Event()

        def take() -> None:
            with state.lock(tmp_path, reporter):
                got.set()

        thread = threading.Thread(target=take)
        thread.start()
        assert not got.wait(0.5) and "Another Blender" in reporter.lines[0]
        process_.kill()
        thread.join(5)
    assert got.is_set()


def test_waiting_for_another_can_be_cancelled(tmp_path):
    class Impatient(Silent):
        def cancelled(self) -> bool:
            return True

    with state.lock(tmp_path, Silent()), pytest.raises(environment.Cancelled), state.lock(tmp_path, Impatient()):
        pass


# --- accelerators ------------------------------------------------------------------


def nvidia_smi(folder: Path, output: str, monkeypatch, code: int = 0) -> None:
    """A driver's tool that says something."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<END\n{output}\nEND\nexit {code}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@linux
@pytest.mark.parametrize(
    "said, kind, build",
    [
        ("NVIDIA GeForce RTX 4090, 580.65.06, 8.9", "cuda", "cu130"),
        ("NVIDIA GeForce RTX 4090, 550.54.14, 8.9", "cuda", "cu126"),
        ("NVIDIA GeForce GTX 1080, 580.65.06, 6.1", "cuda", "cu126"),
        ("NVIDIA GeForce RTX 5090, 570.86.10, 12.0", "cpu", "cpu"),
        ("NVIDIA GeForce RTX 2080, 470.10.01, 7.5", "cpu", "cpu"),
        ("Quadro K2000, 580.65.06, 3.0", "cpu", "cpu"),
        ("Quadro K2000, 580.65.06, 3.0\nNVIDIA RTX A6000, 580.65.06, 8.6", "cuda", "cu130"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver", "cpu", "cpu"),
    ],
)
def test_nvidia_cards_are_found_by_their_driver(tmp_path, monkeypatch, said, kind, build):
    nvidia_smi(tmp_path, said, monkeypatch)
    found = accelerator.find(tmp_path)
    assert (found.kind, found.build) == (kind, build)
    assert bool(found.note) == (kind == "cpu" and "failed" not in said)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@linux
@pytest.mark.parametrize(
    "files, kind",
    [
        ({}, "cpu"),
        ({"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27"}, "cuda"),
        ({"sys/class/kfd/kfd/topology/nodes/0/gpu_id": "0\n", "sys/class/kfd/kfd/topology/nodes/0/name": "\n"}, "cpu"),
        ({"sys/class/kfd/kfd/topology/nodes/1/gpu_id": "41415\n", "sys/class/kfd/kfd/topology/nodes/1/name": "navi31\n"}, "rocm"),
        ({"sys/class/drm/card0/device/vendor": "0x8086\n", "sys/class/drm/card0/device/device": "0x56a0\n"}, "xpu"),
        ({"sys/class/drm/card0/device/vendor": "0x8086\n", "sys/class/drm/card0/device/device": "0x3e92\n"}, "cpu"),
    ],
)
def test_accelerators_are_found_by_their_drivers_files(tmp_path, monkeypatch, files, kind):
    monkeypatch.setenv("PATH", str(tmp_path))
    write(tmp_path, files)
    assert accelerator.find(tmp_path).kind == kind
    assert accelerator.choose("cpu", tmp_path).build == "cpu"
    assert accelerator.choose("cuda", tmp_path).build == "cu130"


def test_a_driver_that_hangs_does_not_hold_us_up(tmp_path, monkeypatch):
    started = time.monotonic()
    monkeypatch.setattr(accelerator, "ANSWER_SECONDS", 0.2)
    assert accelerator._output([sys.executable, "-c", "import time; time.sleep(30)"]) == ""
    assert time.monotonic() - started < 5


# --- plans ---------------------------------------------------------------------------


@linux
@pytest.mark.parametrize(
    "kind, env, device, says",
    [
        ("cuda", {}, "cuda", ""),
        ("cuda", {}, "cpu", "does not see the NVIDIA"),
        ("rocm", {}, "cuda", ""),
        ("cuda", {"UV_TORCH_BACKEND": "cpu"}, "cpu", "is for the CPU; NVIDIA is not used"),
        ("cpu", {}, "cpu", ""),
    ],
)
def test_an_accelerator_that_is_not_used_is_said(kind, env, device, says):
    note = plan.make(ROOT, accelerator.CHOICES[kind], env, environment.Options()).note(device)
    assert says in note and bool(says) == bool(note)


@linux
def test_what_torch_has_no_build_for_is_a_sentence():
    with pytest.raises(environment.InstallError, match="choose another under Install for"):
        plan.make(ROOT, accelerator.CHOICES["mps"], {}, environment.Options())


def test_a_plan_is_known_by_its_contents_not_by_its_place(tmp_path):
    extra = tmp_path / "extra.txt"
    extra.write_text("pytest==9.2.0\n")
    cpu = accelerator.CHOICES["cpu"]
    one = plan.make(ROOT, cpu, {}, environment.Options(extra=(extra,)))
    moved = extra.rename(tmp_path / "moved.txt")
    assert plan.make(ROOT, cpu, {}, environment.Options(extra=(moved,))).fingerprint == one.fingerprint
    moved.write_text("pytest==9.3.0\n")
    assert plan.make(ROOT, cpu, {}, environment.Options(extra=(moved,))).fingerprint != one.fingerprint


def test_space_is_asked_for_by_accelerator():
    cpu, cuda = (plan.make(ROOT, accelerator.CHOICES[kind], {}, environment.Options()) for kind in ("cpu", "cuda"))
    assert 1e9 < cpu.needed_bytes < 4e9 < cuda.needed_bytes < 20e9


@linux
def test_a_size_that_is_not_known_is_guessed_and_then_told(tmp_path):
    """Nobody knows the size of AMD's torch: it counts all the same, for the disk and for how far the download is."""
    pin = plan.make(ROOT, accelerator.CHOICES["rocm"], {}, environment.Options()).steps[1].pins[0]
    assert pin.name == "torch" and pin.version.endswith("+rocm7.2") and pin.bytes > 4e9
    heard = []

    class Progress(Silent):
        def progress(self, fraction: float, text: str) -> None:
            heard.append((round(fraction, 3), text))

    small = plan.Pin("small", "1.0", 10 << 20)
    downloads = environment.downloads.Downloads([small, pin], tmp_path, Progress(), (0.2, 0.9))
    for line in ("Downloading small (10.2MiB)", "Downloading torch (1.0GiB)", " Downloaded small", "Prepared 2 packages in 9s"):
        downloads.line(line.strip())
    assert heard[1] == (0.2, "Downloading small, torch: 0 of 2 packages, 0 of 1034 MB")
    assert heard[2] == (0.207, "Downloading torch: 1 of 2 packages, 10 of 1034 MB")
    assert heard[3] == (0.9, "Installing packages: 2 of 2 packages, 1034 of 1034 MB")
    (tmp_path / ".tmp1").mkdir()
    (tmp_path / ".tmp1" / "half").write_bytes(bytes(4 << 20))
    downloads = environment.downloads.Downloads([small], tmp_path, Progress(), (0.0, 1.0))
    downloads.line("Downloading small (10.0MiB)")
    downloads.tick()
    assert heard[-1] == (0.2, "Downloading small: 0 of 1 packages, 2 of 10 MB")


@pytest.mark.parametrize("machine", ["riscv64", "i686"])
def test_a_machine_without_packages_is_a_sentence(monkeypatch, tmp_path, machine):
    monkeypatch.setattr(plan.platform, "machine", lambda: machine)
    with pytest.raises(environment.InstallError, match=machine):
        environment.install(tmp_path / "home", ROOT, Silent())
    assert state.read(tmp_path / "home").state == "absent"


# --- settings and programs -------------------------------------------------------------


def test_pips_settings_become_uvs():
    found = settings.uv_settings(
        {
            "index-url": "https://a/simple",
            "extra-index-url": "https://b https://c",
            "find-links": "/w /x",
            "cert": "/c.pem",
            "proxy": "proxy.example:3128",
            "trusted-host": "a b",
            "timeout": "7",
        }
    )
    assert found["UV_DEFAULT_INDEX"] == "https://a/simple" and found["UV_INDEX"] == "https://b https://c"
    assert found["UV_FIND_LINKS"] == "/w,/x" and found["SSL_CERT_FILE"] == "/c.pem"
    assert found["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert found["UV_INSECURE_HOST"] == "a b" and found["UV_HTTP_TIMEOUT"] == "7"


def test_what_is_set_for_uv_wins_and_a_folder_of_wheels_replaces_every_index(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip/simple")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mine")
    monkeypatch.setenv("PYTHONPATH", "/blender")
    python = places.venv_python(Path(sys.prefix).parent / "uv")
    found = settings.uv_environment(tmp_path, python)
    assert found["UV_DEFAULT_INDEX"] == "https://mine" and "PYTHONPATH" not in found
    assert found["UV_CACHE_DIR"] == os.environ.get("UV_CACHE_DIR", str(tmp_path / "cache"))
    found = settings.uv_environment(tmp_path, python, wheels=tmp_path)
    assert found["UV_FIND_LINKS"] == str(tmp_path) and found["UV_NO_INDEX"] == found["UV_OFFLINE"] == "1"
    assert "UV_DEFAULT_INDEX" not in found and not settings.has_index(found)


def test_pips_own_files_and_environment_are_read(tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nfind-links = /from/file\nindex-url = https://file/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_FIND_LINKS", "/from/environment")
    found = settings.pip_settings(Path(getattr(sys, "_base_executable", sys.executable)))
    assert found["find-links"] == "/from/environment" and found["index-url"] == "https://file/simple"


@pytest.mark.parametrize(
    "said, fix",
    [
        ("error: no such package", "check the network"),
        ("error: failed to write\n  cause: No space left on device (os error 28)", "free some space"),
        ("error: Hash mismatch for `numpy`", "clean the mirror"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "clean the mirror"),
        ("error: failed to rename\n  cause: Access is denied. (os error 5)", "close every other Blender"),
    ],
)
def test_a_program_that_fails_says_why_and_what_to_do(tmp_path, said, fix):
    reporter = Silent()
    programs = process.Programs(tmp_path, reporter)
    with pytest.raises(environment.InstallError, match=fix) as caught:
        programs.run([sys.executable, "-c", f"print({said!r}); raise SystemExit(2)"], "It failed", os.environ)
    assert said.splitlines()[0] in str(caught.value) and reporter.lines[0].strip() == said.splitlines()[0]


def test_a_program_that_is_not_there_and_one_that_is_cancelled(tmp_path):
    class Impatient(Silent):
        def cancelled(self) -> bool:
            return bool(self.lines)

    with pytest.raises(environment.InstallError, match="Python could not"):
        process.Programs(tmp_path, Silent()).run(["/nowhere/python"], "Python could not be installed", os.environ)
    started = time.monotonic()
    with pytest.raises(environment.Cancelled):
        command = [sys.executable, "-uc", "print(1); import time; time.sleep(60)"]
        process.Programs(tmp_path, Impatient()).run(command, "It failed", os.environ)
    assert time.monotonic() - started < 10


def test_passwords_of_mirrors_are_not_kept(tmp_path):
    inner = Silent()
    with open(tmp_path / "log", "w") as stream:
        environment.reporter.Logged(inner, stream).line("error: https://me:secret@mirror/simple is away\n")
    assert inner.lines == ["error: https://mirror/simple is away"]
    assert "secret" not in (tmp_path / "log").read_text()


def test_libraries_of_learned_models_are_kept_from_the_network_in_the_engines_process():
    question = (
        "import sys; sys.argv[1:] = ['movie', '/nowhere', 'a.mp4']; from engine import __main__; __main__.main();"
        "from huggingface_hub import constants; print(constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY)"
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run([sys.executable, "-c", question], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


# --- folders ---------------------------------------------------------------------------


def test_removing_leaves_everything_else(tmp_path):
    for name in ("engine", "uv", "models"):
        (tmp_path / "home" / name).mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tmp_path / "home" / "cache").symlink_to(outside)
    state.write(tmp_path / "home", state.State("ready"))
    environment.remove(tmp_path / "home", Silent())
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["models"] and (outside / "kept").exists()


def test_too_little_space_is_a_sentence(tmp_path):
    with pytest.raises(environment.InstallError, match=r"which needs 1000000000\.0 GB; free some space"):
        environment.home_folder.check_space(tmp_path, 10**18)


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(environment.InstallError, match="choose another folder"):
        environment.install(tmp_path / "file" / "home", ROOT, Silent())


def test_sizes_count_hard_links_once(tmp_path):
    (tmp_path / "a").write_bytes(bytes(1000))
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "c").write_bytes(bytes(10))
    assert places.size(tmp_path) == 1010 and places.size(tmp_path / "nothing") == 0


# --- packages --------------------------------------------------------------------------


def test_a_package_never_deletes_files_of_others(tmp_path):
    """RECORD may list what it likes; only the environment's own files are deleted."""
    info = tmp_path / "venv" / "Lib" / "site-packages" / "bad-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "precious").touch()
    for name in ("bad.py", "bad/core.py", "bad/__pycache__/core.pyc", "shared/bad.py", "shared/other.py"):
        write(info.parent, {name: ""})
    (tmp_path / "venv" / "elsewhere").symlink_to(tmp_path)
    lines = ("../../../precious", "../../elsewhere/precious", "bad.py", "bad/core.py", "shared/bad.py", "..")
    (info / "RECORD").write_text("".join(f"{line},,\n" for line in lines))
    (found,) = packages.damaged(tmp_path / "venv", deep=False)
    packages.forget(found, tmp_path / "venv")
    assert (tmp_path / "precious").exists()
    assert sorted(path.relative_to(info.parent).as_posix() for path in info.parent.rglob("*")) == ["shared", "shared/other.py"]
