"""Forward splatting of depth into a z-buffer whose every cell is one int64: depth above, index below.

The smaller key is the nearer point, so one integer minimum per point keeps the nearest, ties go to the lower index, and a coarser
level is the exact 2×2 minimum of the finer one, whatever the order in which points arrive: the result is deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..job import Camera
from .source import BLOCK, Source, relative

EMPTY = torch.iinfo(torch.int64).max
"""Key of a cell no point fell into."""
MARGIN = 0.3
"""Points are kept this share of the frame beyond its border: their surfaces may reach into it."""
MAX_STRETCH = 4.0
"""Spacing of points on slanted surfaces is taken as at most this many times a frontal one's."""


@dataclass
class Points:
    """Points in the target camera's pixels, (N,) each: u, v (px), z (z-depth), footprint (spacing of the points there, px)."""

    u: Tensor
    v: Tensor
    z: Tensor
    footprint: Tensor

    def __len__(self) -> int:
        return len(self.z)

    def coarser(self, step: int) -> Points:
        """These points, when they stand for ``step`` pixels in x and y."""
        return replace(self, footprint=self.footprint * step)


def pack(depth: Tensor, index: Tensor) -> Tensor:
    """One int64 key per point: the bits of a positive float32 keep its order."""
    return (depth.contiguous().view(torch.int32).to(torch.int64) << 32) | index.to(torch.int64)


def unpack(key: Tensor) -> tuple[Tensor, Tensor]:
    """Depth (float32, +inf where the cell is empty) and index (int64, -1 there) of keys."""
    empty = key == EMPTY
    depth = (key >> 32).to(torch.int32).view(torch.float32)
    depth = torch.where(empty, torch.full_like(depth, torch.inf), depth)
    return depth, torch.where(empty, torch.full_like(key, -1), key & 0xFFFFFFFF)


def splat(cell: Tensor, depth: Tensor, cells: int) -> Tensor:
    """(cells,) int64 keys: the nearest point of each cell. cell: (N,) int64; depth: (N,) float32, positive."""
    keys = torch.full((cells,), EMPTY, dtype=torch.int64, device=depth.device)
    packed = pack(depth, torch.arange(len(depth), device=depth.device))
    if depth.device.type == "mps":  # no 64-bit scatter minimum there
        return keys.cpu().scatter_reduce_(0, cell.cpu(), packed.cpu(), "amin").to(depth.device)
    return keys.scatter_reduce_(0, cell, packed, "amin")


def halve(keys: Tensor) -> Tensor:
    """(ceil(H/2), ceil(W/2)) exact 2×2 minima of (H, W) keys."""
    height, width = keys.shape
    if height % 2 or width % 2:  # F.pad takes its value through a double, which no int64 survives
        even = torch.full((height + height % 2, width + width % 2), EMPTY, dtype=torch.int64, device=keys.device)
        even[:height, :width] = keys
        keys = even
    return torch.minimum(torch.minimum(keys[::2, ::2], keys[::2, 1::2]), torch.minimum(keys[1::2, ::2], keys[1::2, 1::2]))


def blocks_in_view(source: Source, target: Camera, margin: float) -> Tensor:
    """(k,) int64: the source's blocks that can have a point in the target's frame, widened by ``margin`` (share of its size)."""
    camera = source.camera
    device = source.disparity.device
    columns, rows = -(-camera.width // BLOCK), -(-camera.height // BLOCK)
    x = np.minimum(np.arange(columns + 1) * BLOCK, camera.width)
    y = np.minimum(np.arange(rows + 1) * BLOCK, camera.height)
    gx, gy = (x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy
    corners = np.ones((rows, columns, 4, 3))
    for i, (dx, dy) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        corners[:, :, i, 0] = gx[None, dx : dx + columns]
        corners[:, :, i, 1] = gy[dy : dy + rows, None]
    rel = relative(target, camera)
    rays = torch.as_tensor((corners.reshape(-1, 4, 3) @ rel.rotation.T).astype(np.float32), device=device)
    offset = torch.as_tensor(rel.offset.astype(np.float32), device=device)
    some = source.blocks[:, 1] > 0
    depths = torch.where(some[:, None], source.blocks, torch.ones_like(source.blocks))
    points = (rays[:, :, None] * depths[:, None, :, None] + offset).reshape(len(rays), 8, 3)
    px, py, pz = points.unbind(-1)
    left = -(target.cx + margin * target.width) / target.fx
    right = (target.width * (1 + margin) - target.cx) / target.fx
    top = -(target.cy + margin * target.height) / target.fy
    bottom = (target.height * (1 + margin) - target.cy) / target.fy
    inside = [pz > 0, px >= left * pz, px <= right * pz, py >= top * pz, py <= bottom * pz]
    for plane in inside:
        some = some & plane.any(1)
    return some.nonzero()[:, 0]


def project_source(source: Source, target: Camera, margin: float = MARGIN, step: int = 1) -> Points:
    """The points of every ``step``-th pixel in x and y that fall in the target's widened frame, in front of it."""
    camera = source.camera
    device = source.disparity.device
    block = blocks_in_view(source, target, margin)
    columns = -(-camera.width // BLOCK)
    inner = torch.arange(BLOCK, device=device)
    x = (block % columns * BLOCK)[:, None, None] + inner[None, None, :]
    y = (torch.div(block, columns, rounding_mode="floor") * BLOCK)[:, None, None] + inner[None, :, None]
    x, y = torch.broadcast_tensors(x, y)
    inside = (x < camera.width) & (y < camera.height) & (x % step == 0) & (y % step == 0)
    pixel = (y * camera.width + x)[inside]
    pixel = pixel[source.disparity[pixel] > 0]
    x = (pixel % camera.width).float()
    y = torch.div(pixel, camera.width, rounding_mode="floor").float()
    z = 1.0 / source.disparity[pixel]
    rx, ry = (x + (0.5 - camera.cx)) / camera.fx, (y + (0.5 - camera.cy)) / camera.fy
    rel = relative(target, camera)
    r, o = rel.rotation.astype(np.float32).tolist(), rel.offset.astype(np.float32).tolist()
    px, py, pz = (z * (r[i][0] * rx + r[i][1] * ry + r[i][2]) + o[i] for i in range(3))
    slope = source.gradient[pixel].float().abs()
    steep = torch.maximum(slope[:, 0] * camera.fx, slope[:, 1] * camera.fy)
    spacing = z / min(camera.fx, camera.fy) * torch.sqrt(1 + steep * steep * (1 + rx * rx + ry * ry)).clamp(max=MAX_STRETCH)
    return to_pixels(px, py, pz, spacing, target, margin)[0]


def to_pixels(px: Tensor, py: Tensor, pz: Tensor, spacing: Tensor, target: Camera, margin: float) -> tuple[Points, Tensor]:
    """Camera-space points to Points, without those behind the target or outside its widened frame; and their indices."""
    front = pz > spacing * 1e-6
    safe = torch.where(front, pz, torch.ones_like(pz))
    u = target.fx * px / safe + target.cx
    v = target.fy * py / safe + target.cy
    mx, my = margin * target.width, margin * target.height
    keep = front & (u >= -mx) & (u < target.width + mx) & (v >= -my) & (v < target.height + my)
    keep = keep.nonzero()[:, 0]
    u, v, z, spacing = u[keep], v[keep], pz[keep], spacing[keep]
    footprint = max(target.fx, target.fy) * spacing / z
    return Points(u, v, z, footprint), keep


def join(points: list[Points]) -> Points:
    """All points as one list."""
    return Points(*(torch.cat([getattr(p, name) for p in points]) for name in ("u", "v", "z", "footprint")))
