"""What the .blend remembers: the photos and the settings of the next close-up, at ``scene.closeup``."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..engine.job import MAX_EXPOSURE

BACKENDS = (
    ("embedded", "Embedded", "The generator that comes with CloseUp; runs on any computer"),
    ("none", "Photos Only", "What the photos show, with holes filled smoothly; nothing is generated"),
)
OUTPUTS = (
    ("png", "PNG", "8-bit sRGB"),
    ("exr", "OpenEXR", "Linear half float, with depth, normals, confidence and provenance as passes"),
)
DEPTHS = (
    ("auto", "Automatic", "Given depth and scans where there are any, measured from the photos elsewhere"),
    ("stereo", "Photos Only", "Measured from the photos, also where depth or scans are given"),
    ("given", "Given Only", "Only depth that is given with the photos or by scans; nothing is measured"),
    ("depth-anything-3-small", "Depth Anything 3 Small", "As Automatic; a learned model is asked where the photos are unsure"),
    ("depth-anything-3-base", "Depth Anything 3 Base", "As Depth Anything 3 Small, with a larger and slower model"),
)
"""As engine.job knows them; those that are learned need a model that the user has fetched."""
MATCHERS = (
    ("sift", "SIFT", "Finds the points that photos have in common by their looks; quick, and always at hand"),
    ("efficient-loftr", "EfficientLoFTR", "A learned model, for photos that are far apart or have little texture"),
)
TARGETS = (
    ("AUTO", "Best-Seen Surface", "What the photos show best"),
    ("CURSOR", "3D Cursor", "The point at the 3D cursor"),
    ("ACTIVE", "Active Object", "The middle of the active object"),
)
EASES = (
    ("BOTH", "Smooth", "Starts and ends gently"),
    ("LINEAR", "Constant", "The same zoom in every frame"),
)


PATH = {"options": {"PATH_SUPPORTS_BLEND_RELATIVE"}} if bpy.app.version >= (4, 5) else {}
"""For properties that hold paths; older versions understand ``//`` without being told."""


def _is_camera(_, item) -> bool:
    return item.type == "CAMERA"


class CloseUpPhoto(bpy.types.PropertyGroup):
    """One photo of the list."""

    filepath: StringProperty(name="Photo", description="The photo's file", subtype="FILE_PATH", **PATH)
    image: PointerProperty(
        name="Image",
        description="The image inside the .blend that is the photo, where it is no file of its own",
        type=bpy.types.Image,
    )
    use: BoolProperty(name="Use", description="Use this photo for close-ups", default=True)
    mask: PointerProperty(
        name="Mask",
        description="An image, white where the photo may be used: paint black over what moved or must not be seen",
        type=bpy.types.Image,
    )
    exposure: FloatProperty(
        name="Exposure",
        description="Stops by which the photo is brightened, before the photos' brightness is balanced",
        default=0.0,
        min=-MAX_EXPOSURE,
        max=MAX_EXPOSURE,
        soft_min=-3.0,
        soft_max=3.0,
    )
    depth: StringProperty(
        name="Depth",
        description="The photo's depth along the view, in scene units, as .exr (such as Blender's depth pass) or .npy; "
        "measured from the photos when empty",
        subtype="FILE_PATH",
        **PATH,
    )
    camera: PointerProperty(
        name="Camera",
        description="The camera that took the photo; solved when there is none",
        type=bpy.types.Object,
        poll=_is_camera,
    )
    problem: StringProperty(name="Problem", description="Why the photo could not be used")

    def absolute(self) -> Path:
        """The file's absolute path."""
        return Path(bpy.path.abspath(self.filepath))


class CloseUpScan(bpy.types.PropertyGroup):
    """One scan of the list."""

    filepath: StringProperty(name="Scan", description="The scan's file: .ply, .las, .laz or .e57", subtype="FILE_PATH", **PATH)
    use: BoolProperty(name="Use", description="Use this scan for depth and cloud", default=True)
    placement: PointerProperty(
        name="Placed by",
        description="The object whose place, turn and scale the scan has, such as an import of the same scan that you have "
        "aligned; the scan's own coordinates are the scene's when empty",
        type=bpy.types.Object,
    )

    def absolute(self) -> Path:
        """The file's absolute path."""
        return Path(bpy.path.abspath(self.filepath))


