"""The engine's environment under fire: killed, damaged, installed twice at once, without a network. Real uv, tiny packages."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_engine

environment = tiny_engine.load_environment()
packages, places, state = environment.packages, environment.places, environment.state
KILLS = 200 if os.environ.get("CLOSEUP_LAB") == "full" else 20
pytestmark = pytest.mark.skipif(not (Path(sys.prefix).parent / "uv").is_dir(), reason="needs the uv that build.py installs")

CAN_UNSHARE = shutil.which("unshare") and subprocess.call(["unshare", "-n", "-m", "true"], stderr=subprocess.DEVNULL) == 0
CAN_MOUNT = CAN_UNSHARE and os.geteuid() == 0


class Recorder(environment.Reporter):
    """Keeps what it is told, and asks for an end after some lines."""

    def __init__(self, stop_at: str = "") -> None:
        self.lines: list[str] = []
        self.fractions: list[float] = []
        self._stop_at = stop_at

    def line(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, fraction: float, text: str) -> None:
        self.fractions.append(fraction)

    def cancelled(self) -> bool:
        return bool(self._stop_at) and any(self._stop_at in line for line in self.lines)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tiny_engine.Tiny:
    return tiny_engine.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory) -> Path:
    """A finished installation, which no test changes."""
    home = tmp_path_factory.mktemp("finished") / "home"
    install(home, tiny)
    return home


@pytest.fixture
def home(finished, tmp_path) -> Path:
    """A home that has its uv already, which takes longer than all the rest."""
    return with_uv(tmp_path / "home", finished)


def with_uv(home: Path, finished: Path) -> Path:
    home.mkdir()
    (home / places.UV).symlink_to(finished / places.UV)
    return home


def install(home: Path, tiny: tiny_engine.Tiny, reporter=None, **options) -> Recorder:
    reporter = reporter or Recorder()
    environment.install(home, tiny.extension, reporter, environment.Options(wheels=tiny.wheels), **options)
    return reporter


def start(home: Path, tiny: tiny_engine.Tiny, *before: str) -> subprocess.Popen:
    """An installer in a process group of its own."""
    command = [*before, sys.executable, tiny_engine.__file__, str(home), str(tiny.extension), str(tiny.wheels)]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def is_whole(home: Path, tiny: tiny_engine.Tiny) -> bool:
    """Every byte, every import."""
    found = environment.verify(home, tiny.extension, Recorder())
    return found.state == "ready" and found.problems == []


def test_it_installs_without_a_network_and_tells_how_far_it_is(tiny, tmp_path):
    home, reporter = tmp_path / "héme 家" / ("long " * 30).strip(), Recorder()
    install(home, tiny, reporter)
    assert is_whole(home, tiny)
    assert reporter.fractions[-1] == 1.0 and all(b >= a - 1e-9 for a, b in itertools.pairwise(reporter.fractions))
    assert "The engine is ready" in (home / "install.log").read_text()
    assert not (home / places.CACHE).exists() and state.read(home).bytes > 10**6


def test_what_is_compiled_on_first_use_is_compiled_before_it_is_ready(home, tmp_path, monkeypatch):
    """In the new environment, for so long and no longer; where it fails, the engine is ready all the same."""
    tiny = tiny_engine.make(tmp_path / "tiny")
    reporter = install(home, tiny)
    assert (home / places.ENGINE / "warmed-up").read_text() == "warm-up"
    assert reporter.lines.index("Compiling for this processor") < reporter.lines.index("The engine is ready")
    command = tiny.extension / "engine" / "__main__.py"
    command.write_text("raise SystemExit('error: no compiler')")
    reporter = install(home, tiny, repair=True)
    assert "The first job will compile it instead: it failed (error: no compiler)" in reporter.lines
    assert state.read(home).state == "ready"
    command.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(environment.installer, "WARM_UP_SECONDS", 0.5)
    started = time.monotonic()
    reporter = install(home, tiny, repair=True)
    assert "The first job will compile it instead: it took longer than 0 seconds" in reporter.lines
    assert time.monotonic() - started < 30 and is_whole(home, tiny)


@pytest.mark.skipif(not CAN_UNSHARE, reason="needs unshare")
def test_no_network_at_all_is_needed(home, tiny):
    process = start(home, tiny, "unshare", "-n")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert is_whole(home, tiny)


def test_a_second_installation_changes_nothing_and_is_quick(finished, tiny):
    def times() -> dict[str, float]:
        return {entry.path: entry.stat().st_mtime for entry in places.files_below(finished) if "install.log" not in entry.path}

    before, started = times(), time.monotonic()
    reporter = install(finished, tiny)
    assert time.monotonic() - started < 3.0
    assert times() == before and "nothing was changed" in reporter.lines[-1]


def test_killed_at_random_moments_it_is_always_repaired(home, finished, tiny, tmp_path):
    """The whole process group is killed: installer, pip, uv. Every seventh one starts from nothing."""
    chance = random.Random(7)
    started = time.monotonic()
    start(home, tiny).communicate()  # a process of its own, as those that are killed
    seconds = time.monotonic() - started
    ended_by = []
    for number in range(KILLS):
        place = tmp_path / f"home {number}"
        if number % 7:
            with_uv(place, finished)
        process = start(place, tiny)
        time.sleep(chance.uniform(0.1, seconds if number % 7 else 4 * seconds))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        ended_by.append(state.read(place).step if process.returncode == -signal.SIGKILL else "ready")
        install(place, tiny)
        assert is_whole(place, tiny), f"number {number}, killed in step {ended_by[-1]!r}"
        shutil.rmtree(place)
    assert len(set(ended_by)) >= 3, f"only killed in {set(ended_by)}"


@pytest.mark.parametrize("seed", range(5))
def test_files_that_a_power_cut_took_are_put_back(home, tiny, seed):
    """Empty, missing and zeroed files, in an installation that was not finished, and in what was kept for it."""
    chance = random.Random(seed)
    install(home, tiny)
    site = places.site_packages(home / places.ENGINE)
    files = sorted(path for path in site.rglob("*") if path.is_file() and path.name != "_virtualenv.py")
    for path in chance.sample(files, 25):
        kind = chance.randrange(3)
        if kind == 0:
            path.unlink()
        else:
            path.write_bytes(b"" if kind == 1 else bytes(path.stat().st_size))
    if seed % 2:  # seen by Verify, then repaired; else the cut came before the end
        assert environment.verify(home, tiny.extension, Recorder()).state == "broken"
    else:
        state.write(home, environment.State("incomplete", "check"))
    install(home, tiny)
    assert is_whole(home, tiny)


@pytest.mark.parametrize("broken", ["engine.json", "uv", "python", "pyvenv.cfg", "twice"])
def test_other_damage_is_repaired(home, tiny, broken):
    install(home, tiny)
    venv = home / places.ENGINE
    if broken == "engine.json":
        (home / "engine.json").write_text('{"state": "ready", "found": 3}')
    elif broken == "uv":
        (home / places.UV).unlink()
        tool = places.venv_tool(home / places.UV, "uv")
        tool.parent.mkdir(parents=True)
        tool.write_bytes(b"\x7fELF")
        tool.chmod(0o755)
    elif broken == "python":
        python = places.venv_python(venv)
        python.unlink()
        python.symlink_to(home / "gone")
    elif broken == "pyvenv.cfg":
        (venv / "pyvenv.cfg").unlink()
    else:
        site = places.site_packages(venv)
        shutil.copytree(site / "beta-1.0.dist-info", site / "beta-0.9.dist-info")
    install(home, tiny, repair=True)
    assert is_whole(home, tiny)


def test_two_at_once(home, tiny):
    both = [start(home, tiny), start(home, tiny)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("nothing was changed" in text for text in said) == [False, True]
    assert sorted("Another Blender" in text for text in said) == [False, True]
    assert is_whole(home, tiny)


def test_what_a_dead_installer_left_running_is_waited_for(home, tiny):
    """Only the installer dies; its pip or uv goes on and still holds the home."""
    process = start(home, tiny)
    for line in process.stdout:
        if "Using Python" in line:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    install(home, tiny)
    assert is_whole(home, tiny)


def test_cancelled_and_continued(home, tiny):
    with pytest.raises(environment.Cancelled):
        install(home, tiny, Recorder(stop_at="Making a Python"))
    assert state.read(home).state == "incomplete"
    install(home, tiny)
    assert is_whole(home, tiny)


@pytest.mark.skipif(not CAN_MOUNT, reason="needs to mount")
def test_a_disk_that_is_full_and_then_is_not(tiny, tmp_path):
    """First too small for the packages, then large enough."""
    home, install = tmp_path / "home", f'"{sys.executable}" "{tiny_engine.__file__}" disk/home "{tiny.extension}" "{tiny.wheels}"'
    script = (
        f"mkdir disk && mount -t tmpfs -o size=40m none disk && {{ {install}; mount -o remount,size=600m disk && {install}; }}"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "free some space" in done.stderr and "Traceback" not in done.stderr
    assert "The engine is ready" in done.stdout and not home.exists()


def test_a_wheel_that_was_changed_is_refused(home, tiny, tmp_path):
    other = tiny_engine.Tiny(tiny.extension, tmp_path / "wheels")
    shutil.copytree(tiny.wheels, other.wheels)
    other.wheel("beta", code="raise SystemExit('not the beta that is locked')")
    with pytest.raises(environment.InstallError, match=r"(?i)hash"):
        install(home, other)
    assert state.read(home).state == "incomplete"


def test_a_folder_that_lacks_a_wheel_says_so(home, tiny, tmp_path):
    other = tiny_engine.Tiny(tiny.extension, tmp_path / "wheels")
    shutil.copytree(tiny.wheels, other.wheels)
    (other.wheels / "gamma-1.0-py3-none-any.whl").unlink()
    with pytest.raises(environment.InstallError, match=r"gamma.*folder of wheels lacks something"):
        install(home, other)


def test_an_upgrade_changes_what_changed(home, tmp_path):
    tiny = tiny_engine.make(tmp_path / "tiny")
    install(home, tiny)
    kept = places.site_packages(home / places.ENGINE) / "alpha" / "__init__.py"
    inode = kept.stat().st_ino
    system = environment.plan.system()
    new = [tiny.wheel("beta", "2.0"), *(tiny.wheels / f"{name}-1.0-py3-none-any.whl" for name in ("alpha", "gamma"))]
    tiny.lock(f"{system}.txt", *new)
    requirements = tiny.extension / "engine" / "requirements.txt"
    requirements.write_text(requirements.read_text().replace("beta==1.0", "beta==2.0"))
    install(home, tiny)
    assert is_whole(home, tiny) and kept.stat().st_ino == inode
    versions = {package.name: package.version for package in packages.installed(home / places.ENGINE)}
    assert versions["beta"] == "2.0" and versions["alpha"] == "1.0"


@pytest.mark.skipif(sys.platform != "linux", reason="the wheel's name is Linux's")
def test_a_local_build_of_torch_decides_and_the_other_builds_packages_go(home, tmp_path):
    tiny = tiny_engine.make(tmp_path / "tiny")
    install(home, tiny)
    assert "nvidia-tiny" in {package.name for package in packages.installed(home / places.ENGINE)}
    wheel = tiny.wheel("torch", "1.0+cpu", code=tiny_engine.TORCH)
    wheel.rename(wheel.with_name("torch-1.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"))
    install(home, tiny)
    versions = {package.name: package.version for package in packages.installed(home / places.ENGINE)}
    assert versions["torch"] == "1.0+cpu" and "nvidia-tiny" not in versions
    assert state.read(home).build == "cpu" and is_whole(home, tiny)


@pytest.mark.skipif(sys.platform != "linux", reason="the wheel's name is Linux's")
def test_an_exchange_of_builds_that_stopped_half_way_leaves_nothing_of_the_other(home, tmp_path):
    tiny = tiny_engine.make(tmp_path / "tiny")
    wheel = tiny.wheel("torch", "1.0+cpu", code=tiny_engine.TORCH)
    wheel = wheel.rename(wheel.with_name("torch-1.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"))
    install(home, tiny)
    wheel.rename(tmp_path / wheel.name)
    with pytest.raises(environment.Cancelled):  # on the way to the other build…
        install(home, tiny, Recorder(stop_at="+ nvidia-tiny"))
    (tmp_path / wheel.name).rename(wheel)
    install(home, tiny)  # …and back
    assert is_whole(home, tiny)
    assert "nvidia-tiny" not in {package.name for package in packages.installed(home / places.ENGINE)}


def test_removing_leaves_models_and_continues_when_it_was_interrupted(home, tiny):
    install(home, tiny)
    (home / "models").mkdir()
    (home / "models" / "weights.safetensors").write_bytes(b"precious")
    state.write(home, environment.State("removing"))
    (home / places.UV).unlink()
    environment.remove(home, Recorder())
    assert [path.name for path in home.iterdir()] == ["models"]
    environment.remove(home, Recorder())
    assert (home / "models" / "weights.safetensors").read_bytes() == b"precious"


def test_an_environment_that_was_there_before_is_checked_and_not_changed(tmp_path):
    root = tiny_engine.ROOT
    finding = environment.existing(Path(sys.executable), root, Recorder())
    assert finding.problems == () and finding.found["works"]
    bare = environment.existing(places.venv_python(Path(sys.prefix).parent / "uv"), root, Recorder())
    (missing,) = bare.problems
    assert missing.startswith("These packages are missing: av,") and "torch" in missing
    wrong = environment.existing(tmp_path / "nothing", root, Recorder())
    assert "does not work" in wrong.problems[0]
