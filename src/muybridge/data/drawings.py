"""Photographs turned into drawings by code: brush strokes, washes, hatchings, mosaics and more, each from a seed.

What a stylizer can be trained on without a painting at hand. A drawing is RGB uint8 (H, W, 3), of the size of the
photograph it was made from. The same (kind, seed, photograph) gives the same drawing on every machine of one NumPy,
SciPy and Pillow version.
"""

from collections.abc import Callable
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import Delaunay, KDTree

from muybridge.errors import OptionError

DrawingKind = Literal[
    "brush",
    "impasto",
    "oil",
    "poster",
    "pencil",
    "hatch",
    "wash",
    "mosaic",
    "glass",
    "points",
    "facets",
    "scribble",
    "contours",
    "dots",
]
DRAWING_KINDS: tuple[DrawingKind, ...] = get_args(DrawingKind)

RGB = NDArray[np.uint8]
_Field = NDArray[np.float64]
_Random = np.random.Generator
_LUMA = np.array([0.299, 0.587, 0.114])


def draw_photo(kind: DrawingKind, photo: RGB, *, seed: int) -> RGB:
    """One drawing after a photograph, in its own colours or in others of the seed's.

    Args:
        kind: one of `DRAWING_KINDS`.
        photo: (H, W, 3) uint8 RGB, both sides 48 or more.
        seed: chooses colours, scale and layout.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        OptionError: for an unknown kind.
    """
    if kind not in _DRAWERS:
        raise OptionError(f"kind={kind!r} is no drawing: choose from {', '.join(DRAWING_KINDS)}")
    random = np.random.default_rng([seed, DRAWING_KINDS.index(kind)])
    return _finish(_DRAWERS[kind](random, repaint(random, photo)))


def repaint(random: _Random, photo: RGB) -> _Field:
    """The photograph in other colours: through a palette by its light and dark, turned in hue, or stronger."""
    rgb = photo.astype(np.float64)
    grey = rgb @ _LUMA
    choice = random.random()
    if choice < 0.4:
        levels = np.argsort(np.argsort(grey, axis=None)).reshape(grey.shape) / grey.size
        levels = levels * 0.6 + 0.4 * grey / 255
        palette = random_palette(random)
        position = levels * (len(palette) - 1)
        low = np.minimum(position.astype(int), len(palette) - 2)
        mapped = palette[low] + (position - low)[..., None] * (palette[low + 1] - palette[low])
        rgb = mapped + random.uniform(0, 0.8) * (rgb - grey[..., None])
    elif choice < 0.75:
        angle = random.uniform(-np.pi, np.pi) * random.random()
        axis = np.ones(3) / np.sqrt(3)
        K = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        turn = np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K
        colour = (rgb - grey[..., None]) @ turn.T * random.uniform(0.6, 2.5)
        rgb = grey[..., None] + colour
    contrast = random.uniform(0.7, 1.5)
    return np.clip((rgb - 127.5) * contrast + 127.5 + random.normal(0, 14, 3), 0, 255)


