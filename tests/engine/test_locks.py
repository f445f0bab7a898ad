"""The lock files: what they name, where their hashes are from, and which of them an installation follows."""

from __future__ import annotations

import importlib.util
import os
import re
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
    *((name, build) for name, builds in lock_tool.BUILDS.items() for build in builds if (LOCKS / f"{name}-{build}.txt").exists()),
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
    assert plan.requirements(ROOT).items() <= versions.items(), "run: python build.py lock"


def test_wheels_that_were_known_without_pytorchs_index_are_the_locked_ones():
    version = plan.requirements(ROOT)["torch"]
    known = [(name, build) for name, build in BUILDS if lock_tool.known(f"{name}-{build}", version)]
    assert len(known) == 4
    for name, build in known:
        wheel = lock_tool.known(f"{name}-{build}", version)
        line = next(line for line in (LOCKS / f"{name}-{build}.txt").read_text().splitlines() if line.startswith("torch=="))
        assert f"torch=={version}+{build} --hash=sha256:{wheel['sha256']}" in line
        needed = {packages.normalised(re.match(r"[\w.-]+", item)[0]) for item in wheel["needs"]}
        assert needed <= {pin.name for path in locks_of(name, build)[2:] for pin in plan.read_lock(path)}
    assert lock_tool.known("linux-x86_64-cpu", "9.9") == {}


def test_what_pytorchs_index_says_counts_and_a_contradiction_ends_the_locking():
    version, name = plan.requirements(ROOT)["torch"], "linux-x86_64-cpu"
    same = {
        "name": "torch",
        "version": f"{version}+cpu",
        "wheels": [{"hashes": {"sha256": lock_tool.known(name, version)["sha256"]}}],
    }
    lock_tool.check_known(name, same)
    lock_tool.check_known("linux-x86_64-rocm7.2", {**same, "wheels": [{"hashes": {"sha256": "0" * 64}}]})  # nothing is known
    with pytest.raises(SystemExit, match="another torch for linux-x86_64-cpu"):
        lock_tool.check_known(name, {**same, "wheels": [{"hashes": {"sha256": "0" * 64}}]})


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
    assert made({}, "rocm") == ("rocm7.2", (f"torch=={version}", "--torch-backend", "rocm7.2"))
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
