"""The list of photos."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, IntProperty, StringProperty

from ..closeup_addon import movie_clips, notice, photos, scene_depth, scene_renders, sidebar
from ..closeup_addon.errors import CloseUpError
from ..closeup_addon.languages import iface, marked
from .common import grey, reported

_FRESH = {"SKIP_SAVE"}
"""A button means what is chosen now, not what was chosen before."""
_HIDDEN = {"HIDDEN", "SKIP_SAVE"}


_ADDED = marked("Photos added: {}")


def _told(operator, added: int, what: str = _ADDED) -> set[str]:
    """Report how many photos were added, or what else became of them."""
    if not added:
        operator.report({"WARNING"}, "No new photo was found; choose image files that are not in the list yet")
        return {"CANCELLED"}
    operator.report({"INFO"}, iface(what, added))
    return {"FINISHED"}


class CLOSEUP_OT_add_photos(bpy.types.Operator):
    """Add photo files to the list"""

    bl_idname = "closeup.add_photos"
    bl_label = "Add Close-up Photos"  # Blender shows it among what else could be done with dropped pictures
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    directory: StringProperty(name="Folder", description="Folder of the files", subtype="DIR_PATH", options=_FRESH)
    files: CollectionProperty(
        name="Files",
        description="Their names; empty for all photos of the folder",
        type=bpy.types.OperatorFileListElement,
        options=_FRESH,
    )
    filter_image: BoolProperty(default=True, options=_HIDDEN)
    filter_folder: BoolProperty(default=True, options=_HIDDEN)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let the user choose, unless files were dropped: what comes next stands in our tab."""
        if self.directory and self.files:
            if context.area and context.area.type == "VIEW_3D":
                sidebar.show_tab(context.area)
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add what was chosen, each file once."""
        folder = Path(bpy.path.abspath(self.directory))
        chosen = [folder / item.name for item in self.files if item.name] or photos.in_folder(folder)
        added, wrong = photos.add(context.scene, chosen), photos.unreadable(chosen)
        if wrong:
            named = ", ".join(wrong[:3])
            text = iface("{} cannot be read as photos; save such files as JPEG, PNG, TIFF, WebP or EXR", named)
            self.report({"WARNING"}, text)
        return _told(self, added) if added or not wrong else {"CANCELLED"}


class CLOSEUP_FH_photos(bpy.types.FileHandler):
    """Photos that are dropped into a 3D view."""

    bl_idname = "CLOSEUP_FH_photos"
    bl_label = "Close-up Photos"
    bl_import_operator = "closeup.add_photos"
    bl_file_extensions = ";".join(photos.ALL_SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Into the view itself or its sidebar."""
        return context.area is not None and context.area.type == "VIEW_3D"


def _when_done(operator, what: str = _ADDED):
    """What to do when renders have ended: report, or, when the operator has long returned, an undo step and a line."""
    if bpy.app.background:

        def report(error: str, added: int) -> None:
            if error:
                raise CloseUpError(error)
            _told(operator, added, what)

        return report
    label = operator.bl_label  # the operator's Python object dies with its execution
    notice.show("photos", f"{iface(label)}…", passing=False)

    def told(error: str, added: int) -> None:
        if added:
            bpy.ops.ed.undo_push(message=label)
        notice.show("photos", error or iface(what, added), wrong=bool(error))

    return told


def _may_render(cls) -> bool:
    if bpy.app.is_job_running("RENDER"):
        return grey(cls, "Blender is rendering")
    return True


def _has_cameras(cls, context: bpy.types.Context) -> bool:
    if any(obj.type == "CAMERA" for obj in context.selected_objects):
        return True
    return grey(cls, "No camera is selected")


class CLOSEUP_OT_add_camera_photos(bpy.types.Operator):
    """Add the background photos of the selected cameras; these photos' cameras are known"""

    bl_idname = "closeup.add_camera_photos"
    bl_label = "From Selected Cameras"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a camera selected."""
        return _has_cameras(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add them."""
        return _told(self, photos.add_cameras(context.scene, context.selected_objects))


class CLOSEUP_OT_add_image_photo(bpy.types.Operator):
    """Add an image of this .blend, also a packed, painted or generated one"""

    bl_idname = "closeup.add_image_photo"
    bl_label = "From Image"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    image: StringProperty(name="Image", description="Name of the image", options=_FRESH)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let the user choose."""
        return context.window_manager.invoke_props_dialog(self)

    def draw(self, context: bpy.types.Context) -> None:
        """A search among the images."""
        self.layout.prop_search(self, "image", bpy.data, "images")

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add it."""
        image = bpy.data.images.get(self.image)
        if image is None:
            raise CloseUpError("There is no such image in this file; choose one.")
        return _told(self, photos.add_images(context.scene, [image]))


class CLOSEUP_OT_render_photos(bpy.types.Operator):
    """Render the selected cameras and add the pictures, with exact depth and exactly known cameras"""

    bl_idname = "closeup.render_photos"
    bl_label = "Render Selected Cameras"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a camera selected, and one render at a time."""
        return _may_render(cls) and _has_cameras(cls, context)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in background mode, wait."""
        cameras = [obj for obj in context.selected_objects if obj.type == "CAMERA"]
        scene_renders.render(context.scene, cameras, _when_done(self))
        return {"FINISHED"}


