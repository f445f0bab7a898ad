"""Where the engine lives and what it runs on: Preferences > Add-ons > CloseUp."""

from __future__ import annotations

import os
from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty

from . import environment, installation
from .errors import CloseUpError
from .extension import PACKAGE

PYTHON_VARIABLE = "CLOSEUP_ENGINE_PYTHON"
"""Environment variable for farms: an interpreter that has what engine/requirements.txt names."""

DEVICES = (
    ("AUTO", "Automatic", "The fastest device there is"),
    ("cpu", "CPU", "The processor"),
    ("cuda", "CUDA", "NVIDIA or AMD graphics card"),
    ("mps", "Metal", "Apple graphics"),
)


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
        description="The interpreter of an environment that already has the engine's packages, instead of installing one",
        subtype="FILE_PATH",
    )
    device: EnumProperty(name="Device", description="What the engine computes on", items=DEVICES)

    def draw(self, context: bpy.types.Context) -> None:
        """The page in Blender's preferences."""
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "device")
        layout.prop(self, "engine_folder", placeholder=str(environment.default_folder()))
        layout.prop(self, "engine_python")
        layout.label(text=engine_status())
        layout.operator("closeup.install_engine", icon="IMPORT")


def get() -> CloseUpPreferences | None:
    """The preferences, None when the extension is not enabled in them."""
    addon = bpy.context.preferences.addons.get(PACKAGE)
    return addon.preferences if addon else None


def device() -> str | None:
    """The device the user chose, None for the engine's own choice."""
    preferences = get()
    return None if preferences is None or preferences.device == "AUTO" else preferences.device


def engine_folder() -> Path:
    """Where the engine is, or will be, installed."""
    preferences = get()
    chosen = preferences.engine_folder if preferences else ""
    return Path(bpy.path.abspath(chosen)) if chosen else environment.default_folder()


def engine_python() -> Path:
    """The interpreter the engine runs in.

    Raises CloseUpError when there is none, or the one that was chosen is missing.
    """
    preferences = get()
    chosen = (preferences.engine_python if preferences else "") or os.environ.get(PYTHON_VARIABLE, "")
    if chosen:
        path = Path(bpy.path.abspath(chosen))
        if not path.is_file():
            raise CloseUpError(f"The engine's Python {path} does not exist; choose another in the preferences of CloseUp.")
        return path
    if not environment.is_ready(engine_folder()):
        raise CloseUpError("The engine is not installed; press Install Engine in the Close-up tab.")
    return environment.python_of(engine_folder())


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
        return f"Ready: {engine_python().parent.parent}"
    except CloseUpError as error:
        return str(error)


def register() -> None:
    """Register the class."""
    bpy.utils.register_class(CloseUpPreferences)


def unregister() -> None:
    """Unregister the class."""
    bpy.utils.unregister_class(CloseUpPreferences)
