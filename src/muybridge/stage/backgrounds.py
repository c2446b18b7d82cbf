"""Where a scene takes place: rooms, streets, parks, studios and textures drawn from a seed, or a photograph.

A background is drawn once for a scene, so it may cost more than a frame.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from muybridge.stage.figures import Colour

BackgroundKind = Literal["studio", "room", "street", "park", "texture"]
BACKGROUND_KINDS: tuple[BackgroundKind, ...] = get_args(BackgroundKind)
_Random = np.random.Generator


def draw_background(
    kind: BackgroundKind, size: tuple[int, int], floor: float, random: np.random.Generator
) -> Image.Image:
    """A background of (width, height) pixels, RGB; the floor begins `floor` of the height down, in (0, 1)."""
    width, height = size
    # Drawn twice as large and averaged down, for smooth edges.
    picture = _PAINTERS[kind](random, 2 * width, 2 * height, round(2 * height * floor)).reduce(2)
    return _light(picture, random)


def fit_photograph(photograph: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """A photograph (H, W, 3) uint8 scaled to fill (width, height), its overhang cut off evenly."""
    return ImageOps.fit(Image.fromarray(photograph), size, Image.Resampling.LANCZOS)


def _light(picture: Image.Image, random: _Random) -> Image.Image:
    """Falling off towards the corners, brighter around a random point, with a little colour in the light."""
    width, height = picture.size
    centre = random.uniform(0.2, 0.8), random.uniform(0.0, 0.5)
    yy, xx = np.mgrid[0:48, 0:64] / np.array([48, 64]).reshape(2, 1, 1)
    fall = 1.08 - random.uniform(0.2, 0.5) * ((xx - centre[0]) ** 2 + 0.7 * (yy - centre[1]) ** 2)
    mask = Image.fromarray(fall.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    tint = 1 + random.normal(0, 0.025, 3)
    lit = np.asarray(picture, np.float32) * np.asarray(mask)[..., None] * tint.astype(np.float32)
    grain = random.normal(0, 1.2, (height, width, 1)).astype(np.float32)
    return Image.fromarray(np.clip(lit + grain, 0, 255).astype(np.uint8))


def _colour(hue: float, saturation: float, value: float) -> Colour:
    """RGB from a hue in turns, saturation and value in [0, 1]."""
    sector = (hue * 6 + np.array([0.0, 4.0, 2.0])) % 6
    full = np.clip(np.abs(sector - 3) - 1, 0, 1)
    red, green, blue = np.clip(255 * value * (1 - saturation * (1 - full)), 0, 255)
    return int(red), int(green), int(blue)


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    column = np.linspace(0, 1, size[1])[:, None, None] * (np.array(bottom) - np.array(top)) + np.array(top)
    return Image.fromarray(np.broadcast_to(column + 0.5, (size[1], size[0], 3)).astype(np.uint8))


def _halves(
    width: int, height: int, floor: int, wall: tuple[Colour, Colour], ground: tuple[Colour, Colour]
) -> Image.Image:
    """An upper and a lower part, each shaded from top to bottom."""
    picture = _gradient((width, max(1, floor)), *wall)
    canvas = Image.new("RGB", (width, height))
    canvas.paste(picture)
    canvas.paste(_gradient((width, height - floor), *ground), (0, floor))
    return canvas


def _studio(random: _Random, width: int, height: int, floor: int) -> Image.Image:
    """A bent paper backdrop: one hue, no edge between wall and floor."""
    hue, saturation = random.random(), random.uniform(0.05, 0.35)
    wall = _colour(hue, saturation, random.uniform(0.72, 0.95))
    ground = _colour(hue, saturation * 0.8, random.uniform(0.55, 0.8))
    picture = _halves(
        width, height, floor, (_mix(wall, (255, 255, 255), 0.2), wall), (ground, _mix(ground, wall, 0.5))
    )
    return picture.filter(ImageFilter.GaussianBlur(height / 14))


def _boards(draw: ImageDraw.ImageDraw, random: _Random, width: int, height: int, floor: int, tone: Colour) -> None:
    """Floor boards that run towards a vanishing point."""
    vanish = (width * random.uniform(0.3, 0.7), floor - 0.62 * (height - floor))
    dark = _mix(tone, (0, 0, 0), 0.18)
    for x in np.arange(-2.5 * width, 3.5 * width, width / random.uniform(4, 9)):
        share = (floor - vanish[1]) / (height - vanish[1])
        top_x = vanish[0] + (x - vanish[0]) * share
        draw.line((top_x, floor, x, height), fill=dark, width=max(1, height // 260))


def _room(random: _Random, width: int, height: int, floor: int) -> Image.Image:
    """A wall with skirting, a window, pictures, perhaps a plant and a rug on boards."""
    hue = random.random()
    wall = _colour(hue, random.uniform(0.06, 0.3), random.uniform(0.75, 0.95))
    ground = _colour(random.uniform(0.05, 0.12), random.uniform(0.25, 0.5), random.uniform(0.45, 0.75))
    canvas = _halves(
        width, height, floor, (_mix(wall, (255, 255, 255), 0.12), wall), (ground, _mix(ground, (0, 0, 0), 0.12))
    )
    draw = ImageDraw.Draw(canvas)
    _boards(draw, random, width, height, floor, ground)
    draw.rectangle((0, floor - height * 0.022, width, floor), fill=_mix(wall, (255, 255, 255), 0.55))
    spots = random.permutation(np.linspace(0.12, 0.88, 4))
    _window(draw, random, spots[0] * width, height, floor)
    for spot in spots[1 : 1 + random.integers(1, 3)]:
        w, h = random.uniform(0.06, 0.12) * width, random.uniform(0.12, 0.24) * height
        x, y = spot * width - w / 2, floor * random.uniform(0.12, 0.3)
        draw.rectangle((x, y, x + w, y + h), fill=_colour(0.09, 0.4, random.uniform(0.25, 0.7)))
        rim = 0.08 * min(w, h)
        inner = (x + rim, y + rim, x + w - rim, y + h - rim)
        draw.rectangle(inner, fill=_colour(random.random(), 0.35, 0.85))
        cx, cy, r = x + w * random.uniform(0.3, 0.7), y + h * 0.45, min(w, h) * 0.2
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=_colour(random.random(), 0.5, 0.8))
    if random.random() < 0.6:
        _plant(draw, random, spots[3] * width, floor + 0.02 * height, height * random.uniform(0.2, 0.34))
    if random.random() < 0.6:
        rug, cx = _colour(random.random(), 0.4, 0.7), width * random.uniform(0.3, 0.7)
        box = (cx - width * 0.28, floor + (height - floor) * 0.3, cx + width * 0.28, floor + (height - floor) * 0.8)
        draw.ellipse(box, fill=_mix(rug, (255, 255, 255), 0.3))
        rim = 0.06 * (box[3] - box[1])
        draw.ellipse((box[0] + rim, box[1] + rim, box[2] - rim, box[3] - rim), fill=rug)
    return canvas


def _window(draw: ImageDraw.ImageDraw, random: _Random, x: float, height: int, floor: int) -> None:
    w, h, y = random.uniform(0.22, 0.34) * height, floor * random.uniform(0.5, 0.66), floor * 0.12
    sky = _colour(0.56, random.uniform(0.15, 0.4), 0.98)
    rim = height / 90
    draw.rectangle((x - w / 2 - rim, y - rim, x + w / 2 + rim, y + h + rim), fill=(244, 242, 236))
    draw.rectangle((x - w / 2, y, x + w / 2, y + h), fill=sky)
    draw.ellipse((x - w * 0.3, y + h * 0.2, x + w * 0.2, y + h * 0.38), fill=_mix(sky, (255, 255, 255), 0.6))
    bar = max(2, height // 90)
    draw.rectangle((x - bar / 2, y, x + bar / 2, y + h), fill=(244, 242, 236))
    draw.rectangle((x - w / 2, y + h / 2 - bar / 2, x + w / 2, y + h / 2 + bar / 2), fill=(244, 242, 236))
    draw.rectangle((x - w / 2 - 2 * rim, y + h + rim, x + w / 2 + 2 * rim, y + h + rim + bar), fill=(226, 222, 214))


def _plant(draw: ImageDraw.ImageDraw, random: _Random, x: float, y: float, size: float) -> None:
    for angle in np.linspace(-1.0, 1.0, 9) + random.normal(0, 0.1, 9):
        tip = (x + np.sin(angle) * size * 0.5, y - size * (0.45 + 0.5 * np.cos(angle)))
        side = np.cos(angle) * size * 0.05, np.sin(angle) * size * 0.05
        middle = ((x + tip[0]) / 2, (y - size * 0.3 + tip[1]) / 2)
        leaf = [(x, y - size * 0.3), (middle[0] - side[0], middle[1] - side[1]), tip,
                (middle[0] + side[0], middle[1] + side[1])]  # fmt: skip
        draw.polygon(leaf, fill=_colour(random.uniform(0.28, 0.38), 0.5, random.uniform(0.35, 0.62)))
    pot = [(x - size * 0.15, y - size * 0.32), (x + size * 0.15, y - size * 0.32), (x + size * 0.11, y),
           (x - size * 0.11, y)]  # fmt: skip
    draw.polygon(pot, fill=_colour(0.05, 0.5, 0.72))


def _sky(random: _Random, width: int, floor: int) -> tuple[Colour, Colour]:
    """Top and bottom of a sky at noon, towards evening, or overcast."""
    choice = random.integers(3)
    if choice == 0:
        return _colour(0.58, 0.55, 0.92), _colour(0.55, 0.18, 0.98)
    if choice == 1:
        return _colour(0.62, 0.38, 0.78), _colour(0.07, 0.38, 0.98)
    return _colour(0.58, 0.08, 0.8), _colour(0.58, 0.04, 0.92)


def _clouds(canvas: Image.Image, random: _Random, floor: int) -> None:
    layer = Image.new("L", (canvas.width // 8 + 1, floor // 8 + 1))
    draw = ImageDraw.Draw(layer)
    for _ in range(int(random.integers(0, 5))):
        x, y, w = random.uniform(0, layer.width), random.uniform(0, layer.height * 0.5), layer.width * 0.09
        for _ in range(6):
            dx, dy, r = random.normal(0, w * 0.7), random.normal(0, w * 0.12), w * random.uniform(0.2, 0.45)
            draw.ellipse((x + dx - r, y + dy - r * 0.6, x + dx + r, y + dy + r * 0.6), fill=210)
    mask = layer.filter(ImageFilter.GaussianBlur(1.2)).resize((canvas.width, floor), Image.Resampling.BICUBIC)
    canvas.paste((255, 255, 255), (0, 0), mask)


def _street(random: _Random, width: int, height: int, floor: int) -> Image.Image:
    """House fronts with lit windows, a pavement and a road with a broken line."""
    pavement = _colour(0.08, 0.06, random.uniform(0.6, 0.75))
    canvas = _halves(width, height, floor, _sky(random, width, floor), (pavement, _mix(pavement, (0, 0, 0), 0.1)))
    _clouds(canvas, random, floor)
    draw = ImageDraw.Draw(canvas)
    x = -random.uniform(0, 0.1) * width
    while x < width:
        w = random.uniform(0.16, 0.3) * width
        top = floor * random.uniform(0.02, 0.5)
        front = _colour(
            random.choice([0.02, 0.06, 0.09, 0.12, 0.58]), random.uniform(0.12, 0.45), random.uniform(0.5, 0.85)
        )
        draw.rectangle((x, top, x + w, floor), fill=front)
        draw.rectangle((x, top, x + w, top + height * 0.012), fill=_mix(front, (0, 0, 0), 0.25))
        columns, storey = max(2, round(w / (height * 0.13))), height * 0.15
        for row in np.arange(top + storey * 0.3, floor - storey, storey):
            for column in range(columns):
                wx = x + w * (column + 0.3) / columns
                lit = (
                    _colour(0.12, 0.35, 0.98)
                    if random.random() < 0.2
                    else _colour(0.57, 0.22, random.uniform(0.35, 0.6))
                )
                draw.rectangle((wx, row, wx + 0.42 * w / columns, row + storey * 0.55), fill=lit)
        door = x + w * random.uniform(0.2, 0.7)
        draw.rectangle(
            (door, floor - storey * 0.72, door + storey * 0.36, floor), fill=_colour(random.random(), 0.45, 0.4)
        )
        x += w
    kerb = floor + (height - floor) * 0.16
    road = _colour(0.6, 0.05, random.uniform(0.34, 0.46))
    draw.rectangle((0, kerb, width, height), fill=road)
    draw.rectangle((0, kerb, width, kerb + height * 0.012), fill=_mix(pavement, (255, 255, 255), 0.4))
    line = floor + (height - floor) * 0.62
    for dash in np.arange(-0.1 * width, width, width * 0.16):
        draw.polygon([(dash, line), (dash + width * 0.08, line), (dash + width * 0.075, line + height * 0.014),
                      (dash - width * 0.006, line + height * 0.014)], fill=(232, 228, 214))  # fmt: skip
    return canvas


def _park(random: _Random, width: int, height: int, floor: int) -> Image.Image:
    """Hills, trees and a path over grass."""
    grass = _colour(random.uniform(0.22, 0.33), random.uniform(0.35, 0.6), random.uniform(0.5, 0.72))
    canvas = _halves(width, height, floor, _sky(random, width, floor), (grass, _mix(grass, (30, 60, 20), 0.25)))
    _clouds(canvas, random, floor)
    draw = ImageDraw.Draw(canvas)
    xs = np.linspace(0, width, 60)
    for depth in (0.75, 0.5, 0.2):
        waves = np.sum([np.sin(xs / width * f + random.uniform(0, 6.3)) / f for f in (3, 7, 13)], axis=0)
        ridge = floor * (1 - 0.26 * depth) - floor * 0.16 * depth * waves
        hill = _mix(grass, _colour(0.58, 0.2, 0.85), depth * 0.8)
        points = [(float(a), min(float(b), floor)) for a, b in zip(xs, ridge, strict=True)]
        draw.polygon([(0, floor), *points, (width, floor)], fill=hill)
    for _ in range(int(random.integers(2, 7))):
        _tree(
            draw,
            random,
            random.uniform(0, width),
            floor + random.uniform(0, 0.08) * height,
            height * random.uniform(0.28, 0.6),
        )
    blades = random.uniform(0, 1, (240, 2))
    for bx, by in blades * (width, height - floor) + (0, floor):
        size = height * 0.012 * (0.4 + (by - floor) / max(1, height - floor))
        draw.line((bx, by, bx + size * 0.3, by - size), fill=_mix(grass, (40, 90, 30), 0.45), width=2)
    near = width * random.uniform(0.1, 0.9)
    far = width * random.uniform(0.3, 0.7)
    path = _colour(0.1, 0.25, 0.78)
    draw.polygon([(far - width * 0.02, floor), (far + width * 0.02, floor), (near + width * 0.24, height),
                  (near - width * 0.24, height)], fill=path)  # fmt: skip
    return canvas


def _tree(draw: ImageDraw.ImageDraw, random: _Random, x: float, y: float, size: float) -> None:
    trunk = _colour(0.07, 0.45, random.uniform(0.3, 0.45))
    draw.polygon([(x - size * 0.04, y), (x + size * 0.04, y), (x + size * 0.025, y - size * 0.5),
                  (x - size * 0.025, y - size * 0.5)], fill=trunk)  # fmt: skip
    leaf = _colour(random.uniform(0.2, 0.4), random.uniform(0.4, 0.6), random.uniform(0.35, 0.55))
    for tone in (0.0, 0.14, 0.28):
        for _ in range(5):
            r = size * random.uniform(0.13, 0.2) * (1 - tone)
            cx = x + random.normal(0, size * 0.11) - tone * size * 0.2
            cy = y - size * 0.72 + random.normal(0, size * 0.09) - tone * size * 0.2
            draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=_mix(leaf, (230, 240, 150), tone))


def _texture(random: _Random, width: int, height: int, floor: int) -> Image.Image:
    """Smooth noise in two scales and four colours: no place in particular."""
    palette = np.array(
        [_colour(random.random(), random.uniform(0, 0.5), v) for v in (0.45, 0.6, 0.72, 0.84)], np.float64
    )
    field = np.zeros((height, width))
    for cells, weight in ((random.integers(2, 6), 1.0), (random.integers(8, 30), 0.5)):
        coarse = Image.fromarray(random.standard_normal((cells + 1, cells + 1)).astype(np.float32))
        field += weight * np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    position = np.clip((np.tanh(field) * 0.5 + 0.5) * 3, 0, 2.999)
    low = position.astype(int)
    pixels = palette[low] + (position - low)[..., None] * (palette[low + 1] - palette[low])
    return Image.fromarray(pixels.astype(np.uint8))


_PAINTERS: dict[BackgroundKind, Callable[[_Random, int, int, int], Image.Image]] = {
    "studio": _studio,
    "room": _room,
    "street": _street,
    "park": _park,
    "texture": _texture,
}


def choose_background(
    random: np.random.Generator, kind: BackgroundKind | Literal["any"], photographs: Sequence[NDArray[np.uint8]]
) -> BackgroundKind | NDArray[np.uint8]:
    """A photograph where any are given, else the kind asked for or one at random."""
    if photographs:
        return photographs[int(random.integers(len(photographs)))]
    if kind != "any":
        return kind
    return BACKGROUND_KINDS[random.choice(len(BACKGROUND_KINDS), p=[0.15, 0.3, 0.2, 0.2, 0.15])]
