"""Camera moves over still photographs: clips whose label is what the camera does, made by a moving crop.

A clip's time reversal is the clip of the opposite move with the same seed, frame for frame. Whatever looks at frames
without their order is therefore at chance between the two, and at best at `STILLS_CEILING` over all moves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from muybridge.errors import InputError, OptionError
from muybridge.stage.skeleton import Floats

RGB = NDArray[np.uint8]

CAMERA_MOVES = (
    "static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "roll left", "roll right",
)  # fmt: skip
OPPOSITE_MOVES = {
    first: second
    for a, b in (("pan left", "pan right"), ("tilt up", "tilt down"), ("zoom in", "zoom out"),
                 ("roll left", "roll right"), ("static", "static"))
    for first, second in ((a, b), (b, a))
}  # fmt: skip
# One move in each pair is guessed right, and the static camera besides: (4 * 1/2 * 2 + 1) of nine.
STILLS_CEILING = 5 / 9
_FORWARD_MOVES = ("static", "pan left", "tilt up", "zoom in", "roll left")


@dataclass(frozen=True)
class CameraClipConfig:
    """How clips are made. Pairs are the least and the most, drawn for each clip.

    Attributes:
        frames: number of frames.
        height, width: pixels of a frame.
        travel: way of a pan or tilt in widths of the picture.
        zoom: ratio of the widest to the narrowest view.
        roll: degrees turned.
        shake: how far a hand strays, in widths of the picture, in any move.
        movers: most things that move in front.
        followed: share of these that the camera keeps in view, as a film does with whom it follows; they are larger.
        noise: largest standard deviation of the sensor's noise in grey levels.
        light: largest change of contrast, and of brightness, as a share.
    """

    frames: int = 8
    height: int = 112
    width: int = 112
    travel: tuple[float, float] = (0.12, 0.6)
    zoom: tuple[float, float] = (1.12, 1.7)
    roll: tuple[float, float] = (7, 32)
    shake: tuple[float, float] = (0.0, 0.012)
    movers: int = 2
    followed: float = 0.0
    noise: float = 5.0
    light: float = 0.25

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise OptionError(f"frames={self.frames} shows no movement: choose 2 or more")
        if min(self.height, self.width) < 8:
            raise OptionError(f"height={self.height}, width={self.width} is too small: both must be 8 or more")
        if self.zoom[0] <= 1:
            raise OptionError(f"zoom={self.zoom} must start above 1: the ratio of the widest to the narrowest view")


@dataclass(frozen=True, eq=False)
class CameraPath:
    """A crop over T frames, in units of its own width at its widest.

    Attributes:
        centre: (T, 2) x, y.
        scale: (T,) size, 1 at the widest.
        degrees: (T,) of the crop, clockwise.
    """

    centre: Floats
    scale: Floats
    degrees: Floats

    def corners(self, aspect: float) -> Floats:
        """(T, 4, 2) corners of a crop of height `aspect`."""
        base = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * (1, aspect)
        return (base @ self.axes().transpose(0, 2, 1)) + self.centre[:, None]

    def axes(self) -> Floats:
        """(T, 2, 2) matrices from a place in the frame to a place in the photograph."""
        angle = np.deg2rad(self.degrees)
        cosine, sine = np.cos(angle), np.sin(angle)
        return self.scale[:, None, None] * np.stack([cosine, -sine, sine, cosine], -1).reshape(-1, 2, 2)


def camera_clip(
    photo: RGB, *, move: str, seed: int, config: CameraClipConfig, foregrounds: Sequence[RGB] = ()
) -> RGB:
    """A clip of one camera move over a photograph.

    Args:
        photo: (H, W, 3) uint8 RGB, at least 16 pixels on each side.
        move: one of `CAMERA_MOVES`, as of the camera: in "pan left" the picture's content goes to the right, in
            "roll left" the camera turns anticlockwise and the content clockwise.
        seed: decides place, way, speed, shake, light and things in front.
        config: sizes and ranges.
        foregrounds: photographs that things in front are cut from; without any, they are cut from `photo`.

    Returns:
        (T, height, width, 3) uint8 RGB; equal to the clip of the opposite move with the same seed, reversed.

    Raises:
        OptionError: for an unknown move.
        InputError: for a photograph of another shape or type, or a tiny one.
    """
    if move not in CAMERA_MOVES:
        raise OptionError(f"move={move!r} is unknown: choose from {', '.join(CAMERA_MOVES)}")
    for picture in (photo, *foregrounds):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or min(picture.shape[:2]) < 16:
            raise InputError(
                f"a photograph must be (H, W, 3) uint8 RGB of 16 pixels or more, got {picture.shape} {picture.dtype}"
            )
    forward = move if move in _FORWARD_MOVES else OPPOSITE_MOVES[move]
    random = np.random.default_rng([seed, _FORWARD_MOVES.index(forward)])
    path = _draw_path(forward, random, config)
    clip = _photograph(photo, path, random, config, foregrounds)
    return clip if move == forward else np.ascontiguousarray(clip[::-1])


def random_camera_clip(
    photo: RGB, *, seed: int, config: CameraClipConfig, foregrounds: Sequence[RGB] = ()
) -> tuple[RGB, int]:
    """A clip of a random move and the move's index in `CAMERA_MOVES`; each is equally likely."""
    label = int(np.random.default_rng([seed, 99]).integers(len(CAMERA_MOVES)))
    return camera_clip(photo, move=CAMERA_MOVES[label], seed=seed, config=config, foregrounds=foregrounds), label


