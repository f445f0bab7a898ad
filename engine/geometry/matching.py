"""Photometric matching: how well pixels of one photo agree with others under a hypothesis of depth.

Two ways: a plane sweep whose windows are sheared in the cost volume (every pixel tries several slants at the
price of a few additions), and single slanted planes per pixel, as PatchMatch needs them (Bleyer et al. 2011,
Schönberger et al. 2016). The measure is zero-mean normalised cross-correlation (ZNCC), blind to exposure.
Inverse depth w = 1/z throughout: a plane in the world is affine in w over the image.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .. import camera as cams
from ..compiled import on_cpu
from ..job import Camera
from ..records import Photo
from .kernels import slanted
from .kernels import sweep as kernels
from .kernels.limits import FACING, LONELY, NOISE

LUMA = (0.299, 0.587, 0.114)
NEAREST = 1e-6
"""Least depth in another photo, in that of the pixel, that counts as before it."""
BLAND = 1e-4
"""Variance of grey (sRGB-coded, 0..1; 5×5 pixels) around which texture begins to tell more than noise and shading do."""


@dataclass
class Frame:
    """A photo at one level of the pyramid.

    gray: (H, W) float32 around 0. image: (3, H, W). mask: (H, W) bool, where it may be used; whole: everywhere.
    mean: what was taken off the grey.
    """

    gray: torch.Tensor
    image: torch.Tensor
    mask: torch.Tensor
    camera: Camera
    whole: bool = True
    mean: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return tuple(self.gray.shape)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.gray.device

    @functools.cached_property
    def soft(self) -> torch.Tensor:
        """(3, H, W) the image averaged over windows of 5 pixels: what a small shift or fine texture does not change."""
        return F.avg_pool2d(self.image, 5, 1, 2, count_include_pad=False)

    @property
    def variance(self) -> torch.Tensor:
        """(H, W) variance of grey over windows of 5 pixels."""
        gray = self.gray[None, None]
        mean, square = (F.avg_pool2d(x, 5, 1, 2, count_include_pad=False)[0, 0] for x in (gray, gray * gray))
        return (square - mean * mean).clamp_min(0)

    @functools.cached_property
    def telling(self) -> torch.Tensor:
        """(H, W) 0..1 how far the texture around a pixel tells places apart; in bland surroundings many depths match alike."""
        squared = self.variance**2
        return squared / (squared + BLAND**2)


def make_frame(photo: Photo, longest: int, device: torch.device) -> Frame:
    """The photo with its longer side at most ``longest`` pixels, area-averaged."""
    height, width = photo.image.shape[:2]
    scale = min(1.0, longest / max(height, width))
    h, w = max(8, round(height * scale)), max(8, round(width * scale))
    image = torch.from_numpy(np.ascontiguousarray(photo.image, np.float32)).to(device).permute(2, 0, 1)[None]
    mask = torch.from_numpy(np.ascontiguousarray(photo.mask)).to(device)[None, None].float()
    if (h, w) != (height, width):
        image = F.interpolate(image, (h, w), mode="bilinear", antialias=True, align_corners=False)
        mask = F.interpolate(mask, (h, w), mode="bilinear", antialias=True, align_corners=False)
    gray = torch.tensordot(torch.tensor(LUMA, device=device), image[0], 1)
    mean = float(gray.mean())
    camera = cams.resized(photo.camera, w, h)
    return Frame(gray - mean, image[0], mask[0, 0] > 0.99, camera, bool(photo.mask.all()), mean)


def transfer(source: Camera, target: Camera, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(A, b) such that a pixel p of inverse depth w in ``source`` lands at A·[p, 1] + b·w (homogeneous) in ``target``.

    The third component times the pixel's depth is its depth in ``target``.
    """
    relative = cams.camera_from_world(target) @ cams.world_from_camera(source)
    k = cams.intrinsics(target)
    a = k @ relative[:3, :3] @ np.linalg.inv(cams.intrinsics(source))
    b = k @ relative[:3, 3]
    return torch.tensor(a, dtype=torch.float32, device=device), torch.tensor(b, dtype=torch.float32, device=device)


def pixel_grid(h: int, w: int, device: torch.device) -> torch.Tensor:
    """(3, H, W) homogeneous pixel centres."""
    v, u = torch.meshgrid(
        torch.arange(h, device=device, dtype=torch.float32) + 0.5,
        torch.arange(w, device=device, dtype=torch.float32) + 0.5,
        indexing="ij",
    )
    return torch.stack([u, v, torch.ones_like(u)])


