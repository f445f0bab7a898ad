"""Which device PyTorch works on."""

from __future__ import annotations

import ctypes
import os
from contextlib import nullcontext, suppress

import torch

from .progress import EngineError


def pick(name: str | None = None) -> torch.device:
    """The device called ``name``, else that of CLOSEUP_DEVICE, else the best of cuda, xpu, mps and cpu.

    Raises EngineError when the device that was asked for is not there.
    """
    name = name or os.environ.get("CLOSEUP_DEVICE") or None
    available = {
        "cuda": torch.cuda.is_available(),
        "xpu": torch.xpu.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name is None:
        return torch.device(next(kind for kind, there in available.items() if there))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EngineError(f"There is no device called {name!r}; use cuda, xpu, mps or cpu.", "device") from None
    if not available.get(device.type, False) or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise EngineError(f"The device {name!r} is not available on this machine; use cpu or leave the choice open.", "device")
    return device


def likes_bfloat16(device: torch.device) -> bool:
    """Whether convolutions are faster in bfloat16 than in float32: on CPUs only with tiles (AMX), AVX-512's lost."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def autocast(device: torch.device):
    """bfloat16 multiplications where they are the faster ones."""
    return torch.autocast(device.type, torch.bfloat16) if likes_bfloat16(device) else nullcontext()


def release_memory() -> None:
    """Give the system back what is free. glibc is told to keep it (see __main__), so that what one step after the other needs for
    itself would add up; where there is no glibc nothing is done, nor needed."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
