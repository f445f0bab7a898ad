"""What stands where: the still lifes by number."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import materials as mat
import numpy as np
import props
import shapes
from shapes import placed


@dataclass(frozen=True)
class Shot:
    """Where the cameras go. center: what the photos look at. hero: what the push-in ends on. Degrees and scene units.

    arc, rise: azimuth and elevation at the path's start and end. zoom: the last frame's magnification over the photos.
    """

    seed: int
    center: tuple[float, float, float]
    hero: tuple[float, float, float]
    distance: float = 8.0
    elevation: float = 24.0
    arc: tuple[float, float] = (-14.0, 8.0)
    rise: tuple[float, float] = (24.0, 30.0)
    zoom: float = 5.2


def build(variant: int) -> Shot:
    """Fill the empty scene. 0: the demo; 1, 4, 7, …: a study; 2, 5, …: outdoors under the sky; 3, 6, …: a shelf."""
    rng = np.random.default_rng(1000 + variant)
    if variant == 0:
        return watchmaker(rng, variant)
    return (shelf, study, garden)[variant % 3](rng, variant)


# --- light -------------------------------------------------------------------


def area_light(name, location, target, size, power, color=(1, 1, 1)):
    """A soft box that looks at ``target``."""
    from mathutils import Vector

    data = bpy.data.lights.new(name, "AREA")
    data.size, data.energy, data.color = size, power, color
    item = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(item)
    item.location = location
    item.rotation_euler = (Vector(target) - Vector(location)).to_track_quat("-Z", "Y").to_euler()


def world(color=(0.5, 0.53, 0.6), strength=0.4):
    """An even sky for indoors; seen only as light and in reflections."""
    made = bpy.data.worlds.new("world")
    bpy.context.scene.world = made
    made.use_nodes = True
    tree = made.node_tree
    tree.nodes.clear()
    sky = mat.shade(tree, "ShaderNodeBackground", {"Color": (*color, 1), "Strength": strength})
    mat.shade(tree, "ShaderNodeOutputWorld", {"Surface": sky.outputs[0]})


def clouds(strength=0.9):
    """An open sky: blue to haze, with clouds."""
    world()
    tree = bpy.context.scene.world.node_tree
    background = next(node for node in tree.nodes if node.type == "BACKGROUND")
    direction = mat.shade(tree, "ShaderNodeTexCoord").outputs["Generated"]
    height = mat.shade(tree, "ShaderNodeSeparateXYZ", {0: direction}).outputs[2]
    blue = mat._ramp(tree, height, [(0.0, (0.55, 0.66, 0.76)), (0.12, (0.3, 0.48, 0.72)), (0.6, (0.09, 0.2, 0.5))])
    flat = mat.shade(tree, "ShaderNodeMapping", {"Vector": direction, "Scale": (1.6, 1.6, 4.5)}).outputs[0]
    cover = mat._ramp(tree, mat._noise(tree, flat, 2.3, 7, 0.58), [(0.47, (0, 0, 0)), (0.62, (1, 1, 1))])
    tree.links.new(mat._mix(tree, cover, blue, (0.9, 0.9, 0.92)), background.inputs["Color"])
    background.inputs["Strength"].default_value = strength


def window_light(rng):
    """A large window on the left, a fill on the right, a little rim from behind."""
    world((0.55, 0.52, 0.5), 0.27)
    area_light("window", (-6.5, -3.0, 6.0), (0, 0, 0.5), 2.4, 1000, (1.0, 0.92, 0.8))
    area_light("fill", (7, -4, 4), (0, 0, 0.5), 5, 160, (0.8, 0.88, 1.0))
    area_light("rim", (3.5, 2.4, 6), (0, 0, 0.5), 1.5, 180, (1.0, 0.85, 0.7))


# --- rooms -------------------------------------------------------------------


def papered_wall(rng, y, ground, palette, size=(20.0, 8.4)):
    """A wall with a botanical paper, behind everything."""
    tall = 1200
    drawing = mat.wallpaper(rng, tall, int(tall * size[0] / size[1]), ground, palette)
    paper = mat.printed("wallpaper", drawing, 0.85, 0.3)
    width, height = size
    shapes.grid("wall", 2, 2, lambda u, v: ((u - 0.5) * width, y + 0 * u, v * height - 0.4), paper, smooth=False)


def desk(dark, light, y, seed=0.0):
    """A table top of planks, from the wall to the camera."""
    top = mat.wood("desk", dark, light, 1.0, 1.15, 0.42, seed)
    depth = y + 5.0
    shapes.box("desk", (18, depth, 0.3), top, placed(y=y - depth / 2, z=-0.3), 0.02)


def runner(rng, width, depth, matrix, warp, weft, stripes=None, threads=30.0):
    """A linen cloth with soft folds."""
    cloth = mat.fabric("linen", warp, weft, threads, stripes)
    a, b, c = rng.uniform(0, 6, 3)

    def surface(u, v):
        x, y = (u - 0.5) * width, (v - 0.5) * depth
        folds = 0.016 * np.sin(1.9 * x + a + 0.8 * np.sin(1.1 * y + b)) + 0.012 * np.sin(2.7 * y + c + 0.7 * x)
        edge = np.maximum(np.abs(u - 0.5), np.abs(v - 0.5)) * 2
        return x, y + 0.02 * np.sin(5 * x), 0.034 + folds * (1 - 0.5 * edge)

    shapes.grid("cloth", 90, 90, surface, cloth, matrix)


def scatter_small_parts(rng, middle, radius, count, avoid=()):
    """Screws, wheels and coins around a point, never on top of one another or of ``avoid`` [(x, y, r)]."""
    steel, brass = mat.metal("steel", props.STEEL, 0.32), mat.metal("brass part", props.BRASS, 0.34)
    taken = list(avoid)
    for index in range(count * 8):
        kind = index % 4
        size = (0.16, 0.13, rng.uniform(0.12, 0.24), 0.05)[kind]
        a, r = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.random())
        x, y = middle[0] + r * np.cos(a), middle[1] + 0.7 * r * np.sin(a)
        if any(np.hypot(x - p, y - q) < size + s for p, q, s in taken):
            continue
        taken.append((x, y, size))
        z, yaw = middle[2], rng.uniform(0, 360)
        if kind == 0:
            props.screw(placed(x, y, z + 0.05, yaw=yaw, tilt=82) @ placed(y=0, z=-0.1), steel if rng.random() < 0.6 else brass)
        elif kind == 1:
            color = (props.COPPER, props.GOLD, (0.55, 0.55, 0.56))[rng.integers(3)]
            props.coin(
                rng,
                placed(x, y, z + 0.005, yaw=rng.uniform(-60, 60)),
                rng.uniform(0.1, 0.14),
                color,
                str(rng.choice(["1", "5", "10"])),
            )
        elif kind == 2:
            props.gear(rng, placed(x, y, z + 0.005, yaw=yaw), size, int(24 + 60 * size), brass, 0.02, int(rng.integers(4, 7)))
        else:
            shapes.lathe(
                "nut", [(0.025, 0), (0.05, 0), (0.05, 0.03), (0.025, 0.03)], steel, placed(x, y, z, yaw=yaw), 6, smooth=False
            )
        count -= 1
        if count == 0:
            return


# --- the still lifes ---------------------------------------------------------


def watchmaker(rng, seed) -> Shot:
    """The demo: a pocket watch against a stack of books, on a newspaper, among parts of another."""
    wall = 3.4
    papered_wall(
        rng,
        wall,
        (0.2, 0.29, 0.3),
        [(0.38, 0.47, 0.3), (0.5, 0.52, 0.33), (0.72, 0.33, 0.24), (0.85, 0.62, 0.32), (0.88, 0.8, 0.66)],
    )
    desk((0.09, 0.045, 0.022), (0.3, 0.17, 0.085), wall, 1.0)
    runner(rng, 6.6, 3.6, placed(0.2, 0.1, 0, yaw=-4), (0.42, 0.4, 0.36), (0.62, 0.58, 0.5), (0.12, 0.2, 0.3))
    props.page(rng, placed(0.15, -0.75, 0.05, yaw=-12), (2.5, 2.2), 3, 0.06, 0.03)
    high = 0.06
    for size, color, yaw, title in (
        ((2.5, 1.7, 0.36), (0.16, 0.035, 0.03), 3, props.TITLES[0]),
        ((2.3, 1.55, 0.28), (0.03, 0.1, 0.12), -4, props.TITLES[6]),
        ((2.0, 1.4, 0.3), (0.25, 0.16, 0.05), 6, props.TITLES[9]),
    ):
        high += props.book(rng, placed(-0.1, 1.35, high, yaw=yaw), size, color, title)
    lean = placed(-0.05, 0.16, 0.1, yaw=-4, tilt=58)
    props.watch(rng, lean @ placed(y=0.5), 0.5)
    props.mug(placed(1.95, 0.75, 0.06, yaw=-35), (0.5, 0.55, 0.53), (0.1, 0.06, 0.04), band="SLOW HANDS")
    props.tin(rng, placed(-1.95, 0.6, 0.06, yaw=12))
    props.vase(placed(0.75, 1.5, high), height=0.9, radius=0.3)
    props.sprig(rng, placed(0.75, 1.5, high + 0.7, yaw=160), 1.5, 12, 0.5, (0.11, 0.2, 0.07), 0.6)
    props.sprig(rng, placed(0.75, 1.5, high + 0.7, yaw=20), 1.3, 10, 0.45, (0.15, 0.22, 0.06), 0.7, 2.0)
    metal = mat.metal("chain", props.GOLD, 0.3, (0.35, 0.2, 0.07))
    corners = [(-0.04, 0.69, 1.14), (0.3, 0.66, 1.07), (0.52, 0.55, 1.0), (0.6, 0.42, 0.55), (0.62, 0.3, 0.13), (0.95, 0.0, 0.12)]
    props.chain([*corners, (0.75, -0.42, 0.12), (1.2, -0.6, 0.13), (1.0, -0.95, 0.12)], metal)
    scatter_small_parts(rng, (-0.15, -0.75, 0.1), 1.15, 16, [(0, 0.1, 0.55)])
    props.ruler(placed(-1.2, -1.05, 0.06, yaw=14), 2.0)
    props.pencil(placed(1.1, -1.25, 0.08, yaw=38))
    window_light(rng)
    return Shot(seed, (0, 0.3, 0.8), (0.1, 0.2, 0.4), zoom=5.2)


def study(rng, seed) -> Shot:
    """Indoors: a tin of tea, a mug, books and coins before a papered wall."""
    wall = rng.uniform(2.6, 3.4)
    palettes = (
        ((0.75, 0.68, 0.54), [(0.3, 0.38, 0.22), (0.42, 0.44, 0.2), (0.6, 0.25, 0.2), (0.25, 0.3, 0.45), (0.8, 0.5, 0.25)]),
        ((0.14, 0.2, 0.3), [(0.3, 0.45, 0.42), (0.45, 0.52, 0.35), (0.75, 0.45, 0.35), (0.85, 0.72, 0.4), (0.8, 0.78, 0.72)]),
    )
    papered_wall(rng, wall, *palettes[rng.integers(2)])
    desk((0.2, 0.11, 0.05), (0.5, 0.32, 0.17), wall, float(seed))
    runner(rng, 5.6, 3.2, placed(-0.2, 0.0, 0, yaw=rng.uniform(-8, 8)), (0.5, 0.2, 0.14), (0.62, 0.5, 0.38), (0.1, 0.1, 0.12))
    accents = ((0.5, 0.08, 0.05), (0.06, 0.2, 0.32), (0.1, 0.25, 0.12))
    name = ("FINEST\nLAPSANG", "HARBOUR\nASSAM", "MOUNTAIN\nOOLONG")[rng.integers(3)]
    props.tin(rng, placed(0.0, 0.35, 0.06, yaw=rng.uniform(-20, 10)), 0.52, 1.2, accent=accents[rng.integers(3)], name=name)
    props.mug(placed(-1.75, 0.5, 0.06, yaw=160), (0.6, 0.5, 0.4), (0.15, 0.08, 0.05), band="GOOD MORNING")
    high = 0.06
    for size, color in (
        ((2.0, 1.5, 0.34), (0.05, 0.12, 0.09)),
        ((1.8, 1.3, 0.26), (0.3, 0.08, 0.05)),
        ((1.6, 1.25, 0.3), (0.08, 0.09, 0.2)),
    ):
        high += props.book(rng, placed(1.75, 0.75, high, yaw=rng.uniform(-12, 4)), size, color)
    props.gear(rng, placed(1.75, 0.7, high, yaw=20), 0.4, 40)
    props.page(rng, placed(-0.75, -0.95, 0.05, yaw=rng.uniform(8, 24)), (2.0, 1.7), 2, 0.065, 0.03, "THE HARBOUR POST")
    scatter_small_parts(rng, (0.5, -0.7, 0.07), 0.95, 14, [(0, 0.35, 0.6)])
    props.pencil(placed(1.0, -1.2, 0.07, yaw=rng.uniform(10, 50)), (0.06, 0.2, 0.12))
    props.vase(placed(-0.85, 1.5, 0.05), (0.32, 0.12, 0.06), (0.7, 0.6, 0.4), 1.3, 0.42)
    props.sprig(rng, placed(-0.85, 1.5, 1.1, yaw=-30), 1.7, 13, 0.5, (0.12, 0.2, 0.05), 0.55)
    props.sprig(rng, placed(-0.85, 1.5, 1.1, yaw=-110), 1.6, 12, 0.5, (0.16, 0.2, 0.07), 0.6, 1.0)
    window_light(rng)
    return Shot(seed, (0, 0.3, 0.8), (0.05, -0.1, 0.5), arc=(14.0, -6.0), zoom=5.2)


def garden(rng, seed) -> Shot:
    """Outdoors: a potted plant and a tin on a weathered bench, grass and open sky behind."""
    clouds()
    sun = bpy.data.lights.new("sun", "SUN")
    sun.energy, sun.angle, sun.color = 3.2, 0.03, (1.0, 0.92, 0.8)
    item = bpy.data.objects.new("sun", sun)
    bpy.context.scene.collection.objects.link(item)
    item.rotation_euler = np.radians((48, 8, -50 + rng.uniform(-20, 20)))
    ground = mat.plain("meadow", (0.12, 0.17, 0.04), 0.9, speckle=0.75, scale=2.2)
    hills = rng.uniform(0, 6, 4)

    def meadow(u, v):
        x, y = (u - 0.5) * 90, -8 + 70 * v**2
        far = np.clip((y - 6) / 40, 0, 1)
        return (
            x,
            y,
            -3.2
            + far * (2.2 * np.sin(0.11 * x + hills[0]) + 1.1 * np.sin(0.31 * x + hills[1]) + 1.0)
            + 0.1 * np.sin(1.3 * x + 2 * y),
        )

    shapes.grid("meadow", 160, 120, meadow, ground)
    top = mat.wood("bench", (0.2, 0.17, 0.14), (0.5, 0.45, 0.38), 1.2, 0.62, 0.75, float(seed))
    shapes.box("bench", (6.4, 3.1, 0.16), top, placed(y=0.1, z=-0.16), 0.02)
    for x in (-2.7, 2.7):
        shapes.box("leg", (0.3, 2.6, 3.0), top, placed(x, 0.1, -3.16), 0.02)
    props.tin(
        rng, placed(0.35, 0.05, 0, yaw=rng.uniform(-15, 15)), 0.5, 1.15, (0.62, 0.7, 0.6), (0.08, 0.2, 0.35), "GARDEN\nTWINE"
    )
    props.vase(placed(-0.95, 0.55, 0), (0.36, 0.15, 0.07), (0.16, 0.07, 0.03), 1.1, 0.5)
    for yaw, length in ((0, 1.9), (70, 1.6), (140, 1.8), (210, 1.7), (290, 1.5)):
        props.sprig(rng, placed(-0.95, 0.55, 0.85, yaw=yaw), length, 11, 0.5, (0.1, 0.2, 0.04), rng.uniform(0.3, 0.6), yaw)
    props.mug(placed(1.75, 0.35, 0, yaw=-20), (0.5, 0.32, 0.2), (0.1, 0.06, 0.04), band="FIRST LIGHT")
    props.book(rng, placed(-1.9, -0.35, 0, yaw=10), (1.5, 1.1, 0.26), (0.12, 0.05, 0.12), props.TITLES[8])
    props.page(rng, placed(0.4, -0.85, 0, yaw=-9), (1.9, 1.1), 3, 0.06, 0.03, "THE SEED LIST")
    scatter_small_parts(rng, (0.4, -0.8, 0.06), 0.9, 9, [(0.35, 0.05, 0.6)])
    colors = [(0.5, 0.1, 0.06), (0.08, 0.25, 0.3), (0.65, 0.45, 0.12)]
    props.beads(rng, [(1.3 + 0.13 * i, -0.75 + 0.12 * np.sin(i), 0.07) for i in range(9)], colors)
    return Shot(seed, (0, 0.1, 0.95), (0.35, -0.4, 0.55), elevation=14.0, rise=(12.0, 16.0), zoom=5.2)


def shelf(rng, seed) -> Shot:
    """A bookshelf with small things before the books."""
    oak = mat.wood("shelf", (0.22, 0.12, 0.05), (0.52, 0.34, 0.17), 1.1, 0, 0.5, float(seed))
    for z in (-0.2, 2.15, 4.4):
        shapes.box("board", (14, 3.4, 0.2), oak, placed(y=0.4, z=z), 0.015)
    shapes.box("back", (14, 0.1, 8), oak, placed(y=2.1, z=-2), 0)
    shapes.box("cupboard", (14, 3.3, 3.5), oak, placed(y=0.4, z=-3.7), 0.015)
    colors = [
        (0.25, 0.05, 0.04),
        (0.04, 0.12, 0.13),
        (0.3, 0.2, 0.07),
        (0.07, 0.1, 0.22),
        (0.1, 0.16, 0.07),
        (0.32, 0.28, 0.2),
        (0.16, 0.07, 0.14),
    ]
    for floor in (0.0, 2.35):
        x = -6.0
        while x < 6.0:
            thick, tall = rng.uniform(0.22, 0.46), rng.uniform(1.45, 1.95)
            stand = placed(x + thick / 2, 1.35 - rng.uniform(0, 0.12), floor + tall / 2, roll=-90) @ placed(z=-thick / 2)
            props.book(rng, stand, (tall, 1.3, thick), colors[rng.integers(len(colors))])
            x += thick + 0.01
    props.watch(rng, placed(0.0, -0.35, 0.06, yaw=6, tilt=62) @ placed(y=0.5), 0.46)
    shapes.box("rest", (0.7, 0.35, 0.75), oak, placed(0.0, 0.28, 0, yaw=6), 0.02)
    props.tin(rng, placed(-1.5, 0.0, 0, yaw=-14), 0.45, 1.0, (0.7, 0.6, 0.45), (0.1, 0.25, 0.2), "SMALL\nPARTS")
    props.mug(placed(1.55, 0.05, 0, yaw=20), (0.32, 0.42, 0.5), (0.08, 0.06, 0.05), 0.45, 0.95)
    scatter_small_parts(rng, (0.2, -0.85, 0.0), 1.0, 14, [(0, -0.25, 0.35)])
    props.beads(
        rng, [(-1.1 + 0.14 * i, -0.7 + 0.1 * np.sin(1.3 * i), 0.07) for i in range(6)], [(0.5, 0.12, 0.08), (0.1, 0.28, 0.3)]
    )
    world((0.55, 0.52, 0.48), 0.45)
    area_light("window", (-5, -6, 6), (0, 0, 0.8), 3.5, 900, (1.0, 0.94, 0.85))
    area_light("fill", (6, -6, 3), (0, 0, 0.8), 4, 260, (0.85, 0.9, 1.0))
    return Shot(seed, (0, 0.2, 1.0), (0.0, -0.25, 0.42), elevation=16.0, rise=(15.0, 26.0), zoom=5.2)
