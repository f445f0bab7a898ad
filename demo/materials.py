"""Procedural materials and numpy-drawn pictures for the still life; nothing is loaded from files."""

from __future__ import annotations

import bpy
import numpy as np

Color = tuple[float, float, float]


def shade(tree, kind: str, inputs: dict | None = None, **properties):
    """A new shader node; input values that are sockets are linked, all else is set."""
    node = tree.nodes.new(kind)
    for key, value in properties.items():
        setattr(node, key, value)
    for key, value in (inputs or {}).items():
        if isinstance(value, bpy.types.NodeSocket):
            tree.links.new(value, node.inputs[key])
        else:
            node.inputs[key].default_value = value
    return node


def _ramp(tree, fac, stops: list[tuple[float, Color]]):
    node = shade(tree, "ShaderNodeValToRGB", {0: fac})
    elements = node.color_ramp.elements
    while len(elements) < len(stops):
        elements.new(0.5)
    for element, (position, color) in zip(elements, stops):
        element.position, element.color = position, (*color, 1)
    return node.outputs[0]


def _mix(tree, fac, a, b, blend: str = "MIX"):
    def value(x):
        return (*x, 1) if isinstance(x, tuple) else x

    return shade(tree, "ShaderNodeMixRGB", {0: fac, 1: value(a), 2: value(b)}, blend_type=blend).outputs[0]


def _coordinates(tree, scale, kind: str = "Object", rotation=(0, 0, 0), location=(0, 0, 0)):
    source = shade(tree, "ShaderNodeTexCoord").outputs[kind]
    inputs = {"Vector": source, "Scale": scale, "Rotation": rotation, "Location": location}
    return shade(tree, "ShaderNodeMapping", inputs).outputs[0]


def _noise(tree, vector, scale: float, detail: float = 3, roughness: float = 0.55, distortion: float = 0.0):
    inputs = {"Vector": vector, "Scale": scale, "Detail": detail, "Roughness": roughness, "Distortion": distortion}
    return shade(tree, "ShaderNodeTexNoise", inputs).outputs[0]


