"""Inside the application, in background mode: the extension's own tests, as they also run in Blender as a module."""

from __future__ import annotations

import sys

import pytest

sys.exit(pytest.main(sys.argv[sys.argv.index("--") + 1 :]))
