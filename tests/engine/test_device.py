"""The device: what it is faster in, and memory that goes back to the system."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from engine.__main__ import SETTINGS
from engine.device import autocast, likes_bfloat16

KEPT_AND_GIVEN_BACK = """
import torch
from engine.device import release_memory

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * 4096 / 1e6

before = resident()
tensors = [torch.ones(500_000) for _ in range(100)]
last = torch.ones(10)  # stays above them, so that the heap does not simply shrink
del tensors
kept = resident() - before
release_memory()
print(kept, resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_that_glibc_would_keep_goes_back_to_the_system():
    done = subprocess.run(
        [sys.executable, "-c", KEPT_AND_GIVEN_BACK], env={**os.environ, **SETTINGS}, capture_output=True, text=True, check=True
    )
    kept, left = map(float, done.stdout.split())
    assert kept > 150 and left < 50  # megabytes of 200


def test_products_are_of_half_precision_only_where_that_is_faster():
    cpu = torch.device("cpu")
    with autocast(cpu):
        product = torch.ones(4, 4) @ torch.ones(4, 4)
    assert product.dtype == (torch.bfloat16 if likes_bfloat16(cpu) else torch.float32)
