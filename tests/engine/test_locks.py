"""The lock files: what they name, where their hashes are from, and which of them an installation follows."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import pytest
from test_environment import ROOT, accelerator, environment, linux, packages, plan

LOCKS = ROOT / "engine" / "locks"
spec = importlib.util.spec_from_file_location("lock_tool", ROOT / "tools" / "lock.py")
lock_tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock_tool)


def locks_of(name: str, build: str) -> list[Path]:
    """All lock files that an installation on a system reads."""
    torch = [LOCKS / f"{name}-{build}{part}.txt" for part in ("", "-needs")]
    return [LOCKS / f"{name}.txt", *(path for path in torch if path.exists())]


BUILDS = [
    *((name, build) for name, build in plan.PUBLIC_BUILDS.items()),
    *((name, build) for name, builds in lock_tool.BUILDS.items() for build in builds),
]


@pytest.mark.parametrize("name, build", BUILDS)
def test_lock_files_name_everything_the_engine_asks_for_with_hash_and_size(name, build):
    files = locks_of(name, build)
    lines = [line for path in files for line in path.read_text().splitlines()[1:]]
    assert all("--hash=sha256:" in line for line in lines)
    pins = [pin for path in files for pin in plan.read_lock(path)]
    versions = {pin.name: pin.version.split("+")[0] for pin in pins}
    assert len(versions) == len(pins) == len(lines)
    assert all(pin.bytes > 0 or pin.name == "torch" for pin in pins)
    assert plan.requirements(ROOT, name, build).items() <= versions.items(), "run: python build.py lock"
    assert plan.requirements(ROOT).keys() <= versions.keys()


def test_wheels_that_were_known_without_pytorchs_index_are_the_locked_ones():
    version = plan.requirements(ROOT)["torch"]
    known = {f"{name}-{build}": lock_tool.known(f"{name}-{build}", version) for name, build in BUILDS}
    assert {name for name, wheel in known.items() if wheel} == lock_tool.tomllib.loads(lock_tool.KNOWN.read_text())[
        "wheels"
    ].keys()
    for name, wheel in known.items():
        if wheel:
            pin, build = plan.read_lock(LOCKS / f"{name}.txt")[0], name.rpartition("-")[2]
            assert pin.version == f"{wheel['version']}+{build}" and wheel["sha256"] in (LOCKS / f"{name}.txt").read_text()
            needed = {packages.normalised(re.match(r"[\w.-]+", item)[0]) for item in wheel["needs"]}
            more = LOCKS / f"{name}-needs.txt"
            assert needed <= {pin.name for pin in (plan.read_lock(more) if more.exists() else ())}


def test_a_known_wheel_counts_while_its_version_is_wanted_and_one_of_its_own_version_always():
    version = plan.requirements(ROOT)["torch"]
    assert lock_tool.known("linux-x86_64-cpu", version)["version"] == version
    assert lock_tool.known("linux-x86_64-cpu", "9.9") == lock_tool.known("linux-x86_64-unheard", version) == {}
    assert lock_tool.known("windows-x86_64-xpu", "9.9") == lock_tool.known("windows-x86_64-xpu", version)
    assert plan.requirements(ROOT, "windows-x86_64", "xpu")["torch"] == lock_tool.known("windows-x86_64-xpu", version)["version"]


def test_what_pytorchs_index_says_counts_and_a_contradiction_ends_the_locking():
    version, name = plan.requirements(ROOT)["torch"], "linux-x86_64-cpu"
    same = {
        "name": "torch",
        "version": f"{version}+cpu",
        "wheels": [{"hashes": {"sha256": lock_tool.known(name, version)["sha256"]}}],
    }
    lock_tool.check_known(name, same)
    other = {"wheels": [{"hashes": {"sha256": "0" * 64}}]}
    lock_tool.check_known("linux-x86_64-unheard", {**same, **other})  # nothing is known
    lock_tool.check_known("windows-x86_64-xpu", {**same, **other})  # of another version
    with pytest.raises(SystemExit, match="another torch for linux-x86_64-cpu"):
        lock_tool.check_known(name, {**same, **other})


def made(env: dict, kind: str = "cpu") -> tuple[str, tuple[str, ...]]:
    """The build that is decided for and how torch is installed."""
    result = plan.make(ROOT, accelerator.CHOICES[kind], env, environment.Options())
    return result.build, result.steps[1].arguments


@linux
def test_which_build_of_torch_is_installed(tmp_path):
    version = plan.requirements(ROOT)["torch"]

    def locked(build: str, *more: str) -> tuple[str, tuple[str, ...]]:
        return build, ("--require-hashes", "--no-deps", "-r", str(LOCKS / f"linux-x86_64-{build}.txt"), *more)

    assert made({}, "cpu") == locked("cpu", "--torch-backend", "cpu")
    assert made({}, "cuda") == locked("cu130")
    assert made({}, "rocm") == locked("rocm7.2", "--torch-backend", "rocm7.2")
    assert made({}, "xpu") == locked("xpu", "--torch-backend", "xpu")
    assert made({"UV_TORCH_BACKEND": "cu128"}) == ("cu128", (f"torch=={version}", "--torch-backend", "cu128"))  # no lock file
    assert made({"UV_DEFAULT_INDEX": "https://mirror"}, "cpu") == locked("cu130")
    assert made({"UV_NO_INDEX": "1"}, "cpu") == locked("cu130")
    assert made({"UV_TORCH_BACKEND": "cu126"}) == locked("cu126", "--torch-backend", "cu126")
    needs = plan.make(ROOT, accelerator.CHOICES["cpu"], {"UV_TORCH_BACKEND": "cu126"}, environment.Options()).steps[2]
    assert needs.arguments[-1].endswith("linux-x86_64-cu126-needs.txt") and "triton" in {pin.name for pin in needs.pins}
    for name in ("torch-1.0+cpu-cp311-cp311-manylinux_2_28_x86_64", f"torch-{version}+cpu-cp312-cp312-manylinux_2_28_x86_64"):
        (tmp_path / f"{name}.whl").touch()
    assert made({"UV_FIND_LINKS": str(tmp_path)}, "cuda") == locked("cu130")
    wheel = tmp_path / f"torch-{version}+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
    wheel.touch()  # of another size than the locked one: a studio's own
    assert made({"UV_FIND_LINKS": f"https://else,{tmp_path}"}, "cuda") == ("cpu", (str(wheel),))
    os.truncate(wheel, next(pin.bytes for pin in plan.read_lock(LOCKS / "linux-x86_64-cpu.txt")))
    assert made({"UV_FIND_LINKS": f"https://else,{tmp_path}"}, "cuda") == locked("cpu")
    public = tmp_path / f"torch-{version}-cp311-cp311-manylinux_2_28_x86_64.whl"
    public.touch()
    assert made({"UV_FIND_LINKS": str(tmp_path)}, "cuda") == ("cu130", (str(public),))
    pin = plan.make(ROOT, accelerator.CHOICES["cuda"], {"UV_FIND_LINKS": str(tmp_path)}, environment.Options()).steps[1].pins[0]
    assert pin.version == version  # as it calls itself, or it would be missing for ever


def test_a_build_may_have_a_version_of_its_own(tmp_path, monkeypatch):
    """Windows' for Intel: the plan, a folder of wheels and the check all go by its lock file."""
    monkeypatch.setattr(plan, "system", lambda: "windows-x86_64")
    version = plan.requirements(ROOT, "windows-x86_64", "xpu")["torch"]
    assert version != plan.requirements(ROOT)["torch"]
    xpu = accelerator.CHOICES["xpu"]
    pins = {pin.name: pin.version for pin in plan.make(ROOT, xpu, {}, environment.Options()).pins}
    assert pins["torch"] == f"{version}+xpu" and "intel-sycl-rt" in pins
    wheel = tmp_path / f"torch-{version}+xpu-cp311-cp311-win_amd64.whl"
    wheel.touch()
    os.truncate(wheel, plan.read_lock(LOCKS / "windows-x86_64-xpu.txt")[0].bytes)
    (tmp_path / f"torch-{version}+cpu-cp311-cp311-win_amd64.whl").touch()  # the CPU's build is wanted in our version
    offline = {"UV_FIND_LINKS": str(tmp_path), "UV_NO_INDEX": "1"}
    assert plan.make(ROOT, xpu, offline, environment.Options()).steps[1].arguments[-1].endswith("windows-x86_64-xpu.txt")
    said = json.dumps({"packages": {**plan.requirements(ROOT), "torch": f"{version}+xpu"}, "missing": {}, "works": True})
    (tmp_path / "engine").mkdir()
    for name in ("requirements.txt", "locks"):
        (tmp_path / "engine" / name).symlink_to(ROOT / "engine" / name)
    (tmp_path / "engine" / "check.py").write_text(f"print({said!r})")
    programs = environment.process.Programs(tmp_path, environment.Reporter())
    look = environment.check.interpreter
    assert look(Path(sys.executable), tmp_path, programs, os.environ, "xpu").problems == ()
    assert "torch" in look(Path(sys.executable), tmp_path, programs, os.environ, "cpu").problems[0]
