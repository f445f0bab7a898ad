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
    return found


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