def _material(name: str):
    """A material with only its output node; returns (material, node tree)."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    material.node_tree.nodes.clear()
    return material, material.node_tree


def _finish(material, tree, color, roughness, metallic=0.0, bump=None, strength=0.3, distance=0.01, coat=0.0, sheen=0.0):
    inputs = {"Base Color": (*color, 1) if isinstance(color, tuple) else color, "Roughness": roughness, "Metallic": metallic}
    inputs |= {"Coat Weight": coat, "Sheen Weight": sheen}
    if bump is not None:
        inputs["Normal"] = shade(tree, "ShaderNodeBump", {"Height": bump, "Strength": strength, "Distance": distance}).outputs[0]
    bsdf = shade(tree, "ShaderNodeBsdfPrincipled", inputs)
    shade(tree, "ShaderNodeOutputMaterial", {"Surface": bsdf.outputs[0]})
    return material


# --- materials ---------------------------------------------------------------


def plain(name: str, color: Color, roughness: float = 0.5, metallic: float = 0.0, speckle: float = 0.0, scale: float = 30.0):
    """One colour; ``speckle`` mottles it."""
    material, tree = _material(name)
    if not speckle:
        return _finish(material, tree, color, roughness, metallic)
    fac = _noise(tree, _coordinates(tree, (1, 1, 1)), scale, 4, 0.7)
    dark = tuple(c * (1 - speckle) for c in color)
    bright = tuple(min(1.0, c * (1 + 0.6 * speckle)) for c in color)
    return _finish(material, tree, _ramp(tree, fac, [(0.3, dark), (0.7, bright)]), roughness, metallic, fac, 0.1)


def wood(
    name: str, dark: Color, light: Color, scale: float = 1.0, planks: float = 0.0, roughness: float = 0.5, seed: float = 0.0
):
    """Grain along x; ``planks`` is the width of boards along y, 0 for one piece."""
    material, tree = _material(name)
    vector = _coordinates(tree, (1, 1, 1), location=(seed * 7.3, seed * 3.1, seed))
    if planks:
        split = shade(tree, "ShaderNodeSeparateXYZ", {0: vector})
        board = shade(tree, "ShaderNodeMath", {0: split.outputs[1], 1: 1 / planks}, operation="MULTIPLY").outputs[0]
        number = shade(tree, "ShaderNodeMath", {0: board}, operation="FLOOR").outputs[0]
        shift = shade(tree, "ShaderNodeCombineXYZ", {"X": number, "Z": number}).outputs[0]
        shift = shade(tree, "ShaderNodeVectorMath", {0: shift, 1: (7.7, 0, 3.3)}, operation="MULTIPLY").outputs[0]
        vector = shade(tree, "ShaderNodeVectorMath", {0: vector, 1: shift}, operation="ADD").outputs[0]
    long = shade(tree, "ShaderNodeMapping", {"Vector": vector, "Scale": (0.25 * scale, 2.2 * scale, 2.2 * scale)}).outputs[0]
    rings = _noise(tree, long, 1.6, 1.5, 0.5)
    bands = shade(tree, "ShaderNodeMath", {0: rings, 1: 55.0}, operation="MULTIPLY").outputs[0]
    bands = shade(tree, "ShaderNodeMath", {0: bands}, operation="SINE").outputs[0]
    pores = shade(tree, "ShaderNodeMapping", {"Vector": vector, "Scale": (2.5 * scale, 60 * scale, 60 * scale)}).outputs[0]
    fine = _noise(tree, pores, 1.5, 2, 0.65)
    fac = shade(tree, "ShaderNodeMath", {0: bands, 1: 0.13, 2: fine}, operation="MULTIPLY_ADD").outputs[0]
    middle = tuple(0.5 * (a + b) for a, b in zip(dark, light))
    color = _ramp(tree, fac, [(0.25, dark), (0.5, middle), (0.72, light)])
    stain = _ramp(tree, _noise(tree, vector, 0.7 * scale, 1), [(0.3, (0.62, 0.6, 0.58)), (0.7, (1.15, 1.12, 1.1))])
    color = _mix(tree, 1.0, color, stain, "MULTIPLY")
    if planks:
        edge = shade(tree, "ShaderNodeMath", {0: board}, operation="FRACT").outputs[0]
        edge = shade(tree, "ShaderNodeMath", {0: edge, 1: 0.5}, operation="SUBTRACT").outputs[0]
        edge = shade(tree, "ShaderNodeMath", {0: edge}, operation="ABSOLUTE").outputs[0]
        seam = _ramp(tree, edge, [(0.488, (1, 1, 1)), (0.496, (0.12, 0.1, 0.09))])
        color = _mix(tree, 1.0, color, seam, "MULTIPLY")
    return _finish(material, tree, color, roughness)


def fabric(name: str, warp: Color, weft: Color, threads: float = 26.0, stripes: Color | None = None):
    """A plain weave with uneven threads in the object's xy; ``stripes`` adds woven bands."""
    material, tree = _material(name)
    vector = _coordinates(tree, (1, 1, 1))
    wobble = _noise(tree, vector, 3.0, 2)
    waves = []
    for direction in ("X", "Y"):
        inputs = {"Vector": vector, "Scale": threads / 3.2}  # no distortion: it costs a noise for every look at the bump
        waves.append(shade(tree, "ShaderNodeTexWave", inputs, bands_direction=direction).outputs[1])
    height = shade(tree, "ShaderNodeMath", {0: waves[0], 1: waves[1]}, operation="MULTIPLY").outputs[0]
    over = shade(tree, "ShaderNodeMath", {0: waves[0], 1: waves[1]}, operation="SUBTRACT").outputs[0]
    over = shade(tree, "ShaderNodeMath", {0: over, 1: 0.5, 2: 0.5}, operation="MULTIPLY_ADD").outputs[0]
    color = _ramp(tree, over, [(0.3, warp), (0.7, weft)])
    if stripes:
        split = shade(tree, "ShaderNodeSeparateXYZ", {0: vector}).outputs[0]
        band = shade(tree, "ShaderNodeMath", {0: split, 1: 2.1}, operation="MULTIPLY").outputs[0]
        band = shade(tree, "ShaderNodeMath", {0: band}, operation="SINE").outputs[0]
        both = [(0.82, (0, 0, 0)), (0.84, (1, 1, 1)), (0.9, (1, 1, 1)), (0.92, (0, 0, 0)), (0.96, (0, 0, 0)), (0.97, (1, 1, 1))]
        color = _mix(tree, _ramp(tree, band, both), color, _mix(tree, 0.75, color, stripes))
    uneven = _ramp(tree, wobble, [(0.25, (0.55, 0.55, 0.55)), (0.75, (1.2, 1.2, 1.2))])
    slubs = _noise(tree, _coordinates(tree, (3, 40, 1)), 1.0, 2, 0.7)
    slubs = _ramp(tree, slubs, [(0.3, (0.7, 0.7, 0.7)), (0.7, (1.15, 1.15, 1.15))])
    color = _mix(tree, 1.0, _mix(tree, 1.0, color, uneven, "MULTIPLY"), slubs, "MULTIPLY")
    return _finish(material, tree, color, 0.9, bump=height, strength=0.6, distance=0.015, sheen=0.3)


