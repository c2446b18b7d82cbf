"""Identities against scenes whose answer is known, and against a textbook Kalman filter."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muybridge.data.annotations.table import AnnotationRows
from muybridge.errors import AnnotationError, OptionError
from muybridge.people.tracks import Tracker, TrackerConfig, _assign, action_tubes


def box(x: float, y: float = 100, width: float = 40, height: float = 100) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def follow(tracker: Tracker, frames: list[list[list[float]]], scores: list[list[float]] | None = None):
    given = scores or [[0.9] * len(boxes) for boxes in frames]
    return [
        tracker.update(np.array(boxes, np.float32).reshape(-1, 4), np.array(each, np.float32)).tolist()
        for boxes, each in zip(frames, given, strict=True)
    ]


def test_two_who_pass_each_other_keep_their_identities() -> None:
    # 60 pixels of speed a second each, in opposite directions; one is twice as far away from the camera.
    left = [box(50 + 4 * t) for t in range(30)]
    right = [box(166 - 4 * t, y=90, height=80) for t in range(30)]
    seen = follow(
        Tracker(rate=15), [[a, b] if t % 2 else [b, a] for t, (a, b) in enumerate(zip(left, right, strict=True))]
    )
    assert [ids if t % 2 else ids[::-1] for t, ids in enumerate(seen)] == [[1, 0]] * 30


def test_two_who_pass_at_different_distances_between_looks_are_not_exchanged() -> None:
    # Each box then overlaps the other's last one by more than their own; but nobody halves their height.
    def moment(near: float, far: float) -> list[list[float]]:
        return [box(near, y=100, width=60, height=200), box(far, y=75, width=50, height=110)]

    assert follow(Tracker(rate=5), [moment(100, 150)] * 5 + [moment(130, 115)])[-1] == [0, 1]


def test_someone_hidden_for_a_while_is_known_again_where_they_were_going() -> None:
    frames = [[] if 12 <= t < 24 else [box(50 + 3 * t)] for t in range(36)]
    ids = follow(Tracker(rate=15), frames)
    assert all(found == [0] for found in ids if found)
    # It is the motion that tells: whoever is found where the first one vanished is somebody else.
    standing = [box(50 + 9 * t) if t < 12 else box(50) for t in range(36)]
    frames = [[] if 12 <= t < 24 else [standing[t]] for t in range(36)]
    assert follow(Tracker(rate=15), frames)[-1] == [1]


def test_one_gone_for_long_is_forgotten() -> None:
    still = [[box(50)]] * 5 + [[]] * 50 + [[box(50)]]
    assert follow(Tracker(rate=15), still)[-1] == [1]
    assert follow(Tracker(rate=15, config=TrackerConfig(lost_seconds=5)), still)[-1] == [0]


def test_frames_that_were_left_out_are_told_by_their_time() -> None:
    boxes = np.array([box(50)], np.float32)
    sure = np.ones(1, np.float32)
    tracker = Tracker(rate=15)
    assert tracker.update(boxes, sure, seconds=1.0).tolist() == [0]
    assert tracker.update(boxes, sure, seconds=2.5).tolist() == [0]
    assert tracker.update(boxes, sure, seconds=6.0).tolist() == [1]
    with pytest.raises(OptionError, match=r"before the last frame at 6\.0"):
        tracker.update(boxes, sure, seconds=5.0)


def test_an_unsure_box_goes_on_with_its_person_but_a_sure_one_has_precedence() -> None:
    frames = [[box(50)], [box(51)], [box(58), box(52)], [box(53)]]
    ids = follow(Tracker(rate=15), frames, [[0.9], [0.2], [0.3, 0.9], [0.9]])
    assert ids == [[0], [0], [1, 0], [0]]


def test_someone_walking_is_followed_at_two_looks_a_second() -> None:
    # A body height a second, so that the box has left itself by the next look.
    assert follow(Tracker(rate=2), [[box(50 + 50 * t)] for t in range(6)]) == [[0]] * 6


def test_the_same_whatever_the_unit() -> None:
    random = np.random.default_rng(3)
    paths = random.uniform(50, 600, (12, 2))[None] + np.cumsum(random.normal(0, 4, (20, 12, 2)), axis=0)
    frames = [[box(x, y) for x, y in positions.tolist()] for positions in paths]
    pixels = follow(Tracker(rate=10), frames)
    shares = follow(Tracker(rate=10), (np.array(frames) / 640).tolist())
    assert pixels == shares


def test_three_hundred_people_and_nobody() -> None:
    grid = [box(60 * i, 150 * j) for i, j in itertools.product(range(20), range(15))]
    tracker = Tracker(rate=10)
    order = np.random.default_rng(0).permutation(300)
    first, nobody, again = follow(tracker, [grid, [], [grid[i] for i in order]])
    assert sorted(first) == list(range(300))
    assert nobody == []
    assert again == [first[i] for i in order]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 10_000))
def test_assignment_is_the_best_of_all(rows: int, columns: int, seed: int) -> None:
    overlap = np.random.default_rng(seed).uniform(0, 1, (rows, columns))
    least = 0.4
    best = 0.0
    for count in range(min(rows, columns) + 1):
        for left in itertools.combinations(range(rows), count):
            for right in itertools.permutations(range(columns), count):
                pairs = list(zip(left, right, strict=True))
                if all(overlap[pair] >= least for pair in pairs):
                    best = max(best, sum(float(overlap[pair]) for pair in pairs))
    pairs = _assign(overlap, least)
    assert all(overlap[pair] >= least for pair in pairs)
    assert sum(float(overlap[pair]) for pair in pairs) == pytest.approx(best)


def test_the_filter_is_the_textbook_one() -> None:
    """Centre x of one person against the equations with matrices, in float64."""
    config = TrackerConfig()
    tracker, rate, height = Tracker(rate=5, config=config), 5.0, 100.0
    positions = [50.0, 54, 59, 61, 66, 72]
    F, H = np.array([[1, 1 / rate], [0, 1]]), np.array([[1.0, 0]])
    G = np.array([[0.5 / rate**2], [1 / rate]])
    Q, R = (config.acceleration * height) ** 2 * G @ G.T, np.array([[(config.noise * height) ** 2]])
    x, P = np.array([[positions[0]], [0.0]]), np.diag([(config.noise * height) ** 2, height**2])
    tracker.update(np.array([box(positions[0])]), np.ones(1))
    for z in positions[1:]:
        tracker.update(np.array([box(z)]), np.ones(1))
        x, P = F @ x, F @ P @ F.T + Q
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        x, P = x + K @ (np.array([[z]]) - H @ x), (np.eye(2) - K @ H) @ P
    np.testing.assert_allclose(tracker._people.state[0, 0], x[:, 0], rtol=1e-9)
    np.testing.assert_allclose(tracker._people.covariance[0, 0], P, rtol=1e-9)


def look(tracker: Tracker, people: dict[float, float], begin_score: float = 0.5):
    """Centres and ids of those who are told of, of people at centres x with scores."""
    boxes = np.array([box(x) for x in people], np.float32).reshape(-1, 4)
    found = tracker.follow(boxes, np.array(list(people.values()), np.float32), begin_score=begin_score)
    return {round(float(b[0] + b[2]) / 2): int(i) for b, i in zip(found.boxes, found.ids, strict=True)}


def test_whoever_is_unsure_begins_with_the_second_box_and_goes_on_with_weak_ones() -> None:
    tracker = Tracker(rate=5)
    # 50 is sure at once, 200 not yet, 350 never.
    assert look(tracker, {50: 0.9, 200: 0.55, 350: 0.3}) == {50: 0}
    assert look(tracker, {52: 0.9, 201: 0.55, 350: 0.3}) == {52: 0, 201: 1}
    assert look(tracker, {54: 0.9, 202: 0.25, 350: 0.3}) == {54: 0, 202: 1}
    assert look(tracker, {56: 0.9, 203: 0.25}) == {56: 0, 203: 1}
    # Under four tenths of what one begins with, a box is nobody's.
    assert look(tracker, {58: 0.9, 204: 0.15, 500: 0.55}) == {58: 0, 204: 1}  # carried on for one look
    assert look(tracker, {60: 0.9, 205: 0.15}) == {60: 0}
    assert look(tracker, {62: 0.9, 206: 0.6, 500: 0.55}) == {62: 0, 206: 1}  # and is known again


def test_someone_whose_boxes_stay_weak_is_told_of_no_more() -> None:
    tracker = Tracker(rate=5)
    seen = [look(tracker, {50: 0.9 if t == 0 else 0.21}) for t in range(9)]
    assert seen[:3] == [{50: 0}] * 3 and seen[-1] == {}


def test_nobody_is_carried_on_behind_somebody_else() -> None:
    tracker = Tracker(rate=5)
    for _ in range(3):
        look(tracker, {50: 0.9, 60: 0.9})
    assert look(tracker, {50: 0.9}) == {50: 0}


def test_looks_far_apart_need_no_second_box() -> None:
    assert look(Tracker(rate=1), {50: 0.55}) == {50: 0}
    assert look(Tracker(rate=5), {50: 0.55}) == {}


def test_the_scores_go_with_what_one_may_begin_with() -> None:
    tracker = Tracker(rate=5)
    assert look(tracker, {50: 0.2}, begin_score=0.1) == {} and look(tracker, {50: 0.05}, begin_score=0.1) == {50: 0}


def test_nobody_is_known_after_a_cut() -> None:
    tracker = Tracker(rate=5)
    assert look(tracker, {50: 0.9}) == {50: 0}
    tracker.cut()
    assert look(tracker, {50: 0.9}) == {50: 1}


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(OptionError, match="rate"):
        Tracker(rate=rate)


@pytest.mark.parametrize(
    ("boxes", "scores"), [([[0, 0, 1, np.nan]], [1]), ([[0, 0, 1, 1]], [1, 1]), ([[0, 0, 1]], [1])]
)
def test_boxes_that_are_none_are_refused(boxes, scores) -> None:
    with pytest.raises(OptionError, match="boxes"):
        Tracker(rate=1).update(np.array(boxes, np.float64), np.array(scores, np.float64))


def rows_of(times, *, person=0, label=3, score=0.8) -> AnnotationRows:
    rows = AnnotationRows("pixel")
    for time in times:
        rows.add("yard", time, box(50 + 10 * time), label=label, person=person, score=score)
    return rows


def test_tubes_start_and_end_with_their_rows() -> None:
    rows = rows_of([0.0, 1.0, 2.0, 5.0, 6.0])
    rows.add("yard", 3.0, box(80), label=3, person=0, score=0.1)
    rows.add("yard", 9.0, box(80), label=4, person=1, score=0.6)
    tubes = action_tubes(rows.annotations(), threshold=0.5)
    assert [(t.person, t.label, t.start, t.end) for t in tubes] == [(0, 3, 0, 2), (0, 3, 5, 6), (1, 4, 9, 9)]
    np.testing.assert_array_equal(tubes[0].boxes[1], box(60))
    assert tubes[0].score == pytest.approx(0.8)
    assert len(action_tubes(rows.annotations(), threshold=0.0, most_gap=2.0)) == 2
    assert len(action_tubes(rows.annotations(), threshold=0.5, least_seconds=1.5)) == 1


def test_no_rows_are_no_tubes() -> None:
    assert action_tubes(rows_of([1.0]).annotations(), threshold=0.9) == []


def test_tubes_need_people_and_one_box_each() -> None:
    nameless = AnnotationRows("pixel")
    nameless.add("yard", 0.0, box(5), label=3)
    with pytest.raises(AnnotationError, match="Track them first"):
        action_tubes(nameless.annotations())
    with pytest.raises(AnnotationError, match="person 0 has two boxes of label 3 at 1 s"):
        action_tubes(rows_of([1.0, 1.0]).annotations())
