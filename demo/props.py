"""The things of the still life. Units are decimetres; every thing stands on z = 0 of its own matrix."""

from __future__ import annotations

import materials as mat
import numpy as np
import shapes

INK = (0.025, 0.022, 0.02)
GOLD = (0.83, 0.6, 0.25)
BRASS = (0.62, 0.42, 0.16)
COPPER = (0.68, 0.33, 0.18)
STEEL = (0.5, 0.5, 0.52)

TITLES = (
    ("THE NEARNESS OF THINGS", "A. Farrow"),
    ("ATLAS OF SMALL DISTANCES", "Vol. II"),
    ("LENS & LIGHT", "M. Okafor"),
    ("ON LOOKING", "Essays"),
    ("A HISTORY OF DUST", "I. Brandt"),
    ("THE GRAIN OF WOOD", "Field notes"),
    ("CLOCKWORK", "A manual"),
    ("LETTERS FROM THE COAST", "1911–1934"),
    ("HERBARIUM", "Plates I–XL"),
    ("OPTICKS", "Book the Third"),
    ("MEASURE", "J. Lindqvist"),
    ("A CLOSER READING", "Collected"),
)
SENTENCES = (
    "A photograph taken from across the room holds more than it shows.",
    "The grain of the table, the weave of the cloth and the worn edge of a coin are all there, folded into a few pixels.",
    "To come closer is to ask which of them belongs where.",
    "What one view hides another may have seen; what none has seen must be imagined, and honestly marked.",
    "The watchmaker held the plate to the window and counted the teeth of the third wheel twice.",
    "Sixty, she said, and one that is bent.",
    "Every hour the spring gives back a little of the winding, and the balance divides it into seconds.",
    "Brass remembers the hand; steel remembers the file.",
    "On the margin someone had written the tide for the fourth of May: 6.42, 3.1 metres, wind north by east.",
    "The smallest type a reader can follow at arm's length is about one millimetre high.",
    "Below that the eye sees texture, and reads it as grey.",
    "Between texture and letter lies the distance of a single step.",
)


def prose(rng: np.random.Generator, sentences: int) -> str:
    """Running text."""
    return " ".join(SENTENCES[i] for i in rng.integers(0, len(SENTENCES), sentences))


def book(rng, matrix, size=(2.2, 1.5, 0.32), color=(0.1, 0.2, 0.25), title=None):
    """A clothbound book lying down, spine toward -y. Returns its height."""
    width, depth, height = size
    cloth = mat.fabric("book cloth", tuple(0.8 * c for c in color), tuple(1.25 * c for c in color), threads=70)
    pages = mat.wood("page edges", (0.5, 0.42, 0.3), (0.85, 0.78, 0.62), scale=3, roughness=0.9)
    gold = mat.metal("gold leaf", GOLD, 0.4, scratches=0.4)
    board = 0.035
    for z in (0, height - board):
        shapes.box("board", (width, depth, board), cloth, matrix @ shapes.placed(z=z), 0.012)
    block = (width - 0.08, depth - 0.06, height - 2 * board)
    shapes.box("pages", block, pages, matrix @ shapes.placed(y=0.0, z=board), 0)
    angle = np.linspace(-np.pi / 2, np.pi / 2, 15)
    profile = np.stack([-0.09 * np.cos(angle) - depth / 2 + 0.02, (np.sin(angle) * 0.5 + 0.5) * height], 1)

    def spine(u, v):
        y, z = (np.interp(v, np.linspace(0, 1, 15), profile[:, k]) for k in (0, 1))
        return (u - 0.5) * width, y, z

    shapes.grid("spine", 2, 30, spine, cloth, matrix)

    def on_spine(x, y):
        t = np.clip(y / height + 0.5, 0, 1)
        s = np.arcsin(np.clip(2 * t - 1, -1, 1))
        return x, -0.094 * np.cos(s) - depth / 2 + 0.02, t * height

    name, author = title or TITLES[rng.integers(len(TITLES))]
    size = min(0.42 * height, 0.95 * width / len(name))
    shapes.lettering("title", name, size, gold, matrix, bend=on_spine, bold=0.002, spacing=1.05)
    shapes.lettering("author", author, 0.2 * height, gold, matrix, align="RIGHT", bend=lambda x, y: on_spine(x + 0.43 * width, y))
    for x in (-0.47, -0.45, 0.47, 0.455):
        band = np.array(
            [[x * width - 0.004, -0.5], [x * width + 0.004, -0.5], [x * width + 0.004, 0.5], [x * width - 0.004, 0.5]]
        )
        rows = [np.stack(on_spine(band[[0, 1], 0] + 0 * t, np.full(2, t * height)), 1) for t in np.linspace(-0.49, 0.49, 12)]
        shapes.mesh(
            "band", np.concatenate(rows), [(2 * i, 2 * i + 1, 2 * i + 3, 2 * i + 2) for i in range(11)], gold, matrix=matrix
        )
    top = matrix @ shapes.placed(z=height)
    shapes.lettering("cover", name.replace(" ", "\n"), 0.16, gold, top, leading=0.95, bold=0.002)
    return height


