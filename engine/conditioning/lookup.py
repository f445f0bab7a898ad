"""Backward lookup: a target ray is intersected with a source's own depth surface, and the photo is read where it meets it.

A source's surface is 1/z = D(u, v): in the neighbourhood of a pixel the plane n·X = 1 of the source's camera space with
n = (fx·Dx, fy·Dy, D + Dx·(cx − u) + Dy·(cy − v)). A ray X = a + t·b meets it at t = (1 − n·a) / (n·b), which is exact on planes
whatever their slant; two or three such steps converge on curved surfaces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..job import Camera
from .source import SKY, Source, relative

BANDS = (0.10, 0.05, 0.02)
"""Relative depth band, per iteration, within which a corner of a cell belongs to the surface that is looked for."""
PAST = 0.04
"""A source sees past a point when its nearest surface around there is farther by this much (relative)."""
SAME = 0.02
"""Relative difference of depth that still is the same surface, where two sources are compared."""
MAX_BAND = 0.35
MAX_STEP = 1.5


@dataclass
class Rays:
    """Target pixels as rays: x, y are the ray's camera-space coordinates at z = 1; (N,) each."""

    x: Tensor
    y: Tensor

    def __getitem__(self, index: Tensor) -> Rays:
        return Rays(self.x[index], self.y[index])

    def __len__(self) -> int:
        return len(self.x)


def rays_of(camera: Camera, device: torch.device) -> Rays:
    """Rays through all pixel centres, row-major."""
    x = (torch.arange(camera.width, device=device, dtype=torch.float32) + (0.5 - camera.cx)) / camera.fx
    y = (torch.arange(camera.height, device=device, dtype=torch.float32) + (0.5 - camera.cy)) / camera.fy
    return Rays(x.repeat(camera.height), y.repeat_interleave(camera.width))


