"""Where the engine lives and what it runs on: Preferences > Add-ons > CloseUp."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from . import environment, installation
from .errors import CloseUpError
from .extension import PACKAGE, ROOT
from .languages import iface

PYTHON_VARIABLE = "CLOSEUP_ENGINE_PYTHON"
"""Environment variable for farms: an interpreter that has what engine/requirements.txt names."""
MODELS_VARIABLE = "CLOSEUP_MODELS"
"""Environment variable for farms: the folder of models."""
LOOK_SECONDS = 0.5
"""How long what was read from the disk is believed: panels ask at every redraw."""

DEVICES = (
    ("AUTO", "Automatic", "The fastest device there is"),
    ("cpu", "CPU", "The processor"),
    ("cuda", "CUDA", "NVIDIA or AMD graphics card"),
    ("xpu", "XPU", "Intel Arc graphics card"),
    ("mps", "Metal", "Apple graphics"),
)
ACCELERATORS = (
    ("AUTO", "Automatic", "What is found on this computer"),
    ("cpu", "CPU", "The smallest download; runs everywhere"),
    ("cuda", "NVIDIA", "CUDA, for NVIDIA cards"),
    ("rocm", "AMD", "ROCm, for AMD cards on Linux"),
    ("xpu", "Intel", "XPU, for Intel Arc cards"),
    ("mps", "Apple", "Metal, for Apple silicon"),
)
_seen: dict[tuple, tuple[float, object]] = {}


class CloseUpPreferences(bpy.types.AddonPreferences):
    """The extension's preferences."""

    bl_idname = PACKAGE

    engine_folder: StringProperty(
        name="Engine Folder",
        description="Where the engine is installed; Blender's upgrades do not touch it. Empty for the usual place",
        subtype="DIR_PATH",
    )
    engine_python: StringProperty(
        name="Existing Python",
        description="The interpreter of an environment that already has the engine's packages, instead of installing one; "
        "nothing in it is changed",
        subtype="FILE_PATH",
    )
    wheels_folder: StringProperty(
        name="Folder of Wheels",
        description="Install from the packages in this folder alone, without any network. Empty to download",
        subtype="DIR_PATH",
    )
    accelerator: EnumProperty(
        name="Install for", description="Which build of PyTorch the engine is installed with", items=ACCELERATORS
    )
    models_folder: StringProperty(
        name="Folder of Models",
        description="Where learned models lie that you have fetched, each in a folder of its own name; see the manual's page on "
        "the engine. Nothing is downloaded by itself",
        subtype="DIR_PATH",
    )
    device: EnumProperty(name="Device", description="What the engine computes on", items=DEVICES)
    outlive: BoolProperty(
        name="Finish After a Crash",
        description="When Blender crashes, let the engine finish the shot it is making; it is there when the file is opened "
        "again. Off: the engine ends with Blender, and Continue takes the shot up where it stopped",
    )

    def draw(self, context: bpy.types.Context) -> None:
        """The page in Blender's preferences."""
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "device")
        layout.prop(self, "outlive")
        layout.prop(self, "engine_python")
        column = layout.column()
        column.active = not self.engine_python
        column.prop(self, "accelerator")
        column.prop(self, "engine_folder", placeholder=str(environment.default_folder()))
        column.prop(self, "wheels_folder")
        layout.prop(self, "models_folder")
        layout.label(text=engine_status(), translate=False)
        row = layout.row(align=True)
        row.operator("closeup.install_engine", icon="IMPORT")
        row.operator("closeup.repair_engine")
        row.operator("closeup.verify_engine")
        row.operator("closeup.remove_engine", icon="TRASH", text="Remove")


def get() -> CloseUpPreferences | None:
    """The preferences, None when the extension is not enabled in them."""
    addon = bpy.context.preferences.addons.get(PACKAGE)
    return addon.preferences if addon else None


def device() -> str | None:
    """The device the user chose, None for the engine's own choice."""
    preferences = get()
    return None if preferences is None or preferences.device == "AUTO" else preferences.device


def outlive() -> bool:
    """Whether a job is finished when Blender crashes."""
    preferences = get()
    return preferences is not None and preferences.outlive


def engine_folder() -> Path:
    """Where the engine is, or will be, installed."""
    preferences = get()
    chosen = preferences.engine_folder if preferences else ""
    return Path(bpy.path.abspath(chosen)) if chosen else environment.default_folder()


