"""One clip, two clips."""

import pytest

from muybridge.counts import counted


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, ("clip",), "0 clips"),
        (1, ("clip",), "1 clip"),
        (2, ("clip",), "2 clips"),
        (1, ("class",), "1 class"),
        (3, ("class",), "3 classes"),
        (3, ("true box",), "3 true boxes"),
        (1, ("person", "people"), "1 person"),
        (0, ("person", "people"), "0 people"),
    ],
)
def test_a_noun_agrees_with_its_number(number, noun, said):
    assert counted(number, *noun) == said