@dataclass
class Line:
    """Rays in a source's camera space: X = a + t·b, with t the target's z-depth. a: 3 floats; b: three (N,) tensors."""

    a: tuple[float, float, float]
    b: tuple[Tensor, Tensor, Tensor]

    def at(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The points at depth t."""
        return tuple(b * t + a for a, b in zip(self.a, self.b))


def line_of(source: Source, target: Camera, rays: Rays) -> Line:
    """The target's rays as the source sees them."""
    rel = relative(source.camera, target)
    r = rel.rotation.tolist()
    b = tuple(r[i][0] * rays.x + (r[i][1] * rays.y + r[i][2]) for i in range(3))
    return Line(tuple(rel.offset.tolist()), b)


@dataclass
class Cell:
    """What a source holds around the places points project to; (N,) each.

    u, v: pixel-index coordinates (centre of the first pixel at 0). z: depth in the source. inside: projects into the photo.
    nearest: index of the pixel that stands for the place. matched: bilinear share of the four corners that lie on the looked-for
    surface. disparity: the surface's there (0 where nothing matched); slope_x, slope_y: its gradient. known: bilinear share of
    corners with depth.
    """

    u: Tensor
    v: Tensor
    z: Tensor
    inside: Tensor
    nearest: Tensor
    matched: Tensor
    disparity: Tensor
    slope_x: Tensor
    slope_y: Tensor
    known: Tensor


def project(source: Source, point: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixel-index coordinates u, v, the depth z (1 where the point is behind) and whether it lies inside the photo."""
    camera = source.camera
    x, y, z = point
    front = z > 1e-12
    z = torch.where(front, z, torch.ones_like(z))
    inverse = 1.0 / z
    u = x * inverse * camera.fx + (camera.cx - 0.5)
    v = y * inverse * camera.fy + (camera.cy - 0.5)
    inside = front & (u >= -0.5) & (u < camera.width - 0.5) & (v >= -0.5) & (v < camera.height - 0.5)
    u = torch.where(inside, u, torch.zeros_like(u))
    v = torch.where(inside, v, torch.zeros_like(v))
    return u, v, z, inside


def look(source: Source, point: tuple[Tensor, Tensor, Tensor], band: float) -> Cell:
    """The source's surface where points project, from those corners of the pixel cell on the points' own side of a depth edge."""
    width, height = source.camera.width, source.camera.height
    u, v, z, inside = project(source, point)
    x0, y0 = u.floor(), v.floor()
    fx, fy = u - x0, v - y0
    x0, y0 = x0.long(), y0.long()
    left, right = x0.clamp(0, width - 1), (x0 + 1).clamp(0, width - 1)
    top, bottom = y0.clamp(0, height - 1) * width, (y0 + 1).clamp(0, height - 1) * width
    nearest = torch.where(fy < 0.5, top, bottom) + torch.where(fx < 0.5, left, right)
    slope = source.gradient[nearest].float()
    tolerance = (band + 1.5 * slope.abs().sum(1)).clamp(max=MAX_BAND)
    corners = ((top + left, 1 - fx, 1 - fy), (top + right, fx, 1 - fy), (bottom + left, 1 - fx, fy), (bottom + right, fx, fy))
    total, weighted, at_x, at_y, known = (torch.zeros_like(u) for _ in range(5))
    best, best_weight = nearest, torch.zeros_like(u)
    for corner, (index, wx, wy) in enumerate(corners):
        disparity = source.disparity[index]
        weight = wx * wy
        known += weight * (disparity > 0)
        weight = weight * ((disparity * z - 1).abs() < tolerance)
        total += weight
        weighted += weight * disparity
        if corner % 2:
            at_x += weight
        if corner >= 2:
            at_y += weight
        better = weight > best_weight
        best = torch.where(better, index, best)
        best_weight = torch.where(better, weight, best_weight)
    some = total > 1e-6
    scale = 1.0 / total.clamp(min=1e-6)
    disparity = torch.where(some, weighted * scale, torch.zeros_like(u))
    slope = torch.where((best == nearest)[:, None], slope, source.gradient[best].float()) * disparity[:, None]
    # Where corners are missing the mean of the rest stands at their centre, not at (u, v): follow the slope.
    disparity = disparity + torch.where(some, slope[:, 0] * (fx - at_x * scale) + slope[:, 1] * (fy - at_y * scale), 0.0)
    matched = torch.where(inside, total, torch.zeros_like(total))
    return Cell(u, v, z, inside, best, matched, disparity, slope[:, 0], slope[:, 1], torch.where(inside, known, 0.0))


def plane(source: Source, cell: Cell) -> tuple[Tensor, Tensor, Tensor]:
    """The plane n·X = 1 that touches the source's surface."""
    camera = source.camera
    nz = cell.disparity + cell.slope_x * (camera.cx - 0.5 - cell.u) + cell.slope_y * (camera.cy - 0.5 - cell.v)
    return cell.slope_x * camera.fx, cell.slope_y * camera.fy, nz


@dataclass
class Hit:
    """Where rays meet one source's surface; (N,) each. t: z-depth in the target. weight: 0 where they miss, else how well the
    source measures the surface there. confidence: the source's own, 0 where they miss."""

    t: Tensor
    weight: Tensor
    confidence: Tensor


def intersect(source: Source, target: Camera, rays: Rays, t: Tensor) -> Hit:
    """Meet the surface of one source near depth t (N,), which must be positive and finite."""
    line = line_of(source, target, rays)
    start = t
    a = line.a
    for band in BANDS:
        cell = look(source, line.at(t), band)
        nx, ny, nz = plane(source, cell)
        along = nx * line.b[0] + ny * line.b[1] + nz * line.b[2]
        facing = 1 - (nx * a[0] + ny * a[1] + nz * a[2])
        ok = (cell.matched > 0) & (along > 1e-20) & (facing > 0)
        meets = torch.where(ok, facing / torch.where(ok, along, torch.ones_like(along)), t)
        # Measured before it is kept in bounds: a ray that would go on is not there yet.
        change = (meets / t - 1).abs()
        t = torch.minimum(torch.maximum(meets, start / MAX_STEP), start * MAX_STEP)
    hit = ok & (cell.matched >= 0.5) & (change < 0.02)
    confidence = source.confidence[cell.nearest].float()
    # cos of the angle of incidence: n·X = 1, so 1 / (|n| |X|).
    frontal = torch.rsqrt(((nx * nx + ny * ny + nz * nz) * (1 + _off_axis(source, cell))).clamp(min=1e-30)) / cell.z
    weight = torch.where(hit, confidence * frontal.clamp(0.05, 1) / cell.z.clamp(min=1e-12), torch.zeros_like(t))
    return Hit(t, weight * source.camera.fx, torch.where(hit, confidence, torch.zeros_like(t)))


def _off_axis(source: Source, cell: Cell) -> Tensor:
    """Squared tangent of the angle between a source pixel's ray and the optical axis."""
    camera = source.camera
    return ((cell.u + 0.5 - camera.cx) / camera.fx) ** 2 + ((cell.v + 0.5 - camera.cy) / camera.fy) ** 2


def sees_past(source: Source, point: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """(N,) 0..1: the source's confidence that nothing stands at the points, as it sees something farther, or sky, behind them."""
    u, v, z, inside = project(source, point)
    width = source.camera.width
    index = (v + 0.5).floor().long() * width + (u + 0.5).floor().long()
    front = source.front[index]
    slope = source.gradient[index].float().abs().sum(1)
    behind = (front > 0) & (front * z < 1 - PAST - 2 * slope.clamp(max=0.3))
    vote = torch.where(behind, source.confidence[index].float(), torch.zeros_like(u))
    if source.any_sky:
        vote = torch.where(source.flag(SKY)[index] & (front == 0), torch.ones_like(vote), vote)
    return torch.where(inside, vote, torch.zeros_like(vote))


def sample(source: Source, u: Tensor, v: Tensor, lod: Tensor) -> Tensor:
    """(N, 3) the photo's colours at pixel-index coordinates, bicubic, from the level of its pyramid that suits ``lod`` (log2 of
    source pixels per target pixel)."""
    level = lod.round().clamp(0, source.max_mip).long() if len(lod) else lod.long()
    out = torch.empty(len(u), 3, device=u.device)
    for number in torch.unique(level).tolist():
        mip = source.mip(number)
        at = (level == number).nonzero()[:, 0]
        whole = len(at) == len(u)
        scale = 2.0**-number
        x, y = (((c if whole else c[at]) + 0.5) * (2 * scale / side) - 1 for c, side in ((u, mip.shape[3]), (v, mip.shape[2])))
        grid = torch.stack([x, y], -1)[None, None]
        colours = F.grid_sample(mip, grid, mode="bicubic", padding_mode="border", align_corners=False)[0, :, 0].T
        if whole:
            out = colours
        else:
            out[at] = colours
    return (out.clamp(0, 1) * source.gain).clamp(0, 1)


def supports(partner: Source, line: Line, depth: Tensor) -> Tensor:
    """(N,) the partner's confidence where it sees the same surface, else 0."""
    u, v, z, inside = project(partner, line.at(depth))
    index = (v + 0.5).floor().long() * partner.camera.width + (u + 0.5).floor().long()
    slope = partner.gradient[index].float().abs().sum(1)
    same = inside & ((partner.disparity[index] * z - 1).abs() < SAME + slope)
    return torch.where(same, partner.confidence[index].float(), torch.zeros_like(depth))


def votes(source: Source, partners: list[Source]) -> Tensor:
    """(H*W,) float16: share of the votes that are for each pixel of a source, its own included; 1 where it has no depth."""
    trust = torch.ones_like(source.disparity, dtype=torch.float16)
    rays, confidence = rays_of(source.camera, source.disparity.device), source.confidence
    for part in (source.disparity > 0).nonzero()[:, 0].split(1 << 19):
        depth = 1 / source.disparity[part]
        support = confidence[part].float()
        against = torch.zeros_like(support)
        for partner in partners:
            line = line_of(partner, source.camera, rays[part])
            support += supports(partner, line, depth)
            against += sees_past(partner, line.at(depth))
        trust[part] = (support / (support + against).clamp(min=1e-6)).half()
    return trust