def page(rng, matrix, size=(2.4, 3.0), columns=2, letter=0.075, curl=0.05, heading="THE OBSERVER", sheet=(0.78, 0.72, 0.6)):
    """A printed sheet that does not lie quite flat, with a headline, columns of fine print and an engraving."""
    width, height = size
    paper, ink = mat.paper("newsprint", sheet), mat.plain("printing ink", INK, 0.7)
    phase = rng.uniform(0, 6)

    def bend(x, y, lift=0.0):
        u, v = x / width, y / height
        z = 0.012 + curl * (0.5 + 0.5 * np.sin(3.1 * u + 2 * v + phase)) + 1.4 * curl * np.clip(np.abs(u) - 0.3, 0, 1) ** 2
        return x, y, z + lift

    shapes.grid("sheet", 40, 40, lambda u, v: bend((u - 0.5) * width, (v - 0.5) * height), paper, matrix)

    def put(text, x, y, size_, **options):
        shapes.lettering("print", text, size_, ink, matrix, bend=lambda a, b: bend(a + x, b + y, 0.0015), **options)

    inner = width - 0.24
    put(heading, 0, height / 2 - 0.2, min(0.3, 1.35 * inner / len(heading)), bold=0.004)
    put("No. 4172        FRIDAY, THE FOURTH OF MAY        PRICE TWOPENCE", 0, height / 2 - 0.42, 0.058)
    column = (inner - 0.1 * (columns - 1)) / columns
    for y in (0.37, 0.47):
        along, across = np.linspace(-inner / 2, inner / 2, 30).repeat(2), np.tile([-0.003, 0.003], 30)
        points = np.stack(bend(along, across + height / 2 - y, 0.0015), 1)
        faces = [(2 * i, 2 * i + 2, 2 * i + 3, 2 * i + 1) for i in range(29)]
        shapes.mesh("rule", points, faces, ink, matrix=matrix)
    for number in range(columns):
        left, top = -inner / 2 + number * (column + 0.1), height / 2 - 0.53
        if number == columns - 1:
            tall = 0.62 * column
            picture = mat.printed("engraving", mat.engraving(rng, 400, 640, (0.12, 0.1, 0.09), (0.86, 0.8, 0.68)))

            def place(u, v, left=left, top=top, tall=tall):
                return bend(left + u * column, top - (1 - v) * tall, 0.0012)

            shapes.grid("picture", 20, 14, place, picture, matrix)
            top -= tall + 0.08
        title = TITLES[rng.integers(len(TITLES))][0].title()
        put(title, left + column / 2, top - 0.04, 0.085 * min(1, column), bold=0.0015)
        lines = int((top + height / 2 - 0.25) / (letter * 1.02))
        text = prose(rng, 40)[: int(lines * column / (0.47 * letter))]
        put(text, left, top - 0.12, letter, align="JUSTIFY", width=column, leading=0.95)


