"""A ground (z = 0), a wall (y = 1.6), a sphere and a box, seen by three cameras on an arc, with their true depth."""

import numpy as np
import synthetic
import torch

from engine.geometry import matching
from engine.records import Photo

CPU = torch.device("cpu")
SIZE = (120, 160)
CAMERAS = synthetic.arc(3, SIZE[1], SIZE[0], spread=40)
SCENE = [synthetic.cast(camera) for camera in CAMERAS]
"""(image, depth) of each camera."""
EVERYWHERE = torch.ones(SIZE, dtype=torch.bool)


def frame(index, image=None):
    """A camera's view, or another ``image`` (H, W, 3) in its place."""
    image = SCENE[index][0] if image is None else image
    return matching.make_frame(Photo(f"p{index}", image, np.ones(image.shape[:2], bool), CAMERAS[index]), SIZE[1], CPU)


def inverse(index):
    """(H, W) true inverse depth."""
    return torch.from_numpy(1 / SCENE[index][1])