def metal(
    name: str, color: Color, roughness: float = 0.35, patina: Color | None = None, scratches: float = 1.0, scale: float = 1.0
):
    """Worn metal: patina in spots and hair-thin scratches in two directions."""
    material, tree = _material(name)
    base = _coordinates(tree, (scale, scale, scale))
    spots = _noise(tree, base, 4.0, 5, 0.65)
    tint = _ramp(tree, spots, [(0.38, patina or tuple(0.45 * c for c in color)), (0.6, color)])
    hair = None
    for rotation in ((0.3, 0.2, 0.5), (0.1, -0.4, -0.9)):
        vector = _coordinates(tree, (2 * scale, 120 * scale, 120 * scale), rotation=rotation)
        line = _ramp(tree, _noise(tree, vector, 1.0, 1), [(0.62, (0, 0, 0)), (0.7, (1, 1, 1))])
        hair = line if hair is None else _mix(tree, 1.0, hair, line, "ADD")
    bright = tuple(min(1.0, 1.3 * c + 0.06) for c in color)
    tint = _mix(tree, _mix(tree, 1.0, hair, (0.5 * scratches,) * 3, "MULTIPLY"), tint, bright)
    rough = _ramp(tree, spots, [(0.35, (min(1, roughness + 0.3),) * 3), (0.65, (roughness,) * 3)])
    return _finish(material, tree, tint, rough, metallic=1.0, bump=hair, strength=0.12, distance=-0.004)


def pottery(name: str, glaze: Color, fleck: Color, roughness: float = 0.35, scale: float = 1.0):
    """Glazed stoneware with iron flecks and a mottled glaze."""
    material, tree = _material(name)
    vector = _coordinates(tree, (scale, scale, scale))
    mottled = _noise(tree, vector, 3.5, 5, 0.6)
    color = _ramp(tree, mottled, [(0.32, tuple(0.72 * c for c in glaze)), (0.66, glaze)])
    for size, low in ((26.0, 0.64), (60.0, 0.66)):
        spots = _ramp(tree, _noise(tree, vector, size, 1), [(low, (0, 0, 0)), (low + 0.05, (1, 1, 1))])
        color = _mix(tree, spots, color, fleck)
    return _finish(material, tree, color, roughness, bump=mottled, strength=0.15, distance=0.03, coat=0.25)


