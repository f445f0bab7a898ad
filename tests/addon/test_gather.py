"""Gathering a path from a heavy scene takes no time and leaves no trace."""

from __future__ import annotations

import time

import bpy
import numpy as np
import pytest
from conftest import module
from mathutils import Matrix


def heavy_rig(scene, bones: int = 60, meshes: int = 6) -> None:
    """An armature of animated bones with constraints, and dense meshes that it bends, with subdivision."""
    armature = bpy.data.objects.new("rig", bpy.data.armatures.new("rig"))
    scene.collection.objects.link(armature)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    parent = None
    for index in range(bones):
        bone = armature.data.edit_bones.new(f"bone {index}")
        bone.head, bone.tail, bone.parent = (0, 0, index * 0.1), (0, 0, index * 0.1 + 0.1), parent
        parent = bone
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone in armature.pose.bones:
        bone.rotation_mode = "XYZ"
        for frame, angle in ((1, 0.0), (250, 0.05)):
            bone.rotation_euler.x = angle
            bone.keyframe_insert("rotation_euler", frame=frame)
    for index in range(meshes):
        bpy.ops.mesh.primitive_grid_add(x_subdivisions=100, y_subdivisions=100, size=4)
        obj = bpy.context.object
        obj.name = f"skin {index}"
        for bone in armature.pose.bones:
            obj.vertex_groups.new(name=bone.name).add(range(0, 10_000, 7), 0.5, "REPLACE")
        obj.modifiers.new("bend", "ARMATURE").object = armature
        obj.modifiers.new("smooth", "SUBSURF").levels = 2


def state(scene) -> dict:
    """Everything that sampling could have changed."""
    objects = {obj.name: (tuple(map(tuple, obj.matrix_world)), obj.select_get(), obj.hide_get()) for obj in scene.objects}
    data = {name: sorted(getattr(bpy.data, name).keys()) for name in ("scenes", "objects", "cameras", "actions", "collections")}
    users = {camera.name: camera.users for camera in bpy.data.cameras} | {obj.name: obj.users for obj in bpy.data.objects}
    active = bpy.context.view_layer.objects.active
    settings = (scene.frame_current, scene.frame_subframe, scene.camera, active, bpy.context.scene, sorted(scene.keys()))
    return {"objects": objects, "data": data, "users": users, "settings": settings}


def test_250_frames_of_a_heavy_scene_are_gathered_at_once_and_nothing_changes(scene):
    heavy_rig(scene)
    camera = scene.camera
    for frame, place in ((1, (0, -8, 2)), (250, (1, -2, 1))):
        camera.location = place
        camera.keyframe_insert("location", frame=frame)
    track = camera.constraints.new("TRACK_TO")
    target = bpy.data.objects.new("target", None)
    scene.collection.objects.link(target)
    track.target, track.track_axis, track.up_axis = target, "TRACK_NEGATIVE_Z", "UP_Y"
    scene.frame_set(37, subframe=0.25)
    before = state(scene)
    sampling, frame = module("closeup_addon.sampling"), module("closeup_addon.cameras").frame_of(scene.render)
    start = time.perf_counter()
    scene.frame_set(38)
    one_step = time.perf_counter() - start
    scene.frame_set(37, subframe=0.25)
    taken = []
    for _ in range(3):  # the best of three: other programs compute here too
        start = time.perf_counter()
        path = sampling.sample(scene, camera, list(range(1, 251)), frame)
        taken.append(time.perf_counter() - start)
    seconds = min(taken)
    print(f"250 frames in {seconds * 1000:.1f} ms; one step of the scene itself takes {one_step * 1000:.1f} ms")
    assert len(path) == 250 and path[0].world_from_camera[1][3] == pytest.approx(-8)
    assert seconds < 0.2
    assert state(scene) == before


def test_the_path_of_a_camera_that_rides_on_the_heavy_rig_is_right(scene):
    """What the camera depends on is evaluated, however heavy; only what it does not depend on is left out."""
    heavy_rig(scene, bones=8, meshes=1)
    camera = scene.camera
    camera.parent, camera.parent_type, camera.parent_bone = bpy.data.objects["rig"], "BONE", "bone 7"
    sampling, cameras = module("closeup_addon.sampling"), module("closeup_addon.cameras")
    frame = cameras.frame_of(scene.render)
    for number, found in zip((1, 100, 250), sampling.sample(scene, camera, [1, 100, 250], frame)):
        scene.frame_set(number)
        expected = cameras.rigid(camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world)
        assert np.allclose(found.world_from_camera, expected, atol=1e-6)


