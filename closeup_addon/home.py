"""The scene that a shot belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import bpy


@dataclass
class Home:
    """A scene and its cameras, across undo, renaming, Save As and the loading of other files.

    session: counts the files that were opened; object ids hold only in the one they were taken from.
    """

    uid: int
    scene: str
    blend: str
    session: int
    cameras: list[tuple[int, str]]

    @classmethod
    def of(cls, scene, cameras: Sequence, session: int) -> Home:
        """From the open file."""
        return cls(scene.session_uid, scene.name, bpy.data.filepath, session, [(item.session_uid, item.name) for item in cameras])

    def find(self, session: int):
        """(scene, camera objects), or None while another file is open."""
        here = self.session == session
        if not here and (not self.blend or self.blend != bpy.data.filepath):
            return None
        scene = next((item for item in bpy.data.scenes if here and item.session_uid == self.uid), None)
        scene = scene or bpy.data.scenes.get(self.scene)
        if scene is None:
            return None
        found = [
            next((o for o in scene.objects if here and o.session_uid == uid), None) or scene.objects.get(name)
            for uid, name in self.cameras
        ]
        return scene, [obj for obj in found if obj]
