"""Where the warp runs: numba's kernels on a CPU, PyTorch on every other device. Both mean the same."""

from __future__ import annotations

from types import ModuleType

import torch

from . import kernels, reference


def path_of(device: torch.device) -> ModuleType:
    """The module whose functions work on a device: condition, visible, drop_speckles, smooth, votes."""
    return kernels if device.type == "cpu" else reference
