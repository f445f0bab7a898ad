"""The lab: what breaks engines, tried many times. A few minutes as it is; CLOSEUP_LAB=full for the numbers of the bars.

Runs in the engine's environment: ``python -m pytest tests/lab``. Blender's part of it is in tests/addon: test_engine_client*.py
(a fake engine with every fault, kills, strangers' folders) and test_soak.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for place in (ROOT, ROOT / "tests" / "engine"):  # the engine, and the small jobs that its tests make
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

import cv2  # noqa: E402
import torch  # noqa: E402

# Engines are forks of this process here, and a fork does not survive the threads of a pool that its parent had.
torch.set_num_threads(1)
cv2.setNumThreads(0)
