"""What people wear, on pictures whose colours are known."""

import numpy as np
import pytest

from muybridge.people.colours import COLOURS, colours_of, likeness
from muybridge.people.tracks import Tracker

RED, BLUE, GREY = (200, 20, 20), (20, 20, 200), (128, 128, 128)


def street(people: dict[int, tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """People 20 wide and 60 tall at left edges, each of one colour, before grey; the later ones in front."""
    image = np.full((100, 320, 3), GREY, np.uint8)
    for left, colour in people.items():
        image[20:80, left : left + 20] = colour
    return image, np.array([[left, 20, left + 20, 80] for left in people], np.float32)


def test_histograms_are_of_the_middle_of_each_box() -> None:
    found = colours_of(*street({40: RED, 200: BLUE}))
    assert found.shape == (2, COLOURS)
    np.testing.assert_allclose(found.sum(1), 1)
    assert [np.count_nonzero(row) for row in found] == [2, 2]  # one colour, above and below
    np.testing.assert_allclose(likeness(found, found), [[1, 0.2], [0.2, 1]])


@pytest.mark.parametrize("box", [(0, 0, 0.4, 0.4), (319.5, 99.5, 320, 100), (0, 0, 320, 100)])
def test_boxes_of_any_size_within_the_frame_have_colours(box) -> None:
    image, _ = street({})
    np.testing.assert_allclose(colours_of(image, np.array([box])).sum(1), 1)


def test_without_colours_or_people_all_are_alike() -> None:
    assert likeness(np.zeros((2, 0)), np.zeros((3, 0))).tolist() == [[1] * 3] * 2
    assert likeness(np.zeros((2, COLOURS)), np.zeros((0, 0))).shape == (2, 0)


def test_two_who_turn_round_where_they_meet_are_told_apart_by_colour() -> None:
    # They come together and go back: by motion alone they would have passed each other.
    way = [*range(0, 61, 12), *range(48, -1, -12)]
    for with_colours in (True, False):
        tracker = Tracker(rate=5)
        last: dict[str, int] = {}
        for moment, step in enumerate(way):
            image, boxes = street({80 + step: RED, 212 - step: BLUE})
            colours = colours_of(image, boxes) if with_colours else None
            found = tracker.follow(boxes, np.full(2, 0.9), begin_score=0.5, seconds=moment / 5, colours=colours)
            centres = {"red": 90 + step, "blue": 222 - step}
            now = {
                name: int(number)
                for name, centre in centres.items()
                for box, number in zip(found.boxes, found.ids, strict=True)
                if abs((box[0] + box[2]) / 2 - centre) < 1
            }
            if moment == 1:
                last = now
        assert (now == last) == with_colours
