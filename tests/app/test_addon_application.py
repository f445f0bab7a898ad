"""The extension's own tests, in the real application: what Blender 4.2, 4.5 and 5.0 pass as modules, 5.2 passes, too."""

from __future__ import annotations

import os
import re
from pathlib import Path

from application import HERE, ROOT, Application


def test_blender_finds_nothing_to_complain_about_in_the_zip(tmp_path):
    application = Application(tmp_path, Path(os.environ["CLOSEUP_ZIP"]))
    said = application.call("blender", "--command", "extension", "validate", tmp_path / "closeup.zip")
    assert "Success" in said and not re.search(r"^(warn|error|fatal)", said, re.I | re.M)


def test_the_extensions_own_tests_pass(tmp_path):
    engine = Path(os.environ["CLOSEUP_ENGINE_PYTHON"])
    binds = (ROOT, engine.resolve().parents[1])
    application = Application(tmp_path, Path(os.environ["CLOSEUP_ZIP"]), binds=binds)
    environment = {"CLOSEUP_ZIP": tmp_path / "closeup.zip", "CLOSEUP_ENGINE_PYTHON": engine, "TMPDIR": tmp_path}
    try:
        tests = ROOT / "tests" / "addon"
        application.background(HERE / "addon_tests.py", "-q", "-p", "no:cacheprovider", tests, seconds=1200, **environment)
    finally:
        said = (tmp_path / "blender.log").read_text(errors="replace")
        print(said[-6000:])
    assert int(re.search(r"(\d+) passed", said).group(1)) > 200
