"""The interface in other languages: a file ``translations/LOCALE.json`` each, the English words to theirs.

Blender itself translates what is fixed, as labels, names and tooltips; sentences with something in them go through
:func:`iface`. What Blender's own translations know wins. Errors stay English, so that they can be searched for.
"""

from __future__ import annotations

import json
from pathlib import Path

import bpy

from .extension import PACKAGE

FOLDER = Path(__file__).parent / "translations"
CONTEXTS = ("*", "Operator")
"""Blender looks for buttons' labels in a context of their own."""


def iface(text: str, *values: object) -> str:
    """``text`` in the user's language, with ``values`` in its braces."""
    translated = bpy.app.translations.pgettext_iface(text)
    return translated.format(*values) if values else translated


def marked(text: str) -> str:
    """``text`` as it is, which is drawn elsewhere: translations must have it."""
    return text


def tables() -> dict[str, dict[tuple[str, str], str]]:
    """Every language as ``bpy.app.translations.register`` takes it: {locale: {(context, English): theirs}}."""
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        words = json.loads(path.read_text(encoding="utf-8"))
        found[path.stem] = {(context, english): theirs for context in CONTEXTS for english, theirs in words.items()}
    return found


def register() -> None:
    """Give Blender the words."""
    bpy.app.translations.register(PACKAGE, tables())


def unregister() -> None:
    """Take them back."""
    bpy.app.translations.unregister(PACKAGE)