def crossing(source: Camera, target: Camera, size: tuple[int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(direction (3, H, W), b (3,)) such that a pixel of inverse depth w lands at direction + b·w, see :func:`transfer`."""
    a, b = transfer(source, target, device)
    return torch.einsum("ij,jhw->ihw", a, pixel_grid(*size, device)), b


def landing(direction: torch.Tensor, b: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of pixels of inverse depth w (H, W), see :func:`crossing`: w times their depth in the target, 0 and less behind it, and the
    target's pixels u, v where they land; all (H, W)."""
    q = direction + b[:, None, None] * w
    z = q[2].clamp_min(NEAREST)
    return q[2], q[0] / z, q[1] / z


def within(q: torch.Tensor, u: torch.Tensor, v: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(H, W) bool: what lands before the target and in its picture of ``size`` (h, w), see :func:`landing`."""
    return (q > NEAREST) & (u > 0) & (u < size[1]) & (v > 0) & (v < size[0])


def sample(image: torch.Tensor, u: torch.Tensor, v: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    """``image`` (C, H, W) at pixels u, v (M, N): (C, M, N); beyond the border its nearest pixel."""
    h, w = image.shape[-2:]
    grid = torch.stack([u * (2.0 / w) - 1.0, v * (2.0 / h) - 1.0], dim=-1)
    return F.grid_sample(image[None], grid[None], mode=mode, padding_mode="border", align_corners=False)[0]


def largest(values: torch.Tensor, radius: int) -> torch.Tensor:
    """(H, W) the largest of ``values`` (H, W) within ``radius`` pixels across and down."""
    across = F.max_pool2d(values[None, None], (1, 2 * radius + 1), 1, (0, radius))
    return F.max_pool2d(across, (2 * radius + 1, 1), 1, (radius, 0))[0, 0]


def unlike(frame: Frame, other: Frame, w: torch.Tensor) -> torch.Tensor:
    """(H, W) largest difference of a colour channel between a photo and what another shows of it at inverse depths w (H, W)."""
    _, u, v = landing(*crossing(frame.camera, other.camera, w.shape, w.device), w)
    return (sample(other.soft, u, v) - frame.soft).abs().amax(0)


def _masked(frame: Frame, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Whether the frame may be used at pixels u, v (M, N)."""
    if frame.whole:
        return torch.ones_like(u, dtype=torch.bool)
    return sample(frame.mask[None].float(), u, v, mode="nearest")[0] > 0.5


def disparity_rate(source: Camera, target: Camera, w: float) -> float:
    """Pixels of ``target`` that a unit of inverse depth moves the middle of ``source``, near inverse depth w."""
    a, b = transfer(source, target, torch.device("cpu"))
    p = torch.tensor([source.width / 2, source.height / 2, 1.0])
    q = (a @ p)[:, None] + b[:, None] * torch.tensor([w, w * 1.01 + 1e-9])
    if bool((q[2] <= 1e-6).any()):
        return 0.0
    uv = q[:2] / q[2]
    return float((uv[:, 1] - uv[:, 0]).norm() / (w * 0.01 + 1e-9))


# --- plane sweep ---------------------------------------------------------------

SHEARS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (0, 2))
"""Slants of the window, in labels per pixel along x and y. (0, 2): the ground, far more common than a ceiling."""


def _slide(volume: torch.Tensor, axis: int, shear: int, radius: int) -> torch.Tensor:
    """Sum over 2·radius+1 pixels along ``axis`` of a (D, H, W) volume, moving ``shear`` labels with each."""
    pad = [0, 0, 0, 0, 0, 0]
    pad[(2 - axis) * 2] = pad[(2 - axis) * 2 + 1] = radius
    reach = abs(shear) * radius
    pad[4] = pad[5] = reach
    padded = F.pad(volume[None], pad, mode="replicate")[0]
    depth, length = volume.shape[0], volume.shape[axis]
    total = torch.zeros_like(volume)
    for offset in range(-radius, radius + 1):
        start = reach + shear * offset
        total += padded.narrow(0, start, depth).narrow(axis, radius + offset, length)
    return total


def _window(volume: torch.Tensor, shear: tuple[int, int], radius: int, columns: dict) -> torch.Tensor:
    """Sum over a square window, sheared; ``columns`` keeps the sums along y for the next shear."""
    if shear[1] not in columns:
        columns[shear[1]] = _slide(volume, 1, shear[1], radius)
    return _slide(columns[shear[1]], 2, shear[0], radius)


def _moments(gray: torch.Tensor, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance (H, W) of the square windows of a grey picture (H, W)."""
    count = float((2 * radius + 1) ** 2)
    mean, square = (_window(x[None], (0, 0), radius, {})[0] / count for x in (gray, gray * gray))
    return mean, square - mean**2


def _sweep_partner(reference: Frame, partner: Frame, labels: torch.Tensor, shears, moments, a, b, radius: int) -> torch.Tensor:
    """Matching cost (D, H, W) in 0..1 of fronto-parallel planes w = labels, the best over all slants of the window."""
    h, w = reference.size
    base = torch.einsum("ij,jhw->ihw", a, pixel_grid(h, w, labels.device))
    q = base[None] + (labels[:, None] * b[None])[:, :, None, None]
    z = q[:, 2].clamp_min(1e-6)
    u, v = q[:, 0] / z, q[:, 1] / z
    ph, pw = partner.size
    depth = len(labels)
    valid = (q[:, 2] > 1e-6) & (u > 0) & (u < pw) & (v > 0) & (v < ph)
    valid &= _masked(partner, u.reshape(depth * h, w), v.reshape(depth * h, w)).reshape(depth, h, w)
    warped = sample(partner.gray[None], u.reshape(depth * h, w), v.reshape(depth * h, w))[0].reshape(depth, h, w)
    count = float((2 * radius + 1) ** 2)
    mean_f, var_f = moments
    sums = [(warped, {}), (warped * warped, {}), (warped * reference.gray, {})]
    best = torch.full_like(warped, -1.0)
    for shear in shears:
        g, gg, fg = (_window(volume, shear, radius, columns) / count for volume, columns in sums)
        var_g = (gg - g * g).clamp_min(0)
        zncc = (fg - mean_f * g) * torch.rsqrt((var_f.clamp_min(0) + NOISE) * (var_g + NOISE))
        best = torch.maximum(best, zncc)
    return torch.where(valid, (1 - best) * 0.5, 0.5).clamp(0, 1)


def together(costs: torch.Tensor) -> torch.Tensor:
    """One cost from those of every partner (P, ...): the mean of the best two, or the best alone where the others see nothing."""
    if len(costs) == 1:
        return costs[0]
    best = costs.topk(2, dim=0, largest=False).values
    return torch.minimum(best.mean(0), best[0] + LONELY)


def sweep(reference: Frame, partners: list[Frame], labels: torch.Tensor, radius: int = 2) -> torch.Tensor:
    """Matching cost (H, W, D) in 0..1 of every label, all partners' :func:`together`.

    A partner in which the point falls out of the frame counts as undecided (cost ½), so that occlusion never looks like a match.
    """
    transfers = [transfer(reference.camera, partner.camera, reference.device) for partner in partners]
    return _swept(reference, partners, labels, SHEARS, transfers, _moments(reference.gray, radius), radius)


@on_cpu(kernels.swept)
def _swept(reference: Frame, partners: list[Frame], labels, shears, transfers, moments, radius: int) -> torch.Tensor:
    costs = [
        _sweep_partner(reference, partner, labels, shears, moments, a, b, radius) for partner, (a, b) in zip(partners, transfers)
    ]
    return together(torch.stack(costs)).permute(1, 2, 0).contiguous()


# --- slanted planes per pixel ---------------------------------------------------


@dataclass
class Planes:
    """One plane per pixel: inverse depth w and its slope along u and v (per pixel); all (H, W)."""

    w: torch.Tensor
    du: torch.Tensor
    dv: torch.Tensor

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.w.device


class SlantedMatcher:
    """ZNCC of per-pixel slanted windows with weights that follow the photo's edges.

    radius: of the window, in steps of ``stride`` pixels. sigma: how unlike (in RGB) a pixel of the window may be to count.
    """

    def __init__(self, reference: Frame, partners: list[Frame], radius: int = 2, stride: int = 2, sigma: float = 0.15):
        self.reference, self.partners = reference, partners
        device = reference.gray.device
        steps = [i * stride for i in range(-radius, radius + 1)]
        self.offsets = [(x, y) for y in steps for x in steps]
        self.pad = radius * stride
        self.sigma, self.spread = sigma, max(1.0, 1.0 * self.pad)
        offsets = torch.tensor(self.offsets, dtype=torch.float32, device=device)
        self.basis = torch.cat([torch.ones(1, len(self.offsets), device=device), offsets.T])  # (3, K)
        self.transfers = [transfer(reference.camera, partner.camera, device) for partner in partners]
        stacked = torch.cat([reference.image, reference.gray[None]])
        self.padded = F.pad(stacked[None], [self.pad] * 4, mode="replicate")[0]

    @property
    def device(self) -> torch.device:
        """Where it works."""
        return self.padded.device

    @functools.cached_property
    def packed(self) -> tuple[slanted.Window, slanted.Partners]:
        """What the CPU's kernels need of it."""
        return slanted.packed(self)

    def window(self, rows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For a band of rows: weights (N, K) summing to 1, weighted zero-mean grey (N, K), its variance (N,)."""
        w = self.reference.size[1]
        n = rows.stop - rows.start
        centre = self.padded[:3, self.pad + rows.start : self.pad + rows.stop, self.pad : self.pad + w]
        weights, grays = [], []
        for x, y in self.offsets:
            top, left = self.pad + rows.start + y, self.pad + x
            patch = self.padded[:, top : top + n, left : left + w]
            unlike = ((patch[:3] - centre) ** 2).sum(0) / (2 * self.sigma**2)
            weights.append(torch.exp(-unlike - (x * x + y * y) / (2 * self.spread**2)))
            grays.append(patch[3])
        weight = torch.stack(weights, -1).reshape(n * w, -1)
        gray = torch.stack(grays, -1).reshape(n * w, -1)
        weight = weight / weight.sum(-1, keepdim=True)
        gray = gray - (weight * gray).sum(-1, keepdim=True)
        weighted = weight * gray
        return weight, weighted, (weighted * gray).sum(-1)

    def zncc(self, window, planes: Planes, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """ZNCC (P, N) of planes at pixels (3, N) against each partner, and whether the centre falls inside it (P, N)."""
        weight, weighted, variance = window
        scores, inside = [], []
        for (a, b), partner in zip(self.transfers, self.partners):
            ph, pw = partner.size
            u, v, depth, (ux, uy, vx, vy) = linearised(a, b, planes, pixels)
            rows = ([u * (2 / pw) - 1, ux * (2 / pw), uy * (2 / pw)], [v * (2 / ph) - 1, vx * (2 / ph), vy * (2 / ph)])
            jacobian = torch.stack([torch.stack(row) for row in rows])  # (2, 3, N)
            grid = torch.matmul(jacobian.permute(2, 0, 1).reshape(-1, 3), self.basis)  # (N·2, K)
            grid = grid.reshape(-1, 2, grid.shape[-1]).transpose(1, 2)  # (N, K, 2)
            g = F.grid_sample(partner.gray[None, None], grid[None], padding_mode="border", align_corners=False)[0, 0]
            mean = (weight * g).sum(-1)
            var = ((weight * g) * g).sum(-1) - mean * mean
            scores.append((weighted * g).sum(-1) * torch.rsqrt((variance + NOISE) * (var.clamp_min(0) + NOISE)))
            usable = _masked(partner, u[None], v[None])[0]
            inside.append((depth > 1e-6) & (u > 0) & (u < pw) & (v > 0) & (v < ph) & usable)
        return torch.stack(scores), torch.stack(inside)

    def faces(self, planes: Planes, pixels: torch.Tensor) -> torch.Tensor:
        """(P, N) bool: whether planes at pixels (3, N) turn their face to each partner."""
        found = []
        for a, b in self.transfers:
            _, _, _, (ux, uy, vx, vy) = linearised(a, b, planes, pixels)
            found.append(ux * vy - uy * vx > FACING)
        return torch.stack(found)


def linearised(a: torch.Tensor, b: torch.Tensor, planes: Planes, pixels: torch.Tensor):
    """The warp of windows at pixels (3, N), linearised at their centres. (N,) each: where planes land by a :func:`transfer`, u
    and v; its third component; what a pixel to the right and one down add to u and to v (ux, uy, vx, vy)."""
    q = a @ pixels + b[:, None] * planes.w
    qx = a[:, :1] + b[:, None] * planes.du
    qy = a[:, 1:2] + b[:, None] * planes.dv
    z = 1.0 / q[2].clamp_min(1e-6)
    u, v = q[0] * z, q[1] * z
    return u, v, q[2], ((qx[0] - u * qx[2]) * z, (qy[0] - u * qy[2]) * z, (qx[1] - v * qx[2]) * z, (qy[1] - v * qy[2]) * z)
