"""Textures: the same from the same seed, different from another, and of some contrast."""

import numpy as np
import pytest

from muybridge.data.textures import TEXTURE_KINDS, draw_texture
from muybridge.errors import OptionError


@pytest.mark.parametrize("kind", TEXTURE_KINDS)
def test_a_texture_is_its_kind_seed_and_size(kind):
    texture = draw_texture(kind, seed=3, size=65)
    assert texture.shape == (65, 65, 3)
    assert texture.dtype == np.uint8
    assert np.array_equal(texture, draw_texture(kind, seed=3, size=65))
    assert not np.array_equal(texture, draw_texture(kind, seed=4, size=65))
    assert texture.std() > 4


def test_kinds_differ_under_one_seed():
    drawn = [draw_texture(kind, seed=1, size=48).tobytes() for kind in TEXTURE_KINDS]
    assert len(set(drawn)) == len(TEXTURE_KINDS)


def test_unknown_kinds_and_tiny_sizes_are_refused():
    with pytest.raises(OptionError, match="choose from strokes"):
        draw_texture("tartan", seed=0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(OptionError, match="size=16"):
        draw_texture("waves", seed=0, size=16)
