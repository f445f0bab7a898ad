"""The engine's own Python environment: made, checked, repaired, upgraded and removed.

Standard library only, no bpy: build.py uses this package too, and may be started by Python 3.9.

Layout of an environment's home::

    engine.json    the state (state.py); engine.lock is held while somebody works here
    engine/        the environment
    uv/            a pinned uv, from the package index through pip
    python/        Python itself, where the system has none that fits
    cache/         downloads, until the installation is finished
    install.log    what was done here, line by line
    models/        never touched

docs/engine.md is the manual.
"""

from .accelerator import Accelerator
from .accelerator import find as find_accelerator
from .bootstrap import make_venv, uv_of
from .check import Finding, existing
from .errors import Cancelled, InstallError
from .installer import install, remove, verify
from .places import default_folder, python_of, venv_python
from .plan import PYTHON_VERSION, Options, locks_fingerprint
from .reporter import Reporter
from .state import State
from .state import read as read_state

__all__ = [
    "PYTHON_VERSION",
    "Accelerator",
    "Cancelled",
    "Finding",
    "InstallError",
    "Options",
    "Reporter",
    "State",
    "default_folder",
    "existing",
    "find_accelerator",
    "install",
    "locks_fingerprint",
    "make_venv",
    "python_of",
    "read_state",
    "remove",
    "uv_of",
    "venv_python",
    "verify",
]