def watch(rng, matrix, radius=0.5):
    """A pocket watch lying on its back, 12 toward +y."""
    brass = mat.metal("watch case", GOLD, 0.32, (0.35, 0.2, 0.07))
    dial = mat.paper("dial enamel", (0.86, 0.83, 0.75), 0.18)
    ink, blue = mat.plain("dial print", INK, 0.5), mat.metal("blued steel", (0.05, 0.07, 0.2), 0.3)
    r = radius
    case = [(0, 0), (0.8, 0.0), (0.95, 0.06), (1.0, 0.14), (1.03, 0.16), (1.03, 0.19), (1.0, 0.21), (0.98, 0.25), (0.93, 0.265)]
    shapes.lathe("case", [(r * a, r * z) for a, z in [*case, (0.88, 0.25), (0.87, 0.2)]], brass, matrix, 128)
    shapes.lathe("dial", [(0, 0.2 * r), (0.88 * r, 0.2 * r)], dial, matrix, 96)
    top = matrix @ shapes.placed(z=0.2 * r)
    for minute in range(60):
        angle = np.radians(minute * 6)
        c, s = np.sin(angle), np.cos(angle)
        length, half = (0.07, 0.007) if minute % 5 == 0 else (0.04, 0.0032)
        ends = np.array([(0.83 - length, -half), (0.83, -half), (0.83, half), (0.83 - length, half)]) * r
        points = np.stack([ends[:, 0] * c - ends[:, 1] * s, ends[:, 0] * s + ends[:, 1] * c, np.full(4, 0.0015)], 1)
        shapes.mesh("tick", points, [(0, 1, 2, 3)], ink, matrix=top)
    for hour, text in enumerate(("XII", "I", "II", "III", "IIII", "V", "", "VII", "VIII", "IX", "X", "XI")):
        angle = 30 * hour
        if text:
            place = top @ shapes.placed(yaw=-angle) @ shapes.placed(y=0.64 * r)
            shapes.lettering("numeral", text, 0.2 * r, ink, place, bold=0.001, spacing=0.95)
    for text, y, size in (("FARROW & SON", 0.3, 0.1), ("LONDON", 0.2, 0.06), ("17 JEWELS · ADJUSTED · No. 41728", -0.14, 0.036)):
        shapes.lettering("signature", text, size * r, ink, top @ shapes.placed(y=y * r), spacing=1.05)
    sub = top @ shapes.placed(y=-0.42 * r, z=0.002)
    for inner in (0.2, 0.235):
        ring = [(inner * r, 0), (inner * r, 0.002), (inner * r + 0.003, 0.002), (inner * r + 0.003, 0)]
        shapes.lathe("seconds ring", ring, ink, sub, 48)
    for second in range(12):
        place = sub @ shapes.placed(yaw=-30 * second) @ shapes.placed(y=0.155 * r)
        shapes.lettering("second", str(second * 5 or 60), 0.062 * r, ink, place)
    for length, width, angle, z in ((0.5, 0.045, 305, 0.03), (0.76, 0.03, 56, 0.045)):
        hand = np.array([(-0.5, -0.12), (0.5, -0.12), (0.9, 0.55), (0, 1.0), (-0.9, 0.55)]) * (width * r, length * r)
        shapes.plate("hand", hand, [], 0.006 * r, blue, top @ shapes.placed(yaw=-angle, z=z * r), 0.001)
    second_hand = np.array([(-1, -0.3), (1, -0.3), (0.4, 1), (-0.4, 1)]) * (0.008 * r, 0.19 * r)
    shapes.plate("seconds hand", second_hand, [], 0.004 * r, blue, sub @ shapes.placed(yaw=-200, z=0.02 * r), 0.0005)
    shapes.lathe("hub", [(0.045 * r, 0), (0.045 * r, 0.06 * r), (0.03 * r, 0.075 * r), (0, 0.075 * r)], brass, top, 24)
    stem = matrix @ shapes.placed(y=1.0 * r, z=0.14 * r, tilt=-90)
    shapes.lathe("stem", [(0.07 * r, 0), (0.06 * r, 0.1 * r), (0.09 * r, 0.12 * r)], brass, stem, 24)
    knurl = [(0.1, 0.12), (0.13, 0.14), (0.13, 0.26), (0.1, 0.28), (0, 0.28)]
    shapes.lathe(
        "crown", [(a * r, z * r) for a, z in knurl], brass, stem, 96, lambda a: 1 + 0.05 * np.sign(np.sin(24 * a)), False
    )
    t = np.linspace(-0.35, np.pi + 0.35, 40)
    bow = np.stack([0.24 * r * np.cos(t), 1.2 * r + 0.24 * r * np.sin(t), np.full(40, 0.14 * r)], 1)
    shapes.tube("bow", bow, 0.035 * r, brass, matrix)


