"""Things on the stage: what they look like, and where they are while held, thrown or left standing.

Shapes: T times, P parts, B balls of a part's hull.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from muybridge.stage.figures import CORNERS, Colour, Outlines, hull_corners
from muybridge.stage.skeleton import JOINT, Floats
from muybridge.stage.timeline import Actor

PropKind = Literal["ball", "box", "seat", "door", "flag", "lantern", "signal"]
GRAVITY = 9.81


@dataclass(frozen=True)
class Whereabouts:
    """Where a thing is at T times.

    Attributes:
        place: (T, 3) x to the right of the picture's middle, height of its anchor, distance from the camera; metres.
        nearer: (T,) metres that it is drawn nearer than `place` tells.
        angle: (T,) degrees in the picture's plane, anticlockwise.
    """

    place: Floats
    nearer: Floats
    angle: Floats


class Motion(Protocol):
    def __call__(self, seconds: Floats) -> Whereabouts: ...


def at_rest(x: float, height: float, distance: float, *, nearer: float = 0.0) -> Motion:
    """Stays where it is."""

    def motion(seconds: Floats) -> Whereabouts:
        count = len(seconds)
        return Whereabouts(np.tile([x, height, distance], (count, 1)), np.full(count, nearer), np.zeros(count))

    return motion


def in_hands(actor: Actor, hands: Literal["l", "r", "both"], *, ahead: float = 0.0, beyond: float = 0.0) -> Motion:
    """Goes with one hand, or midway between both: `ahead` metres along the heading from there and `beyond` metres
    along the lower arm.

    Its angle is the direction of the lower arm: 0 hangs down, 90 points to the picture's right.
    """

    def motion(seconds: Floats) -> Whereabouts:
        joints = actor.joints(seconds)
        ground, heading = actor.whereabouts(seconds)
        sides = ("l", "r") if hands == "both" else (hands,)
        hand = np.mean([joints[:, JOINT[f"hand_{side}"]] for side in sides], axis=0)
        elbow = np.mean([joints[:, JOINT[f"elbow_{side}"]] for side in sides], axis=0)
        facing = np.deg2rad(heading)
        fore = hand - elbow
        hand = hand + beyond * fore / np.linalg.norm(fore, axis=1, keepdims=True)
        x = ground[:, 0] + hand[:, 0] + ahead * np.cos(facing)
        angle = np.rad2deg(np.arctan2(fore[:, 0], -fore[:, 1]))
        place = np.stack([x, hand[:, 1], ground[:, 1]], -1)
        return Whereabouts(place, hand[:, 2] + ahead * np.sin(facing) + 0.1, angle)

    return motion


def pushed(actor: Actor, ahead: float, height: float) -> Motion:
    """Slides over the floor before an actor, `ahead` metres away."""

    def motion(seconds: Floats) -> Whereabouts:
        ground, heading = actor.whereabouts(seconds)
        facing = np.deg2rad(heading)
        place = np.stack([ground[:, 0] + ahead * np.cos(facing), np.full(len(seconds), height), ground[:, 1]], -1)
        return Whereabouts(place, ahead * np.sin(facing), np.zeros(len(seconds)))

    return motion


def thrown(start: Floats, end: Floats, begin: float, finish: float) -> Motion:
    """Flies from one place (3,) to another under gravity between two times."""
    duration = finish - begin

    def motion(seconds: Floats) -> Whereabouts:
        u = ((seconds - begin) / duration)[:, None]
        place = np.asarray(start) * (1 - u) + np.asarray(end) * u
        place[:, 1] += 0.5 * GRAVITY * duration**2 * (u * (1 - u))[:, 0]
        return Whereabouts(place, np.full(len(seconds), 0.15), 200 * (seconds - begin))

    return motion


@dataclass(frozen=True)
class Look:
    """Outlines of a thing in its own metres: part centres (T, P, B, 2) x right, y up; radii (T, P, B); colours."""

    centres: Floats
    radii: Floats
    colours: list[Colour]


@dataclass
class Prop:
    """A thing, and its motions in order of time.

    Attributes:
        kind: what it is.
        colour: its main colour.
        size: metres.
        motions: (start, motion) pairs; each holds until the next starts, the first also before.
        openness: for a door, how far it is open in [0, 1] at T times.
        glow: for a signal, its colour at T times as (T, 3) RGB and brightness (T,) in [0, 1].
    """

    kind: PropKind
    colour: Colour
    size: float
    motions: list[tuple[float, Motion]]
    openness: Callable[[Floats], Floats] | None = None
    glow: Callable[[Floats], tuple[Floats, Floats]] | None = None
    _starts: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._starts = np.array([start for start, _ in self.motions])

    def whereabouts(self, seconds: Floats) -> Whereabouts:
        """Where it is at (T,) seconds."""
        current = np.clip(np.searchsorted(self._starts, seconds, side="right") - 1, 0, len(self._starts) - 1)
        place, nearer, angle = np.zeros((len(seconds), 3)), np.zeros(len(seconds)), np.zeros(len(seconds))
        for index in np.unique(current):
            chosen = current == index
            part = self.motions[index][1](seconds[chosen])
            place[chosen], nearer[chosen], angle[chosen] = part.place, part.nearer, part.angle
        return Whereabouts(place, nearer, angle)

    def outlines(self, seconds: Floats, where: Whereabouts, origin: Floats, scale: Floats) -> Outlines:
        """The thing as seen: `origin` (T, 2) pixels is the floor below it, `scale` (T,) pixels in a metre."""
        look = _LOOKS[self.kind](self, seconds, where)
        centres = look.centres * np.array([1.0, -1.0]) * scale[:, None, None, None] + origin[:, None, None]
        centres[..., 1] -= (where.place[:, 1] * scale)[:, None, None]
        corners = hull_corners(centres, look.radii * scale[:, None, None]).astype(np.float32)
        assert corners.shape[2] == CORNERS
        count = corners.shape[1]
        colours = np.tile(np.array(look.colours, np.uint8), (len(seconds), 1, 1))
        if self.glow is not None:
            light, strength = self.glow(seconds)
            colours[:, -2] = colours[:, -2] * (1 - strength[:, None]) + light * strength[:, None]
            white = 255 * strength[:, None] * 0.8 + 0.2 * light
            colours[:, -1] = colours[:, -1] * (1 - strength[:, None]) + white * strength[:, None]
        return Outlines(corners, colours, np.tile(np.arange(count), (len(seconds), 1)))


def _tone(colour: Colour, factor: float) -> Colour:
    red, green, blue = (int(np.clip(value * factor, 0, 255)) for value in colour)
    return red, green, blue


def _hulls(parts: list[list[tuple[float, float, float]]]) -> tuple[Floats, Floats]:
    """Parts given as balls (x, y, radius) to centres (P, B, 2) and radii (P, B), padded by repetition."""
    most = max(len(part) for part in parts)
    balls = np.array([part + part[-1:] * (most - len(part)) for part in parts])
    return balls[..., :2], balls[..., 2]


def _still(parts: list[list[tuple[float, float, float]]], colours: list[Colour], count: int) -> Look:
    centres, radii = _hulls(parts)
    return Look(np.tile(centres, (count, 1, 1, 1)), np.tile(radii, (count, 1, 1)), colours)


def _turned(parts: list[list[tuple[float, float, float]]], colours: list[Colour], degrees: Floats) -> Look:
    look = _still(parts, colours, len(degrees))
    angle = np.deg2rad(degrees)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(-1, 1, 1, 2, 2)
    return Look((turn @ look.centres[..., None])[..., 0], look.radii, colours)


def _ball(prop: Prop, seconds: Floats, where: Whereabouts) -> Look:
    r = prop.size / 2
    band = [(-0.72 * r, 0.3 * r, 0.16 * r), (0.72 * r, 0.3 * r, 0.16 * r)]
    parts = [[(0.0, 0.0, r)], band, [(-0.3 * r, -0.35 * r, 0.28 * r)]]
    return _turned(parts, [prop.colour, _tone(prop.colour, 0.62), _tone(prop.colour, 1.35)], where.angle)


def _box(prop: Prop, seconds: Floats, where: Whereabouts) -> Look:
    w, h, top = prop.size * 0.56, prop.size * 0.42, prop.size * 0.16
    front = [(-w, -h, 0.008), (w, -h, 0.008), (w, h, 0.008), (-w, h, 0.008)]
    lid = [(-w, h, 0.006), (w, h, 0.006), (w * 0.86, h + top, 0.006), (-w * 0.86, h + top, 0.006)]
    tape = [(-w * 0.12, -h, 0.002), (w * 0.12, -h, 0.002), (w * 0.12, h, 0.002), (-w * 0.12, h, 0.002)]
    edge = [(-w, -h, 0.01), (w, -h, 0.01)]
    colours = [prop.colour, _tone(prop.colour, 1.22), _tone(prop.colour, 0.84), _tone(prop.colour, 0.7)]
    return _still([front, lid, tape, edge], colours, len(seconds))


def _seat(prop: Prop, seconds: Floats, where: Whereabouts) -> Look:
    w, h = 0.5 * 0.44, prop.size
    legs = [[(x * 0.86, -0.03, 0.016), (x * 0.7, -h, 0.014)] for x in (-w, w)]
    back_legs = [[(x * 0.5, -0.03, 0.014), (x * 0.42, -h + 0.05, 0.012)] for x in (-w, w)]
    slab = [(-w, -0.025, 0.026), (w, -0.025, 0.026)]
    cushion = [(-w * 0.96, 0.0, 0.014), (w * 0.96, 0.0, 0.014)]
    dark = _tone(prop.colour, 0.55)
    colours = [_tone(dark, 0.75)] * 2 + [dark] * 2 + [_tone(prop.colour, 0.8), prop.colour]
    return _still([*back_legs, *legs, slab, cushion], colours, len(seconds))


def _door(prop: Prop, seconds: Floats, where: Whereabouts) -> Look:
    """A cupboard seen from the front, whose door swings out towards the viewer about its left edge."""
    assert prop.openness is not None
    h, w = prop.size / 2, prop.size * 0.26
    open_share = prop.openness(seconds)
    angle = np.deg2rad(112 * open_share)
    reach, bulge = 2 * w * np.cos(angle), 0.1 * w * np.sin(angle)
    frame = [(-w, -h, 0.02), (w, -h, 0.02), (w, h, 0.02), (-w, h, 0.02)]
    inside = [(-w * 0.92, -h * 0.95, 0.01), (w * 0.92, -h * 0.95, 0.01), (w * 0.92, h * 0.95, 0.01),
              (-w * 0.92, h * 0.95, 0.01)]  # fmt: skip
    shelves = [[(-w * 0.9, y * h, 0.012), (w * 0.9, y * h, 0.012)] for y in (-0.4, 0.1, 0.55)]
    fixed = [frame, inside, *shelves]
    still = _still(fixed, [], len(seconds))
    leaf = np.zeros((len(seconds), 2, 4, 2))
    for corner, (side, y) in enumerate(((0, -1), (1, -1), (1, 1), (0, 1))):
        leaf[:, 0, corner, 0] = -w + side * reach
        leaf[:, 0, corner, 1] = y * (h * 0.97 + side * bulge)
    leaf[:, 1, :, 0] = (-w + 0.88 * reach)[:, None]
    leaf[:, 1, :, 1] = np.array([-0.06, 0.06, 0.06, -0.06]) * h
    radii = np.tile(np.array([[0.012] * 4, [0.018] * 4]), (len(seconds), 1, 1))
    colours = [_tone(prop.colour, 0.72), (52, 46, 44), *[_tone(prop.colour, 0.5)] * 3, prop.colour, (228, 206, 140)]
    return Look(np.concatenate([still.centres, leaf], 1), np.concatenate([still.radii, radii], 1), colours)


def _flag(prop: Prop, seconds: Floats, where: Whereabouts) -> Look:
    """A pole that is held upright and leans to where the lower arm points, with a cloth that ripples."""
    angle = np.deg2rad(180 - 60 * np.sin(np.deg2rad(where.angle)))
    length, strips, width = prop.size, 5, -prop.size * 0.13
    pole = [(0.0, 0.25 * length, 0.012), (0.0, -length, 0.011)]
    look = _turned([pole] + [[(0.0, 0.0, 0.0)] * 4] * strips, [], np.rad2deg(angle))
    cloth = np.zeros((len(seconds), strips + 1, 2, 2))
    for k in range(strips + 1):
        ripple = 0.05 * length * k / strips * np.sin(2 * np.pi * (1.1 * seconds - 0.2 * k))
        cloth[:, k, :, 0] = k * width
        cloth[:, k, 0, 1], cloth[:, k, 1, 1] = -length + ripple, -0.52 * length + ripple
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(-1, 1, 1, 2, 2)
    cloth = (turn @ cloth[..., None])[..., 0]
    for k in range(strips):
        look.centres[:, k + 1] = np.concatenate([cloth[:, k], cloth[:, k + 1]], axis=1)
        look.radii[:, k + 1] = 0.003
    shades = [_tone(prop.colour, factor) for factor in (1.0, 1.12, 0.94, 1.08, 0.9)]
    return Look(look.centres, look.radii, [(110, 80, 52), *shades])


def _lantern(prop: Prop, seconds: Floats, where: Whereabouts) -> Look:
    s = prop.size
    parts = [
        [(-0.2 * s, -0.3 * s, 0.02 * s), (0.0, -0.02 * s, 0.03 * s), (0.2 * s, -0.3 * s, 0.02 * s)],
        [(0.0, -0.28 * s, 0.06 * s), (-0.26 * s, -0.4 * s, 0.03 * s), (0.26 * s, -0.4 * s, 0.03 * s)],
        [(-0.2 * s, -0.44 * s, 0.05 * s), (0.2 * s, -0.44 * s, 0.05 * s), (0.16 * s, -0.9 * s, 0.05 * s),
         (-0.16 * s, -0.9 * s, 0.05 * s)],
        [(-0.2 * s, -0.95 * s, 0.05 * s), (0.2 * s, -0.95 * s, 0.05 * s)],
        [(0.0, -0.62 * s, 0.1 * s), (0.0, -0.76 * s, 0.12 * s)],
    ]  # fmt: skip
    dark = (70, 62, 58)
    return _turned(parts, [dark, dark, prop.colour, dark, _tone(prop.colour, 1.5)], 0.4 * where.angle)


def _signal(prop: Prop, seconds: Floats, where: Whereabouts) -> Look:
    """A lamp on a post; its anchor is the lamp, and the last two parts are the glass and its bright middle."""
    r = prop.size / 2
    parts = [
        [(0.0, -r, 0.03), (0.0, -where.place[0, 1], 0.035)],
        [(-0.12, -where.place[0, 1] + 0.02, 0.03), (0.12, -where.place[0, 1] + 0.02, 0.03)],
        [(-r, -r, 0.05), (r, -r, 0.05), (r, r, 0.05), (-r, r, 0.05)],
        [(0.0, 0.0, r)],
        [(0.0, 0.0, 0.55 * r)],
    ]
    colours = [(74, 76, 84), (60, 62, 70), (44, 46, 54), (92, 94, 100), (108, 110, 116)]
    return _still(parts, colours, len(seconds))


_LOOKS: dict[PropKind, Callable[[Prop, Floats, Whereabouts], Look]] = {
    "ball": _ball,
    "box": _box,
    "seat": _seat,
    "door": _door,
    "flag": _flag,
    "lantern": _lantern,
    "signal": _signal,
}
