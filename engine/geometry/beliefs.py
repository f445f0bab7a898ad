"""What is believed of lenses before the photos are looked at: what EXIF or the user gives, a guess otherwise."""

from __future__ import annotations

from dataclasses import replace

import pycolmap

from ..progress import Progress
from ..records import Photo
from . import sfm
from .calibration import Lens
from .lens import focal_35mm, focal_pixels

GUESSED_FOCAL_35MM = 28.0
"""mm; a phone's main lens, taken when nothing tells the focal length."""
_GUESS_DEVIATION, _GIVEN_DEVIATION = 0.25, 0.07
"""Standard deviations of the logarithm of the focal length that is guessed, and of one that EXIF or the user gives."""
_SURE = 0.1
"""Deviation up to which three photos or more tell the focal length; two never do: nothing checks what they seem to tell."""


def lenses_believed(photos: list[Photo], shots: list[sfm.Shot], guess: bool = True) -> dict[int, Lens]:
    """camera_id → what is believed of a lens that is to be solved; without a guess only of those whose focal length is given."""
    beliefs = {}
    for photo, shot in zip(photos, shots):
        if shot.fixed is None and (photo.focal_35mm or guess):
            focal = focal_pixels(photo.focal_35mm or GUESSED_FOCAL_35MM, shot.camera.width, shot.camera.height)
            beliefs[shot.camera.camera_id] = Lens(focal, 0.0, _GIVEN_DEVIATION if photo.focal_35mm else _GUESS_DEVIATION)
    return beliefs


def holding(shots: list[sfm.Shot], lenses: dict[int, Lens]) -> list[sfm.Shot]:
    """The shots with these lenses, which the mapper is to leave alone."""
    held = []
    for shot in shots:
        lens = lenses.get(shot.camera.camera_id)
        if lens is not None:
            camera = pycolmap.Camera(shot.camera.todict())
            camera.params = [lens.focal, *camera.params[1:3], lens.radial]
            camera.has_prior_focal_length = True
            shot = replace(shot, camera=camera, hold_lens=True)
        held.append(shot)
    return held


def report_believed(
    photos: list[Photo], shots: list[sfm.Shot], model: sfm.Model, lenses: dict[int, Lens], progress: Progress
) -> None:
    """Say of which photos the focal length is believed rather than measured."""
    for lens_id, lens in lenses.items():
        chosen = [i for i in sorted(model.poses) if shots[i].camera.camera_id == lens_id]
        if not chosen or (len(model.poses) > 2 and lens.deviation <= _SURE):
            continue
        names = ", ".join(photos[i].name for i in chosen)
        camera, given = shots[chosen[0]].camera, photos[chosen[0]].focal_35mm
        used = f"{focal_35mm(lens.focal, camera.width, camera.height):.3g} mm (35 mm equivalent)"
        if given is None:
            progress.warn(
                f"These photos do not tell the focal length of {names}; {used} is assumed: "
                "enter the true one, or add a photo from further aside."
            )
        else:
            progress.warn(
                f"These photos cannot check the focal length of {names}, given as {given:.3g} mm; {used} is used: "
                "add a photo from further aside to have it measured."
            )
