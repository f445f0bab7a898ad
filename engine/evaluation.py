"""How near a picture is to the truth: PSNR, SSIM, HaarPSI, GMSD, and tables of them.

All metrics take two (H, W, 3) arrays, sRGB-coded, 0..1, and an optional (H, W) bool mask of the pixels that count.
Outside the mask both pictures are taken to be equal, so that no filter looks over its edge.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from .color import srgb_from_linear
from .progress import EngineError

SMALLEST = 16
"""Pixels; the filters of the metrics do not fit a smaller picture."""
_SUFFIXES = (".png", ".exr", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
_YIQ_FROM_RGB = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


# --- metrics -----------------------------------------------------------------


def psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB, higher is better; equal pictures give 100."""
    a, b, mask = _checked(a, b, mask)
    return float(-10 * np.log10(max(np.mean((a - b)[mask] ** 2), 1e-10)))


def ssim(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Structural similarity, 1 is equal (Wang et al. 2004: Gaussian window of sigma 1.5, per colour channel)."""
    a, b, mask = _checked(a, b, mask)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    _, per_pixel = structural_similarity(a, b, channel_axis=2, full=True, **options)
    return float(per_pixel[mask].mean())


def haarpsi(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Haar wavelet-based perceptual similarity index, 0..1, 1 is equal (Reisenhofer et al. 2018, C = 30, alpha = 4.2)."""
    c, alpha = 30.0, 4.2
    a, b, mask = _checked(a, b, mask)
    a, b = (_halved(x @ _YIQ_FROM_RGB.T * 255) for x in (a, b))
    inside = _halved(mask.astype(float)) == 1
    similarities, weights = [], []
    for vertical in (True, False):
        fine = []
        for scale in (1, 2, 3):
            x, y = (np.abs(_haar(image[..., 0], 2**scale, vertical)) for image in (a, b))
            if scale < 3:
                fine.append(_similarity(x, y, c))
            else:
                weights.append(np.maximum(x, y))
        similarities.append(np.mean(fine, axis=0))
    mean2x2 = np.full((2, 2), 0.25)
    chroma = [np.abs(_filtered(image[..., 1:], mean2x2, (0, 0))) for image in (a, b)]
    similarities.append(_similarity(*chroma, c).mean(-1))
    weights.append(np.mean(weights, axis=0))
    weights = np.stack(weights)[:, inside]
    squashed = 1 / (1 + np.exp(-alpha * np.stack(similarities)[:, inside]))
    tiny = np.finfo(float).eps
    score = (np.sum(squashed * weights) + tiny) / (np.sum(weights) + tiny)
    # Where there is no structure at all (two flat pictures) the ratio is 1, beyond the squashing's own maximum.
    score = min(score, 1 / (1 + np.exp(-alpha)))
    return float((np.log(score / (1 - score)) / alpha) ** 2)


def gmsd(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Gradient magnitude similarity deviation, 0 is equal, lower is better (Xue et al. 2014, T = 170 / 255²)."""
    a, b, mask = _checked(a, b, mask)
    prewitt = np.array([[-1.0, 0, 1]] * 3) / 3
    magnitudes = []
    for image in (a, b):
        luma = _halved(image @ _YIQ_FROM_RGB[0])
        magnitudes.append(np.hypot(_filtered(luma, prewitt, (1, 1)), _filtered(luma, prewitt.T, (1, 1))))
    inside = _halved(mask.astype(float)) == 1
    return float(_similarity(*magnitudes, 170 / 255**2)[inside].std())


def _checked(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both pictures as float64 in 0..1, made equal outside the mask, and the mask. Raises EngineError."""
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3:
        raise EngineError(f"Pictures of {a.shape} and {b.shape} cannot be compared; give two RGB pictures of one size.", "sizes")
    if min(a.shape[:2]) < SMALLEST:
        raise EngineError(
            f"A picture of {a.shape[1]}×{a.shape[0]} is too small to compare; {SMALLEST} pixels a side is the least.", "sizes"
        )
    a, b = (np.clip(x, 0, 1).astype(np.float64) for x in (a, b))
    if mask is None:
        return a, b, np.ones(a.shape[:2], bool)
    mask = np.asarray(mask, bool)
    if mask.shape != a.shape[:2] or not np.any(_halved(mask.astype(float)) == 1):
        raise EngineError("The mask of the comparison leaves nothing to compare; give one of the pictures' size.", "sizes")
    return np.where(mask[..., None], a, b), b, mask


def _halved(image: np.ndarray) -> np.ndarray:
    """Means of 2×2 pixels: the viewing distance both papers assume. An odd last row or column is left out."""
    h, w = image.shape[0] // 2, image.shape[1] // 2
    return image[: 2 * h, : 2 * w].reshape(h, 2, w, 2, *image.shape[2:]).mean((1, 3))


def _filtered(image: np.ndarray, kernel: np.ndarray, anchor: tuple[int, int]) -> np.ndarray:
    return cv2.filter2D(image, cv2.CV_64F, kernel, anchor=anchor, borderType=cv2.BORDER_CONSTANT)


def _haar(luma: np.ndarray, size: int, vertical: bool) -> np.ndarray:
    kernel = np.full((size, size), 1 / size)
    kernel[size // 2 :] *= -1
    return _filtered(luma, kernel if vertical else kernel.T, (size // 2 - 1, size // 2 - 1))


def _similarity(x: np.ndarray, y: np.ndarray, constant: float) -> np.ndarray:
    return (2 * x * y + constant) / (x * x + y * y + constant)


# --- tables ------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """The metrics of one frame, or their means. psnr in dB; gmsd is better when lower."""

    name: str
    psnr: float
    ssim: float
    haarpsi: float
    gmsd: float


def compare(
    result_frames: Iterable[np.ndarray],
    truth_frames: Iterable[np.ndarray],
    names: Sequence[str] | None = None,
    masks: Iterable[np.ndarray] | None = None,
) -> list[Row]:
    """One Row per pair of frames (H, W, 3). ``names`` defaults to 1, 2, …; ``masks`` to all pixels."""
    pairs = list(zip(result_frames, truth_frames, strict=True))
    names = [str(i + 1) for i in range(len(pairs))] if names is None else names
    masks = [None] * len(pairs) if masks is None else masks
    return [
        Row(name, psnr(a, b, m), ssim(a, b, m), haarpsi(a, b, m), gmsd(a, b, m))
        for name, (a, b), m in zip(names, pairs, masks, strict=True)
    ]


def mean(rows: Sequence[Row], name: str = "mean") -> Row:
    """The means of the rows' metrics."""
    if not rows:
        raise EngineError("There are no frames to compare.", "missing")
    return Row(name, *(float(x) for x in np.mean([astuple(row)[1:] for row in rows], axis=0)))


class Table(list):
    """Rows; as text an aligned Markdown table."""

    def __str__(self) -> str:
        return table(self)


def table(rows: Sequence[Row]) -> str:
    """Rows as an aligned Markdown table."""
    width = max(5, *(len(row.name) for row in rows)) if rows else 5
    heads = [field.name.upper() if field.name != "haarpsi" else "HaarPSI" for field in fields(Row)][1:]
    lines = [f"| {'frame':<{width}} | " + " | ".join(f"{head:>7}" for head in heads) + " |"]
    lines.append(f"| {'-' * width} | " + " | ".join("------:" for _ in heads) + " |")
    for row in rows:
        lines.append(f"| {row.name:<{width}} | {row.psnr:7.2f} | {row.ssim:7.3f} | {row.haarpsi:7.3f} | {row.gmsd:7.3f} |")
    return "\n".join(lines)


def evaluate_folders(result: str | os.PathLike, truth: str | os.PathLike) -> Table:
    """Compare the pictures two folders have under the same name (whatever their suffix); the last row is the mean.

    A job folder stands for its ``frames``. EXR is taken as linear, all else as sRGB-coded. Raises EngineError
    when a folder is missing, no names match, a picture cannot be read, or sizes differ.
    """
    results, truths = _pictures(result), _pictures(truth)
    names = sorted(set(results) & set(truths))
    if not names:
        raise EngineError(f"{result} and {truth} share no picture's name; name the true frames like the results.", "missing")
    rows = []
    for name in names:
        a, b = read_picture(results[name]), read_picture(truths[name])
        if a.shape != b.shape:
            sizes = " and ".join(f"{x.shape[1]}×{x.shape[0]}" for x in (a, b))
            raise EngineError(f"The pictures {name} are of {sizes} pixels; render the truth at the size of the result.", "sizes")
        rows += compare([a], [b], [name])
    return Table([*rows, mean(rows)])


def _pictures(folder: str | os.PathLike) -> dict[str, Path]:
    """Pictures of a folder by stem; numbers match whatever their leading zeros."""
    folder = Path(folder)
    if (folder / "frames").is_dir():
        folder = folder / "frames"
    if not folder.is_dir():
        raise EngineError(f"There is no folder {folder}.", "missing")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith("."))
    return {(f"{int(p.stem):04d}" if p.stem.isdecimal() else p.stem): p for p in files}


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """(H, W, 3) float32, sRGB-coded, 0..1, from a picture of 8 or 16 bits, or a linear EXR. Raises EngineError."""
    path = Path(path)
    if path.suffix.lower() == ".exr":
        return _read_exr(path)
    # Not cv2.imread: it cannot open names outside the system's code page on Windows.
    data = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise EngineError(f"{path} is not a picture that can be read; save it as PNG.", "unreadable")
    return np.ascontiguousarray(image[..., ::-1]).astype(np.float32) / np.iinfo(image.dtype).max


def _read_exr(path: Path) -> np.ndarray:
    import OpenEXR  # only needed here; PNG is the rule

    try:
        with OpenEXR.File(str(path)) as file:
            channels = file.channels()
            linear = channels["RGB" if "RGB" in channels else "RGBA"].pixels[..., :3].astype(np.float32)
    except (RuntimeError, KeyError, ValueError, OSError, TypeError):
        raise EngineError(f"{path} is not an EXR picture with RGB; save it again.", "unreadable") from None
    return srgb_from_linear(np.clip(linear, 0, 1))
