"""Masks of chosen people: where, whom, how softly, and how they come and go."""

from fractions import Fraction

import numpy as np
import pytest

from muybridge.errors import OptionError
from muybridge.localize.masks import PeopleChoice, PeopleMask, parse_people, steady_looks
from muybridge.localize.results import Moment, People

LEFT, RIGHT = (0.1, 0.2, 0.3, 0.8), (0.6, 0.2, 0.8, 0.8)


def people(ids: list[int], boxes: list[tuple[float, ...]], actions: list[list[float]] | None = None) -> People:
    columns = np.zeros((len(ids), 0)) if actions is None else np.array(actions)
    scores = np.ones(len(ids), np.float32)
    return People(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(ids, np.int64), scores, columns.astype(np.float32)
    )


def looks(*ids: int) -> list[Moment]:
    boxes = {1: LEFT, 2: RIGHT}
    return [Moment(t, people(list(ids), [boxes[i] for i in ids])) for t in (0.0, 1.0)]


def test_only_the_chosen_person_is_covered():
    mask = PeopleMask.of_looks(looks(1, 2), PeopleChoice(ids=frozenset({2}))).at(Fraction(0), 100, 200)
    assert mask.shape == (100, 200)
    assert mask[50, 140] == 1  # the middle of the right box
    assert mask[:, :100].max() == 0
    assert mask.min() == 0 and mask.max() == 1


def test_all_but_is_the_opposite():
    chosen = PeopleMask.of_looks(looks(1, 2), PeopleChoice(ids=frozenset({1}))).at(Fraction(0), 60, 90)
    other = PeopleMask.of_looks(looks(1, 2), PeopleChoice(ids=frozenset({1}), all_but=True)).at(Fraction(0), 60, 90)
    np.testing.assert_allclose(chosen + other, 1, atol=1e-6)


def test_the_edge_is_soft():
    mask = PeopleMask.of_looks(looks(1), PeopleChoice()).at(Fraction(0), 200, 200)
    row = mask[100]
    assert ((row > 0.05) & (row < 0.95)).sum() >= 8
    assert np.abs(np.diff(row)).max() < 0.35


def test_someone_who_leaves_fades():
    moments = [Moment(0.0, people([1], [LEFT])), Moment(1.0, people([], [])), Moment(2.0, people([], []))]
    mask = PeopleMask.of_looks(moments, PeopleChoice())
    shares = [float(mask.at(Fraction(n, 10), 50, 50)[25, 10]) for n in range(20)]
    assert shares[0] == 1 and shares[-1] == 0
    assert np.all(np.diff(shares) <= 1e-6)
    assert sum(0 < share < 1 for share in shares) >= 3


class Acting:
    """Two people, of whom the first runs and the second's doings are not known yet."""

    def at(self, seconds: float) -> People:
        del seconds
        return people([1, 2], [LEFT, RIGHT], [[0.9, 0.1], [float("nan"), float("nan")]])


def test_only_those_who_do_it_are_covered():
    mask = PeopleMask(Acting(), PeopleChoice(actions=("run",)), ("run", "sit")).at(Fraction(0), 100, 100)
    assert mask[50, 20] == 1
    assert mask[:, 55:].max() == 0


def test_an_unknown_action_names_the_known_ones():
    with pytest.raises(OptionError, match="run, sit"):
        PeopleMask(Acting(), PeopleChoice(actions=("fly",)), ("run", "sit"))


def test_people_are_named_by_number():
    assert parse_people(["person=2", "person=3,5"]) == {2, 3, 5}
    assert parse_people(["person"]) == frozenset()
    for wrong in ("dog", "person=", "person=two"):
        with pytest.raises(OptionError, match="--who"):
            parse_people([wrong])


def moments(boxes: np.ndarray, *, every: float = 0.2, present: list[int] | None = None) -> list[Moment]:
    """Looks at one person, who is seen in those of `present`."""
    seen = range(len(boxes)) if present is None else present
    return [
        Moment(n * every, people([7], [tuple(box)]) if n in seen else people([], []))
        for n, box in enumerate(boxes.tolist())
    ]


def test_a_standing_persons_box_stands_still():
    noise = np.random.default_rng(0).normal(0, 0.01, (40, 4))
    looks = steady_looks(moments(np.array(LEFT) + noise))
    after = np.concatenate([look.people.boxes for look in looks])
    assert np.abs(np.diff(after, axis=0)).mean() < np.abs(np.diff(noise, axis=0)).mean() / 4
    np.testing.assert_allclose(after.mean(0), LEFT, atol=0.005)


def test_who_moves_evenly_is_followed_without_lag():
    boxes = np.array(LEFT) + np.arange(12)[:, None] * [0.02, 0.01, 0.025, 0.01]
    after = np.concatenate([look.people.boxes for look in steady_looks(moments(boxes))])
    np.testing.assert_allclose(after, boxes, atol=1e-5)


def test_a_short_absence_is_filled_and_a_long_one_is_not():
    boxes = np.tile(np.array(LEFT), (20, 1))
    counts = [len(look.people) for look in steady_looks(moments(boxes, present=[0, 1, 4, 5, 16, 17]))]
    assert counts == [1] * 6 + [0] * 10 + [1] * 2 + [0] * 2


def test_who_only_flashes_up_is_left_out():
    boxes = np.tile(np.array(LEFT), (20, 1))
    assert not any(len(look.people) for look in steady_looks(moments(boxes, present=[5, 6, 7])))
    assert sum(len(look.people) for look in steady_looks(moments(boxes, present=[5, 6, 7, 8]))) == 4
    assert len(steady_looks(moments(boxes[:2]))[0].people) == 1  # in a film as short, it is all that there is


def test_nobody_and_a_single_look_stay_as_they_are():
    assert steady_looks([]) == []
    (only,) = steady_looks(moments(np.array([LEFT])))
    np.testing.assert_allclose(only.people.boxes, [LEFT], atol=1e-6)
    assert only.people.ids.tolist() == [7]
