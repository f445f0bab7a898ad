"""The live preview's pictures in the 3D views: holes are hatched, what is doubtful is tinted. No redraw waits for a picture."""

from __future__ import annotations

import bpy
import gpu
from gpu_extras.batch import batch_for_shader

from . import preview, preview_view, pump
from .errors import CloseUpError
from .extension import log
from .preview import Picture, live

HATCH_PIXELS = 14.0
"""Between two stripes, at a UI scale of 1."""
_VERTEX = """
void main()
{
  at = vec2(corner.x, 1.0 - corner.y); /* a picture's top row comes first */
  gl_Position = vec4(mix(place.xy, place.zw, corner), 0.0, 1.0);
}
"""
_FRAGMENT = """
void main()
{
  /* Bilinear by hand, alike in all versions of Blender; holes have no part in the confidence around them. */
  ivec2 size = textureSize(picture, 0);
  vec2 texel = at * vec2(size) - 0.5;
  vec2 part = texel - floor(texel);
  vec3 colour = vec3(0.0);
  float sure = 0.0;
  float seen = 0.0;
  for (int i = 0; i < 4; i++) {
    ivec2 step = ivec2(i & 1, i >> 1);
    vec4 found = texelFetch(picture, clamp(ivec2(floor(texel)) + step, ivec2(0), size - 1), 0);
    vec2 weights = mix(1.0 - part, part, vec2(step));
    float weight = weights.x * weights.y;
    colour += weight * found.rgb;
    sure += weight * found.a;
    seen += found.a > 0.0 ? weight : 0.0;
  }
  if (seen < 0.5) {
    float stripe = smoothstep(0.42, 0.5, abs(fract((gl_FragCoord.x + gl_FragCoord.y) / hatch) - 0.5) * 2.0);
    colour = mix(mix(colour, vec3(0.12), 0.65), vec3(0.62), 0.35 * stripe);
  }
  else {
    colour = mix(vec3(1.0, 0.5, 0.1), colour, mix(0.6, 1.0, smoothstep(0.05, 0.45, sure / seen)));
  }
  /* Blender sets srgbTarget where it takes light instead of codes; it codes overlays with a power of 1 / 2.2 afterwards. */
  shown = vec4(srgbTarget ? pow(colour, vec3(2.2)) : colour, opacity);
}
"""
_shader = _batch = _handle = None
_textures: dict[int, tuple[Picture, object]] = {}
"""The region's pointer: its picture and that on the graphics card."""


def _draw() -> None:
    """Runs at every redraw of every 3D view: tells where it looks, and draws what is there."""
    if not live.on:
        _textures.clear()
        return
    context = bpy.context
    scene, region = context.scene, context.region
    folder, cloud = preview.source(scene)
    everywhere = scene.closeup.preview_free or scene.camera is None
    view = preview_view.of_region(context.space_data, region, context.region_data, scene, cloud.matrix_world, everywhere)
    if view is None:
        return
    key = region.as_pointer()
    picture = live.look(key, folder, view)
    if live.awaited:
        pump.start()
    if picture:
        _paint(_texture(key, picture), view.rectangle, region, scene.closeup.preview_opacity)


def _texture(key: int, picture: Picture):
    """The picture on the graphics card; of a region's pictures only the newest stays there."""
    if key not in _textures or _textures[key][0] is not picture:
        if len(_textures) > 16:  # of regions that are long gone
            _textures.clear()
        floats = memoryview(picture.pixels).cast("f")
        buffer = gpu.types.Buffer("FLOAT", len(floats), floats)
        _textures[key] = picture, gpu.types.GPUTexture((picture.width, picture.height), format="RGBA8", data=buffer)
    return _textures[key][1]


def _paint(texture, rectangle: preview_view.Rectangle, region, opacity: float) -> None:
    shader, batch = _program()
    sides = (region.width, region.height) * 2
    shader.bind()
    shader.uniform_float("place", [2 * edge / side - 1 for edge, side in zip(rectangle, sides)])
    shader.uniform_float("hatch", HATCH_PIXELS * bpy.context.preferences.system.ui_scale)
    shader.uniform_float("opacity", opacity)
    shader.uniform_sampler("picture", texture)
    before = gpu.state.depth_test_get(), gpu.state.blend_get()
    gpu.state.depth_test_set("NONE")
    gpu.state.blend_set("ALPHA")
    batch.draw(shader)
    gpu.state.depth_test_set(before[0])
    gpu.state.blend_set(before[1])


def _program() -> tuple:
    """The shader and its rectangle, made at the first picture."""
    global _shader, _batch
    if _shader is None:
        info, between = gpu.types.GPUShaderCreateInfo(), gpu.types.GPUStageInterfaceInfo("closeup_preview")
        between.smooth("VEC2", "at")
        info.vertex_in(0, "VEC2", "corner")
        info.vertex_out(between)
        info.push_constant("VEC4", "place")
        info.push_constant("FLOAT", "hatch")
        info.push_constant("FLOAT", "opacity")
        info.push_constant("BOOL", "srgbTarget")
        info.sampler(0, "FLOAT_2D", "picture")
        info.fragment_out(0, "VEC4", "shown")
        info.vertex_source(_VERTEX)
        info.fragment_source(_FRAGMENT)
        _shader = gpu.shader.create_from_info(info)
        _batch = batch_for_shader(_shader, "TRI_STRIP", {"corner": ((0, 0), (1, 0), (0, 1), (1, 1))})
    return _shader, _batch


def _draw_safely() -> None:
    """An error in a draw handler would be printed at every redraw; ours switches the preview off instead."""
    try:
        _draw()
    except CloseUpError as error:
        live.stop(str(error))
    except Exception:  # noqa: BLE001
        log.exception("The live preview cannot be drawn")
        live.stop("The live preview cannot be drawn here; the console holds the details.")


def register() -> None:
    """Be ready to draw; nothing in background mode. Before gizmos and the camera's border, which stay visible."""
    global _handle
    if _handle is None and not bpy.app.background:
        _handle = bpy.types.SpaceView3D.draw_handler_add(_draw_safely, (), "WINDOW", "POST_VIEW")


def unregister() -> None:
    """Switch it off, and stop drawing."""
    global _handle, _shader, _batch
    live.stop()
    if _handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
    _handle = _shader = _batch = None
    _textures.clear()
