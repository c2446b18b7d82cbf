"""Drawings after photographs: the same from the same seed, of the photograph's size, and still of its subject."""

import numpy as np
import pytest

from muybridge.data.drawings import DRAWING_KINDS, draw_photo
from muybridge.data.textures import draw_texture
from muybridge.errors import OptionError


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Dark left, light right, with some texture: what every drawing should still show."""
    ramp = np.linspace(30, 220, 96)[None, :, None] + 0.15 * (draw_texture("splatter", seed=2, size=96) - 128.0)
    return np.clip(ramp, 0, 255).astype(np.uint8)[:80]


@pytest.mark.parametrize("kind", DRAWING_KINDS)
def test_a_drawing_is_its_kind_seed_and_photograph(kind, photo):
    before = photo.copy()
    drawn = draw_photo(kind, photo, seed=5)
    assert drawn.shape == photo.shape
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, draw_photo(kind, photo, seed=5))
    assert not np.array_equal(drawn, draw_photo(kind, photo, seed=6))
    assert not np.array_equal(drawn, draw_photo(kind, photo[:, ::-1], seed=5))
    assert np.array_equal(photo, before)


@pytest.mark.parametrize("kind", DRAWING_KINDS)
def test_most_drawings_keep_light_light_and_dark_dark(kind, photo):
    # A palette may turn light and dark around in a contour drawing or on a dark ground, so most of the seeds must do.
    light = [draw_photo(kind, photo, seed=seed).mean(2) for seed in range(8)]
    assert sum(drawn[:, 64:].mean() > drawn[:, :32].mean() + 2 for drawn in light) >= 5


def test_kinds_differ_under_one_seed(photo):
    assert len({draw_photo(kind, photo, seed=1).tobytes() for kind in DRAWING_KINDS}) == len(DRAWING_KINDS)


def test_an_unknown_kind_is_refused(photo):
    with pytest.raises(OptionError, match="choose from brush"):
        draw_photo("tapestry", photo, seed=0)  # pyright: ignore[reportArgumentType]
