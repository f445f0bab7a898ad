"""Whether this Python can run the engine. Started as a script by the installer, so that Blender imports none of it.

Prints one line of JSON::

    {"python": "3.11.9", "packages": {"torch": "2.13.0+cu130", …}, "missing": {"pillow": "why; nothing where it is not there"},
     "device": "cuda", "device_name": "NVIDIA …", "notes": ["why a faster device cannot be used"], "works": true}
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import platform
import sys
from pathlib import Path

MODULES = {"opencv-python-headless": "cv2", "openexr": "OpenEXR", "pillow": "PIL", "scikit-image": "skimage"}
"""Packages whose modules have other names."""


def main() -> None:
    """Import everything, name the versions, compute a little."""
    packages, missing = {}, {}
    for name in sys.argv[1:]:
        try:
            version = importlib.metadata.version(name)
            importlib.import_module(MODULES.get(name, name))
            packages[name] = version
        except importlib.metadata.PackageNotFoundError:
            missing[name] = ""
        except Exception as error:  # noqa: BLE001 - a broken library may raise anything; the installer shows it
            missing[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    found = {"python": platform.python_version(), "packages": packages, "missing": missing}
    if "torch" in packages:
        found.update(_compute())
    print(json.dumps(found))


def _compute() -> dict:
    """The fastest device on which a small product comes out right."""
    import torch

    notes = []
    for device, name in _devices(torch):
        try:
            product = torch.full((8, 8), 0.5, device=device) @ torch.full((8, 8), 2.0, device=device)
            if bool((product.cpu() == 8.0).all()):
                return {"device": device, "device_name": name, "notes": notes, "works": True}
            notes.append(f"{name} computes wrongly")
        except Exception as error:  # noqa: BLE001 - drivers raise what they like; the next device is tried
            notes.append(f"{name} cannot be used: {str(error).splitlines()[0]}")
    return {"device": "", "device_name": "", "notes": notes, "works": False}


def _devices(torch) -> list[tuple[str, str]]:
    devices = []
    if torch.cuda.is_available():
        devices.append(("cuda", torch.cuda.get_device_name(0)))
    if torch.backends.mps.is_available():
        devices.append(("mps", "Apple GPU"))
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        devices.append(("xpu", torch.xpu.get_device_name(0)))
    return [*devices, ("cpu", "CPU")]


if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if Path(path) != Path(__file__).parent]  # the engine's modules are no packages
    main()
