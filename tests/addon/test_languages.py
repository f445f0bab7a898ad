"""Everything that is drawn can be translated, and every translation that is shipped is complete."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
from conftest import PACKAGE, module

ROOT = Path(module("closeup_addon.extension").ROOT)
LOCALES = sorted(path.stem for path in (ROOT / "closeup_addon" / "translations").glob("*.json"))
LETTERS = re.compile(r"[A-Za-z]{2}")
FIRST, SECOND, THIRD = 0, 1, 2
CALLS = {"iface": FIRST, "marked": FIRST, "grey": SECOND, "report": SECOND, "wrapped": THIRD}
"""Functions that show a text to the user, and which argument it is."""
ENGINE_CALLS = {"stage": SECOND}
"""The same in the engine, whose words are drawn as it says them."""
KEYWORDS = {"text", "title", "message", "confirm_text"}
"""Arguments of Blender's own functions that are shown."""


def registered() -> Iterator[str]:
    """Labels, names, tooltips and menu entries of all that Blender knows of us."""
    operators = [getattr(bpy.ops.closeup, name).get_rna_type() for name in dir(bpy.ops.closeup)]
    classes = (*module("panels").CLASSES, *module("operators").CLASSES)
    yield from (cls.bl_label for cls in classes if hasattr(cls, "bl_label"))
    yield from (text for operator in operators for text in (operator.name, operator.description))
    groups = module("closeup_addon.properties").CLASSES
    kinds = [*operators, *(cls.bl_rna for cls in groups), bpy.context.preferences.addons[PACKAGE].preferences.bl_rna]
    for item in (item for kind in kinds for item in kind.properties if item.identifier not in kind.base.properties):
        if item.is_hidden:
            continue
        yield from (item.name, item.description)
        if item.type == "ENUM":
            yield from (text for entry in item.enum_items for text in (entry.name, entry.description))


def drawn() -> Iterator[tuple[str, ast.expr]]:
    """(file and line, expression) of every text that the code shows."""
    ours = [path for folder in ("panels", "operators", "closeup_addon") for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in (*ours, *sorted((ROOT / "engine").rglob("*.py"))):
        calls = CALLS if path in ours else ENGINE_CALLS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            shown = [item.value for item in node.keywords if item.arg in KEYWORDS] if path.parent.name == "panels" else []
            if name in calls and len(node.args) > calls[name]:
                shown.append(node.args[calls[name]])
            yield from ((f"{path.name}:{node.lineno}", item) for item in shown)


def constants(node: ast.AST) -> Iterator[str]:
    """The fixed texts that an expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif not isinstance(node, (ast.JoinedStr, ast.Subscript)):
        for child in ast.iter_child_nodes(node):
            yield from constants(child)


def texts() -> set[str]:
    """All that a translation needs."""
    found = {item for _, text in drawn() for item in constants(text)}
    return {text for text in (*registered(), *found) if LETTERS.search(text)}


def test_no_sentence_is_put_together_where_it_cannot_be_translated():
    for place, text in drawn():
        if place.startswith("pipeline.py"):
            continue
        for node in (item for item in ast.walk(text) if isinstance(item, ast.JoinedStr)):
            words = [part.value for part in node.values if isinstance(part, ast.Constant) and LETTERS.search(part.value)]
            assert not [word for word in words if word != ", PyTorch "], f"{place}: {words}"


@pytest.mark.parametrize("locale", LOCALES)
def test_a_translation_has_every_text_and_keeps_its_braces(locale):
    words = {english: theirs for (_, english), theirs in module("closeup_addon.languages").tables()[locale].items()}
    missing, stale = sorted(texts() - set(words)), sorted(set(words) - texts())
    assert not missing and not stale, "\n".join(["missing:", *missing, "not shown any more:", *stale])
    for english, theirs in words.items():
        assert theirs and re.findall(r"\{.*?\}", english) == re.findall(r"\{.*?\}", theirs), english


def test_german_is_there_and_english_needs_nothing():
    assert "de_DE" in LOCALES
    iface = module("closeup_addon.languages").iface
    assert iface("{} of {} cameras known", 1, 3) == "1 of 3 cameras known"