class CloseUpSettings(bpy.types.PropertyGroup):
    """Everything the panels show that is saved with the scene."""

    project: StringProperty(name="Project", description="The id by which this file knows its shots", options={"HIDDEN"})
    photos: CollectionProperty(type=CloseUpPhoto)
    active_photo: IntProperty(name="Active Photo", options={"SKIP_SAVE"})
    scans: CollectionProperty(name="Scans", description="Point clouds that tell the photos' depth", type=CloseUpScan)
    active_scan: IntProperty(name="Active Scan", description="The scan whose details are shown", options={"SKIP_SAVE"})
    use_camera_photos: BoolProperty(
        name="Cameras With Photos",
        description="Also use every camera that has a photo as its background image",
        default=True,
    )
    photo_size: IntProperty(
        name="Photo Size",
        description="Photos are shrunk to this many pixels on the long side: larger shows finer detail, and takes longer",
        default=1600,
        min=64,
        max=8192,
        subtype="PIXEL",
    )
    depth_method: EnumProperty(name="Depth", description="Where the photos' depth comes from", items=DEPTHS)
    matcher: EnumProperty(
        name="Matching", description="What finds the points that photos have in common when cameras are solved", items=MATCHERS
    )
    align_distance: FloatProperty(
        name="Distance 1 to 2",
        description="The true distance between points 1 and 2, in scene units; 0 keeps the size",
        min=0.0,
        subtype="DISTANCE",
    )
    focal_35mm: FloatProperty(
        name="Focal Length",
        description="Focal length of the photos as 35 mm equivalent, for files that do not tell; 0 when unknown",
        min=0.0,
        max=5000.0,
        subtype="NONE",
    )
    camera: PointerProperty(
        name="Camera",
        description="The animated camera whose frames are made; the scene's camera when empty",
        type=bpy.types.Object,
        poll=_is_camera,
    )
    use_range: BoolProperty(name="Custom Range", description="Other frames than the scene's range")
    frame_start: IntProperty(name="Start", description="First frame", default=1, min=0)
    frame_end: IntProperty(name="End", description="Last frame", default=48, min=0)
    frame_step: IntProperty(name="Step", description="Every how many frames one is made", default=1, min=1, max=1000)
    percentage: IntProperty(
        name="Resolution",
        description="Size of the frames in percent of the scene's render size",
        default=100,
        min=1,
        max=400,
        subtype="PERCENTAGE",
    )
    backend: EnumProperty(name="Generator", description="What makes the parts no photo shows", items=BACKENDS)
    seed: IntProperty(name="Seed", description="Another seed makes other details where no photo shows any", min=0)
    steps: IntProperty(name="Steps", description="Passes of the generator", default=4, min=1, max=64)
    output: EnumProperty(name="Format", description="File format of the frames", items=OUTPUTS)
    move_target: EnumProperty(name="Toward", description="What the move goes to", items=TARGETS)
    move_zoom: FloatProperty(
        name="Zoom", description="How many times closer the move ends than the photo", default=4.0, min=1.0, max=64.0
    )
    move_distance: FloatProperty(
        name="Distance",
        description="From the target at the end, instead of the zoom; 0: by the zoom",
        min=0.0,
        subtype="DISTANCE",
    )
    move_arc: FloatProperty(
        name="Arc",
        description="How far the move goes around its target, to the right; to the left when negative",
        min=-math.pi,
        max=math.pi,
        subtype="ANGLE",
    )
    move_frames: IntProperty(name="Frames", description="Length of the move", default=48, min=2, max=100_000)
    preview_opacity: FloatProperty(
        name="Opacity",
        description="How much of the scene the live preview covers",
        default=1.0,
        min=0.05,
        max=1.0,
        subtype="FACTOR",
    )
    preview_free: BoolProperty(
        name="Also in Free Views",
        description="Show the live preview also in perspective views that do not look through the camera, to orbit around",
    )
    move_ease: EnumProperty(name="Ease", description="How the move speeds up and slows down", items=EASES)

    def models(self) -> list[str]:
        """The learned models that are asked for."""
        chosen = [self.depth_method, self.matcher]
        return [name for name in chosen if name not in {"auto", "stereo", "given", "sift"}]

    def frame_range(self) -> tuple[int, int, int]:
        """First frame, last frame, step of the next close-up."""
        scene = self.id_data
        if self.use_range:
            return self.frame_start, self.frame_end, self.frame_step
        return scene.frame_start, scene.frame_end, scene.frame_step


CLASSES = (CloseUpPhoto, CloseUpScan, CloseUpSettings)


def register() -> None:
    """Add ``scene.closeup``."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.closeup = PointerProperty(type=CloseUpSettings)


def unregister() -> None:
    """Take it away; what is saved in a .blend stays there."""
    del bpy.types.Scene.closeup
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
