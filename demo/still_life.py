"""A still life built and rendered in Blender: four far photos, and the true frames of a push-in.

    bpy-python demo/still_life.py --out DIR [--variant 0] [--frames 24]
    blender -b --python demo/still_life.py -- --out DIR

Writes photos/, photos_depth/, truth/, truth_depth/, cameras.json and start.blend (README.md tells more).
Variant 0 is the demo; the others are for development, so that nothing is tuned on what the demo shows.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

sys.path.insert(0, str(Path(__file__).resolve().parent))
import arrange
import formats

PHOTO_SIZE = (800, 600)
LENS, SENSOR = 45.0, 36.0
AZIMUTHS = (-27.0, -10.0, 9.0, 27.0)
"""Degrees around the thing looked at, of the photos' cameras."""
FLIP = Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))


@dataclass(frozen=True)
class View:
    """A camera to render: its pose, and the size of its picture in pixels."""

    matrix: Matrix
    size: tuple[int, int]

    def as_dict(self) -> dict:
        """The camera as job.json writes it."""
        width, height = self.size
        focal = LENS / SENSOR * width
        rows = [[float(x) for x in row] for row in self.matrix @ FLIP]
        return {
            "width": width,
            "height": height,
            "fx": focal,
            "fy": focal,
            "cx": width / 2,
            "cy": height / 2,
            "world_from_camera": rows,
        }


def look(target, azimuth: float, elevation: float, distance: float) -> Matrix:
    """Pose of a camera that looks at ``target`` from ``distance``; azimuth 0 is the -y side (degrees)."""
    a, e = np.radians([azimuth, elevation])
    offset = Vector((np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e))) * distance
    rotation = (-offset).to_track_quat("-Z", "Y").to_matrix().to_4x4()
    return Matrix.Translation(Vector(target) + offset) @ rotation


def photo_views(shot: arrange.Shot) -> list[View]:
    """The far photos: spread over 54 degrees, at uneven heights and distances, as a person would take them."""
    rng = np.random.default_rng(shot.seed + 100)
    views = []
    for azimuth in AZIMUTHS:
        target = np.array(shot.center) + rng.normal(0, 0.08, 3)
        matrix = look(
            target, azimuth + rng.uniform(-2, 2), shot.elevation + rng.uniform(-5, 5), shot.distance * rng.uniform(0.97, 1.05)
        )
        views.append(View(matrix, PHOTO_SIZE))
    return views


def path_views(shot: arrange.Shot, frames: int, size: tuple[int, int]) -> list[View]:
    """The push-in: evenly growing magnification from 1 to ``shot.zoom``, on a slight arc, ending on ``shot.hero``."""
    start = shot.distance * size[0] / PHOTO_SIZE[0]
    views = []
    for t in np.linspace(0, 1, frames):
        smooth = t * t * (3 - 2 * t)
        grown = 0.5 * (t + smooth)
        azimuth, elevation = (a + (b - a) * smooth for a, b in (shot.arc, shot.rise))
        reached = 1 - (1 - t) ** 2.2
        target = np.array(shot.center) * (1 - reached) + np.array(shot.hero) * reached
        views.append(View(look(target, azimuth, elevation, start / shot.zoom**grown), size))
    return views


# --- rendering ---------------------------------------------------------------


def set_up(scene, samples: int, threads: int) -> None:
    """Cycles on the CPU: few bounces, denoised with albedo and normal, so that textures stay sharp."""
    scene.render.engine = "CYCLES"
    scene.render.use_persistent_data = True
    scene.render.resolution_percentage = 100
    if threads:
        scene.render.threads_mode, scene.render.threads = "FIXED", threads
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.seed = "CPU", samples, 1
    cycles.use_adaptive_sampling, cycles.adaptive_threshold, cycles.adaptive_min_samples = True, 0.03, 8
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "FAST"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces, cycles.transmission_bounces = 3, 2, 2, 0
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 4.0
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look = "None"
    scene.view_layers[0].use_pass_z = True
    image = scene.render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = "MULTI_LAYER_IMAGE"
    image.file_format, image.color_depth, image.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"
    if hasattr(image, "use_exr_interleave"):
        image.use_exr_interleave = True


def render(scene, camera, view: View, picture: Path, depth: Path) -> None:
    """Render ``view`` to an sRGB PNG and its exact z-depth to .npy (float32, inf for sky)."""
    camera.matrix_world = view.matrix
    scene.render.resolution_x, scene.render.resolution_y = view.size
    raw = depth.with_suffix(".exr")
    scene.render.filepath = str(raw)
    bpy.ops.render.render(write_still=True)
    np.save(depth, formats.read_depth(raw))
    raw.unlink()
    image = scene.render.image_settings
    kept = [(key, getattr(image, key)) for key in ("media_type", "file_format", "color_depth") if hasattr(image, key)]
    if hasattr(image, "media_type"):
        image.media_type = "IMAGE"
    image.file_format, image.color_mode, image.color_depth, image.compression = "PNG", "RGB", "8", 30
    bpy.data.images["Render Result"].save_render(str(picture), scene=scene)
    for key, value in kept:
        setattr(image, key, value)
    picture.write_bytes(formats.pixels_only(picture.read_bytes()))


