"""Which accelerator this machine has, found without torch: from drivers, in a second at most."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CUDA_13_DRIVER, CUDA_12_DRIVER = 580, 528
"""The oldest NVIDIA drivers that run CUDA 13 and, by minor version compatibility, CUDA 12.6."""
CUDA_13_CAPABILITY = 7.5
CUDA_12_CAPABILITIES = (5.0, 9.0)
"""Compute capabilities of PyTorch 2.13's builds: Turing and newer for CUDA 13; Maxwell to Hopper for CUDA 12.6."""
ROCM = "rocm7.2"
ANSWER_SECONDS = 10.0
ARC = re.compile(r"0x(56|e2)..", re.I)
"""PCI device numbers of Intel's Arc cards: Alchemist and Battlemage."""


@dataclass(frozen=True)
class Accelerator:
    """kind: cpu, cuda, rocm, xpu or mps. name: for people. build: of torch, as uv's --torch-backend and wheels call it.
    note: a sentence when a better one was found but cannot be used.
    """

    kind: str
    name: str
    build: str
    note: str = ""


CPU = Accelerator("cpu", "CPU", "cpu")
CHOICES = {
    "cpu": CPU,
    "cuda": Accelerator("cuda", "NVIDIA", "cu130"),
    "rocm": Accelerator("rocm", "AMD", ROCM),
    "xpu": Accelerator("xpu", "Intel", "xpu"),
    "mps": Accelerator("mps", "Apple", "mps"),
}
"""What stands for each kind when the user chose it and it was not found."""


def choose(kind: str = "", root: Path = Path("/")) -> Accelerator:
    """The accelerator of a kind, or the best one found when no kind is given."""
    found = find(root)
    return found if kind in ("", found.kind) else CHOICES[kind]


def find(root: Path = Path("/")) -> Accelerator:
    """The best accelerator of this machine; ``root`` is where its drivers' files are looked for."""
    if sys.platform == "darwin":
        return Accelerator("mps", "Apple GPU", "mps") if platform.machine() == "arm64" else CPU
    nvidia = _nvidia(root)
    if nvidia and nvidia.kind == "cuda":
        return nvidia
    return _amd(root) or _intel(root) or nvidia or CPU


def _nvidia(root: Path) -> Accelerator | None:
    """By nvidia-smi, which comes with the driver; by the driver's own file where it is missing."""
    tool = shutil.which("nvidia-smi")
    if tool is None and os.name == "nt":
        usual = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvidia-smi.exe"
        tool = str(usual) if usual.exists() else None
    if tool:
        lines = _output([tool, "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]).splitlines()
        found = [re.fullmatch(r"(.+), (\d+)\.[\d.]+, (\d+\.\d+)", line.strip()) for line in lines]
        cards = [_nvidia_card(hit[1], int(hit[2]), float(hit[3])) for hit in found if hit]
        return max(cards, key=lambda card: card.kind == "cuda", default=None)
    try:
        text = (root / "proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    version = re.search(r"\s(\d{3,4})\.\d+", text)
    return _nvidia_card("NVIDIA GPU", int(version[1]), CUDA_13_CAPABILITY) if version else None


def _nvidia_card(name: str, driver: int, capability: float) -> Accelerator:
    if driver >= CUDA_13_DRIVER and capability >= CUDA_13_CAPABILITY:
        return Accelerator("cuda", name, "cu130")
    if driver >= CUDA_12_DRIVER and CUDA_12_CAPABILITIES[0] <= capability <= CUDA_12_CAPABILITIES[1]:
        return Accelerator("cuda", name, "cu126")
    if capability < CUDA_12_CAPABILITIES[0]:
        return Accelerator("cpu", "CPU", "cpu", f"{name} is too old for PyTorch; the CPU is used.")
    return Accelerator("cpu", "CPU", "cpu", f"{name} needs driver {CUDA_13_DRIVER} or newer (it has {driver}); update it.")


def _amd(root: Path) -> Accelerator | None:
    """Linux only: AMD's compute driver lists its cards; torch brings the rest of ROCm itself."""
    for node in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*")):
        try:
            if int((node / "gpu_id").read_text() or 0):
                name = (node / "name").read_text().strip()
                return Accelerator("rocm", f"AMD {name}".strip(), ROCM)
        except (OSError, ValueError):
            continue
    return None


def _intel(root: Path) -> Accelerator | None:
    """Arc cards: by their PCI numbers on Linux, by name on Windows; older built-in graphics are not enough for torch."""
    if os.name == "nt":
        command = "(Get-CimInstance Win32_VideoController).Name"
        names = _output(["powershell", "-NoProfile", "-NonInteractive", "-Command", command]).splitlines()
        name = next((line.strip() for line in names if re.search(r"Intel.*\bArc\b", line)), "")
        return Accelerator("xpu", name, "xpu") if name else None
    for device in sorted((root / "sys/class/drm").glob("card*/device")):
        try:
            vendor, number = ((device / item).read_text().strip() for item in ("vendor", "device"))
        except OSError:
            continue
        if vendor == "0x8086" and ARC.fullmatch(number):
            return Accelerator("xpu", "Intel Arc", "xpu")
    return None


def _output(command: list[str]) -> str:
    """What a program says; nothing when it fails or hangs, as drivers in trouble do."""
    hidden = subprocess.CREATE_NO_WINDOW if os.name == "nt" else 0
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_SECONDS, check=False, creationflags=hidden
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
