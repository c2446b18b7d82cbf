"""Who is told of two seconds later, against scenes whose answer is known."""

import numpy as np
import pytest

from muybridge.people.hindsight import WAIT, Hindsight
from muybridge.people.sightings import Sighting
from muybridge.people.tracks import Seen

STEP = 0.2


def box_at(seconds: float) -> np.ndarray:
    """Somebody who walks evenly."""
    return np.array([0.1 + 0.1 * seconds, 0.2, 0.2 + 0.1 * seconds, 0.8], np.float32)


def told(there: list[bool], *, scores=None, believed_from: int = 1, least: float = 0.5):
    """Looks in which somebody is seen or not; what is told of each, and when."""
    hindsight = Hindsight(least_score=least)
    found: dict[int, Sighting] = {}
    came: dict[int, int] = {}
    for number, seen in enumerate(there):
        count = int(seen)
        seconds = number * STEP
        ids = np.full(count, 7 if sum(there[: number + 1]) > believed_from else -1, np.int64)
        given = np.full(count, 0.8 if scores is None else scores[number], np.float32)
        boxes = box_at(seconds)[None][:count]
        live = ids >= 0
        sighting = Sighting(boxes[live], ids[live], given[live], Seen(boxes, np.full(count, 3, np.int64), ids, given))
        for look in hindsight.add(seconds, sighting):
            found[round(look.seconds / STEP)] = look.sighting
            came[round(look.seconds / STEP)] = number
    for look in hindsight.finish():
        found[round(look.seconds / STEP)] = look.sighting
    assert list(found) == list(range(len(there)))
    return found, came


def looks_told(
    looks: list[list[tuple[int, np.ndarray, float]]], *, least: float = 0.5
) -> list[dict[int, np.ndarray]]:
    """Boxes by number of each look, of people given as number, box and score."""
    hindsight = Hindsight(least_score=least)
    told: list[Sighting] = []
    for place, people in enumerate(looks):
        boxes = np.array([box for _, box, _ in people], np.float32).reshape(-1, 4)
        ids = np.array([number for number, _, _ in people], np.int64)
        scores = np.array([score for _, _, score in people], np.float32)
        sighting = Sighting(boxes, ids, scores, Seen(boxes, ids, ids, scores))
        told += [look.sighting for look in hindsight.add(place * STEP, sighting)]
    told += [look.sighting for look in hindsight.finish()]
    return [dict(zip(each.ids.tolist(), each.boxes, strict=True)) for each in told]


def test_each_look_comes_once_in_order_two_seconds_later() -> None:
    found, came = told([True] * 20)
    assert {number: number + round(WAIT / STEP) for number in came} == came
    for number, sighting in found.items():
        assert sighting.ids.tolist() == [7]
        np.testing.assert_allclose(sighting.boxes[0], box_at(number * STEP), atol=1e-6)


def test_who_is_believed_later_was_there_from_the_first_box_on() -> None:
    found, _ = told([False, True, True, True], believed_from=1)
    assert [sighting.ids.tolist() for sighting in found.values()] == [[], [7], [7], [7]]
    never, _ = told([False, True, False, False], believed_from=1)
    assert all(not len(sighting.ids) for sighting in never.values())


@pytest.mark.parametrize(("missing", "filled"), [(1, True), (4, True), (5, False), (9, False)])
def test_gaps_of_a_second_are_filled_and_longer_ones_are_not(missing: int, filled: bool) -> None:
    there = [True] * 3 + [False] * missing + [True] * 3
    found, _ = told(there)
    for number, seen in enumerate(there):
        assert len(found[number].ids) == int(seen or filled)
        if len(found[number].ids):
            np.testing.assert_allclose(found[number].boxes[0], box_at(number * STEP), atol=1e-6)