def paper(name: str, color: Color = (0.78, 0.72, 0.6), age: float = 0.35):
    """Uncoated paper: fibres and age spots."""
    material, tree = _material(name)
    vector = _coordinates(tree, (1, 1, 1))
    fibres = _noise(tree, _coordinates(tree, (18, 60, 30)), 1.5, 3, 0.7)
    spots = _noise(tree, vector, 2.6, 5, 0.7)
    old = (color[0] * (1 - 0.5 * age), color[1] * (1 - 0.75 * age), color[2] * (1 - age))
    tint = _mix(tree, 0.25, _ramp(tree, spots, [(0.3, old), (0.62, color)]), fibres, "OVERLAY")
    return _finish(material, tree, tint, 0.85, bump=fibres, strength=0.12, distance=0.01)


def leaf(name: str, color: Color, vein: Color):
    """A leaf with a midrib and side veins; uv: x across (-0.5…0.5 as 0…1), y along."""
    material, tree = _material(name)
    split = shade(tree, "ShaderNodeSeparateXYZ", {0: shade(tree, "ShaderNodeTexCoord").outputs["UV"]})
    across = shade(tree, "ShaderNodeMath", {0: split.outputs[0], 1: 0.5}, operation="SUBTRACT").outputs[0]
    across = shade(tree, "ShaderNodeMath", {0: across}, operation="ABSOLUTE").outputs[0]
    slant = shade(tree, "ShaderNodeMath", {0: across, 1: -1.1, 2: split.outputs[1]}, operation="MULTIPLY_ADD").outputs[0]
    ribs = shade(tree, "ShaderNodeMath", {0: slant, 1: 58.0}, operation="MULTIPLY").outputs[0]
    ribs = shade(tree, "ShaderNodeMath", {0: ribs}, operation="SINE").outputs[0]
    side = _ramp(tree, ribs, [(0.86, (0, 0, 0)), (0.98, (0.7, 0.7, 0.7))])
    middle = _ramp(tree, across, [(0.02, (1, 1, 1)), (0.04, (0, 0, 0))])
    lines = _mix(tree, 1.0, side, middle, "LIGHTEN")
    mottled = _noise(tree, _coordinates(tree, (1, 1, 1)), 9.0, 4, 0.65)
    tint = _ramp(tree, mottled, [(0.3, tuple(0.5 * c for c in color)), (0.7, color)])
    return _finish(material, tree, _mix(tree, lines, tint, vein), 0.45, bump=lines, strength=0.25, distance=0.02)


def printed(name: str, pixels: np.ndarray, roughness: float = 0.8, grain: float = 0.2):
    """A picture on the object's UV map. pixels: (H, W, 3) sRGB-coded 0..1, top row first."""
    material, tree = _material(name)
    height, width = pixels.shape[:2]
    picture = bpy.data.images.new(name, width, height)
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = np.clip(pixels[::-1], 0, 1)
    picture.pixels.foreach_set(rgba.ravel())
    picture.pack()
    color = shade(tree, "ShaderNodeTexImage", image=picture, interpolation="Cubic", extension="EXTEND").outputs[0]
    fibres = _noise(tree, _coordinates(tree, (1, 1, 1)), 35.0, 4, 0.7)
    color = _mix(tree, grain, color, fibres, "OVERLAY")
    return _finish(material, tree, color, roughness, bump=fibres, strength=0.08, distance=0.01)


# --- pictures ----------------------------------------------------------------


