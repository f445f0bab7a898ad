"""A job's frames as an image sequence that Blender shows: each file at its own frame of the scene."""

from __future__ import annotations

from pathlib import Path

import bpy

from .gather import SHOT_KEY


def image_of(folder: Path, name: str, frames: dict[int, Path], kind: str = "frames"):
    """The image datablock of a shot's frames, or of another of its sequences; made when it is missing.

    kind: the files' folder: frames, depth, provenance, condition.
    """
    key = folder.name if kind == "frames" else f"{folder.name}/{kind}"
    first = frames[min(frames)]
    image = next((item for item in bpy.data.images if item.get(SHOT_KEY) == key and item.library is None), None)
    if image is None:
        image = bpy.data.images.load(str(first), check_existing=False)
        image.name = name
        image[SHOT_KEY] = key
    image.filepath = portable(first)
    image.source = "SEQUENCE"
    image.reload()
    return image


def portable(path: Path) -> str:
    """Relative to the .blend where that is in the same tree, so that the project can move."""
    base = Path(bpy.data.filepath).parent if bpy.data.filepath else None
    if base and path.is_relative_to(base):
        return bpy.path.relpath(str(path))
    return str(path)


def show_behind(camera, image, frames: dict[int, Path], others: bool = False) -> None:
    """The frames over the camera's view, each at its own frame.

    others: other shots' sequences stay switched on, and below; it is a preview, which is seen at its own frame only.
    """
    data = camera.data
    background = next((item for item in data.background_images if item.image == image), None)
    for item in data.background_images:
        if is_frames(item) and not others:
            item.show_background_image = False
    if background and others:  # what was added last is drawn last
        data.background_images.remove(background)
        background = None
    if background is None:
        background = data.background_images.new()
        background.image = image
    background.show_background_image = True
    background.alpha = 1.0
    background.display_depth = "FRONT"
    background.frame_method = "FIT"
    fit_user(background.image_user, frames, bpy.context.scene.frame_current)
    data.show_background_images = True


def is_frames(background) -> bool:
    """Whether a camera's background is a shot's frames (and not a photo)."""
    image = background.image
    return image is not None and SHOT_KEY in image and image.source == "SEQUENCE"


def fit_user(user, frames: dict[int, Path], now: int) -> None:
    """Let an image user show the file of number n at the scene's frame n; ``now``: the scene's current frame."""
    first, last = min(frames), max(frames)
    user.frame_start = first
    user.frame_offset = first - 1
    user.frame_duration = last - first + 1
    user.use_auto_refresh = True
    user.use_cyclic = False
    if hasattr(user, "frame_current"):  # Blender itself looks again only when the frame changes; a node has no such thing
        user.frame_current = min(max(now, first), last)


def refresh_users(scene) -> None:
    """After undo and redo the backgrounds still show the file of another frame: Blender looks only when the frame changes."""
    for camera in bpy.data.cameras:
        for background in camera.background_images:
            if is_frames(background):
                user = background.image_user
                number = scene.frame_current - user.frame_start + 1
                user.frame_current = min(max(number, 1), user.frame_duration) + user.frame_offset


def show_in_editors(image, frames: dict[int, Path], taken: bool = False) -> int:
    """Show a sequence in the open Image Editors that are empty or show one of ours, or with ``taken`` in the first one.

    Returns in how many.
    """
    manager = bpy.context.window_manager
    areas = [area for window in manager.windows for area in window.screen.areas if area.type == "IMAGE_EDITOR"]
    free = [area for area in areas if area.spaces.active.image is None or SHOT_KEY in area.spaces.active.image]
    for area in free or (areas[:1] if taken else []):
        area.spaces.active.image = image
        fit_user(area.spaces.active.image_user, frames, bpy.context.scene.frame_current)
        area.tag_redraw()
    return len(free)
