"""Sky and other far, featureless backgrounds: smooth, joined to the photo's top, and the same in all photos that look there."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from .matching import Frame, pixel_grid, sample, transfer

SMOOTH = 0.012
"""Greatest local deviation of grey (sRGB-coded, over 5×5 pixels) in a featureless region."""
LEAST_AREA = 0.004
"""Of the photo; a smaller region is left alone."""
MOST_EVIDENCE = 0.12
"""A region is no sky when more than this share of it has a depth on which photos agree."""
DARK = 0.35
"""Least mean grey (sRGB-coded): what is darker is rather a wall or a shadow; a night sky is left to matching."""
WARM = 0.2
"""Red may exceed blue by so much in a sky; a wall or a table at sunset's colours is likelier a wall or a table."""
ALIKE = 0.06
"""Greatest median difference of colour between photos in the same direction at infinity."""
POCKETS = 0.06
"""Distance, share of the photo's longer side, within which sky shows again between leaves or rails."""
POCKET_EVIDENCE = 0.4
"""As MOST_EVIDENCE, of a pocket: the borders around it are matched, and lend it their depth."""
SPREAD, NOISE = 2.0, 0.02
"""A pocket's colours lie within so many standard deviations of the sky around it, and this, in every channel."""


def find(frame: Frame, partners: list[Frame], evident: torch.Tensor) -> np.ndarray:
    """(H, W) bool, true where ``frame`` shows sky.

    evident: (H, W) bool, where a finite depth is well supported. Conservative: a region that reaches the photo's bottom, looks
    different from another photo's view in the same direction, or holds depths on which photos agree, is no sky.
    """
    gray = frame.gray.cpu().numpy()
    image = np.ascontiguousarray(frame.image.permute(1, 2, 0).cpu().numpy())
    h, w = gray.shape
    mean = cv2.blur(gray, (5, 5))
    deviation = np.sqrt(np.maximum(cv2.blur(gray * gray, (5, 5)) - mean * mean, 0))
    smooth = (deviation < SMOOTH) & frame.mask.cpu().numpy()
    _, labels = cv2.connectedComponents(smooth.astype(np.uint8), connectivity=4)
    differences, looked = _differences(frame, partners)
    support = evident.cpu().numpy()
    found = np.zeros((h, w), bool)
    for label in np.unique(labels[: max(1, h // 100)]):
        region = labels == label
        if label == 0 or region.mean() < LEAST_AREA or region[int(0.9 * h) :].any():
            continue
        if support[region].mean() > MOST_EVIDENCE:
            continue
        compared = region & looked
        if compared.sum() < 0.05 * region.sum() or np.median(differences[compared]) > ALIKE:
            continue
        red, _, blue = image[region].mean(0)
        if red - blue > WARM or gray[region].mean() + frame.mean < DARK:
            continue
        found |= _grown(region, image)
    for _ in range(2):  # what lies deeper in a crown is found from its outer pockets
        found |= _pockets(found, image, support)
    return found


def _pockets(found: np.ndarray, image: np.ndarray, evident: np.ndarray) -> np.ndarray:
    """(H, W) bool: regions near the sky ``found`` that have its colours and little evidence of a depth, cut off by what stands
    before it. image: (H, W, 3). evident: as in :func:`find`."""
    inner = cv2.erode(found.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    if not inner.any():
        return np.zeros_like(found)
    side = 2 * int(POCKETS * max(found.shape)) + 1
    share = cv2.blur(inner, (side, side))[..., None]
    mean, power = (cv2.blur(x * inner[..., None], (side, side)) / np.maximum(share, 1e-6) for x in (image, image * image))
    spread = SPREAD * np.sqrt(np.maximum(power - mean * mean, 0)) + NOISE
    alike = ((np.abs(image - mean) < spread) & (share > 1e-3)).all(-1) & ~found
    square = np.ones((2, 2), np.uint8)  # its middle lies between pixels: what erosion moves one way, dilation moves back
    alike = cv2.dilate(cv2.erode(alike.astype(np.uint8), square, anchor=(1, 1)), square, anchor=(0, 0))
    count, labels = cv2.connectedComponents(alike, connectivity=4)
    doubted = np.bincount(labels.ravel(), evident.ravel(), count) / np.bincount(labels.ravel(), minlength=count)
    return (labels > 0) & (doubted <= POCKET_EVIDENCE)[labels]


def _differences(frame: Frame, partners: list[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """Least difference of colour (H, W) to the partners that look in the same direction, and where there are any."""
    h, w = frame.size
    pixels = pixel_grid(h, w, frame.gray.device)
    least = torch.full((h, w), 9.0, device=frame.gray.device)
    for partner in partners:
        a, _ = transfer(frame.camera, partner.camera, frame.gray.device)
        q = torch.einsum("ij,jhw->ihw", a, pixels)
        z = q[2].clamp_min(1e-6)
        u, v = q[0] / z, q[1] / z
        inside = (q[2] > 1e-6) & (u > 0) & (u < partner.size[1]) & (v > 0) & (v < partner.size[0])
        difference = (sample(partner.image, u, v) - frame.image).abs().amax(0)
        least = torch.where(inside, torch.minimum(least, difference), least)
    return least.cpu().numpy(), (least < 9.0).cpu().numpy()


def _grown(region: np.ndarray, image: np.ndarray, reach: int = 5) -> np.ndarray:
    """The region up to the edges around it: neighbours within ``reach`` pixels of like colour, small gaps closed."""
    kernel = np.ones((3, 3), np.uint8)
    grown = region.copy()
    for _ in range(reach):
        ring = cv2.dilate(grown.astype(np.uint8), kernel).astype(bool) & ~grown
        weight = cv2.blur(grown.astype(np.float32), (9, 9))
        colour = cv2.blur(image * grown[..., None].astype(np.float32), (9, 9)) / np.maximum(weight, 1e-6)[..., None]
        grown |= ring & (np.abs(image - colour).max(-1) < 0.035)
    return cv2.morphologyEx(grown.astype(np.uint8), cv2.MORPH_CLOSE, kernel).astype(bool)