# Seven looks in a row are missing: 1.6 s from box to box.
@pytest.mark.parametrize(
    ("other", "filled"),
    [
        ([0.0, 0.25, 1.0, 0.95], True),  # stands before the way
        ([0.0, 0.1, 1.0, 0.79], True),  # as far away
        ([0.0, 0.1, 1.0, 0.7], False),  # farther away
        ([0.0, 0.55, 1.0, 0.95], False),  # only the legs are behind it
        ([0.7, 0.25, 1.0, 0.95], False),  # beside it
        (None, False),
    ],
)
def test_longer_gaps_are_filled_where_somebody_stands_before(other, filled: bool) -> None:
    there = [True] * 3 + [False] * 7 + [True] * 3
    one = [[(7, box_at(number * STEP), 0.8)] if seen else [] for number, seen in enumerate(there)]
    extra = [] if other is None else [(1, np.array(other), 0.8)]
    told = looks_told([[*people, *extra] for people in one])
    for number, seen in enumerate(there):
        assert (7 in told[number]) == (seen or filled)
        if 7 in told[number]:
            np.testing.assert_allclose(told[number][7], box_at(number * STEP), atol=1e-6)


def test_behind_others_nobody_is_longer_than_the_wait_nor_behind_who_is_hidden_too() -> None:
    for missing, filled in ((9, True), (10, False)):
        there = [True] * 3 + [False] * missing + [True] * 3
        one = [[(7, box_at(n * STEP), 0.8)] if seen else [] for n, seen in enumerate(there)]
        told = looks_told([[*people, (1, np.array([0.0, 0.1, 1.0, 0.9]), 0.8)] for people in one])
        assert all((7 in each) == (seen or filled) for each, seen in zip(told, there, strict=True))
    both = [[(n, box_at(k * STEP), 0.8) for n in (7, 8)] if not 3 <= k < 10 else [] for k in range(13)]
    assert [len(each) for each in looks_told(both)] == [2] * 3 + [0] * 7 + [2] * 3


@pytest.mark.parametrize(("sway", "told"), [(0.0005, False), (0.03, True), (0.0, True)])
def test_a_box_that_hardly_changes_must_be_surer(sway: float, told: bool) -> None:
    # A sign board trembles with the film's noise; who stands sways; where nothing at all changes, the film stands.
    random = np.random.default_rng(0)
    boxes = np.array([0.4, 0.2, 0.5, 0.8]) + sway * random.standard_normal((15, 4))
    assert all((0 in each) == told for each in looks_told([[(0, box, 0.55)] for box in boxes]))
    assert all(0 in each for each in looks_told([[(0, box, 0.7)] for box in boxes]))


def test_nobody_is_told_of_after_their_last_box() -> None:
    found, _ = told([True] * 4 + [False] * 8)
    assert [len(found[number].ids) for number in range(12)] == [1] * 4 + [0] * 8


def test_who_is_unsure_on_the_whole_is_not_told_of() -> None:
    scores = [0.6] * 10 + [0.3] * 20
    found, _ = told([True] * 30, scores=scores)
    # Of the eleven looks within a second, eight at 0.6 make a mean of 0.52, seven one of 0.49.
    assert [len(found[number].ids) for number in range(30)] == [1] * 8 + [0] * 22


def test_what_needs_no_waiting_does_not_wait() -> None:
    given = Sighting(box_at(0)[None], np.array([4]), np.ones(1, np.float32))
    looks = Hindsight(least_score=0.5).add(2.0, given)
    assert [(look.seconds, look.sighting) for look in looks] == [(2.0, given)]


def test_nothing_is_kept_of_those_who_left() -> None:
    hindsight = Hindsight(least_score=0.5)
    for number in range(200):
        seen = Seen(box_at(0)[None], np.array([number // 10]), np.array([number // 10]), np.ones(1))
        hindsight.add(number * STEP, Sighting(box_at(0)[None], np.array([0]), np.ones(1, np.float32), seen))
    assert len(hindsight._tracks) <= 3 and len(hindsight._ids) <= 3
    assert sum(map(len, hindsight._tracks.values())) <= 3 * WAIT / STEP