def test_drivers_that_read_the_active_scene_see_its_properties(scene):
    scene["zoom"] = 3.0
    scene.unit_settings.scale_length = 0.5
    driver = scene.camera.driver_add("location", 0).driver
    for name, path in (("zoom", '["zoom"]'), ("width", "render.resolution_x"), ("unit", "unit_settings.scale_length")):
        variable = driver.variables.new()
        variable.name, variable.type = name, "CONTEXT_PROP"
        variable.targets[0].context_property, variable.targets[0].data_path = "ACTIVE_SCENE", path
    driver.expression = "zoom + width / 100 + unit + frame"
    sampling, frame = module("closeup_addon.sampling"), module("closeup_addon.cameras").frame_of(scene.render)
    (found,) = sampling.sample(scene, scene.camera, [10], frame)
    scene.frame_set(10)
    assert scene.camera.matrix_world.translation.x == pytest.approx(3 + 0.64 + 0.5 + 10)
    assert found.world_from_camera[0][3] == pytest.approx(3 + 0.64 + 0.5 + 10)


def test_known_photos_are_where_their_cameras_are_at_the_scenes_frame(scene, photos, tmp_path):
    gather = module("closeup_addon.gather")
    obj = scene.camera
    obj.data.background_images.new().image = bpy.data.images.load(str(photos[0]))
    obj.matrix_world = Matrix.Translation((1, 2, 3))
    obj.keyframe_insert("location", frame=1)
    obj.location.x = 5
    obj.keyframe_insert("location", frame=11)
    scene.frame_set(6)
    scene.closeup.camera = None
    other = bpy.data.objects.new("other", bpy.data.cameras.new("other"))
    scene.collection.objects.link(other)
    scene.camera = other
    (source,) = gather.sources(scene, tmp_path, gather.Options(frames=[1]))
    assert source.camera.world_from_camera[0][3] == pytest.approx(3.0, abs=1e-4)


def test_learned_models_are_named_in_jobs_and_looked_for_where_the_user_says(scene, photos, fake_engine, tmp_path, monkeypatch):
    """The engine is told the folder, and another engine takes over when it is changed."""
    launcher, said = tmp_path / "fake-python", tmp_path / "arguments.txt"
    launcher.write_text(launcher.read_text().replace("exec ", f'echo "$@" >> "{said}"\nexec '))
    settings, preferences = scene.closeup, module("closeup_addon.preferences")
    module("closeup_addon.photos").add(scene, photos)
    assert settings.models() == []
    settings.depth_method, settings.matcher = "depth-anything-3-small", "efficient-loftr"
    with pytest.raises(module("closeup_addon.errors").CloseUpError, match="choose the folder of models in the preferences"):
        preferences.check_models(settings.models())
    models = tmp_path / "models"
    (models / "depth-anything-3-small").mkdir(parents=True)
    preferences.get().models_folder = str(models)
    with pytest.raises(module("closeup_addon.errors").CloseUpError, match=r"efficient-loftr is not in .*models; fetch it"):
        preferences.check_models(settings.models())
    (models / "efficient-loftr").mkdir()
    monkeypatch.setattr(preferences, "LOOK_SECONDS", 0.0)
    preferences._seen.clear()
    preferences.check_models(settings.models())
    shot = module("closeup_addon.api").generate(frames=[1])
    geometry = module("engine.job").load(shot.folder).geometry
    assert (geometry.method, geometry.matcher) == ("depth-anything-3-small", "efficient-loftr")
    given = module("closeup_addon.api").generate(frames=[1], geometry="stereo", matcher="sift")
    assert module("engine.job").load(given.folder).geometry.method == "stereo"
    preferences.get().models_folder = ""
    module("closeup_addon.api").generate(frames=[1])
    first, second = said.read_text().splitlines()
    assert f"--models {models}" in first and "--models" not in second


def test_every_choice_of_the_panel_is_one_of_the_engines():
    properties, choices = module("closeup_addon.properties"), module("engine.job")._CHOICES
    for listed, name in ((properties.DEPTHS, "geometry.method"), (properties.MATCHERS, "geometry.matcher")):
        assert tuple(key for key, *_ in listed) == choices[name]
    for listed, name in ((properties.BACKENDS, "generator.backend"), (properties.OUTPUTS, "output.format")):
        assert tuple(key for key, *_ in listed) == choices[name]
