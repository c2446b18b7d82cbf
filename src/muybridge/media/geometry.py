"""From stored pixels to what is shown: pixel aspect, display matrix, size."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import acos, degrees, hypot

import numpy as np
from numpy.typing import NDArray

from muybridge.errors import BrokenMedia, OptionError
from muybridge.media.container import MOST_PIXELS

UInt8 = NDArray[np.uint8]

# Stored pixels of films are at most about 3 times as wide as high; beyond this the file is wrong.
_MOST_PIXEL_ASPECT = 8


@dataclass(frozen=True)
class Orientation:
    """How a stored picture is brought upright: mirrored first, then turned.

    Attributes:
        mirrored: left and right change places.
        quarter_turns: counter-clockwise, 0 to 3.
        tilt_degrees: what the file's matrix turns beyond that, which is not applied.
    """

    mirrored: bool = False
    quarter_turns: int = 0
    tilt_degrees: float = 0.0

    @property
    def is_sideways(self) -> bool:
        """Whether width and height change places."""
        return self.quarter_turns % 2 == 1

    def upright(self, image: UInt8) -> UInt8:
        """A stored picture (h, w, 3) as it is shown."""
        mirrored = image[:, ::-1] if self.mirrored else image
        return np.ascontiguousarray(np.rot90(mirrored, self.quarter_turns))


def orientation_of(matrix: Sequence[int]) -> Orientation:
    """The nearest of the eight ways to lay a rectangle on a rectangle.

    Args:
        matrix: a b u c d v x y w of ISO 14496-12, 8.5.2: x' = a x + c y, y' = b x + d y with y downwards.
    """
    a, b, _, c, d, *_ = (float(value) for value in matrix)
    size = hypot(a, b, c, d)
    if size == 0:
        return Orientation()
    best, agreement = Orientation(), -1.0
    for mirrored in (False, True):
        for turns in range(4):
            # Counter-clockwise with y downwards; a mirror negates what comes from x.
            cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns]
            flip = -1 if mirrored else 1
            here = (a * flip * cos - b * flip * sin + c * sin + d * cos) / (size * 2**0.5)
            if here > agreement + 1e-9:
                best, agreement = Orientation(mirrored, turns), here
    return Orientation(best.mirrored, best.quarter_turns, degrees(acos(min(1.0, agreement))))


def shown_size(width: int, height: int, pixel_aspect: Fraction | None, orientation: Orientation) -> tuple[int, int]:
    """(width, height) on a screen of square pixels: the side that is short of pixels grows."""
    aspect = pixel_aspect or Fraction(1)
    growth = max(aspect, 1 / aspect) if aspect > 0 else _MOST_PIXEL_ASPECT + 1
    if growth > _MOST_PIXEL_ASPECT or width * height * growth > MOST_PIXELS:
        aspect = Fraction(1)
    if aspect > 1:
        width = round(width * aspect)
    elif aspect < 1:
        height = round(height / aspect)
    return (height, width) if orientation.is_sideways else (width, height)


def check_size(size: tuple[int, int] | None, short_side: int | None) -> None:
    """Refuse sizes below one pixel, and two wishes at once."""
    if size is not None and short_side is not None:
        raise OptionError("size and short_side were both given: choose one")
    if size is not None and min(size) < 1:
        raise OptionError(f"size={size} must be 1 or more pixels each way")
    if short_side is not None and short_side < 1:
        raise OptionError(f"short_side={short_side} must be 1 or more pixels")


def scaled_size(width: int, height: int, short_side: int | None, *, name: str) -> tuple[int, int]:
    """(width, height) with the short side as asked, aspect kept.

    Args:
        name: of the film, for the error.

    Raises:
        BrokenMedia: it is so thin that it would become too large.
    """
    if short_side is None:
        return width, height
    scale = Fraction(short_side, min(width, height))
    scaled = max(1, round(width * scale)), max(1, round(height * scale))
    if scaled[0] * scaled[1] > MOST_PIXELS:
        raise BrokenMedia(
            f"{name} has frames of {width}x{height}, which at a short side of {short_side} would have more than "
            f"{MOST_PIXELS / 1e6:.0f} million pixels. Cut them first"
        )
    return scaled