def random_palette(random: _Random) -> _Field:
    """(5, 3) colours in [0, 255] from dark to light, of one hue, two, or hues all around."""
    hues = random.random() + random.choice([0.03, 0.1, 0.5]) * random.uniform(-1, 1, 5)
    saturation = np.clip(random.uniform(0.1, 1) + random.normal(0, 0.2, 5), 0, 1)
    value = np.linspace(random.uniform(0, 0.4), random.uniform(0.6, 1), 5)
    full = np.clip(np.abs((hues[:, None] * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return 255 * value[:, None] * (1 - saturation[:, None] * (1 - full))


# --- parts of drawings ---


def _finish(rgb: _Field) -> RGB:
    return np.clip(rgb + 0.5, 0, 255).astype(np.uint8)


def _blur(field: _Field, sigma: float) -> _Field:
    return ndimage.gaussian_filter(field, (sigma, sigma, 0) if field.ndim == 3 else sigma, mode="nearest")


def _median(rgb: _Field, size: int) -> _Field:
    return np.stack([ndimage.median_filter(_finish(rgb[..., c]), size) for c in range(3)], -1).astype(np.float64)


def _noise(random: _Random, shape: tuple[int, int], sigma: float) -> _Field:
    """Smooth noise of deviation 1."""
    small = random.standard_normal([max(3, int(n / max(sigma, 1)) + 2) for n in shape])
    scale = [n / s for n, s in zip(shape, small.shape, strict=True)]
    field = np.asarray(ndimage.zoom(small, scale, order=3, grid_mode=True, mode="nearest"))
    return field[: shape[0], : shape[1]] / (field.std() + 1e-9)


def _direction(random: _Random, grey: _Field, sigma: float) -> _Field:
    """Angle of strokes: along the edges of the photograph where there are any, else along a smooth field."""
    gy, gx = ndimage.sobel(grey, 0), ndimage.sobel(grey, 1)
    a, b = _blur(gx * gx - gy * gy, sigma), _blur(2 * gx * gy, sigma)
    size = np.hypot(a, b)
    drift = _noise(random, grey.shape, grey.shape[0] / random.uniform(2, 5)) * random.uniform(
        0.3, 2
    ) + random.uniform(0, 6)
    floor = np.quantile(size, random.uniform(0.3, 0.8)) + 1e-9
    a, b = a / floor - np.cos(drift), b / floor - np.sin(drift)
    return np.arctan2(b, a) / 2 + np.pi / 2


def _smear(field: _Field, angle: _Field, length: int) -> _Field:
    """Mean along the stroke direction, `length` pixels both ways (a line integral convolution)."""
    H, W = angle.shape
    total, count = field.copy(), 1
    for sign in (-1, 1):
        y, x = np.mgrid[0:H, 0:W].astype(float)
        dy, dx = np.sin(angle) * sign, np.cos(angle) * sign
        for _ in range(length):
            yi, xi = np.clip(np.rint(y).astype(int), 0, H - 1), np.clip(np.rint(x).astype(int), 0, W - 1)
            # A direction has no sign: keep going forward where the field turns over.
            vy, vx = np.sin(angle[yi, xi]), np.cos(angle[yi, xi])
            turn = np.sign(vy * dy + vx * dx + 1e-12)
            dy, dx = vy * turn, vx * turn
            y, x = y + dy, x + dx
            yi, xi = np.clip(np.rint(y).astype(int), 0, H - 1), np.clip(np.rint(x).astype(int), 0, W - 1)
            total = total + field[yi, xi]
            count += 1
    return total / count


def _stroked(
    random: _Random, rgb: _Field, angle: _Field, width: float, base: _Field, jitter: float, cover: float
) -> _Field:
    """Short strokes of the photograph's colours laid over `base`."""
    H, W = angle.shape
    image = Image.fromarray(_finish(base))
    draw = ImageDraw.Draw(image)
    length = width * random.uniform(2, 6)
    count = int(cover * H * W / (width * length))
    ys, xs = random.uniform(0, H, count), random.uniform(0, W, count)
    tones = np.clip(
        rgb[ys.astype(int), xs.astype(int)]
        + random.normal(0, jitter, (count, 3)) * 0.6
        + random.normal(0, jitter, (count, 1)),
        0,
        255,
    ).astype(int)
    turned = angle[ys.astype(int), xs.astype(int)] + random.normal(0, 0.15, count)
    for y, x, a, tone in zip(ys, xs, turned, tones, strict=True):
        dx, dy = np.cos(a) * length / 2, np.sin(a) * length / 2
        draw.line((x - dx, y - dy, x + dx, y + dy), fill=tuple(tone.tolist()), width=max(1, round(width)))
    return np.asarray(image).astype(np.float64)


def _edges(grey: _Field, sigma: float) -> _Field:
    """0 to 1: how much of an edge."""
    size = ndimage.gaussian_gradient_magnitude(grey, sigma)
    return np.clip(size / (np.quantile(size, 0.97) + 1e-6), 0, 1)


def _cells(random: _Random, shape: tuple[int, int], pitch: float, jitter: float) -> tuple[NDArray[np.int64], _Field]:
    """Voronoi cells of a jittered grid: the owner of each pixel, and the distance to the border in pixels."""
    H, W = shape
    ys, xs = np.meshgrid(np.arange(-1, H / pitch + 1), np.arange(-1, W / pitch + 1), indexing="ij")
    centres = (np.stack([ys, xs], -1).reshape(-1, 2) + 0.5 + random.uniform(-jitter, jitter, (ys.size, 2))) * pitch
    pixels = np.stack([*np.mgrid[0:H, 0:W]], -1).reshape(-1, 2)
    distance, owner = (np.asarray(found) for found in KDTree(centres).query(pixels, k=2))
    return owner[:, 0].reshape(H, W), ((distance[:, 1] - distance[:, 0]) / 2).reshape(H, W)


def _cell_means(rgb: _Field, owner: NDArray[np.int64]) -> _Field:
    n = int(owner.max()) + 1
    count = np.bincount(owner.ravel(), minlength=n).clip(1)
    return np.stack([np.bincount(owner.ravel(), rgb[..., c].ravel(), n) / count for c in range(3)], -1)


def _paper(random: _Random, shape: tuple[int, int]) -> _Field:
    tint = 255 - random.uniform(0, 45) * np.array([0.3, 0.6, 1.0]) * random.random()
    grain = random.normal(0, random.uniform(1, 6), shape) + _noise(random, shape, 3) * random.uniform(0, 5)
    return tint + grain[..., None]


def _relief(random: _Random, rgb: _Field, height: _Field, amount: float) -> _Field:
    """Light from one side on raised paint."""
    light = random.uniform(0, 2 * np.pi)
    slope = np.cos(light) * np.gradient(height, axis=1) + np.sin(light) * np.gradient(height, axis=0)
    return rgb + amount * (slope / (slope.std() + 1e-9)).clip(-2.5, 2.5)[..., None]


# --- kinds ---


def _brush(random: _Random, rgb: _Field) -> _Field:
    """Layers of strokes from a broad to a narrow brush, the narrow ones at edges."""
    side = min(rgb.shape[:2])
    angle = _direction(random, rgb @ _LUMA, side / 100)
    width, jitter = side * random.uniform(0.015, 0.05), random.uniform(4, 26)
    picture = _blur(rgb, width)
    for layer in range(int(random.integers(2, 4))):
        w = max(1.5, width / 2**layer)
        picture = _stroked(random, _blur(rgb, w / 3), angle, w, picture, jitter, 2.0 if layer == 0 else 0.8)
    return _relief(random, picture, _blur(picture @ _LUMA, 0.7), random.uniform(0, 9))


def _impasto(random: _Random, rgb: _Field) -> _Field:
    """Long streaks of thick paint that follow the forms."""
    side = min(rgb.shape[:2])
    angle = _direction(random, rgb @ _LUMA, side / random.uniform(25, 90))
    grain = random.uniform(0.8, 2.6)
    length = int(side * random.uniform(0.02, 0.06))
    streaks = _smear(_noise(random, angle.shape, grain), angle, length)
    streaks /= streaks.std() + 1e-9
    speckled = _blur(rgb, side / 150) + np.stack(
        [_noise(random, angle.shape, grain * 1.5) for _ in range(3)], -1
    ) * random.uniform(10, 60)
    colour = _smear(speckled, angle, length)
    return _relief(random, colour + streaks[..., None] * random.uniform(6, 26), streaks, random.uniform(0, 14))


def _oil(random: _Random, rgb: _Field) -> _Field:
    """Flat dabs with sharp borders: of four neighbouring windows the calmest one's mean (Kuwahara 1976)."""
    r = int(random.integers(2, 6))
    grey = rgb @ _LUMA
    mean = ndimage.uniform_filter(rgb, cast(Any, (r + 1, r + 1, 0)), mode="nearest")
    m, m2 = ndimage.uniform_filter(grey, r + 1), ndimage.uniform_filter(grey**2, r + 1)
    variance = m2 - m**2
    best, picture = np.full(grey.shape, np.inf), rgb.copy()
    for dy in (-r / 2, r / 2):
        for dx in (-r / 2, r / 2):
            move = (int(np.floor(dy)), int(np.floor(dx)))
            v = np.roll(variance, move, (0, 1))
            better = v < best
            best = np.where(better, v, best)
            picture = np.where(better[..., None], np.roll(mean, move, (0, 1)), picture)
    canvas = np.sin(np.arange(grey.shape[0]) * 1.6)[:, None] + np.sin(np.arange(grey.shape[1]) * 1.6)[None]
    return picture + random.uniform(0, 5) * canvas[..., None] + random.normal(0, random.uniform(1, 7), rgb.shape)


def _poster(random: _Random, rgb: _Field) -> _Field:
    """Few flat colours, often with dark outlines, as in prints and comics."""
    smooth = _median(rgb, int(random.choice([5, 7, 9])))
    image = Image.fromarray(_finish(smooth)).quantize(int(random.integers(3, 12))).convert("RGB")
    flat = np.asarray(image).astype(np.float64)
    if random.random() < 0.7:
        line = np.clip(_edges(smooth @ _LUMA, random.uniform(0.8, 2)) * 2.2 - random.uniform(0.4, 1), 0, 1)[..., None]
        ink = random_palette(random)[0] * 0.6 if random.random() < 0.8 else np.full(3, 255.0)
        flat = flat * (1 - line) + ink * line
    return _blur(flat, 0.5) + random.normal(0, random.uniform(0, 5), flat.shape[:2])[..., None]


def _pencil(random: _Random, rgb: _Field) -> _Field:
    """Grey or coloured pencil on paper: outlines, and grain where it is dark."""
    grey = rgb @ _LUMA
    line = np.clip(grey / (_blur(grey, random.uniform(2, 7)) + 1), 0, 1) ** random.uniform(2, 6)
    angle = np.full(grey.shape, random.uniform(0, np.pi)) + 0.2 * _noise(random, grey.shape, 40)
    grain = _smear(random.standard_normal(grey.shape), angle, int(random.integers(4, 14)))
    grain /= grain.std() + 1e-9
    shade = np.clip(1 - (1 - grey / 255) * random.uniform(0.2, 0.9) * (1 + 0.7 * grain), 0, 1)
    cover = (1 - line * shade)[..., None]
    ink = rgb * 0.8 if random.random() < 0.35 else random_palette(random)[0]
    return _paper(random, grey.shape) * (1 - cover) + ink * cover


def _hatch(random: _Random, rgb: _Field) -> _Field:
    """Crossing pen lines, more of them where it is darker."""
    grey = _blur(rgb @ _LUMA, 1.5) / 255
    grey = (grey - np.quantile(grey, 0.02)) / (np.quantile(grey, 0.98) - np.quantile(grey, 0.02) + 1e-6)
    H, W = grey.shape
    yy, xx = np.mgrid[0:H, 0:W]
    pitch, start = random.uniform(4, 10), random.uniform(0, np.pi)
    follow = random.uniform(0, 0.4) * _noise(random, grey.shape, H / 4)
    ink = np.zeros(grey.shape)
    for layer, threshold in enumerate((0.85, 0.6, 0.4, 0.2)):
        a = start + layer * random.uniform(0.6, 1.2)
        phase = (xx * np.cos(a) + yy * np.sin(a) + 6 * follow * pitch) / pitch + 0.08 * _noise(random, grey.shape, 8)
        wave = np.abs((phase % 1) - 0.5) * 2
        weight = np.clip((threshold - grey) * 3, 0, 1) * 0.55
        ink = np.maximum(ink, np.clip((weight - (1 - wave)) * pitch / 2 + 0.5, 0, 1) * (weight > 0.02))
    ink = np.maximum(ink, np.clip(_edges(grey * 255, 1) * 1.6 - 0.7, 0, 1))[..., None]
    ground = _paper(random, grey.shape)
    if random.random() < 0.4:
        ground = ground * 0.4 + 0.6 * (_blur(rgb, 4) * 0.5 + 127)
    return _blur(ground * (1 - ink) + random_palette(random)[0] * 0.7 * ink, 0.4)


def _wash(random: _Random, rgb: _Field) -> _Field:
    """Watercolour: flat pools with darker rims, pigment that gathers in the paper's grain."""
    smooth = _median(rgb, 7)
    smooth = _median(smooth, 9) if random.random() < 0.5 else smooth
    shift = np.stack([_noise(random, rgb.shape[:2], 12), _noise(random, rgb.shape[:2], 12)]) * random.uniform(0.5, 4)
    yy, xx = np.mgrid[0 : rgb.shape[0], 0 : rgb.shape[1]]
    where = [np.clip(yy + shift[0], 0, None), np.clip(xx + shift[1], 0, None)]
    smooth = np.stack([ndimage.map_coordinates(smooth[..., c], where, order=1, mode="nearest") for c in range(3)], -1)
    smooth = 255 - (255 - smooth) * random.uniform(0.5, 0.95)
    pools = np.rint(smooth / random.uniform(24, 56))
    step = (pools != np.roll(pools, 1, 0)).any(-1) | (pools != np.roll(pools, 1, 1)).any(-1)
    rim = _blur(step.astype(float), 1.0)
    pigment = 1 + 0.12 * _noise(random, rim.shape, 20) + 0.06 * _noise(random, rim.shape, 2.0)
    density = (255 - smooth) * (pigment + random.uniform(0.1, 0.5) * rim)[..., None]
    return _paper(random, rim.shape) - density


def _mosaic(random: _Random, rgb: _Field) -> _Field:
    """Tesserae of the photograph's colours with joints between."""
    pitch = min(rgb.shape[:2]) * random.uniform(0.02, 0.06)
    owner, border = _cells(random, rgb.shape[:2], pitch, random.uniform(0.1, 0.48))
    colours = _cell_means(rgb, owner)
    colours = colours + random.normal(0, random.uniform(4, 20), colours.shape)
    joint = np.clip(border / max(1.0, pitch * random.uniform(0.06, 0.15)), 0, 1)[..., None]
    cement = random_palette(random)[int(random.choice([0, 4]))]
    return colours[owner] * joint + cement * (1 - joint)


def _glass(random: _Random, rgb: _Field) -> _Field:
    """Leaded glass: large glowing pieces, black lines."""
    pitch = min(rgb.shape[:2]) * random.uniform(0.05, 0.14)
    owner, border = _cells(random, rgb.shape[:2], pitch, 0.48)
    colours = _cell_means(rgb, owner)
    grey = colours @ _LUMA
    colours = (
        grey[:, None] + (colours - grey[:, None]) * random.uniform(1.5, 3.5) + random.normal(0, 16, colours.shape)
    )
    glow = 1 + 0.15 * _noise(random, owner.shape, 15)
    lead = np.clip(border / random.uniform(1.2, 3) - 0.4, 0, 1)[..., None]
    return colours[owner] * glow[..., None] * lead + random.uniform(0, 40) * (1 - lead)


def _points(random: _Random, rgb: _Field) -> _Field:
    """Dots of broken colour side by side."""
    H, W = rgb.shape[:2]
    radius = min(H, W) * random.uniform(0.005, 0.014)
    ground = random_palette(random)[int(random.integers(1, 5))]
    image = Image.fromarray(_finish(np.broadcast_to(ground, rgb.shape)))
    draw = ImageDraw.Draw(image)
    count = int(1.5 * H * W / (np.pi * radius**2))
    ys, xs = random.uniform(0, H, count), random.uniform(0, W, count)
    tones = rgb[ys.astype(int), xs.astype(int)] + random.normal(0, random.uniform(10, 45), (count, 3))
    for y, x, tone in zip(ys, xs, np.clip(tones, 0, 255).astype(int), strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(tone.tolist()))
    return _blur(np.asarray(image).astype(np.float64), 0.5)


def _facets(random: _Random, rgb: _Field) -> _Field:
    """Flat triangles between points that gather at edges, some with lines around them."""
    H, W = rgb.shape[:2]
    weight = _edges(rgb @ _LUMA, 1.5).ravel() + 0.08
    count = int(random.integers(60, 500))
    chosen = random.choice(H * W, count, replace=False, p=weight / weight.sum())
    corners = np.array([[0, 0], [0, W - 1], [H - 1, 0], [H - 1, W - 1]])
    points = np.concatenate([np.stack([chosen // W, chosen % W], -1), corners])
    mesh = Delaunay(points)
    labels = Image.new("I", (W, H))
    draw = ImageDraw.Draw(labels)
    for number, triangle in enumerate(mesh.simplices):
        draw.polygon([(float(points[i, 1]), float(points[i, 0])) for i in triangle], fill=number)
    owner = np.asarray(labels).astype(np.int64)
    colours = _cell_means(rgb, owner)
    colours = colours + random.normal(0, random.uniform(0, 18), colours.shape)
    yy = np.mgrid[0:H, 0:W][1 if random.random() < 0.5 else 0]
    slope = random.normal(0, random.uniform(0, 0.5), len(colours))
    middle = np.bincount(owner.ravel(), yy.ravel(), len(colours)) / np.bincount(
        owner.ravel(), minlength=len(colours)
    ).clip(1)
    picture = colours[owner] + (slope[owner] * (yy - middle[owner]))[..., None]
    if random.random() < 0.5:
        line = (owner != np.roll(owner, 1, 0)) | (owner != np.roll(owner, 1, 1))
        line = np.clip(_blur(line.astype(float), random.uniform(0.5, 1.2)) * 1.6, 0, 1)[..., None]
        picture = picture * (1 - line) + random_palette(random)[int(random.choice([0, 4]))] * line
    return _blur(picture, 0.5)


def _scribble(random: _Random, rgb: _Field) -> _Field:
    """Loose curved lines of ink or chalk over coloured ground."""
    H, W = rgb.shape[:2]
    grey = rgb @ _LUMA
    angle = _direction(random, grey, 3)
    ground = (
        _blur(rgb, random.uniform(3, 10))
        if random.random() < 0.6
        else np.broadcast_to(random_palette(random)[int(random.choice([0, 4]))], rgb.shape)
    )
    image = Image.fromarray(_finish(ground + 0.0))
    draw = ImageDraw.Draw(image)
    dark = (ground @ _LUMA).mean() > 110
    palette = random_palette(random)
    weight = (255 - grey if dark else grey).ravel() ** 2 + 400 + 255**2 * _edges(grey, 1.5).ravel()
    count = int(random.uniform(500, 2200))
    for start in random.choice(H * W, count, p=weight / weight.sum()):
        y, x = float(start // W), float(start % W)
        path = [(x, y)]
        a = angle[int(y), int(x)]
        for _ in range(int(random.integers(3, 12))):
            y, x = np.clip(y + np.sin(a) * 3, 0, H - 1), np.clip(x + np.cos(a) * 3, 0, W - 1)
            new = angle[int(y), int(x)]
            a = new + np.pi * round((a - new) / np.pi) + random.normal(0, 0.2)
            path.append((x, y))
        tone = (
            palette[int(random.integers(0, 2) if dark else random.integers(3, 5))]
            if random.random() < 0.8
            else rgb[int(y), int(x)]
        )
        draw.line(path, fill=tuple(int(t) for t in tone), width=int(random.integers(1, 3)))
    return _blur(np.asarray(image).astype(np.float64), 0.5)


def _contours(random: _Random, rgb: _Field) -> _Field:
    """Lines of equal light, as in engravings and maps, between flat or graded bands."""
    grey = _blur(rgb @ _LUMA, random.uniform(1.5, 5)) / 255 + 0.05 * _noise(random, rgb.shape[:2], 30)
    field = grey * random.uniform(8, 30)
    band = np.floor(field)
    slope = np.hypot(np.gradient(field, axis=0), np.gradient(field, axis=1)) + 0.03
    line = np.clip(1.2 - np.abs(field - band - 0.5) / slope / random.uniform(0.6, 1.6), 0, 1)[..., None]
    palette = random_palette(random)
    bands = palette[(band.astype(int) * int(random.integers(1, 4))) % 5] if random.random() < 0.4 else _blur(rgb, 2)
    return _blur(bands * (1 - line) + palette[int(random.choice([0, 4]))] * line, 0.5)


def _dots(random: _Random, rgb: _Field) -> _Field:
    """Halftone: inks in turned grids whose dots grow with the tone."""
    H, W = rgb.shape[:2]
    yy, xx = np.mgrid[0:H, 0:W]
    pitch = random.uniform(4, 12)
    picture = np.full(rgb.shape, 255.0) - random.uniform(0, 30, 3)
    inks = (
        random_palette(random)[:3]
        if random.random() < 0.5
        else np.array([[0.0, 170, 220], [220, 0, 120], [250, 220, 0]])
    )
    for c, ink in enumerate(inks):
        a = random.uniform(0, np.pi / 2)
        u, v = (xx * np.cos(a) + yy * np.sin(a)) / pitch, (yy * np.cos(a) - xx * np.sin(a)) / pitch
        distance = np.hypot(u % 1 - 0.5, v % 1 - 0.5)
        radius = np.sqrt(np.clip(1 - _blur(rgb[..., c], pitch / 3) / 255, 0, 1)) * 0.62
        cover = np.clip((radius - distance) * pitch + 0.5, 0, 1)[..., None]
        picture = picture * (1 - cover * (1 - ink / 255))
    return picture


_DRAWERS: dict[str, Callable[[_Random, _Field], _Field]] = {
    "brush": _brush,
    "impasto": _impasto,
    "oil": _oil,
    "poster": _poster,
    "pencil": _pencil,
    "hatch": _hatch,
    "wash": _wash,
    "mosaic": _mosaic,
    "glass": _glass,
    "points": _points,
    "facets": _facets,
    "scribble": _scribble,
    "contours": _contours,
    "dots": _dots,
}