def _draw_path(move: str, random: np.random.Generator, config: CameraClipConfig) -> CameraPath:
    """The way of a forward move: from -1/2 to 1/2 with an easing of its own, and a hand's unrest on top."""
    time = np.linspace(-0.5, 0.5, config.frames)
    # Constant speed, slow at the ends, or faster towards one end; never standing still.
    way = time + random.uniform(-0.08, 0.1) * np.sin(2 * np.pi * time) + random.uniform(-0.5, 0.5) * (time**2 - 0.25)
    kind = move.split()[0]
    centre, scale, degrees = np.zeros((config.frames, 2)), np.ones(config.frames), np.zeros(config.frames)
    if kind in ("pan", "tilt"):
        travel = random.uniform(*config.travel)
        main, across = (0, 1) if kind == "pan" else (1, 0)
        centre[:, main] = -travel * way
        centre[:, across] = random.uniform(-0.15, 0.15) * travel * way
    elif kind == "zoom":
        ratio = random.uniform(*config.zoom)
        scale = ratio ** -(way - way.min())
        centre = random.uniform(-0.06, 0.06, 2) * way[:, None]
    elif kind == "roll":
        degrees = -random.uniform(*config.roll) * way
    unrest = random.uniform(*config.shake)
    drift = random.standard_normal((3, config.frames))
    drift = 0.5 * drift + 0.5 * np.cumsum(drift, axis=1) / np.sqrt(np.arange(1, config.frames + 1))
    centre = centre + unrest * drift[:2].T
    return CameraPath(centre, scale, degrees + 20 * unrest * drift[2] + random.uniform(-4, 4))


