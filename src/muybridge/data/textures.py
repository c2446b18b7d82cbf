"""Style pictures drawn by code: strokes, mosaics, marbling, halftone and more, each from a seed.

They are the styles that ship with muybridge, and what a stylizer can be trained on without a painting at hand.
A texture is RGB uint8 (H, W, 3). The same (kind, seed, size) gives the same picture on every machine of one NumPy
and Pillow version.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from muybridge.errors import OptionError

TextureKind = Literal["strokes", "mosaic", "marble", "halftone", "hatching", "waves", "blocks", "splatter"]
TEXTURE_KINDS: tuple[TextureKind, ...] = get_args(TextureKind)

RGB = NDArray[np.uint8]
_Random = np.random.Generator


def draw_texture(kind: TextureKind, *, seed: int, size: int = 512) -> RGB:
    """One texture.

    Args:
        kind: one of `TEXTURE_KINDS`.
        seed: chooses palette, scale and layout.
        size: side in pixels, from 32 up.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        OptionError: for an unknown kind or a size below 32.
    """
    if kind not in _PAINTERS:
        raise OptionError(f"kind={kind!r} is no texture: choose from {', '.join(TEXTURE_KINDS)}")
    if size < 32:
        raise OptionError(f"size={size} is too small for a texture: choose 32 or more")
    random = np.random.default_rng([seed, TEXTURE_KINDS.index(kind)])
    return _PAINTERS[kind](random, size, _palette(random))


def _palette(random: _Random) -> NDArray[np.float64]:
    """(5, 3) colours in [0, 255], from dark to light: one or two hues, or hues all around."""
    spread = random.choice([0.04, 0.12, 0.5])
    hue = (random.random() + np.array([0, spread, -spread, 0.5, spread * 2]) * random.uniform(0.5, 1, 5)) % 1
    saturation = random.uniform(0, 1) * random.uniform(0.5, 1, 5)
    low, high = sorted(random.uniform(0, 1, 2))
    value = np.linspace(low * 0.6, 0.4 + 0.6 * high, 5)
    sector = hue[:, None] * 6 + np.array([0.0, 4.0, 2.0])
    full = np.clip(np.abs(sector % 6 - 3) - 1, 0, 1)
    return 255 * value[:, None] * (1 - saturation[:, None] * (1 - full))


def _noise(random: _Random, size: int, cells: float) -> NDArray[np.float64]:
    """(size, size) smooth noise in about [-1, 1] with `cells` bumps along a side, two octaves."""
    total = np.zeros((size, size))
    for octave, weight in ((1, 1.0), (2, 0.5)):
        grid = max(2, round(cells * octave) + 1)
        coarse = Image.fromarray(random.standard_normal((grid, grid)).astype(np.float32))
        total += weight * np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float64)
    return np.tanh(total / 1.2)


def _shade(field: NDArray[np.float64], palette: NDArray[np.float64]) -> NDArray[np.float64]:
    """A field in [0, 1] through the palette, linearly between neighbours: (H, W) to (H, W, 3)."""
    position = np.clip(field, 0, 1) * (len(palette) - 1)
    low = np.minimum(position.astype(int), len(palette) - 2)
    return palette[low] + (position - low)[..., None] * (palette[low + 1] - palette[low])


def _finish(picture: NDArray[np.float64]) -> RGB:
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _colour(palette: NDArray[np.float64], random: _Random, jitter: float = 12) -> tuple[int, int, int]:
    r, g, b = np.clip(palette[random.integers(len(palette))] + random.normal(0, jitter, 3), 0, 255)
    return int(r), int(g), int(b)


def _strokes(random: _Random, size: int, palette: NDArray[np.float64]) -> RGB:
    """Short thick lines along a flow field over a smooth ground, as a loaded brush leaves them."""
    ground = _shade(_noise(random, size, 3) * 0.5 + 0.5, palette)
    image = Image.fromarray(_finish(ground))
    draw = ImageDraw.Draw(image)
    angle = _noise(random, size, random.uniform(1, 4)) * np.pi
    tone = _noise(random, size, random.uniform(2, 6)) * 0.5 + 0.5
    width = max(2, int(size * random.uniform(0.006, 0.03)))
    length = width * random.uniform(2.5, 7)
    for x, y in random.uniform(0, size, (int(1.6 * size * size / (width * length)), 2)):
        a, t = angle[int(y), int(x)], tone[int(y), int(x)]
        base = palette[int(np.clip(t + random.normal(0, 0.15), 0, 0.999) * len(palette))]
        r, g, b = (int(c) for c in np.clip(base + random.normal(0, 14, 3), 0, 255))
        dx, dy = np.cos(a) * length / 2, np.sin(a) * length / 2
        draw.line((x - dx, y - dy, x + dx, y + dy), fill=(r, g, b), width=width)
    return np.asarray(image.filter(ImageFilter.SMOOTH))


def _mosaic(random: _Random, size: int, palette: NDArray[np.float64]) -> RGB:
    """Cells around jittered points with dark or light joints, as tesserae or leaded glass."""
    cells = int(random.uniform(6, 26))
    pitch = size / cells
    centres = (np.stack(np.meshgrid(np.arange(-1, cells + 1), np.arange(-1, cells + 1)), -1) + 0.5) * pitch
    centres += random.uniform(-0.42, 0.42, centres.shape) * pitch
    yy, xx = np.mgrid[0:size, 0:size]
    column, row = (xx / pitch).astype(int) + 1, (yy / pitch).astype(int) + 1
    nearest = np.full((2, size, size), np.inf)
    owner = np.zeros((size, size), int)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            r, c = np.clip(row + dy, 0, cells + 1), np.clip(column + dx, 0, cells + 1)
            distance = np.hypot(centres[r, c, 0] - xx, centres[r, c, 1] - yy)
            closer = distance < nearest[0]
            nearest[1] = np.where(closer, nearest[0], np.minimum(nearest[1], distance))
            nearest[0] = np.where(closer, distance, nearest[0])
            owner = np.where(closer, r * (cells + 2) + c, owner)
    count = (cells + 2) ** 2
    colours = palette[random.integers(1, len(palette), count)] + random.normal(0, 16, (count, 3))
    joint = np.clip((nearest[1] - nearest[0]) / (pitch * random.uniform(0.06, 0.18)), 0, 1)[..., None]
    edge = palette[0] if random.random() < 0.7 else palette[-1]
    return _finish(colours[owner] * joint + edge * (1 - joint))


def _marble(random: _Random, size: int, palette: NDArray[np.float64]) -> RGB:
    """Bands of colour drawn through each other, as ink on water."""
    cells = random.uniform(1.5, 5)
    bend_x, bend_y = _noise(random, size, cells), _noise(random, size, cells)
    yy, xx = np.mgrid[0:size, 0:size] / size
    field = np.sin(2 * np.pi * (random.uniform(2, 9) * xx + random.uniform(0.4, 1.6) * bend_x))
    field = field + np.sin(2 * np.pi * (random.uniform(1, 6) * yy + random.uniform(0.4, 1.6) * bend_y + field * 0.3))
    return _finish(_shade(field / 4 + 0.5, palette) + random.normal(0, 4, (size, size, 1)))


def _halftone(random: _Random, size: int, palette: NDArray[np.float64]) -> RGB:
    """Dots on a turned grid whose size follows a smooth tone, in two inks."""
    picture = np.broadcast_to(palette[-1], (size, size, 3)).copy()
    yy, xx = np.mgrid[0:size, 0:size]
    pitch = size * random.uniform(0.012, 0.05)
    for ink in (2, 0):
        angle = random.uniform(0, np.pi / 2)
        u, v = xx * np.cos(angle) + yy * np.sin(angle), yy * np.cos(angle) - xx * np.sin(angle)
        radius = np.hypot(u % pitch - pitch / 2, v % pitch - pitch / 2) / pitch
        tone = 0.33 + 0.3 * _noise(random, size, random.uniform(1, 4))
        cover = np.clip((tone - radius) * pitch + 0.5, 0, 1)[..., None]
        picture = picture * (1 - cover) + palette[ink] * cover
    return _finish(picture)


def _hatching(random: _Random, size: int, palette: NDArray[np.float64]) -> RGB:
    """Pen strokes in two or three directions, denser where a smooth tone is darker."""
    image = Image.fromarray(_finish(_shade(0.85 + 0.1 * _noise(random, size, 3), palette)))
    draw = ImageDraw.Draw(image)
    width = max(1, round(size * random.uniform(0.002, 0.006)))
    ink = _colour(palette[:1], random)
    start = random.uniform(0, np.pi)
    for layer in range(int(random.integers(2, 4))):
        angle = start + layer * random.uniform(0.5, 1.1)
        tone = _noise(random, size, random.uniform(1.5, 5))
        length = size * random.uniform(0.03, 0.1)
        for x, y in random.uniform(0, size, (int(random.uniform(1500, 5000)), 2)):
            if tone[int(y), int(x)] > 0.3 * layer - 0.4:
                a = angle + random.normal(0, 0.06)
                draw.line((x, y, x + np.cos(a) * length, y + np.sin(a) * length), fill=ink, width=width)
    return np.asarray(image)


def _waves(random: _Random, size: int, palette: NDArray[np.float64]) -> RGB:
    """Flat bands with crisp outlines that follow a bent distance field, as in a woodcut."""
    yy, xx = np.mgrid[0:size, 0:size] / size
    centre = random.uniform(-0.5, 1.5, 2)
    bend = _noise(random, size, random.uniform(1, 4)) * random.uniform(0.05, 0.25)
    field = (np.hypot(xx - centre[0], yy - centre[1]) + bend) * random.uniform(6, 22)
    band = np.floor(field).astype(int)
    colours = palette[random.permutation(len(palette))]
    outline = np.clip((0.5 - np.abs(field - band - 0.5)) / random.uniform(0.04, 0.16), 0, 1)[..., None]
    return _finish(colours[band % len(colours)] * outline + palette[0] * 0.5 * (1 - outline))


def _blocks(random: _Random, size: int, palette: NDArray[np.float64]) -> RGB:
    """Large overlapping rectangles, triangles and discs with a light grain, as a collage."""
    image = Image.new("RGB", (size, size), _colour(palette, random))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(25, 90))):
        x, y = random.uniform(-0.1, 1, 2) * size
        w, h = random.uniform(0.04, 0.35, 2) * size
        fill = _colour(palette, random, 20)
        shape = random.integers(3)
        if shape == 0:
            draw.rectangle((x, y, x + w, y + h), fill=fill)
        elif shape == 1:
            draw.ellipse((x, y, x + w, y + w), fill=fill)
        else:
            draw.polygon([(x, y), (x + w, y + h * random.random()), (x + w * random.random(), y + h)], fill=fill)
    return _finish(np.asarray(image) + random.normal(0, random.uniform(0, 14), (size, size, 1)))


def _splatter(random: _Random, size: int, palette: NDArray[np.float64]) -> RGB:
    """Drops of many sizes and thrown threads of paint on a tinted ground."""
    image = Image.fromarray(_finish(_shade(0.7 + 0.3 * _noise(random, size, 2), palette)))
    draw = ImageDraw.Draw(image)
    for radius in size * 0.004 / random.power(1.5, int(random.integers(400, 1600))).clip(0.05):
        x, y = random.uniform(0, size, 2)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(palette, random, 20))
    for _ in range(int(random.integers(10, 60))):
        points = random.uniform(0, size, 2) + np.cumsum(random.normal(0, size * 0.02, (30, 2)), 0)
        line = [(float(x), float(y)) for x, y in points]
        draw.line(line, fill=_colour(palette, random, 20), width=int(random.integers(1, max(3, size // 100))))
    return np.asarray(image.filter(ImageFilter.SMOOTH))


_PAINTERS: dict[str, Callable[[_Random, int, NDArray[np.float64]], RGB]] = {
    "strokes": _strokes,
    "mosaic": _mosaic,
    "marble": _marble,
    "halftone": _halftone,
    "hatching": _hatching,
    "waves": _waves,
    "blocks": _blocks,
    "splatter": _splatter,
}