def chain(corners, material, link=0.09):
    """Links along a smooth curve near corners (N, 3), turned by a quarter one after the other."""
    points = np.asarray(corners, float)
    for _ in range(4):  # Chaikin's corner cutting
        cut = np.stack([0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]], 1).reshape(-1, 3)
        points = np.concatenate([points[:1], cut, points[-1:]])
    steps = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    t = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    for index, s in enumerate(np.arange(0, steps[-1], link * 0.72)):
        here, ahead = (np.array([np.interp(q, steps, points[:, k]) for k in range(3)]) for q in (s, s + 0.02))
        x = (ahead - here) / (np.linalg.norm(ahead - here) + 1e-9)
        y = np.cross((0, 0, 1), x) + 1e-9
        y /= np.linalg.norm(y)
        z = np.cross(x, y)
        side = y * 0.8 + z * 0.6 if index % 2 else y * 0.6 - z * 0.8
        ring = here + np.outer(np.cos(t), x) * link * 0.5 + np.outer(np.sin(t), side) * link * 0.28
        shapes.tube("link", ring, link * 0.1, material, sides=6, closed=True)


def coin(rng, matrix, radius=0.13, color=COPPER, value="1"):
    """A coin with a reeded edge, a rim, a value and a legend."""
    metal = mat.metal("coin", color, 0.38, tuple(0.35 * c for c in color), scale=3)
    h = 0.02
    profile = [(0.0, 0), (radius, 0), (radius, h), (0.9 * radius, h), (0.88 * radius, 0.8 * h), (0, 0.8 * h)]
    shapes.lathe("coin", profile, metal, matrix, 160, lambda a: 1 + 0.006 * np.sign(np.sin(60 * a)))
    top = matrix @ shapes.placed(z=0.8 * h)
    raised = {"lift": 0.004, "bold": 0.001}
    shapes.lettering("value", value, radius * 0.95, metal, top @ shapes.placed(y=0.02 * radius), **raised)
    for number, letter in enumerate("·REPUBLIC·OF·LETTERS·MMXXVI"):
        turn = shapes.placed(yaw=110 - number * 12.5) @ shapes.placed(y=0.74 * radius)
        shapes.lettering("legend", letter, radius * 0.2, metal, top @ turn, **raised)


def gear(rng, matrix, radius=0.3, teeth=32, material=None, thickness=0.04, spokes=5):
    """A clock wheel with crossed-out spokes."""
    t = np.arange(teeth * 4)
    r = np.where(t % 4 < 2, radius, radius * (1 - 5.2 / teeth))
    angle = (t + np.where(t % 4 == 0, 0.25, 0) - np.where(t % 4 == 1, 0.25, 0)) * 2 * np.pi / (teeth * 4)
    outline = np.stack([r * np.cos(angle), r * np.sin(angle)], 1)
    circle = np.linspace(0, -2 * np.pi, 24, endpoint=False)
    holes = [0.07 * radius * np.stack([np.cos(circle), np.sin(circle)], 1)]
    for spoke in range(spokes):
        a = np.linspace(0.16, 2 * np.pi / spokes - 0.16, 10) + spoke * 2 * np.pi / spokes
        b = np.linspace(2 * np.pi / spokes - 0.45, 0.45, 6) + spoke * 2 * np.pi / spokes
        outer = 0.74 * radius * np.stack([np.cos(a), np.sin(a)], 1)
        holes.append(np.concatenate([outer, 0.24 * radius * np.stack([np.cos(b), np.sin(b)], 1)])[::-1])
    shapes.plate("gear", outline, holes, thickness, material or mat.metal("brass", BRASS, 0.35), matrix)


