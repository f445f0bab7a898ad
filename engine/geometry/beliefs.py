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
_GUESS_DEVIATION, _GIVEN_DEVIATION = 0.25, 0.02
"""Of the logarithm of the focal length: half of all that is guessed, or that EXIF or the user gives, is nearer to the truth."""
_SURE, _VAGUE = 0.04, 0.5
"""Deviations up to which three photos or more tell the focal length, and tell something of it; two never do: nothing checks what
they seem to tell."""


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


def report_unsure(
    photos: list[Photo], shots: list[sfm.Shot], model: sfm.Model, told: dict[int, float], progress: Progress
) -> None:
    """Say of which photos the focal length is believed rather than measured, or measured badly.

    told: camera_id → standard deviation of the logarithm of the focal length by the photos alone.
    """
    for lens_id, deviation in told.items():
        if len(model.poses) > 2 and deviation <= _SURE:
            continue
        chosen = [i for i in sorted(model.poses) if shots[i].camera.camera_id == lens_id]
        names = ", ".join(photos[i].name for i in chosen)
        camera, given = model.cameras[chosen[0]], photos[chosen[0]].focal_35mm
        used = f"{focal_35mm(camera.params[0], camera.width, camera.height):.3g} mm (35 mm equivalent)"
        if len(model.poses) > 2 and deviation <= _VAGUE:
            progress.warn(
                f"These photos tell the focal length of {names} only to about {100 * deviation:.0f} %; {used} is used: "
                f"{'' if given else 'enter the true one, or '}add a photo from further aside."
            )
        elif given is None:
            progress.warn(
                f"These photos do not tell the focal length of {names}; {used} is assumed: "
                "enter the true one, or add a photo from further aside."
            )
        else:
            progress.warn(
                f"These photos cannot check the focal length of {names}, given as {given:.3g} mm; {used} is used: "
                "add a photo from further aside to have it measured."
            )
