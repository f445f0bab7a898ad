"""Loops compiled for the CPU: how, where the machine code is kept, how the cores share them, and when they stand in for PyTorch.

A kernel works on NumPy arrays and on a range of items (rows, mostly), each of which is written by itself: so the result is the
same for any number of threads. Floats are float32 throughout; a plain Python number would make them float64.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import torch
from numba.core.compiler import Compiler

PIECES = 4
"""Pieces of work per thread: enough that no core waits long for another."""
LANES = 16
"""Floats in the largest vector registers: arrays whose length is a multiple of it leave no rest to be done one by one."""


def source_hash(engine: Path) -> str:
    """Of all that kernels are compiled from: this module, the kernels, and the modules beside them whose constants they hold.

    numba itself notices a change of a kernel's own file only.
    """
    content = hashlib.sha256((engine / "compiled.py").read_bytes())
    for folder in sorted(engine.glob("*/kernels")):
        for path in sorted([*folder.parent.glob("*.py"), *folder.glob("*.py")]):
            content.update(path.read_bytes())
    return content.hexdigest()[:16]


def _cache_folder() -> str:
    """Where machine code is kept: beside the engine's libraries, else in the user's cache, never in the extension's folder."""
    name = f"closeup-kernels-{source_hash(Path(__file__).parent)}"
    home = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    for base in (Path(sys.prefix) / "var", Path(home)):
        folder = base / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return str(folder)
    return ""


if not numba.config.CACHE_DIR:  # the user's NUMBA_CACHE_DIR
    numba.config.CACHE_DIR = _cache_folder()
_KEPT = bool(numba.config.CACHE_DIR)
"""Without a folder nothing is kept: numba would write beside the extension's files."""


class _NoAlias(Compiler):
    """numba's compiler, told that the arrays a kernel is given do not overlap."""

    def define_pipelines(self):
        self.state.flags.noalias = True
        return super().define_pipelines()


_OPTIONS = {"nogil": True, "error_model": "numpy"}
_EXACT = {"contract", "nsz"}
_REORDERED = {"contract", "nsz", "nnan", "arcp", "reassoc"}

kernel = numba.njit(cache=_KEPT, pipeline_class=_NoAlias, fastmath=_EXACT, **_OPTIONS)
"""Decorator of what is called from Python. The arrays must not overlap. Products and sums may be fused, no more."""
inline = numba.njit(forceinline=True, fastmath=_EXACT, **_OPTIONS)
"""Decorator of what kernels call."""
summing_kernel = numba.njit(cache=_KEPT, pipeline_class=_NoAlias, fastmath=_REORDERED, **_OPTIONS)
"""A kernel whose sums and minima over neighbours may be reordered, as many at once as the processor has lanes. Nothing is NaN."""
summing = numba.njit(forceinline=True, pipeline_class=_NoAlias, fastmath=_REORDERED, **_OPTIONS)
"""Decorator of what summing kernels call; what it writes to must overlap no other of its arrays.

Like :data:`inline`, it becomes part of its callers: a copy of its own would be compiled, and rounded, otherwise than the one in a
kernel, and which of them runs would depend on whether the kernel was compiled in this process or read from the cache.
"""


@inline
def exp(value):
    """e to a negative power, to float32's precision (Cephes' polynomial); many at once, unlike the mathematical library's."""
    value = max(value, np.float32(-80))
    whole = np.int32(value * np.float32(1.44269504) - np.float32(0.5))
    rest = value - np.float32(whole) * np.float32(0.693359375) + np.float32(whole) * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * rest + np.float32(1.3981999507e-3)
    p = p * rest + np.float32(8.3334519073e-3)
    p = p * rest + np.float32(4.1665795894e-2)
    p = p * rest + np.float32(1.6666665459e-1)
    p = p * rest + np.float32(5.0000001201e-1)
    return (p * rest * rest + rest + np.float32(1)) * np.int32((whole + 127) << 23).view(np.float32)


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Helpers of the calling thread; those of a forked process are its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="kernels")


def threads() -> int:
    """How many threads share the work: as many as torch uses."""
    return torch.get_num_threads()


def share(task: Callable[[int, int], None], count: int, grain: int) -> None:
    """Call ``task(start, stop)`` for consecutive pieces of range(count), ``grain`` long, on all threads at once.

    The pieces do not depend on the number of threads, so neither do results. Kernels release the interpreter's lock.
    """
    starts = iter(range(0, count, grain))

    def work() -> None:
        for start in starts:
            task(start, min(start + grain, count))

    helpers = min(threads(), -(-count // grain)) - 1
    waiting = [_pool(os.getpid(), threads()).submit(work) for _ in itertools.repeat(None, helpers)]
    work()
    for helper in waiting:
        helper.result()


def in_ranges(kernel: Callable, items: range, *arguments) -> None:
    """``kernel(start, stop, *arguments)`` over all of ``items``, shared out."""
    first = items.start
    grain = max(1, -(-len(items) // (threads() * PIECES)))
    share(lambda start, stop: kernel(first + start, first + stop, *arguments), len(items), grain)


def on_cpu(kernel: Callable) -> Callable:
    """The decorated function runs ``kernel`` where its first argument's ``device`` is the CPU, itself on other devices.

    Both take the same arguments and return the same up to rounding. The function itself stays there as ``reference``.
    """

    def decorate(reference: Callable) -> Callable:
        @functools.wraps(reference)
        def chosen(first, *rest, **options):
            return (kernel if first.device.type == "cpu" else reference)(first, *rest, **options)

        chosen.reference = reference
        return chosen

    return decorate


def array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor of the CPU as a contiguous array; nothing is copied where it is contiguous already."""
    return tensor.detach().contiguous().numpy()