def cloudy(rng: np.random.Generator, height: int, width: int, cells: int, octaves: int = 4) -> np.ndarray:
    """(H, W) smooth noise about 0..1."""
    total, weight = np.zeros((height, width)), 0.0
    for octave in range(octaves):
        n = cells * 2**octave
        grid = rng.random((n + 2, n * width // height + 3))
        y, x = np.linspace(0, n, height, endpoint=False), np.linspace(0, grid.shape[1] - 2, width, endpoint=False)
        iy, ix = y.astype(int), x.astype(int)
        fy, fx = (t * t * (3 - 2 * t) for t in ((y - iy)[:, None], (x - ix)[None]))
        top = grid[iy][:, ix] * (1 - fx) + grid[iy][:, ix + 1] * fx
        low = grid[iy + 1][:, ix] * (1 - fx) + grid[iy + 1][:, ix + 1] * fx
        total += (top * (1 - fy) + low * fy) / 2**octave
        weight += 1 / 2**octave
    return total / weight


def _stamp(canvas: np.ndarray, cx: float, cy: float, radius: float, draw) -> None:
    """Blend ``draw(x, y)`` → (colour (…, 3), alpha) into the square of ``radius`` pixels around (cx, cy)."""
    height, width = canvas.shape[:2]
    x0, x1 = max(0, int(cx - radius)), min(width, int(cx + radius) + 2)
    y0, y1 = max(0, int(cy - radius)), min(height, int(cy + radius) + 2)
    if x0 >= x1 or y0 >= y1:
        return
    y, x = np.mgrid[y0:y1, x0:x1]
    color, alpha = draw(x + 0.5 - cx, y + 0.5 - cy)
    part = canvas[y0:y1, x0:x1]
    part += (color - part) * np.clip(alpha, 0, 1)[..., None]


def _dot(radius: float, color: np.ndarray):
    return lambda x, y: (color + 0 * x[..., None], radius - np.hypot(x, y))


def _berry(radius: float, color: np.ndarray):
    def draw(x, y):
        r = np.hypot(x, y) / radius
        glint = np.hypot(x + radius * 0.3, y + radius * 0.3) < radius * 0.25
        return np.where(glint[..., None], 0.9, color * (1.15 - 0.5 * r[..., None])), (1 - r) * radius

    return draw


def _leaf(length: float, width: float, angle: float, color: np.ndarray, vein: np.ndarray):
    c, s = np.cos(angle), np.sin(angle)

    def draw(x, y):
        along, across = (x * c + y * s) / length, (-x * s + y * c) / width
        t = np.clip(along, 0, 1)
        half = np.sin(np.pi * t**0.8) * 0.5
        inside = (half - np.abs(across)) * width
        alpha = np.where((along > 0) & (along < 1), inside, -1.0)
        ribs = np.abs(((along - 0.45 * np.abs(across)) * 9) % 1 - 0.5) * length / 9
        line = np.clip(1.6 - np.minimum(np.abs(across) * width, ribs), 0, 1) * 0.8
        edge = np.clip(1.8 - inside, 0, 1) * 0.7
        shade_ = (0.82 + 0.3 * (across > 0))[..., None] * color
        return shade_ + (vein - shade_) * np.maximum(line, edge)[..., None], alpha

    return draw


def _flower(radius: float, petals: int, angle: float, color: np.ndarray, heart: np.ndarray, line: np.ndarray):
    def draw(x, y):
        r, a = np.hypot(x, y) / radius, np.arctan2(y, x) + angle
        wave = np.abs(np.cos(a * petals / 2))
        outline = 0.55 + 0.45 * wave**0.6
        alpha = (outline - r) * radius
        rays = (np.cos(a * petals * 5) > 0.7) & (r > 0.3) & (r < outline * 0.85)
        body = color * (0.7 + 0.4 * r[..., None])
        body = np.where(rays[..., None], body * 0.75, body)
        body = body + (line - body) * np.clip(2 - alpha, 0, 1)[..., None] * 0.8
        return np.where(
            (r < 0.24)[..., None], heart * (0.7 + 0.5 * ((np.cos(a * 13) * np.cos(r * 60)) > 0))[..., None], body
        ), alpha

    return draw


def _meadow_of_dots(rng: np.random.Generator, canvas: np.ndarray, colors: list[np.ndarray], unit: float) -> None:
    """Small leaves and dots all over the ground, so that no part of it is empty."""
    height, width = canvas.shape[:2]
    for _ in range(int(14 * height * width / unit**2)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        tint = 0.45 * canvas[int(y), int(x)] + 0.55 * colors[rng.integers(len(colors))] * rng.uniform(0.4, 0.9)
        length = unit * rng.uniform(0.1, 0.24)
        if rng.random() < 0.6:
            draw = _leaf(length, 0.45 * length, rng.uniform(0, 2 * np.pi), tint, tint * 0.8)
        else:
            draw = _dot(0.3 * length, tint)
        _stamp(canvas, x, y, length + 1, draw)


def wallpaper(
    rng: np.random.Generator, height: int, width: int, ground: Color, palette: list[Color], density: float = 1.0
) -> np.ndarray:
    """(H, W, 3) a botanical print: winding stems with leaves, flowers and berries; nothing in it repeats."""
    canvas = np.ones((height, width, 3)) * np.array(ground)
    canvas *= (0.86 + 0.28 * cloudy(rng, height, width, 10))[..., None]
    colors = [np.array(c) for c in palette]
    unit = height / 15
    line = np.array(ground) * 0.45
    _meadow_of_dots(rng, canvas, colors, unit)
    for _ in range(int(density * 34 * width / height)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        heading, turn = rng.uniform(0, 2 * np.pi), rng.uniform(-0.02, 0.02)
        green = colors[rng.integers(0, 2)]
        for step in range(int(rng.uniform(90, 200))):
            heading += turn + rng.normal(0, 0.012)
            x, y = x + np.cos(heading) * unit / 24, y + np.sin(heading) * unit / 24
            thick = unit / 26
            _stamp(canvas, x, y, thick + 2, _dot(thick, green * 0.7))
            if step % 7 == 0:
                side = 1 if (step // 7) % 2 else -1
                length = unit * rng.uniform(0.5, 1.15)
                tint = green * rng.uniform(0.75, 1.25)
                angle = heading + side * rng.uniform(0.6, 1.1)
                _stamp(canvas, x, y, length, _leaf(length, length * rng.uniform(0.3, 0.48), angle, tint, tint * 0.45 + 0.35))
            if step % 31 == 30:
                for _ in range(3):
                    bx, by = x + rng.normal(0, unit / 4), y + rng.normal(0, unit / 4)
                    berry, size = colors[2 + rng.integers(0, len(colors) - 2)], unit * rng.uniform(0.07, 0.12)
                    _stamp(canvas, bx, by, size + 2, _berry(size, berry))
        size = unit * rng.uniform(0.4, 0.85)
        petal = colors[2 + rng.integers(0, len(colors) - 2)]
        flower = _flower(size, int(rng.integers(5, 9)), rng.uniform(0, 6), petal, colors[-1] * 0.9, line)
        _stamp(canvas, x, y, size + 2, flower)
    return np.clip(canvas, 0, 1)


def engraving(rng: np.random.Generator, height: int, width: int, ink: Color, ground: Color) -> np.ndarray:
    """(H, W, 3) a landscape in hatched lines, as on a banknote or a postage stamp."""
    y, x = np.mgrid[0:height, 0:width] / height
    tone = 0.25 + 0.5 * cloudy(rng, height, width, 4)
    for layer in range(5):
        ridge = 0.35 + 0.13 * layer + 0.22 * (cloudy(rng, 8, width, 1, 5)[4] - 0.5)
        tone = np.where(y > ridge[None], 0.25 + 0.15 * layer + 0.35 * cloudy(rng, height, width, 6), tone)
    sun = np.hypot(x - 0.7 * width / height, y - 0.22) < 0.11
    tone = np.where(sun, 0.03, tone)
    warp = 0.02 * cloudy(rng, height, width, 3)
    lines = np.sin((y + warp) * 2 * np.pi * height / 7) * 0.5 + 0.5
    cross = np.sin((x + y + warp) * 2 * np.pi * height / 9) * 0.5 + 0.5
    dark = np.clip((tone - lines) * 4 + 0.3, 0, 1) * 0.85 + np.clip((tone - 0.45 - 0.5 * cross) * 5, 0, 1) * 0.4
    dark = np.clip(dark, 0, 1)[..., None]
    return np.array(ground) * (1 - dark) + np.array(ink) * dark
