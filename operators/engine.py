"""The engine's environment: install, repair, verify, remove."""

from __future__ import annotations

import bpy

from ..closeup_addon import installation, preferences, pump
from ..closeup_addon.errors import CloseUpError
from ..closeup_addon.jobs import queue
from ..closeup_addon.languages import iface
from .common import grey, reported


def _is_free(cls, changes: bool = True) -> bool:
    """For ``poll``: one thing at a time, and never under a running job."""
    if installation.state.running:
        return grey(cls, "The engine is being worked on")
    if changes and preferences.existing_python():
        return grey(cls, "An existing Python is chosen in the preferences; CloseUp changes nothing in it")
    if changes and queue.active:
        return grey(cls, "A close-up is being made; wait for it or cancel it")
    return True


def _may_install(cls) -> bool:
    """For ``poll``: a folder of wheels, or the user's leave to go online."""
    if not _is_free(cls):
        return False
    try:
        offline = preferences.install_options().wheels
    except CloseUpError as error:
        return grey(cls, str(error))
    if not (offline or bpy.app.online_access):
        return grey(cls, "Blender may not go online; allow it in Preferences > System > Network, or choose a folder of wheels")
    return True


def _begun() -> set[str]:
    """The panel shows how far it is; without an interface, wait. Raises CloseUpError."""
    pump.start()
    if bpy.app.background:
        installation.wait()
        if installation.state.error:
            raise CloseUpError(installation.state.error)
    return {"FINISHED"}


class CLOSEUP_OT_install_engine(bpy.types.Operator):
    """Download and install the engine, with a Python of its own, outside Blender; also continues and updates it"""

    bl_idname = "closeup.install_engine"
    bl_label = "Install Engine"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with the user's leave to go online, and once at a time."""
        return _may_install(cls)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; the panel shows how far it is."""
        installation.install(preferences.engine_folder(), preferences.install_options(), first=queue.shut_down)
        return _begun()


class CLOSEUP_OT_repair_engine(bpy.types.Operator):
    """Look at every file of the engine, and put back what is missing or changed"""

    bl_idname = "closeup.repair_engine"
    bl_label = "Repair"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """As for installing, and only when there is something to repair."""
        if not _may_install(cls):
            return False
        if preferences.installed().state == "absent":
            return grey(cls, "The engine is not installed")
        return True

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; the panel shows how far it is."""
        options = preferences.install_options()
        installation.install(preferences.engine_folder(), options, repair=True, first=queue.shut_down)
        return _begun()


class CLOSEUP_OT_verify_engine(bpy.types.Operator):
    """Compare every file of the engine with its hash, start it, and compute a little; changes nothing"""

    bl_idname = "closeup.verify_engine"
    bl_label = "Verify"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only when there is something to verify."""
        if not _is_free(cls, changes=False):
            return False
        if not preferences.existing_python() and preferences.installed().state not in ("ready", "broken"):
            return grey(cls, "The engine is not installed completely")
        return True

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; the panel shows what was found."""
        existing = preferences.existing_python()
        if existing:
            installation.check_existing(existing)
        else:
            installation.verify(preferences.engine_folder())
        return _begun()


class CLOSEUP_OT_remove_engine(bpy.types.Operator):
    """Delete the engine's environment; models and jobs stay"""

    bl_idname = "closeup.remove_engine"
    bl_label = "Remove Engine"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only when there is something to remove."""
        if not _is_free(cls):
            return False
        if preferences.installed().state == "absent":
            return grey(cls, "The engine is not installed")
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first, and say how much it is."""
        return context.window_manager.invoke_props_dialog(self, width=400, confirm_text=iface("Remove"))

    def draw(self, context: bpy.types.Context) -> None:
        """The question."""
        size = preferences.installed().bytes
        amount = f" ({size / 1e9:.1f} GB)" if size else ""
        self.layout.label(text=iface("Delete the engine{}? Models and jobs stay.", amount), icon="TRASH", translate=False)
        self.layout.label(text=str(preferences.engine_folder()), translate=False)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; the panel shows how far it is."""
        installation.remove(preferences.engine_folder(), first=queue.shut_down)
        return _begun()


class CLOSEUP_OT_cancel_engine(bpy.types.Operator):
    """Stop what is being done to the engine; what is downloaded is kept"""

    bl_idname = "closeup.cancel_engine"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only while something runs."""
        if not installation.state.running:
            return grey(cls, "Nothing is running")
        return not installation.state.stop.is_set() or grey(cls, "It is being stopped")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask it to stop."""
        installation.cancel()
        return {"FINISHED"}


CLASSES = (
    CLOSEUP_OT_install_engine,
    CLOSEUP_OT_repair_engine,
    CLOSEUP_OT_verify_engine,
    CLOSEUP_OT_remove_engine,
    CLOSEUP_OT_cancel_engine,
)