def models_folder() -> Path | None:
    """Where models that were fetched lie, None when that was never said."""
    preferences = get()
    chosen = (preferences.models_folder if preferences else "") or os.environ.get(MODELS_VARIABLE, "")
    return Path(bpy.path.abspath(chosen)) if chosen else None


def check_models(names: Sequence[str]) -> None:
    """Raises CloseUpError when one of these models is not at hand; the engine looks at them more closely."""
    folder = models_folder()
    for name in names:
        if folder is None:
            raise CloseUpError(f"The model {name} must be fetched; choose the folder of models in the preferences of CloseUp.")
        if not _lately(("model", folder, name), (folder / name).is_dir):
            raise CloseUpError(f"The model {name} is not in {folder}; fetch it, or choose another depth or matching.")


def install_options() -> environment.Options:
    """How the engine is to be installed. Raises CloseUpError when the folder of wheels is missing."""
    preferences = get()
    if preferences is None:
        return environment.Options()
    wheels = Path(bpy.path.abspath(preferences.wheels_folder)) if preferences.wheels_folder else None
    if wheels and not _lately(("folder", wheels), wheels.is_dir):
        raise CloseUpError(f"The folder of wheels {wheels} does not exist; choose another in the preferences of CloseUp.")
    return environment.Options(chosen_accelerator(), wheels)


def chosen_accelerator() -> str:
    """The kind of accelerator the user wants the engine installed for, empty for what is found."""
    preferences = get()
    return "" if preferences is None or preferences.accelerator == "AUTO" else preferences.accelerator


def existing_python() -> Path | None:
    """The interpreter that the user, or a farm's environment, chose instead of an installation."""
    preferences = get()
    chosen = (preferences.engine_python if preferences else "") or os.environ.get(PYTHON_VARIABLE, "")
    return Path(bpy.path.abspath(chosen)) if chosen else None


def installed() -> environment.State:
    """The state of the installation in the chosen folder."""
    folder = engine_folder()
    return _lately(("state", folder), lambda: environment.read_state(folder))


def is_outdated() -> bool:
    """Whether the installation is from another version of the extension."""
    try:
        locks = _lately(("locks",), lambda: environment.locks_fingerprint(ROOT), seconds=3600.0)
    except environment.InstallError:
        return False
    return installed().state == "ready" and installed().locks != locks


def engine_python() -> Path:
    """The interpreter the engine runs in.

    Raises CloseUpError when there is none, or the one that was chosen is missing.
    """
    chosen = existing_python()
    if chosen:
        if not _lately(("file", chosen), chosen.is_file):
            raise CloseUpError(f"The engine's Python {chosen} does not exist; choose another in the preferences of CloseUp.")
        return chosen
    if installation.state.changing:
        raise CloseUpError(f"{installation.state.line or 'The engine is being installed'}.")
    problem = _problem(installed())
    if problem:
        raise CloseUpError(problem)
    return environment.python_of(engine_folder())


def _problem(state: environment.State) -> str:
    """Why an installation cannot be used, empty when it can."""
    if state.state == "absent":
        return "The engine is not installed; press Install Engine in the Close-up tab."
    if state.state == "broken":
        return f"The engine is damaged: {' '.join(map(str, state.problems[:2]))} Press Repair."
    if state.state != "ready":
        return "The engine's installation was interrupted; press Install Engine, it continues."
    python = environment.python_of(engine_folder())
    if not _lately(("file", python), python.is_file):
        return "The engine's Python is gone, perhaps with an upgrade of the system; press Repair."
    return ""


def _lately(key: tuple, ask, seconds: float = LOOK_SECONDS):
    """What ``ask`` said a moment ago, or says now; what was said before an installation ended is not believed."""
    key = (*key, installation.state.ended)
    known = _seen.get(key)
    if known is None or time.monotonic() > known[0]:
        known = _seen[key] = (time.monotonic() + seconds, ask())
    return known[1]


def has_engine() -> bool:
    """Whether a job could run."""
    try:
        return bool(engine_python())
    except CloseUpError:
        return False


def engine_status() -> str:
    """One line on the engine for the panels."""
    if installation.state.running:
        return installation.state.line or "Installing the engine"
    try:
        return iface("Ready: {}", engine_python().parent.parent)
    except CloseUpError as error:
        return str(error)


def register() -> None:
    """Register the class."""
    bpy.utils.register_class(CloseUpPreferences)


def unregister() -> None:
    """Unregister the class; an installation that runs is stopped."""
    installation.shut_down()
    bpy.utils.unregister_class(CloseUpPreferences)
