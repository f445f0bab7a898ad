"""What panels name exists in this Blender. They cannot be drawn without a window; tests/app does that."""

from __future__ import annotations

import re
from pathlib import Path

import bpy
from conftest import module

ICONS = set(bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items.keys())
ICONS |= set(bpy.types.WindowManager.bl_rna.functions["invoke_confirm"].parameters["icon"].enum_items.keys())


def sources() -> list[Path]:
    root = Path(module("closeup_addon.extension").ROOT)
    return [path for folder in ("panels", "operators") for path in sorted((root / folder).glob("*.py"))]


def test_every_icon_is_one_of_blenders():
    for path in sources():
        named = set(re.findall(r'icon="([A-Z0-9_]+)"|"[A-Z]+": "([A-Z0-9_]+)"', path.read_text(encoding="utf-8")))
        for first, second in named:
            assert (first or second) in ICONS, f"{path.name}: {first or second}"


def test_every_button_is_registered():
    for path in sources():
        for name in re.findall(r'operator(?:_menu_enum)?\(\s*"closeup\.(\w+)"', path.read_text(encoding="utf-8")):
            assert name in dir(bpy.ops.closeup), f"{path.name}: {name}"


def test_every_menu_and_panel_that_is_named_exists():
    for path in sources():
        for name in re.findall(r'"(CLOSEUP_(?:MT|PT|UL)_\w+)"', path.read_text(encoding="utf-8")):
            assert hasattr(bpy.types, name), f"{path.name}: {name}"
