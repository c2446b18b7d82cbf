"""Boxes from a file, asked for at any time."""

import numpy as np
import pytest

from muybridge.people.sightings import GivenPeople, sound_boxes
from muybridge.people.tracks import Tracker
from tests.localize.localized_videos import annotations_of, two_people

IMAGE = np.zeros((8, 8, 3), np.uint8)


def source(annotations, min_score=0.0) -> GivenPeople:
    return GivenPeople(annotations, min_score=min_score, tracker=Tracker(rate=1))


def test_between_their_times_boxes_move_evenly() -> None:
    people = source(two_people("yard", [0.0, 1.0, 2.0]))
    sighting = people.look(IMAGE, 0.75)
    assert sighting.ids.tolist() == [0, 1]
    np.testing.assert_allclose(sighting.boxes[1], [0.475, 0.3, 0.675, 0.95], atol=1e-6)


def test_nobody_is_carried_over_a_gap() -> None:
    rows = [("v", t, (0.1, 0.1, 0.3, 0.9), 3, 0) for t in (0.0, 1.0, 2.0, 6.0, 7.0)]
    people = source(annotations_of(rows))
    there = {t: len(people.look(IMAGE, t).ids) for t in (0.0, 1.5, 2.4, 3.0, 4.0, 5.6, 6.5, 7.4, 9.0)}
    assert there == {0.0: 1, 1.5: 1, 2.4: 1, 3.0: 0, 4.0: 0, 5.6: 1, 6.5: 1, 7.4: 1, 9.0: 0}


def test_a_person_with_two_actions_is_one_person() -> None:
    box = (0.1, 0.1, 0.3, 0.9)
    people = source(annotations_of([("v", 0.0, box, 3, 4), ("v", 0.0, box, 12, 4)]))
    assert people.look(IMAGE, 0.0).ids.tolist() == [4]


def test_boxes_without_ids_are_tracked() -> None:
    rows = [("v", t / 5, (0.1 + 0.01 * t, 0.1, 0.3 + 0.01 * t, 0.9), -1, -1) for t in range(10)]
    rows += [("v", t / 5, (0.6, 0.2, 0.8, 0.9), -1, -1) for t in range(10)]
    people = source(annotations_of(rows))
    seen = [people.look(IMAGE, t / 5).ids.tolist() for t in range(10)]
    assert len(seen[0]) == 2
    assert all(ids == seen[0] for ids in seen)


def test_unsure_boxes_do_not_count() -> None:
    rows = [("v", 0.0, (0.1, 0.1, 0.3, 0.9), 3, 0), ("v", 0.0, (0.5, 0.1, 0.7, 0.9), 3, 1)]
    people = source(annotations_of(rows, scores=[0.9, 0.2]), min_score=0.5)
    assert people.look(IMAGE, 0.0).ids.tolist() == [0]


def test_no_boxes_at_all_are_nobody_and_a_note() -> None:
    people = source(two_people("v", []))
    assert len(people.look(IMAGE, 1.0).ids) == 0
    assert people.notes


@pytest.mark.parametrize("box", [(0.5, 0, 0.2, 1), (1.2, 0, 1.5, 1), (0.1, 0.3, 0.1, 0.9), (np.nan, 0, 1, 1)])
def test_boxes_that_are_none_are_left_out(box) -> None:
    boxes, rows = sound_boxes(np.array([box, (0.2, 0.2, 0.4, 0.4)]), 1, 1)
    assert rows.tolist() == [1]
    assert len(boxes) == 1
