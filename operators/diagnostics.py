"""For reports of problems."""

from __future__ import annotations

import bpy

from ..closeup_addon import diagnostics
from ..closeup_addon.languages import iface


class CLOSEUP_OT_copy_diagnostics(bpy.types.Operator):
    """Copy versions, device, the last errors and the engine's log to the clipboard, without your name; nothing is sent"""

    bl_idname = "closeup.copy_diagnostics"
    bl_label = "Copy Diagnostics"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Into the clipboard."""
        found = diagnostics.collect()
        context.window_manager.clipboard = found
        self.report({"INFO"}, iface("{} lines are in the clipboard; read them before you send them", len(found.splitlines())))
        return {"FINISHED"}


CLASSES = (CLOSEUP_OT_copy_diagnostics,)
