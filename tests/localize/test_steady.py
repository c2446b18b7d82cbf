"""Shown actions do not flicker."""

import numpy as np
import pytest

from muybridge.data.label_maps import LabelMap
from muybridge.errors import OptionError
from muybridge.localize.results import People
from muybridge.localize.steady import SteadyActions

LABELS = LabelMap(("stand", "walk", "wave"), (1, 2, 3), ((0, 1),))


def people(**actions: tuple[float, float, float]) -> People:
    ids = np.array([int(name[1:]) for name in actions], np.int64)
    return People(
        np.tile(np.array([[0.1, 0.1, 0.2, 0.3]], np.float32), (len(ids), 1)),
        ids,
        np.ones(len(ids), np.float32),
        np.array(list(actions.values()), np.float32).reshape(-1, 3),
    )


def shown_over_time(rows, **options):
    steady = SteadyActions(LABELS, **{"threshold": 0.5, "top": 1, **options})
    return [[LABELS.names[c] for c in steady.shown(people(p1=row))[0]] for row in rows]


def test_a_probability_that_hovers_at_the_threshold_is_shown_once_and_stays() -> None:
    rows = [(0.45, 0.1, 0), (0.52, 0.1, 0), (0.47, 0.1, 0), (0.51, 0.1, 0), (0.48, 0.1, 0), (0.2, 0.1, 0)]
    assert shown_over_time(rows) == [[], ["stand"], ["stand"], ["stand"], ["stand"], []]


def test_two_that_exclude_each_other_do_not_take_turns() -> None:
    rows = [(0.51, 0.49, 0), (0.48, 0.52, 0), (0.51, 0.49, 0), (0.36, 0.64, 0), (0.45, 0.55, 0)]
    assert shown_over_time(rows, top=3) == [["stand"], ["stand"], ["stand"], ["walk"], ["walk"]]


def test_classes_that_do_not_exclude_each_other_stand_together_likeliest_first() -> None:
    rows = [(0.6, 0.3, 0.9)]
    assert shown_over_time(rows, top=3) == [["wave", "stand"]]
    assert shown_over_time(rows, top=1) == [["wave"]]
    assert shown_over_time(rows, top=0) == [[]]


def test_the_same_frame_again_changes_nothing() -> None:
    random = np.random.default_rng(0)
    steady = SteadyActions(LABELS, threshold=0.4, top=2)
    for _ in range(200):
        now = people(p1=tuple(random.random(3)))
        first = steady.shown(now)
        assert steady.shown(now) == steady.shown(now) == first


def test_people_are_apart_and_forgotten_when_they_leave() -> None:
    steady = SteadyActions(LABELS, threshold=0.5, top=1)
    assert steady.shown(people(p1=(0.6, 0, 0), p2=(0.4, 0, 0))) == [[0], []]
    assert steady.shown(people(p2=(0.4, 0, 0))) == [[]]
    assert steady.shown(people(p1=(0.4, 0, 0))) == [[]]


def test_nothing_is_shown_of_whom_no_key_frame_has_seen() -> None:
    assert shown_over_time([(np.nan, np.nan, np.nan)], threshold=0.0) == [[]]


def test_top_must_be_a_number_of_actions() -> None:
    with pytest.raises(OptionError, match="top=-1"):
        SteadyActions(LABELS, threshold=0.5, top=-1)