def screw(matrix, material, length=0.28, head=0.055):
    """A slotted screw, head up at +z."""
    turns, thread = 11, []
    for i in range(turns * 2):
        thread.append((head * (0.5 if i % 2 else 0.38), length * 0.8 * i / (turns * 2)))
    shapes.lathe("screw", [(0, -0.02), *thread, (head * 0.45, length * 0.82), (head * 0.45, length)], material, matrix, 20)
    top = matrix @ shapes.placed(z=length)
    for side in (-1, 1):
        angle = np.linspace(0.14, np.pi - 0.14, 16)
        outline = head * np.stack([np.cos(angle), side * np.sin(angle)], 1)
        shapes.plate("head", outline[::side], [], head * 0.45, material, top, 0.003)
    shapes.lathe("core", [(head * 0.98, 0), (head * 0.98, head * 0.2), (0, head * 0.2)], material, top, 24)


def mug(matrix, glaze=(0.55, 0.6, 0.58), fleck=(0.12, 0.07, 0.04), radius=0.55, height=1.1, band=None):
    """A stoneware mug with its handle toward +x, bare clay at the foot."""
    glazed, clay = mat.pottery("glaze", glaze, fleck), mat.plain("clay", (0.33, 0.2, 0.13), 0.9, speckle=0.5, scale=40)
    r, h = radius, height
    foot = [(0, 0), (0.8 * r, 0), (0.88 * r, 0.03 * h), (0.93 * r, 0.14 * h)]
    shapes.lathe("foot", foot, clay, matrix, 96)
    z = np.linspace(0.14, 0.97, 30)
    wall = [(r * (0.93 + 0.07 * np.sin(2.2 * a) + 0.004 * np.sin(60 * a)), a * h) for a in z]
    lip = [(0.985 * r, h), (0.95 * r, h), (0.92 * r, 0.95 * h), (0.88 * r, 0.2 * h), (0, 0.15 * h)]
    shapes.lathe("mug", wall + lip, glazed, matrix, 96)
    t = np.linspace(-1.25, 1.25, 30)
    arc = np.stack([r * (0.9 + 0.62 * np.cos(t * 1.2)), 0 * t, h * (0.56 + 0.33 * np.sin(t * 1.2))], 1)
    shapes.tube("handle", arc, 0.1 * r * (1 - 0.15 * np.cos(t)), glazed, matrix, 14)
    if band:
        ink = mat.plain("mug print", INK, 0.4)
        shapes.lettering("mug print", band, 0.13, ink, matrix, bend=shapes.around(r * 0.997, 0.55 * h, 0.004), bold=0.002)