def _photograph(
    photo: RGB, path: CameraPath, random: np.random.Generator, config: CameraClipConfig, foregrounds: Sequence[RGB]
) -> RGB:
    """The frames that a crop on this path sees, its widest view as large as the photograph allows or smaller."""
    height, width = photo.shape[:2]
    corners = path.corners(config.height / config.width)
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    # Two pixels are left at the border, which interpolation may reach for.
    unit = min((width - 4) / (high[0] - low[0]), (height - 4) / (high[1] - low[1])) * random.uniform(0.55, 1)
    slack = np.array([width - 4, height - 4]) - (high - low) * unit
    start = 2 + random.random(2) * np.maximum(slack, 0) - low * unit

    # Fine detail is averaged before sampling, and only in the part of the photograph that the path sees.
    shrink = max(1, round(unit / config.width * float(np.sqrt(path.scale.min()))))
    box = np.concatenate([np.floor(start + low * unit - 2), np.ceil(start + high * unit + 2)]).clip(0).astype(int)
    left, top, right, bottom = int(box[0]), int(box[1]), min(width, int(box[2])), min(height, int(box[3]))
    region = Image.fromarray(photo).reduce(shrink, (left, top, right, bottom))
    axes = path.axes() * unit / config.width / shrink
    middle = (start + path.centre * unit - (left, top)) / shrink
    half = np.array([config.width, config.height]) / 2
    frames = []
    for matrix, centre in zip(axes, middle, strict=True):
        offset = centre - matrix @ half
        data = (matrix[0, 0], matrix[0, 1], offset[0], matrix[1, 0], matrix[1, 1], offset[1])
        frames.append(
            region.transform((config.width, config.height), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        )
    for _ in range(int(random.integers(0, config.movers + 1))):
        source = foregrounds[int(random.integers(len(foregrounds)))] if foregrounds else photo
        _add_mover(frames, source, path, random, config)
    return _expose(np.stack([np.asarray(frame) for frame in frames]), random, config)


def _cut_out(source: RGB, side: int, random: np.random.Generator) -> Image.Image:
    """An irregular piece of a photograph with soft edges: RGBA, (side, side)."""
    picture = Image.fromarray(source)
    part = int(min(picture.size) * random.uniform(0.25, 0.6))
    left, top = (int(random.integers(0, length - part + 1)) for length in picture.size)
    piece = picture.resize((side, side), Image.Resampling.BILINEAR, box=(left, top, left + part, top + part))
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    waves = 1 + 0.18 * np.sin(2 * angle + random.uniform(0, 6.3)) + 0.12 * np.sin(3 * angle + random.uniform(0, 6.3))
    radius = 0.36 * side * waves * random.uniform(0.7, 1.0)
    outline = np.stack([side / 2 + radius * np.cos(angle), side / 2 + radius * np.sin(angle)], -1)
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).polygon(outline.ravel().tolist(), fill=255)
    piece.putalpha(mask.filter(ImageFilter.GaussianBlur(max(0.6, side / 50))))
    return piece


def _add_mover(
    frames: list[Image.Image], source: RGB, path: CameraPath, random: np.random.Generator, config: CameraClipConfig
) -> None:
    """Pastes one thing into all frames: it goes its own straight way, and the camera's move shifts it too."""
    follows = config.followed > 0 and random.random() < config.followed
    side = int(config.width * (random.uniform(0.3, 0.85) if follows else random.uniform(0.15, 0.45)))
    thing = _cut_out(source, side, random)
    time = np.linspace(-0.5, 0.5, config.frames)[:, None]
    aspect = config.height / config.width
    reach, way = (0.25, 0.08) if follows else (0.5, 0.5)
    place = random.uniform(-reach, reach, 2) * (1, aspect) + random.normal(0, way, 2) * time
    nearness = random.uniform(0.0, 0.2) if follows else random.uniform(1.0, 1.5)
    inverse = np.linalg.inv(path.axes())
    seen = ((inverse @ (place - nearness * (path.centre - path.centre.mean(axis=0)))[..., None])[..., 0] + (
        0.5, 0.5 * aspect)) * config.width  # fmt: skip
    for frame, centre, scale, degrees in zip(frames, seen, path.scale, path.degrees, strict=True):
        size = max(2, round(side / float(scale)))
        look = thing.rotate(float(degrees), Image.Resampling.BILINEAR).resize((size, size), Image.Resampling.BILINEAR)
        frame.paste(look, (round(centre[0] - size / 2), round(centre[1] - size / 2)), look)


def _expose(clip: RGB, random: np.random.Generator, config: CameraClipConfig) -> RGB:
    """One contrast and brightness for the clip, and noise that differs from frame to frame."""
    contrast = 1 + random.uniform(-config.light, config.light)
    shift = 127.5 * (1 - contrast) + 255 * 0.4 * random.uniform(-config.light, config.light)
    curve = np.clip(np.arange(256) * contrast + shift, 0, 255).astype(np.int16)
    deviation = random.uniform(0, config.noise)
    tile = (deviation * random.standard_normal((config.height + 16, config.width + 16, 3), np.float32)).astype(
        np.int16
    )
    result = curve[clip]
    for frame, (dy, dx) in zip(result, random.integers(0, 16, (len(clip), 2)).tolist(), strict=True):
        frame += tile[dy : dy + config.height, dx : dx + config.width]
    return np.clip(result, 0, 255).astype(np.uint8)
