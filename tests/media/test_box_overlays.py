"""People drawn on frames: there to be read on any ground, and inside the picture."""

import numpy as np
import pytest

from muybridge.media.box_overlays import BoxLabel, draw_people, person_colour

GROUNDS = {
    "black": np.zeros(3),
    "white": np.full(3, 255),
    "grey": np.full(3, 128),
    **{f"like person {i}": np.array(person_colour(i)) for i in range(8)},
}


def ground(colour) -> np.ndarray:
    return np.broadcast_to(np.asarray(colour, np.uint8), (240, 320, 3)).copy()


def luminance(pixels: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB, as WCAG 2 defines it."""
    share = pixels / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other) -> float:
    high, low = max(one, other), min(one, other)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", GROUNDS)
def test_outline_and_words_stand_out_from_any_ground(name) -> None:
    frame = ground(GROUNDS[name])
    person = BoxLabel((100, 100, 160, 200), 0, [("walk", 0.81), ("carry", 0.4)])
    drawn = draw_people(frame, [person])
    # Across the middle of the left side: somewhere the outline must differ from the ground, by 3 to 1 or more.
    ground_light = float(luminance(GROUNDS[name]))
    side = luminance(drawn[170, 94:108].astype(float))
    assert max(contrast(float(value), ground_light) for value in side) >= 3
    # The plate: white letters on a plate that lets little through, 4.5 to 1 as WCAG asks of text.
    rows, columns = np.nonzero((drawn != frame).any(-1)[:97])
    area = drawn[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    plate = luminance(area.reshape(-1, 3).astype(float))
    assert contrast(float(np.quantile(plate, 0.995)), float(np.median(plate))) >= 4.5


def test_what_is_known_stands_without_a_figure_and_its_bar() -> None:
    frame, box = np.zeros((240, 320, 3), np.uint8), (100, 100, 160, 200)

    def coloured_and_lettered(*actions: tuple[str, float | None]) -> tuple[int, int]:
        drawn = draw_people(frame, [BoxLabel(box, 0, actions)])
        return int((drawn == person_colour(0)).all(-1).sum()), int((drawn > 150).all(-1).sum())

    person, guessed, known = (coloured_and_lettered(*actions) for actions in ((), [("walk", 1.0)], [("walk", None)]))
    assert guessed[0] > known[0] == person[0]
    assert guessed[1] > known[1] > person[1]


def test_the_frame_itself_is_left_alone() -> None:
    frame = ground(GROUNDS["grey"])
    before = frame.copy()
    draw_people(frame, [BoxLabel((10, 10, 50, 50), 1)])
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(draw_people(frame, []), before)


@pytest.mark.parametrize(
    "box", [(0, 0, 320, 240), (-40, -30, 20, 20), (310, 230, 400, 300), (5, 5, 5, 5), (0, 0, 1, 240)]
)
def test_boxes_at_and_beyond_the_edge_are_drawn_as_far_as_they_are_there(box) -> None:
    drawn = draw_people(ground(GROUNDS["grey"]), [BoxLabel(box, 3, [("a long name of an action", 0.5)] * 3)])
    assert drawn.shape == (240, 320, 3)
    assert (drawn != 128).any()


def test_plates_of_neighbours_do_not_hide_each_other() -> None:
    people = [BoxLabel((20 + 6 * i, 110, 60 + 6 * i, 220), i, [("walk", 0.9)]) for i in range(4)]
    drawn = draw_people(ground(GROUNDS["grey"]), people)
    # Each plate carries a tag in its person's own colour; were one covered, its area would be missing.
    alone = draw_people(ground(GROUNDS["grey"]), people[:1])
    tag = (alone[:108] == person_colour(0)).all(-1).sum()
    for i in range(4):
        count = (drawn == person_colour(i)).all(-1).sum()
        assert count >= 0.7 * tag


def test_a_crowd_keeps_its_picture() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, (280, 200), (300, 2))
    people = [BoxLabel((x, y, x + 30, y + 40), i, [("walk", 0.9)] * 3) for i, (x, y) in enumerate(corners)]
    drawn = draw_people(ground(GROUNDS["grey"]), people)
    assert (drawn != 128).any(-1).mean() < 0.9


def painted_outside(drawn: np.ndarray, boxes, margin: int = 4) -> np.ndarray:
    """(H, W) bool: what was drawn away from the outlines of the boxes."""
    changed = (drawn != 128).any(-1)
    for left, top, right, bottom in boxes:
        for rows, columns in (
            (slice(top - margin, top + margin), slice(left - margin, right + margin)),
            (slice(bottom - margin, bottom + margin), slice(left - margin, right + margin)),
            (slice(top - margin, bottom + margin), slice(left - margin, left + margin)),
            (slice(top - margin, bottom + margin), slice(right - margin, right + margin)),
        ):
            changed[rows, columns] = False
    return changed


def test_words_lie_on_nobody_where_there_is_room() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        boxes = [(20 + 100 * i + int(random.integers(0, 30)), 60 + int(random.integers(0, 60))) for i in range(3)]
        boxes = [(x, y, x + 25, y + 80) for x, y in boxes]
        people = [BoxLabel(box, i, [("walk", 0.9)]) for i, box in enumerate(boxes)]
        outside = painted_outside(draw_people(ground(GROUNDS["grey"]), people), boxes)
        assert outside.sum() > 3 * 300  # all three have words
        for left, top, right, bottom in boxes:
            assert not outside[top:bottom, left:right].any()


def test_a_dense_crowd_gets_no_words_over_its_neighbours() -> None:
    boxes = [(20 + 16 * (i % 17), 40 + 34 * (i // 17), 34 + 16 * (i % 17), 70 + 34 * (i // 17)) for i in range(24)]
    people = [BoxLabel(box, i, [("walk", 0.5)]) for i, box in enumerate(boxes)]
    letters = (draw_people(ground(GROUNDS["grey"]), people) > 200).all(-1)
    assert letters.any()  # the outermost have room
    for left, top, right, bottom in boxes:
        assert not letters[top:bottom, left:right].any()


def test_where_there_is_no_room_but_on_people_faces_stay_free() -> None:
    boxes = [(6 + 26 * i, 6, 30 + 26 * i, 234) for i in range(12)]
    people = [BoxLabel(box, i, [("walk", 0.9)]) for i, box in enumerate(boxes)]
    drawn = painted_outside(draw_people(ground(GROUNDS["grey"]), people), boxes)
    assert drawn.any()  # the identities
    for left, top, right, bottom in boxes:
        assert not drawn[top : top + (bottom - top) // 4, left + 6 : right - 6].any()


def test_letters_can_be_read_in_small_films() -> None:
    person = BoxLabel((40, 60, 80, 140), 0, [("H", None)])
    drawn = draw_people(ground(GROUNDS["black"])[:160], [person])
    rows = np.flatnonzero((drawn > 200).all(-1).any(1))
    assert rows.max() - rows.min() + 1 >= 7  # a capital letter, in pixels
