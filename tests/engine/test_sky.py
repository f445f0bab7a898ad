"""Which pixels are sky."""

import cv2
import numpy as np

from engine.geometry import sky


def crown():
    """(image, sky): a clouded sky above ground, with a dark frame before it that cuts a pocket of sky off; the sky without it."""
    rng = np.random.default_rng(0)
    clouds = cv2.resize(rng.uniform(0.6, 0.8, (6, 8, 1)).astype(np.float32), (160, 120), interpolation=cv2.INTER_CUBIC)
    image = np.dstack([clouds - 0.1, clouds, clouds + 0.15])
    image[70:] = (0.3, 0.35, 0.2)
    image[42:54, 72:84] = (0.1, 0.2, 0.1)
    sky_seen = np.zeros((120, 160), bool)
    sky_seen[:70] = True
    sky_seen[42:54, 72:84] = False
    image[44:52, 74:82] = np.dstack([clouds - 0.1, clouds, clouds + 0.15])[44:52, 74:82]
    return image.astype(np.float32), sky_seen


def test_sky_shows_again_between_leaves():
    image, seen = crown()
    found = sky._pockets(seen, image, np.zeros_like(seen))
    assert found[44:52, 74:82].mean() > 0.9 and not found[seen].any()
    found[44:52, 74:82] = False
    assert found.mean() < 0.001


def test_a_pocket_with_a_depth_of_its_own_or_another_colour_is_no_sky():
    image, seen = crown()
    evident = np.zeros_like(seen)
    evident[44:52, 74:82] = True
    assert not sky._pockets(seen, image, evident).any()
    image[44:52, 74:82] += 0.15
    assert not sky._pockets(seen, image, np.zeros_like(seen))[44:52, 74:82].any()
