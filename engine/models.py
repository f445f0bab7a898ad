"""Learned models whose weights are not shipped: where they lie, and how a user fetches them.

A models folder holds a folder a model, named as here. A job names only the model, never a place; the folder is the machine's
own setting (CLOSEUP_MODELS, or ``--models``). Weights are safetensors, which hold numbers and no code. Nothing here reaches for
the network but :func:`fetch`, which only the user's command calls.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .job import sha256_of
from .progress import EngineError

FOLDER = "CLOSEUP_MODELS"
"""Environment variable: the models folder."""
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Model:
    """A model on the Hugging Face hub. files: what is needed of the repository. licence: its weights'."""

    repository: str
    files: tuple[str, ...]
    licence: str = "Apache 2.0"


MODELS = {
    "depth-anything-3-small": Model("depth-anything/DA3-SMALL", ("config.json", WEIGHTS)),
    "depth-anything-3-base": Model("depth-anything/DA3-BASE", ("config.json", WEIGHTS)),
    "efficient-loftr": Model("zju-community/efficientloftr", ("config.json", "preprocessor_config.json", WEIGHTS)),
}


def find(name: str) -> Path:
    """The folder of a model's files. Raises EngineError, saying what to fetch and where to put it, when one is missing."""
    model, root = MODELS[name], os.environ.get(FOLDER)
    place = Path(root).expanduser() / name if root else None
    missing = [file for file in model.files if place is None or not (place / file).is_file()]
    if not missing:
        return place
    what = f"{', '.join(missing)} of {model.repository} (Hugging Face hub)"
    where = f"into {place}" if place else f"into a folder {name}, and tell the folder around it with --models or {FOLDER}"
    raise EngineError(
        f"The model {name} is not on this computer: run python -m engine fetch-model {name} --to FOLDER, or put {what} {where}.",
        "no-model",
    )


def fetch(name: str, root: Path, revision: str = "main", sha256: str | None = None) -> Path:
    """Download a model into ``root``; returns its folder. sha256: what the weights must have, else they are not kept.

    The hub's own checks hold anyway: a file is what the hub says it is, or an error. Raises EngineError when that fails.
    """
    if name not in MODELS:
        raise EngineError(f"There is no model called {name!r}; known are {', '.join(MODELS)}.", "no-model")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    model, place = MODELS[name], Path(root).expanduser() / name
    try:
        for file in model.files:
            hf_hub_download(model.repository, file, revision=revision, local_dir=place)
    except (OSError, HfHubHTTPError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise EngineError(
            f"{file} of {model.repository} could not be fetched ({said}); check the network, or copy it by hand.", "fetch"
        ) from None
    found = sha256_of(place / WEIGHTS)
    if sha256 is not None and found != sha256.lower():
        (place / WEIGHTS).unlink()
        raise EngineError(f"The weights of {name} have the hash {found}, not {sha256}; they were not kept.", "fetch")
    return place