def tin(rng, matrix, radius=0.5, height=1.15, paper_color=(0.75, 0.62, 0.38), accent=(0.5, 0.08, 0.05), name="FINEST\nLAPSANG"):
    """A tea tin: a paper label with a picture, ornaments and small print around a steel can."""
    steel = mat.metal("tin", STEEL, 0.35)
    r, h = radius, height
    rim = [(0, 0), (r * 0.99, 0), (r * 1.02, 0.01), (r * 1.02, 0.04), (r, 0.05), (r, h - 0.16), (r * 1.02, h - 0.15)]
    shapes.lathe("can", [*rim, (r * 1.02, h - 0.01), (r, h), (r * 0.9, h - 0.02), (0, h - 0.02)], steel, matrix, 96)
    size = (360, 1024)
    drawing = mat.wallpaper(
        rng, *size, paper_color, [(0.22, 0.3, 0.15), (0.35, 0.33, 0.12), accent, (0.6, 0.35, 0.1), (0.85, 0.7, 0.4)], 0.6
    )
    label = mat.printed("label", drawing, 0.7)
    low, high = 0.08, h - 0.22
    angle = np.linspace(-np.pi / 2 - np.pi, -np.pi / 2 + np.pi, 97)

    def wrap(u, v, lift=0.003):
        a = np.interp(u, np.linspace(0, 1, 97), angle)
        return (r + lift) * np.cos(a), (r + lift) * np.sin(a), low + v * (high - low)

    shapes.grid("label", 97, 3, wrap, label, matrix)
    shield = mat.paper("shield", tuple(1.15 * c for c in paper_color))
    ink, red = mat.plain("label ink", INK, 0.7), mat.plain("label red", accent, 0.7)

    def panel(u, v, lift=0.005):
        a = -np.pi / 2 + (u - 0.5) * 1.5
        squeeze = 0.42 + 0.06 * np.cos((u - 0.5) * 2 * np.pi)
        return (r + lift) * np.cos(a), (r + lift) * np.sin(a), (low + high) / 2 + (v - 0.5) * (high - low) * 2 * squeeze * 0.9

    shapes.grid("shield", 40, 12, panel, shield, matrix)
    middle, tall = (low + high) / 2, high - low

    def put(text, z, size_, ink_, **options):
        bend = shapes.around(r, middle + z * tall, 0.007)
        shapes.lettering("label print", text, size_, ink_, matrix, bend=bend, fit=1.4 * r, **options)

    put(name, 0.14, min(0.17, 1.05 / max(map(len, name.split()))) * r / 0.5, red, bold=0.003, leading=0.9)
    put("SMOKED OVER PINE · FIRST FLUSH · PACKED IN THE YEAR 1926", -0.14, 0.034, ink)
    put("FARROW & SON, 14 HARBOUR ROW", -0.21, 0.05, ink)
    use = "One spoon for each cup and one for the pot;\nwater just off the boil; four minutes."
    put(f"Net weight 125 g. Keep dry. {use} Lot 41728 – C", -0.3, 0.026, ink)


def ruler(matrix, length=3.0):
    """A boxwood ruler along x with millimetres."""
    body = mat.wood("boxwood", (0.5, 0.32, 0.12), (0.8, 0.6, 0.3), 2.5)
    ink = mat.plain("ruler ink", INK, 0.6)
    width, height = 0.3, 0.035
    shapes.box("ruler", (length + 0.1, width, height), body, matrix, 0.008)
    top = matrix @ shapes.placed(x=-length / 2, z=height)
    points, faces = [], []
    for mm in range(int(length * 100) + 1 - 1):
        if mm % 2 and length > 5:
            continue
        x, tall = mm / 100, (0.11 if mm % 10 == 0 else 0.08 if mm % 5 == 0 else 0.055)
        n = len(points)
        points += [(x - 0.0012, width / 2 - 0.01, 0.001), (x + 0.0012, width / 2 - 0.01, 0.001)]
        points += [(x + 0.0012, width / 2 - tall, 0.001), (x - 0.0012, width / 2 - tall, 0.001)]
        faces.append((n, n + 3, n + 2, n + 1))
    shapes.mesh("ticks", points, faces, ink, matrix=top)
    for cm in range(1, int(length * 10)):
        shapes.lettering("number", str(cm), 0.055, ink, top @ shapes.placed(x=cm / 10, y=-0.0), lift=0.001)
    shapes.lettering(
        "maker", "FARROW & SON · BOXWOOD · 1 mm", 0.04, ink, top @ shapes.placed(x=0.6 * length, y=-0.09), lift=0.001
    )


def beads(rng, points, colors, size=0.07):
    """Glazed beads at points (N, 3)."""
    surfaces = [mat.pottery("bead", color, tuple(0.3 * c for c in color), 0.25, 4) for color in colors]
    angle = np.linspace(0, np.pi, 12)
    for index, point in enumerate(points):
        r = size * rng.uniform(0.8, 1.15)
        place = shapes.placed(*point, yaw=rng.uniform(0, 360), tilt=rng.uniform(0, 90))
        profile = np.stack([np.sin(angle), -np.cos(angle)], 1) * r
        shapes.lathe("bead", profile, surfaces[index % len(colors)], place, 24)


