"""What is known of a frame's pixels besides their colour, as the passes of a multilayer EXR that compositors read."""

from __future__ import annotations

import numpy as np

from .artifacts import SKY_Z
from .geometry.fusion import normals
from .records import Condition, View


def of_frame(condition: Condition, level: np.ndarray) -> dict[str, np.ndarray]:
    """Channels by the names that Blender and other compositors know, each (H, W).

    Depth.Z: float32, z-depth in scene units, 1e10 is sky. Normal.X, .Y, .Z: half, in the world, toward the camera as in
    Blender's own pass, 0 where there is no surface. Confidence.V: half, 0 to 1. Provenance.V: half, ``level`` (H, W): 0 was
    generated, 1 seen at full resolution, n at 1/2**(n-1) of it.
    """
    mask = np.ones(condition.depth.shape, bool)
    view = View("frame", condition.rgb, condition.camera, mask, condition.depth, condition.confidence)
    planes = {f"Normal.{axis}": plane for axis, plane in zip("XYZ", np.moveaxis(normals(view), -1, 0))}
    planes |= {"Confidence.V": condition.confidence, "Provenance.V": level}
    depth = np.where(np.isinf(condition.depth), np.float32(SKY_Z), condition.depth).astype(np.float32)
    return {"Depth.Z": depth, **{name: plane.astype(np.float16) for name, plane in planes.items()}}
