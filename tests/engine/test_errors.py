"""Every error has a code that docs/errors.md explains; ``python tests/engine/test_errors.py`` writes that page."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []

from engine.protocol import ERRORS, FIXES  # noqa: E402

PAGE = ROOT / "docs" / "errors.md"
HEAD = """# Errors

Every failure is one sentence that says what is wrong and what to do, and one of these codes, which stay the same from
version to version. The command line prints both (`"code"` in the last line), Blender's Python has them as
`shot.error_code`, `shot.fix` and `shot.error`. The engine's log, and **Copy Diagnostics** in Blender, hold the details.
Whatever the error: frames that are finished stay, and running the job's folder again continues it.

This page is made from `engine/protocol.py` by `python tests/engine/test_errors.py`; a test compares them.

| code | what it means | what helps | a sentence that says it |
| --- | --- | --- | --- |
"""


ENDS_WELL = {"idle"}
"""Codes of engines that end without an error."""


def sentences() -> dict[str, str]:
    """For each code that the source raises, the first sentence; what differs from case to case as …."""
    found: dict[str, str] = {}
    for folder in ("engine", "closeup_addon"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _name(node.func) in {"EngineError", "_error", "_closed", "_end", "end"}:
                    _note(found, node)
    return found


def _name(function: ast.expr) -> str:
    return getattr(function, "id", getattr(function, "attr", ""))


def _note(found: dict[str, str], call: ast.Call) -> None:
    """EngineError takes (message, code), the others (code, message)."""
    parts = [_text(argument) for argument in call.args[:2]]
    if _name(call.func) == "EngineError":
        parts = [*parts, "failed"][1::-1] if len(parts) < 2 else parts[::-1]
    if len(parts) == 2 and parts[0] and re.fullmatch(r"[a-z…-]+", parts[0]):
        found.setdefault(parts[0], parts[1] if " " in parts[1] else "")
        found[parts[0]] = found[parts[0]] or (parts[1] if " " in parts[1] else "")


def _text(node: ast.expr) -> str:
    """A string as the source has it, with … for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


def page() -> str:
    """The whole of docs/errors.md."""
    said = sentences()
    rows = [f"| `{code}` | {meaning} | {FIXES[fix]} | {said.get(code, '')} |" for code, (meaning, fix) in sorted(ERRORS.items())]
    return HEAD + "\n".join(rows) + "\n"


def _without_sentences(text: str) -> list[str]:
    """The rows, without the column that changes whenever a sentence is put better."""
    return [line.rsplit(" | ", 1)[0] for line in text.splitlines() if line.startswith("| ")]


def test_the_page_explains_every_code():
    found = PAGE.read_text(encoding="utf-8")
    assert _without_sentences(found) == _without_sentences(page()), "run: python tests/engine/test_errors.py"


def test_every_code_of_the_source_is_known():
    codes = set(sentences()) - ENDS_WELL
    patterns = {code for code in codes if "…" in code}
    assert codes - patterns <= set(ERRORS), "add it to ERRORS in engine/protocol.py"
    assert patterns == {"bad-…"} and {"bad-photo", "bad-mask", "bad-depth"} <= set(ERRORS)


def test_every_fix_is_known():
    assert {fix for _, fix in ERRORS.values()} == set(FIXES)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
