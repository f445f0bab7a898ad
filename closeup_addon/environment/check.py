"""Whether an interpreter can run the engine: it imports everything in a process of its own and says what it found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import plan, settings
from .errors import InstallError
from .process import Programs
from .reporter import Reporter


@dataclass(frozen=True)
class Finding:
    """found: what engine/check.py says. problems: why it cannot be used. notes: what else the user should know."""

    found: dict = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def interpreter(python: Path, root: Path, programs: Programs, env: Mapping[str, str], build: str = "") -> Finding:
    """Check an interpreter. build: of torch, as we installed it: other versions are a problem, not a note. Raises Cancelled."""
    wanted = plan.requirements(root, plan.system(), build) if build else plan.requirements(root)
    script = Path(root) / "engine" / "check.py"
    try:
        said = programs.run([python, "-I", script, *wanted], "The engine's Python does not work", env, quiet=True)
        found = json.loads(said[-1])
        packages, missing = dict(found["packages"]), dict(found["missing"])
    except InstallError as error:
        return Finding(problems=(str(error).partition(";")[0] + ".",))
    except (IndexError, KeyError, TypeError, ValueError):
        return Finding(problems=("The engine's Python gave no answer.",))
    absent = [name for name, why in missing.items() if not why]
    problems = [f"These packages are missing: {', '.join(absent)}."] if absent else []
    problems += [f"{name} cannot be used ({why})." for name, why in missing.items() if why]
    if not missing and not found.get("works"):
        problems.append("PyTorch cannot compute on any device.")
    other = [f"{name} {has} instead of {wanted[name]}" for name, has in packages.items() if has.split("+")[0] != wanted[name]]
    notes = [f"{note}." for note in found.get("notes", [])]
    if other:
        (problems if build else notes).append(f"Other versions than CloseUp was tested with: {', '.join(other)}.")
    return Finding(found, tuple(problems), tuple(notes))


def existing(python: Path, root: Path, reporter: Reporter) -> Finding:
    """Check a studio's own environment; nothing in it is changed."""
    return interpreter(python, root, Programs(Path(root), reporter), settings.clean_environment())