class CLOSEUP_OT_depth_from_scene(bpy.types.Operator):
    """Measure the photos' depth on the scene's own objects, such as a scan or a model that stands where they saw it"""

    bl_idname = "closeup.depth_from_scene"
    bl_label = "Depth From Scene"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a known camera, and one render at a time."""
        if not any(item.use and item.camera for item in context.scene.closeup.photos):
            return grey(cls, "No photo on the list has a camera yet; solve the cameras first")
        return _may_render(cls)

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in background mode, wait."""
        scene_depth.measure(context.scene, _when_done(self, marked("Photos given their depth: {}")))
        return {"FINISHED"}


class CLOSEUP_OT_add_movie_frames(bpy.types.Operator):
    """Add every n-th frame of a film: of a movie file, or of a movie clip of this .blend"""

    bl_idname = "closeup.add_movie_frames"
    bl_label = "From Film"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    filepath: StringProperty(name="Film", description="The movie file", subtype="FILE_PATH", options=_FRESH)
    clip: StringProperty(name="Movie Clip", description="Name of a movie clip, instead of a file", options=_FRESH)
    start: IntProperty(name="First", description="First frame to take, counted from 1", default=1, min=1)
    end: IntProperty(name="Last", description="Last frame to take; 0: the film's last", default=0, min=0)
    camera: StringProperty(
        name="Camera",
        description="Name of the object that moves as the film's camera did, such as a tracked camera; solved when empty",
        options=_FRESH,
    )
    step: IntProperty(name="Step", description="Every how many frames a photo is taken", default=24, min=1)
    filter_movie: BoolProperty(default=True, options=_HIDDEN)
    filter_folder: BoolProperty(default=True, options=_HIDDEN)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One render at a time: films are decoded by Blender's renderer."""
        return _may_render(cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let the user choose the file."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, context: bpy.types.Context) -> None:
        """Which frames; in the file browser's sidebar."""
        self.layout.use_property_split = True
        for name in ("start", "end", "step"):
            self.layout.prop(self, name)
        self.layout.prop_search(self, "clip", bpy.data, "movieclips")
        self.layout.prop_search(self, "camera", context.scene, "objects")

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in background mode, wait."""
        camera = context.scene.objects.get(self.camera) if self.camera else None
        if self.camera and (camera is None or camera.type != "CAMERA"):
            raise CloseUpError(f"The scene has no camera named {self.camera}; choose another.")
        with _clip(self.clip, self.filepath) as clip:
            movie_clips.add_frames(context.scene, clip, self.start, self.end, self.step, _when_done(self), camera)
        return {"FINISHED"}


@contextmanager
def _clip(name: str, filepath: str):
    """The clip of that name; else the file's, which is not kept."""
    if name:
        if name not in bpy.data.movieclips:
            raise CloseUpError(f"There is no movie clip named {name}; choose another.")
        yield bpy.data.movieclips[name]
        return
    before = set(bpy.data.movieclips)
    try:
        clip = bpy.data.movieclips.load(bpy.path.abspath(filepath), check_existing=True)
    except RuntimeError:
        raise CloseUpError(f"The film {Path(filepath).name} cannot be read; choose a movie file.") from None
    try:
        yield clip
    finally:
        if clip not in before:
            bpy.data.movieclips.remove(clip)


class CLOSEUP_OT_remove_photo(bpy.types.Operator):
    """Take the selected photo off the list; its file and its camera stay"""

    bl_idname = "closeup.remove_photo"
    bl_label = "Remove Photo"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only when the list has one."""
        return len(context.scene.closeup.photos) > 0 or grey(cls, "The list is empty")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove it."""
        photos.remove(context.scene, context.scene.closeup.active_photo)
        return {"FINISHED"}


class CLOSEUP_OT_forget_solve(bpy.types.Operator):
    """Take away all solved and imported cameras of the photos, so that they can be solved again; your own cameras stay"""

    bl_idname = "closeup.forget_solve"
    bl_label = "Forget Solve"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only when something was solved."""
        if any(photos.state(item) in {photos.SOLVED, photos.FAILED} for item in context.scene.closeup.photos):
            return True
        return grey(cls, "No camera was solved or imported yet")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove them."""
        count = photos.forget_solve(context.scene)
        self.report({"INFO"}, iface("Cameras removed: {}", count))
        return {"FINISHED"}


class CLOSEUP_OT_photo_camera(bpy.types.Operator):
    """Select the photo's camera"""

    bl_idname = "closeup.photo_camera"
    bl_label = "Select Photo's Camera"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    index: IntProperty(name="Photo", description="Place on the list, counted from 0; -1: the active photo", default=-1)

    @classmethod
    def description(cls, context: bpy.types.Context, properties) -> str:
        """What is known of the photo's camera; clicking selects it."""
        listed = context.scene.closeup.photos
        if not 0 <= properties.index < len(listed):
            return iface("Select the photo's camera")
        item = listed[properties.index]
        known = photos.sentence(item).rstrip(".")
        return iface("{}; click to select it", known) if item.camera else known

    @reported
    def execute(self, context: bpy.types.Context) -> set[str]:
        """Select it, or say why there is none."""
        settings = context.scene.closeup
        index = settings.active_photo if self.index < 0 else self.index
        if not index < len(settings.photos):
            raise CloseUpError("There is no such photo on the list.")
        photos.select_camera(context, index)
        return {"FINISHED"}


CLASSES = (
    CLOSEUP_OT_add_photos,
    CLOSEUP_FH_photos,
    CLOSEUP_OT_add_camera_photos,
    CLOSEUP_OT_add_image_photo,
    CLOSEUP_OT_render_photos,
    CLOSEUP_OT_depth_from_scene,
    CLOSEUP_OT_add_movie_frames,
    CLOSEUP_OT_remove_photo,
    CLOSEUP_OT_forget_solve,
    CLOSEUP_OT_photo_camera,
)
