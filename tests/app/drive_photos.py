"""A play inside Blender: photos from every source, points picked in the view, and other programs' files, without waiting."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from person import (
    OUT,
    PHOTOS,
    Gaps,
    add_photos,
    area,
    click,
    drop,
    found,
    module,
    open_sidebar,
    picture,
    play,
    sidebar,
    thumbnails_known,
    timed_panels,
    until,
)


def names() -> list[str]:
    return [item.name for item in bpy.context.scene.closeup.photos]


def overridden():
    region = next(item for item in area().regions if item.type == "WINDOW")
    return bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=area(), region=region)


def steps():
    yield 1.5
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples = "CYCLES", 1
    scene.render.resolution_x, scene.render.resolution_y = 320, 240
    _open_all_panels()  # before they are drawn for the first time: Blender keeps what is closed then
    yield from open_sidebar()
    add_photos()
    yield from until(thumbnails_known, 20)
    yield from picture("photos-list")
    yield from dropped()
    yield from rendered(scene)
    yield from measured()
    yield from from_film()
    yield from picked()
    yield from exchanged()
    bpy.context.scene.closeup.photos[
        1
    ].problem = (
        "The camera could not be found for photo-1.png, left out: no overlap between it and photo-2.png, add a photo between."
    )
    bpy.context.scene.closeup.active_photo = 1
    yield from until(lambda: not any(module("notice").of(place) for place in ("photos", "exchange")))  # they pass
    yield from picture("photos-failed")
    yield from scans_and_models()


def scans_and_models():
    """A scan on its list, and a learned model that nobody has fetched: the panel asks where it is."""
    (OUT / "hall.las").write_bytes(b"points")
    bpy.ops.closeup.add_scans(directory=str(OUT), files=[{"name": "hall.las"}])
    bpy.context.scene.closeup.depth_method = "depth-anything-3-small"
    yield from picture("scans-and-models")


def _open_all_panels() -> None:
    """Panels that begin closed are drawn, too."""
    for name in ("CLOSEUP_PT_photo", "CLOSEUP_PT_align", "CLOSEUP_PT_scans", "CLOSEUP_PT_exchange"):
        cls = getattr(bpy.types, name)
        bpy.utils.unregister_class(cls)
        cls.bl_options = set()
        bpy.utils.register_class(cls)


def dropped():
    """One photo, into a view whose sidebar is closed: it opens at our tab."""
    bpy.ops.closeup.remove_photo("EXEC_DEFAULT", True)
    sidebar().active_panel_category = "View"
    area().spaces.active.show_region_ui = False
    yield 0.3
    x, y = yield from drop(PHOTOS[2:])
    yield from picture("dropped")
    yield from click(x, y)
    yield from until(lambda: sidebar().active_panel_category == "Close-up", 10)
    found["dropped"] = names()
    found["tab"] = [area().spaces.active.show_region_ui, sidebar().active_panel_category]


def rendered(scene):
    """Rendering goes on beside the interface, and one undo takes its photos back."""
    before = len(names())
    scene.camera.select_set(True)
    gaps = Gaps()
    bpy.ops.closeup.render_photos("INVOKE_DEFAULT")
    found["returned_before_the_render"] = len(names()) == before
    yield from until(lambda: len(names()) > before and not bpy.app.is_job_running("RENDER"))
    found["gaps"]["rendering"] = gaps.end()
    item = scene.closeup.photos[-1]
    found["rendered"] = [
        item.absolute().is_file(),
        Path(item.depth).is_file(),
        module("photos").state(item),
        len(bpy.data.scenes),
    ]
    found["display"] = bpy.context.preferences.view.render_display_type
    yield from picture("photos-rendered")
    bpy.ops.ed.undo()
    yield 0.5
    found["after_undo"] = [len(names()) == before, len(bpy.data.scenes)]
    bpy.ops.ed.redo()
    yield 0.5


def measured():
    """The cube is what the rendered photo saw, so the depth measured on it is the render's own."""
    item = bpy.context.scene.closeup.photos[-1]
    before = item.depth
    bpy.ops.closeup.depth_from_scene("INVOKE_DEFAULT")
    yield from until(lambda: bpy.context.scene.closeup.photos[-1].depth != before)
    found["measured"] = [Path(bpy.context.scene.closeup.photos[-1].depth).is_file(), len(bpy.data.scenes)]
    times = timed_panels()
    for _ in range(100):
        area().tag_redraw()
        yield 0.01
    found["draw_ms"] = {name: round(sorted(all_of)[len(all_of) // 2] * 1000, 3) for name, all_of in times.items() if all_of}


def from_film():
    """A film is made, and every second frame of it becomes a photo."""
    film = bpy.data.scenes.new("film")
    settings = film.render.image_settings
    settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    film.render.ffmpeg.format = "MPEG4"
    film.render.resolution_x, film.render.resolution_y, film.frame_end = 64, 32, 5
    film.sequence_editor_create().strips.new_effect(name="c", type="COLOR", channel=1, frame_start=1, length=5)
    film.render.filepath = str(OUT / "film.mp4")
    bpy.ops.render.render(animation=True, scene=film.name)
    bpy.data.scenes.remove(film)
    before = len(names())
    bpy.ops.closeup.add_movie_frames(filepath=str(OUT / "film.mp4"), step=2)
    yield from until(lambda: len(names()) > before)
    found["film"] = [name.rpartition("-")[2] for name in names()[before:]]


def picked():
    """A click on the cube sets a point there; Enter takes the 3D cursor; Escape leaves all as it is."""
    region = next(item for item in area().regions if item.type == "WINDOW")
    align = module("align")
    with overridden():
        bpy.ops.closeup.place_marker("INVOKE_DEFAULT", marker="point-1")
    yield 0.3
    yield from click(region.x + region.width // 2, region.y + region.height // 2)
    marker = align.marker(bpy.context.scene, "point-1")
    found["picked"] = [round(max(abs(x) for x in marker.location), 3)] if marker else None
    simulate = bpy.context.window_manager.windows[0].event_simulate
    for key, name in (("RET", "target-1"), ("ESC", "target-2")):
        with overridden():
            bpy.ops.closeup.place_marker("INVOKE_DEFAULT", marker=name)
        yield 0.2
        simulate(type=key, value="PRESS", x=region.x + 100, y=region.y + 100)
        yield 0.1
        simulate(type=key, value="RELEASE", x=region.x + 100, y=region.y + 100)
        yield 0.3
    found["by_key"] = [align.marker(bpy.context.scene, name) is not None for name in ("target-1", "target-2")]
    yield from picture("align")


def exchanged():
    """Out and in again through COLMAP's files, beside the interface."""
    scene = bpy.context.scene
    with overridden():
        bpy.ops.closeup.export_colmap(directory=str(OUT / "colmap"))
    yield from until((OUT / "colmap" / "sparse" / "0" / "points3D.bin").is_file)
    before = len(scene.objects)
    with overridden():
        bpy.ops.closeup.import_colmap(directory=str(OUT / "colmap"))
    yield from until(lambda: len(bpy.context.scene.objects) > before)
    found["imported"] = len(bpy.context.scene.objects) - before
    yield from picture("imported")


play(steps)