def say(message: str) -> None:
    """One line, at once; Blender's own messages share the stream."""
    print(f"· {message}", flush=True)


# --- the .blend the user starts from -----------------------------------------


def new_camera(name: str):
    """A camera object with the photos' lens, in the scene."""
    data = bpy.data.cameras.new(name)
    data.lens, data.sensor_width, data.clip_start, data.display_size = LENS, SENSOR, 0.01, 0.3
    item = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(item)
    return item


def save_start(out: Path, photos: list[View], path: list[View]) -> None:
    """start.blend: only the photos on their cameras, and the animated camera. Nothing of the still life."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x, scene.render.resolution_y = path[0].size
    scene.frame_start, scene.frame_end, scene.render.fps = 1, len(path), 24
    for number, view in enumerate(photos, 1):
        item = new_camera(f"Photo {number}")
        item.matrix_world = view.matrix
        item.data.show_background_images = True
        background = item.data.background_images.new()
        background.image = bpy.data.images.load(str(out / "photos" / f"photo_{number}.png"))
        background.frame_method = "CROP"
    camera = new_camera("Push-in")
    camera.rotation_mode = "QUATERNION"
    scene.camera = camera
    last = None
    for frame, view in enumerate(path, 1):
        camera.location, turn = view.matrix.to_translation(), view.matrix.to_quaternion()
        if last is not None:
            turn.make_compatible(last)
        camera.rotation_quaternion = last = turn
        camera.keyframe_insert("location", frame=frame)
        camera.keyframe_insert("rotation_quaternion", frame=frame)
    scene.frame_set(1)
    target = out / "start.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(target), check_existing=False)
    bpy.ops.file.make_paths_relative()
    bpy.ops.wm.save_as_mainfile(filepath=str(target), check_existing=False)
    target.with_suffix(".blend1").unlink(missing_ok=True)


# --- all of it ---------------------------------------------------------------


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line; with the application, what stands after ``--``."""
    parser = argparse.ArgumentParser(prog="still_life.py", description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--variant", type=int, default=0, help="0 is the demo; others are for development")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", default="640x360", help="of the path's frames, WxH")
    parser.add_argument("--samples", type=int, default=8, help="per pixel of the photos; the true frames take three quarters")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--photos-only", action="store_true", help="leave the true close-ups out")
    parser.add_argument("--only", default="", help="render just these, comma-separated: p1, p2, … photos; 1, 2, … frames")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Build, render, save."""
    options = parse(argv)
    out, started = options.out.resolve(), time.monotonic()
    size = tuple(int(x) for x in options.size.split("x"))
    for name in ("photos", "photos_depth", "truth", "truth_depth"):
        (out / name).mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    shot = arrange.build(options.variant)
    scene = bpy.context.scene
    set_up(scene, options.samples, options.threads)
    photos, path = photo_views(shot), path_views(shot, options.frames, size)
    table = {
        "photos": [{"image": f"photos/photo_{i}.png", "camera": view.as_dict()} for i, view in enumerate(photos, 1)],
        "path": [{"frame": i, "camera": view.as_dict()} for i, view in enumerate(path, 1)],
    }
    (out / "cameras.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    say(f"built in {time.monotonic() - started:.0f} s")
    camera = scene.camera = new_camera("camera")
    wanted = {item for item in options.only.split(",") if item}
    work = [(f"p{i}", view, f"photos{{}}/photo_{i}") for i, view in enumerate(photos, 1)]
    if not options.photos_only:
        work += [(str(i), view, f"truth{{}}/{i:04d}") for i, view in enumerate(path, 1)]
    work = [item for item in work if not wanted or item[0] in wanted]
    rendering = time.monotonic()
    for done, (key, view, where) in enumerate(work):
        scene.cycles.samples = options.samples if key[0] == "p" else max(1, options.samples * 3 // 4)
        render(scene, camera, view, out / (where.format("") + ".png"), out / (where.format("_depth") + ".npy"))
        spent = time.monotonic() - rendering
        left = spent / (done + 1) * (len(work) - done - 1)
        say(f"{where.format('')} · {done + 1} of {len(work)} · {spent:.0f} s, about {left:.0f} s left")
    if not wanted:
        save_start(out, photos, path)
    say(f"finished in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    main(arguments)
    sys.stdout.flush()
    os._exit(0)  # leaving through Blender's own exit can hang some versions of the module
