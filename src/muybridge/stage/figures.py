"""What figures look like: clothes and proportions, and the outlines that a posed body is drawn with.

Every part of a body is the convex hull of one to four balls that sit on joints: a limb is two balls, a trunk four, a
head one. Seen from any side, its outline follows from the balls' projected centres and radii alone.

Shapes: T poses, J joints, P parts, K corners of an outline.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from muybridge.stage.skeleton import JOINT, Body, Floats

Colour = tuple[int, int, int]
CORNERS = 28  # of every outline; at the largest size drawn they are 3 % of a radius off the circle
_ANGLES = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
_DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)

_SKIN = ((255, 219, 190), (241, 194, 155), (224, 172, 128), (198, 134, 89), (141, 85, 54), (96, 60, 42))
_HAIR = ((38, 28, 26), (74, 48, 36), (120, 78, 44), (176, 124, 62), (222, 184, 110), (150, 58, 36), (168, 168, 172))
_CLOTHES = (
    (214, 69, 65), (235, 149, 50), (244, 208, 96), (92, 158, 98), (46, 125, 120), (62, 134, 196), (52, 73, 120),
    (128, 88, 160), (214, 112, 150), (242, 238, 228), (150, 156, 162), (58, 62, 70), (120, 144, 86), (176, 92, 62),
)  # fmt: skip
_TROUSERS = (
    (46, 58, 92), (38, 42, 50), (92, 84, 74), (70, 96, 130), (132, 108, 80), (84, 96, 84),
    (168, 158, 138), (86, 52, 58),
)  # fmt: skip
_SHOES = ((40, 36, 36), (240, 240, 240), (120, 70, 40), (190, 60, 56), (60, 84, 120))


@dataclass(frozen=True)
class Appearance:
    """One figure's looks. Colours are RGB in [0, 255].

    Attributes:
        body: proportions.
        skin, hair, shirt, trousers, shoes: colours.
        long_sleeves: the shirt covers the lower arm.
        legwear: how far the lower garment goes.
        hairstyle: shape of the hair; a cap has the shirt's colour.
    """

    body: Body = field(default_factory=Body)
    skin: Colour = _SKIN[1]
    hair: Colour = _HAIR[1]
    shirt: Colour = _CLOTHES[5]
    trousers: Colour = _TROUSERS[0]
    shoes: Colour = _SHOES[0]
    long_sleeves: bool = True
    legwear: str = "trousers"
    hairstyle: str = "short"


LEGWEAR = ("trousers", "shorts", "skirt")
HAIRSTYLES = ("short", "long", "bun", "cap", "bald")


def random_appearance(random: np.random.Generator, *, child_share: float = 0.15) -> Appearance:
    """Clothes, hair, skin and proportions drawn independently of each other."""
    if random.random() < child_share:
        body = Body(random.uniform(1.05, 1.4), random.uniform(0.85, 1.05), random.uniform(1.25, 1.45), 0.92)
    else:
        body = Body(
            random.uniform(1.52, 1.94),
            random.uniform(0.82, 1.35),
            random.uniform(1.0, 1.15),
            random.uniform(0.96, 1.06),
        )

    def choose(palette: tuple[Colour, ...], jitter: float) -> Colour:
        base = np.array(palette[random.integers(len(palette))]) * random.uniform(0.92, 1.06)
        red, green, blue = np.clip(base + random.normal(0, jitter, 3), 8, 250)
        return int(red), int(green), int(blue)

    return Appearance(
        body, choose(_SKIN, 3), choose(_HAIR, 4), choose(_CLOTHES, 9), choose(_TROUSERS, 6), choose(_SHOES, 4),
        long_sleeves=bool(random.random() < 0.6),
        legwear=str(random.choice(LEGWEAR, p=[0.68, 0.17, 0.15])),
        hairstyle=str(random.choice(HAIRSTYLES, p=[0.4, 0.25, 0.13, 0.14, 0.08])),
    )  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """Hull of balls, (joint, radius in body heights) pairs, sorted nearer by `bias` than its joints are."""

    balls: tuple[tuple[str, float], ...]
    colour: Colour
    bias: float = 0.0
    front_only: bool = False
    shift: tuple[float, float] = (0.0, 0.0)  # across the picture, body heights: towards the light
    thick: bool = True  # its radii grow with the figure's girth


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(value * factor + (16 if factor > 1 else 0))) for value in colour)
    return red, green, blue


def _lit(part: _Part, strength: float = 1.10, size: float = 0.62) -> list[_Part]:
    """A part and, on it, a smaller lighter one moved towards the light, which makes it look round."""
    radius = max(r for _, r in part.balls)
    balls = tuple((joint, r * size) for joint, r in part.balls)
    light = replace(
        part, balls=balls, colour=_shade(part.colour, strength), bias=part.bias + 1e-4,
        shift=(-0.26 * radius, 0.22 * radius),
    )  # fmt: skip
    return [part, light]


def _limbs(look: Appearance, side: str) -> list[_Part]:
    """Arm and leg of one side."""
    sleeve = look.shirt if look.long_sleeves else look.skin
    shin = look.trousers if look.legwear == "trousers" else look.skin
    thigh = look.skin if look.legwear == "skirt" else look.trousers
    return [
        _Part(
            ((f"heel_{side}", 0.02), (f"toe_{side}", 0.017), (f"ankle_{side}", 0.02)), look.shoes, -0.06, thick=False
        ),
        *_lit(_Part(((f"knee_{side}", 0.034), (f"ankle_{side}", 0.024)), shin, -0.052)),
        *_lit(_Part(((f"hip_{side}", 0.052), (f"knee_{side}", 0.036)), thigh, -0.05)),
        _Part(((f"hand_{side}", 0.025),), look.skin, 0.032, thick=False),
        _Part(((f"elbow_{side}", 0.0255), (f"wrist_{side}", 0.02)), sleeve, 0.031),
        *_lit(_Part(((f"shoulder_{side}", 0.034), (f"elbow_{side}", 0.0275)), look.shirt, 0.03)),
    ]


def _head(look: Appearance) -> list[_Part]:
    """Neck, face and hair. Hair lies a little behind the face, so that it frames it from the front and hides it from
    behind."""
    size = look.body.head
    face = _shade(look.skin, 0.45)
    parts = [
        _Part((("neck", 0.027), ("head", 0.026)), _shade(look.skin, 0.88), 0.002, thick=False),
        *_lit(_Part((("head", 0.064 * size),), look.skin, 0.012, thick=False), 1.05, 0.7),
        _Part((("nose", 0.0125 * size),), _shade(look.skin, 0.97), 0.013, thick=False),
        _Part((("eye_l", 0.0085 * size),), face, 0.02, front_only=True, thick=False),
        _Part((("eye_r", 0.0085 * size),), face, 0.02, front_only=True, thick=False),
    ]
    if look.hairstyle == "bald":
        return parts
    hair = look.shirt if look.hairstyle == "cap" else look.hair
    parts += _lit(_Part((("crown", 0.066 * size),), hair, 0.004, thick=False), 1.1, 0.6)
    parts.append(_Part((("crown", 0.05 * size),), hair, 0.018, shift=(0, 0.031 * size), thick=False))
    if look.hairstyle == "long":
        parts.append(_Part((("crown", 0.06 * size), ("nape", 0.058 * size)), hair, 0.003, thick=False))
    if look.hairstyle == "bun":
        parts.append(_Part((("crown", 0.034 * size),), hair, 0.002, shift=(0, 0.078 * size), thick=False))
    return parts


def _parts(look: Appearance) -> list[_Part]:
    trunk = (("shoulder_l", 0.038), ("shoulder_r", 0.038), ("hip_l", 0.05), ("hip_r", 0.05))
    parts = [
        *_lit(_Part(trunk, look.shirt, 0.012), 1.06, 0.66),
        _Part((("hip_l", 0.053), ("hip_r", 0.053)), look.trousers, -0.02),
        *_limbs(look, "l"),
        *_limbs(look, "r"),
        *_head(look),
    ]
    if look.legwear == "skirt":
        skirt = (("hip_l", 0.056), ("hip_r", 0.056), ("knee_l", 0.056), ("knee_r", 0.056))
        parts += _lit(_Part(skirt, look.trousers, 0.045), 1.07, 0.7)
    return parts


@dataclass(frozen=True)
class Outlines:
    """Polygons of one figure or object over time.

    Attributes:
        corners: (T, P, K, 2) float32 x, y in pixels.
        colours: (T, P, 3) uint8 RGB.
        order: (T, P) int, indices of parts from far to near; hidden parts are -1.
    """

    corners: NDArray[np.float32]
    colours: NDArray[np.uint8]
    order: NDArray[np.int64]


def hull_corners(centres: Floats, radii: Floats) -> Floats:
    """Outline of the convex hull of discs: centres (..., B, 2) and radii (..., B) to corners (..., K, 2).

    In each of K directions the hull's outermost point lies on the disc that reaches furthest.
    """
    reach = centres @ _DIRECTIONS.T + radii[..., None]
    furthest = reach.argmax(axis=-2)
    centre = np.take_along_axis(centres, furthest[..., None], axis=-2)
    radius = np.take_along_axis(radii, furthest, axis=-1)
    return centre + radius[..., None] * _DIRECTIONS


class Figure:
    """A dressed body, ready to be outlined in any pose."""

    def __init__(self, look: Appearance) -> None:
        self.look = look
        parts = _parts(look)
        balls = max(len(part.balls) for part in parts)
        # Parts with fewer balls repeat their last one, which leaves a hull as it is.
        padded = [part.balls + part.balls[-1:] * (balls - len(part.balls)) for part in parts]
        self._joints = np.array([[JOINT[joint] for joint, _ in part] for part in padded])
        girth = np.array([look.body.girth if part.thick else 1.0 for part in parts])
        self._radii = (
            np.array([[radius for _, radius in part] for part in padded]) * girth[:, None] * look.body.height
        )
        self._colours = np.array([part.colour for part in parts], np.float64)
        self._bias = np.array([part.bias for part in parts]) * look.body.height
        self._shift = np.array([part.shift for part in parts]) * look.body.height
        self._front_only = np.array([part.front_only for part in parts])

    def outlines(self, joints: Floats, origin: Floats, scale: Floats) -> Outlines:
        """The figure as seen.

        Args:
            joints: (T, J, 3) metres, relative to the place on the floor.
            origin: (T, 2) pixels, where that place is in the picture.
            scale: (T,) pixels in a metre there.
        """
        balls = joints[:, self._joints]
        centres = balls[..., :2] + self._shift[:, None]
        flat = np.stack([centres[..., 0], -centres[..., 1]], -1) * scale[:, None, None, None] + origin[:, None, None]
        corners = hull_corners(flat, self._radii * scale[:, None, None])
        depth = balls[..., 2].mean(axis=2) + self._bias
        order = np.argsort(depth, axis=1, kind="stable")
        away = self._front_only & (depth < joints[:, JOINT["head"], 2][:, None] + self._bias)
        order = np.where(np.take_along_axis(away, order, axis=1), -1, order)
        # Light comes from the viewer: what is further back in the body is a little darker.
        shade = 1 + 0.55 * np.clip(depth - joints[:, JOINT["pelvis"], 2][:, None], -0.28, 0.12)
        colours = np.clip(self._colours * shade[..., None], 0, 255).astype(np.uint8)
        return Outlines(corners.astype(np.float32), colours, order)
