"""Photos of bent lenses, straightened by the engine's Python into files of their own. No bpy: runs in a thread."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from .errors import CloseUpError
from .extension import ROOT, log
from .reconstruction import Distortion, View

LIST = "lenses.json"


def wanted(view: View) -> bool:
    """Whether a view has a photo that must be straightened, and can be."""
    return view.image is not None and view.distortion.bends and not view.distortion.unknown


def straighten(python: Path, views: Sequence[View], folder: Path) -> list[View]:
    """The views with their photos (and masks) straightened into ``folder``, where :func:`wanted`; the others as they are.

    python: the engine's interpreter. A photo that cannot be read keeps its bent lens. Raises CloseUpError.
    """
    bent = [index for index, view in enumerate(views) if wanted(view)]
    entries = [_entry(views[index], folder / f"{index:04d}-{views[index].image.stem}.png") for index in bent]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / LIST
        place.write_text(json.dumps(entries), encoding="utf-8")
        said = _run(python, place)
        place.unlink()
    except OSError as error:
        raise CloseUpError(
            f"The photos cannot be straightened in {folder} ({error.strerror}); save the .blend elsewhere."
        ) from None
    result = list(views)
    for row in said:
        index = bent[row["index"]]
        if "error" in row:
            log.warning("%s", row["error"])
            continue
        mask = Path(row["mask"]) if row["mask"] else None
        result[index] = replace(views[index], image=Path(row["image"]), mask=mask, distortion=Distortion())
    return result


def _entry(view: View, target: Path) -> dict:
    camera = asdict(view.camera)
    del camera["world_from_camera"]
    lens = asdict(view.distortion)
    del lens["unknown"]
    return {"image": str(view.image), "mask": str(view.mask) if view.mask else None, "target": str(target), **camera, **lens}


def _run(python: Path, place: Path) -> list[dict]:
    # -E -s: nothing of Blender's own Python misleads the engine's
    command = [str(python), "-E", "-s", "-m", "engine.straighten", str(place)]
    flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, creationflags=flags, check=False)
    if done.returncode:
        log.error("%s", done.stderr.decode(errors="replace")[-2000:])
        raise CloseUpError("The engine could not straighten the photos; the console holds the details.")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