def sprig(rng, matrix, length=2.2, leaves=11, size=0.5, color=(0.1, 0.2, 0.06), lean=0.5, twist=0.0):
    """A branch with leaves, growing up from the origin and leaning toward +x."""
    green, bark = (
        mat.leaf("leaf", color, tuple(min(1, 1.6 * c + 0.12) for c in color)),
        mat.plain("bark", (0.12, 0.07, 0.035), 0.8, speckle=0.5),
    )
    s = np.linspace(0, 1, 24)
    stem = np.stack([lean * length * s**1.8, 0.12 * np.sin(3 * s + twist) * length, length * s * (1 - 0.22 * lean * s)], 1)
    shapes.tube("stem", stem, 0.022 * (1.3 - s) + 0.006, bark, matrix, 8)
    for index in range(leaves):
        t = 0.25 + 0.75 * (index + 0.5) / leaves
        base = np.array([np.interp(t, s, stem[:, k]) for k in range(3)])
        long = size * rng.uniform(0.75, 1.15) * (1.1 - 0.4 * abs(t - 0.6))
        wide, droop, fold = 0.5 * long, rng.uniform(0.1, 0.5), rng.uniform(0.05, 0.25)

        def blade(u, v, long=long, wide=wide, droop=droop, fold=fold):
            half = np.sin(np.pi * np.clip(v, 0, 1) ** 0.75) * wide * 0.5
            x = (u - 0.5) * 2 * half
            ripple = 0.025 * long * np.sin(9 * v + 3 * u)
            return x, v * long * (1 - 0.15 * droop), -droop * long * v**2 + fold * np.abs(x) + ripple

        side = 140 * index + rng.uniform(-25, 25)
        place = matrix @ shapes.placed(*base, yaw=side, tilt=rng.uniform(15, 50))
        shapes.grid("leaf", 9, 12, blade, green, place)


def vase(matrix, glaze=(0.1, 0.16, 0.2), fleck=(0.5, 0.4, 0.25), height=1.2, radius=0.4):
    """A small stoneware vase."""
    z = np.linspace(0, 1, 40)
    r = 0.55 + 0.45 * np.sin(np.pi * np.clip(z * 1.15, 0, 1)) ** 0.8 - 0.35 * np.clip(z - 0.55, 0, 1)
    r = np.where(z > 0.9, np.maximum(r, 0.36 + 1.6 * (z - 0.9)), r)
    profile = [
        (0, 0),
        *((radius * a, height * b) for a, b in zip(r, z)),
        (radius * 0.42, height),
        (radius * 0.3, 0.8 * height),
        (0, 0.7 * height),
    ]
    shapes.lathe("vase", profile, mat.pottery("vase glaze", glaze, fleck, 0.4, 1.4), matrix, 96)


def pencil(matrix, color=(0.55, 0.05, 0.03), length=1.7, radius=0.037):
    """A hexagonal pencil along x."""
    paint, cedar, lead = (
        mat.plain("lacquer", color, 0.3, speckle=0.12),
        mat.wood("cedar", (0.4, 0.2, 0.1), (0.7, 0.45, 0.25), 4),
        mat.plain("lead", (0.03, 0.03, 0.035), 0.5),
    )
    turned = matrix @ shapes.placed(z=radius, roll=90)
    shapes.lathe("pencil", [(0, 0), (radius, 0), (radius, length)], paint, turned, 6, smooth=False)
    shapes.lathe("wood", [(radius, length), (0.3 * radius, length + 0.2)], cedar, turned, 24)
    shapes.lathe("lead", [(0.3 * radius, length + 0.2), (0, length + 0.27)], lead, turned, 16)
    gold = mat.metal("foil", GOLD, 0.4)
    shapes.lettering("stamp", "FARROW · LONDON · HB 2", 0.036, gold, matrix @ shapes.placed(x=0.5, z=2 * radius * 0.933 + 0.001))
