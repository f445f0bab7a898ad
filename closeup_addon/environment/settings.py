"""Whose settings an installation honours: pip's and uv's own (mirrors, proxies, certificates, folders of wheels)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from . import places

FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "VIRTUAL_ENV", "CONDA_PREFIX")
"""Variables that belong to Blender's Python, or to a shell's, and would mislead another one."""
_TRUE = ("1", "true", "yes", "on")


def clean_environment() -> dict[str, str]:
    """The environment for every program that is started here."""
    kept = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    return {**kept, "PYTHONUTF8": "1", "PYTHONNOUSERSITE": "1"}


def uv_environment(home: Path, python: Path, wheels: Path | None = None) -> dict[str, str]:
    """The environment for uv. home: where its downloads go. python: has pip. wheels: a folder that replaces every index."""
    env = clean_environment()
    env.setdefault("UV_CACHE_DIR", str(home / places.CACHE))
    env.setdefault("UV_PYTHON_INSTALL_DIR", str(home / places.PYTHON))
    env.update(UV_NO_PROGRESS="1", UV_PYTHON_INSTALL_BIN="0")
    for key, value in uv_settings(pip_settings(python)).items():
        env.setdefault(key, value)
    if wheels:
        for key in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_TORCH_BACKEND"):
            env.pop(key, None)
        env.update(UV_OFFLINE="1", UV_NO_INDEX="1", UV_FIND_LINKS=str(wheels))
        if "UV_PYTHON_INSTALL_MIRROR" not in env:
            env["UV_PYTHON_DOWNLOADS"] = "never"
    return env


def uv_settings(pip: Mapping[str, str]) -> dict[str, str]:
    """pip's settings as uv's."""
    result = {}
    if "index-url" in pip:
        result["UV_DEFAULT_INDEX"] = pip["index-url"]
    if "extra-index-url" in pip:
        result["UV_INDEX"] = " ".join(pip["extra-index-url"].split())
        result["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip's own: all indexes are equal
    if "find-links" in pip:
        result["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if pip.get("no-index", "").lower() in _TRUE:
        result["UV_OFFLINE"] = "1"
        result["UV_NO_INDEX"] = "1"
    if "proxy" in pip:
        proxy = pip["proxy"] if "://" in pip["proxy"] else f"http://{pip['proxy']}"
        result["HTTP_PROXY"] = result["HTTPS_PROXY"] = proxy
    if "trusted-host" in pip:
        result["UV_INSECURE_HOST"] = " ".join(pip["trusted-host"].split())
    for theirs, ours in (("cert", "SSL_CERT_FILE"), ("client-cert", "SSL_CLIENT_CERT"), ("timeout", "UV_HTTP_TIMEOUT")):
        if theirs in pip:
            result[ours] = pip[theirs]
    return result


def pip_settings(python: Path) -> dict[str, str]:
    """pip's settings from its files and environment; later lines of ``pip config list`` are stronger."""
    command = [str(python), "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, env=clean_environment(), stdin=subprocess.DEVNULL, check=False)
    listed = done.stdout.decode("utf-8", "replace").splitlines()
    settings = {}
    for line in sorted(listed, key=lambda item: (item.startswith(":env:"), item.startswith("install."))):
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"").replace("\\n", " ")
    return settings


def local_folders(env: Mapping[str, str]) -> list[Path]:
    """The folders of wheels on this machine that uv will look into."""
    return [Path(place) for place in env.get("UV_FIND_LINKS", "").split(",") if place and "://" not in place]


def has_index(env: Mapping[str, str]) -> bool:
    """Whether uv may ask an index at all."""
    return "UV_NO_INDEX" not in env


def has_mirror(env: Mapping[str, str]) -> bool:
    """Whether somebody's own index stands for the public one."""
    return "UV_DEFAULT_INDEX" in env or "UV_INDEX_URL" in env
