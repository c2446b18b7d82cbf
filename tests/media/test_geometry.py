"""Which way up a picture is shown, and how large."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from muybridge.media.geometry import Orientation, orientation_of, scaled_size, shown_size

ONE = 1 << 16
IMAGE = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3)


def moved(image: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Pixel by pixel, x' = a x + c y and y' = b x + d y about the middle, as ISO 14496-12 has it."""
    height, width = image.shape[:2]
    out = np.zeros((height, width, 3) if a else (width, height, 3), np.uint8)
    for y, x in itertools.product(range(height), range(width)):
        across, down = 2 * x - width + 1, 2 * y - height + 1
        out[(b * across + d * down + out.shape[0] - 1) // 2, (a * across + c * down + out.shape[1] - 1) // 2] = image[
            y, x
        ]
    return out


EIGHT = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


@pytest.mark.parametrize("matrix", EIGHT)
@pytest.mark.parametrize("size", [1, 0.5])
def test_each_of_the_eight_ways(matrix: tuple[int, ...], size: float) -> None:
    a, b, c, d = (round(value * ONE * size) for value in matrix)
    orientation = orientation_of([a, b, 0, c, d, 0, 0, 0, 1 << 30])
    np.testing.assert_array_equal(orientation.upright(IMAGE), moved(IMAGE, *matrix))
    assert orientation.tilt_degrees == pytest.approx(0, abs=1e-4)
    assert orientation.is_sideways == (matrix[0] == 0)


@pytest.mark.parametrize("degrees", [-40, -2, 2, 30])
@pytest.mark.parametrize("matrix", EIGHT)
def test_a_tilt_is_rounded_to_the_nearest_and_told(matrix: tuple[int, ...], degrees: float) -> None:
    a, b, c, d = matrix
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    tilted = [cos * a - sin * b, sin * a + cos * b, 0, cos * c - sin * d, sin * c + cos * d, 0, 0, 0, 1]
    orientation = orientation_of([round(value * ONE) for value in tilted])
    np.testing.assert_array_equal(orientation.upright(IMAGE), moved(IMAGE, *matrix))
    assert orientation.tilt_degrees == pytest.approx(abs(degrees), abs=0.01)


def test_a_matrix_of_nothing_leaves_the_picture() -> None:
    assert orientation_of([0] * 9) == Orientation()


# Rec. ITU-R BT.601 pictures on square pixels, as EBU and SMPTE list them, and an anamorphic cinema lens.
@pytest.mark.parametrize(
    ("stored", "aspect", "shown"),
    [
        ((720, 576), Fraction(64, 45), (1024, 576)),
        ((720, 576), Fraction(16, 15), (768, 576)),
        ((704, 480), Fraction(10, 11), (704, 528)),
        ((1920, 1080), Fraction(2), (3840, 1080)),
        ((640, 480), None, (640, 480)),
        ((640, 480), Fraction(0), (640, 480)),
        ((640, 480), Fraction(1, 5000), (640, 480)),
        ((640, 480), Fraction(5000), (640, 480)),
        ((9000, 9000), Fraction(3, 2), (9000, 9000)),  # would be too large
    ],
)
def test_pixels_that_are_not_square(stored: tuple[int, int], aspect: Fraction | None, shown: tuple[int, int]) -> None:
    assert shown_size(*stored, aspect, Orientation()) == shown
    assert shown_size(*stored, aspect, Orientation(quarter_turns=1)) == shown[::-1]


def test_scaling_to_a_short_side() -> None:
    assert scaled_size(1920, 1080, 256, name="x") == (455, 256)
    assert scaled_size(10, 4000, 1, name="x") == (1, 400)
    assert scaled_size(33, 44, None, name="x") == (33, 44)
