"""Enabling and disabling leave nothing behind."""

from __future__ import annotations

import logging
import sys

import addon_utils
import bpy
import pytest
from conftest import PACKAGE, module


def test_disable_and_enable_twice():
    for _ in range(2):
        addon_utils.disable(PACKAGE)
        assert not hasattr(bpy.types.Scene, "closeup")
        assert not hasattr(bpy.types, "CLOSEUP_PT_generate")
        assert not [f for f in bpy.app.handlers.load_post if f.__module__.startswith(PACKAGE)]
        assert not logging.getLogger("closeup").handlers
        assert addon_utils.enable(PACKAGE, default_set=True)
        assert hasattr(bpy.types, "CLOSEUP_PT_generate")
    assert len([f for f in bpy.app.handlers.load_post if f.__module__.startswith(PACKAGE)]) == 1
    assert len(logging.getLogger("closeup").handlers) == 1


def test_blender_never_loads_the_engines_libraries():
    assert module("closeup_addon.api")
    assert not {"torch", "cv2", "scipy", "pycolmap"} & set(sys.modules)


def test_everything_a_user_sees_is_described():
    operators = [getattr(bpy.ops.closeup, name).get_rna_type() for name in dir(bpy.ops.closeup)]
    assert len(operators) >= 10
    for operator in operators:
        assert len(operator.description) > 20 and not operator.description.endswith("."), operator.identifier
        for item in operator.properties:
            assert item.is_hidden or item.description or item.identifier == "rna_type", (operator.identifier, item.identifier)
    for item in bpy.context.scene.closeup.bl_rna.properties:
        assert item.identifier in {"rna_type", "name", "photos", "active_photo"} or item.description, item.identifier


def test_grey_buttons_without_photos():
    for name in ("generate", "solve_cameras", "add_move", "remove_photo", "cancel"):
        assert not getattr(bpy.ops.closeup, name).poll(), name


def test_every_button_knows_whether_it_can_be_pressed():
    for name in dir(bpy.ops.closeup):
        assert getattr(bpy.ops.closeup, name).poll() in {True, False}, name  # an error in poll() would be raised


def test_every_grey_button_says_why():
    grey = [name for name in dir(bpy.ops.closeup) if not getattr(bpy.ops.closeup, name).poll()]
    assert len(grey) >= 10
    for name in grey:
        with pytest.raises(RuntimeError, match=r"poll\(\) .+") as caught:
            getattr(bpy.ops.closeup, name)()
        assert "context is incorrect" not in str(caught.value), name  # what Blender says when an operator gives no reason
