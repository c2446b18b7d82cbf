"""Video-mAP against a naive evaluator over dictionaries of boxes by frame, and cases worked out by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muybridge.data.annotations.table import Annotations
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError, OptionError
from muybridge.evaluation.video_map import STRICT_THRESHOLDS, Tube, evaluate_tubes, tube_iou, tubes_of

LABELS = LabelMap(("run", "sit", "wave"), (1, 4, 9))


def tube(video, label, boxes, score=1.0, start=0):
    frames = np.arange(start, start + len(boxes))
    return Tube(video, label, frames, np.array(boxes, np.float64).reshape(-1, 4), score)


def naive_box_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def naive_tube_iou(a, b, protocol):
    a, b = (dict(zip(t.frames.tolist(), t.boxes_xyxy.tolist(), strict=True)) for t in (a, b))
    if protocol == "act":
        every = [naive_box_iou(a[f], b[f]) if f in a and f in b else 0.0 for f in set(a) | set(b)]
        return sum(every) / len(every)
    # Spans, as the MultiSports rules word it; holds for tubes without gaps.
    shared = [naive_box_iou(a[f], b[f]) for f in set(a) & set(b)]
    inside = min(max(a), max(b)) - max(min(a), min(b))
    union = max(max(a), max(b)) - min(min(a), min(b))
    return sum(shared) / len(shared) * inside / union if shared and union else 0.0


def naive_ap(truth, predictions, threshold, protocol):
    if not truth:
        return math.nan
    free, hits = list(range(len(truth))), []
    for guess in sorted(predictions, key=lambda t: -t.score):
        pool = free if protocol == "act" else range(len(truth))
        pool = [i for i in pool if truth[i].video == guess.video]
        ious = [naive_tube_iou(truth[i], guess, protocol) for i in pool]
        hit = False
        if ious:
            best = pool[ious.index(max(ious))]
            hit = max(ious) >= threshold and best in free
            if hit:
                free.remove(best)
        hits.append(hit)
    points = [(sum(hits[: n + 1]) / len(truth), sum(hits[: n + 1]) / (n + 1)) for n in range(len(hits))]
    area, before = 0.0, 0.0
    for n, (recall, _) in enumerate(points):
        area += (recall - before) * max(precision for _, precision in points[n:])
        before = recall
    return area


@st.composite
def tubes(draw, scored):
    # A coarse grid makes equal overlaps, exact thresholds and equal scores common.
    length = draw(st.integers(1, 5))
    left, top = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    size = draw(st.integers(0, 3))
    boxes = [[left + n % 2, top, left + n % 2 + size, top + 2] for n in range(length)]
    score = draw(st.sampled_from([0.25, 0.5, 0.75])) if scored else 1.0
    return tube(draw(st.sampled_from("ab")), draw(st.sampled_from([1, 4, 7])), boxes, score, draw(st.integers(0, 4)))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(tubes(scored=False), max_size=6),
    st.lists(tubes(scored=True), max_size=9),
    st.sampled_from(["act", "multisports"]),
)
def test_equals_the_naive_evaluator(truth, predictions, protocol):
    thresholds = (0.1, 0.2, 0.5, 1.0)
    report = evaluate_tubes(truth, predictions, LABELS, thresholds=thresholds, protocol=protocol)
    strict = []
    for found, label in zip(report.classes, LABELS.ids, strict=True):
        mine = [t for t in truth if t.label == label], [t for t in predictions if t.label == label]
        assert found.ap == pytest.approx([naive_ap(*mine, t, protocol) for t in thresholds], abs=1e-9, nan_ok=True)
        strict += [naive_ap(*mine, t, protocol) for t in STRICT_THRESHOLDS]
    strict = [value for value in strict if not math.isnan(value)]
    expected = sum(strict) / len(strict) if strict else math.nan
    assert report.mean_ap_strict == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_overlap_by_hand():
    whole = tube("a", 1, [[0, 0, 2, 2]] * 4)
    late = tube("a", 1, [[0, 0, 2, 1]] * 4, start=2)
    assert tube_iou(whole, late) == pytest.approx(2 / 6 * 0.5)
    assert tube_iou(whole, late, protocol="multisports") == pytest.approx(1 / 5 * 0.5)
    assert tube_iou(whole, whole) == tube_iou(whole, whole, protocol="multisports") == 1


def test_gaps_count_as_frames_without_a_box():
    gappy = Tube("a", 1, np.array([0, 2]), np.array([[0.0, 0, 1, 1]] * 2))
    assert tube_iou(tube("a", 1, [[0, 0, 1, 1]] * 3), gappy) == pytest.approx(2 / 3)


def test_protocols_differ_where_two_true_tubes_compete():
    truth = [tube("a", 1, [[0, 0, 10, 10]] * 4), tube("a", 1, [[1, 0, 11, 10]] * 4)]
    both_on_the_first = [tube("a", 1, [[0, 0, 10, 10]] * 4, 0.9), tube("a", 1, [[0, 0, 10, 10]] * 4, 0.8)]
    act = evaluate_tubes(truth, both_on_the_first, LABELS, thresholds=[0.5])
    multisports = evaluate_tubes(truth, both_on_the_first, LABELS, thresholds=[0.5], protocol="multisports")
    assert act.mean_ap == (1.0,)
    assert multisports.mean_ap == (0.5,)


def test_no_truth_and_no_predictions():
    empty = evaluate_tubes([], [tube("a", 1, [[0, 0, 1, 1]])], LABELS)
    assert all(math.isnan(value) for value in empty.mean_ap) and math.isnan(empty.mean_ap_strict)
    assert json.loads(empty.to_json())["mAP"] == [None, None, None]
    assert evaluate_tubes([tube("a", 1, [[0, 0, 1, 1]])], [], LABELS).mean_ap == (0, 0, 0)


def test_report_texts():
    truth = [tube("a", 1, [[0, 0, 1, 1]] * 3), tube("a", 4, [[0, 0, 1, 1]] * 3)]
    report = evaluate_tubes(truth, truth[:1], LABELS, thresholds=[0.5])
    lines = report.to_text().splitlines()
    assert lines[0] == "Video-mAP, protocol act"
    assert lines[3].split() == ["run", "100.00", "1", "1"]
    assert lines[5].split() == ["wave", "-", "0", "0"]
    assert lines[7].split() == ["mAP", "50.00"]
    assert lines[8].split() == ["mAP", "0.5:0.95", "50.00"]
    assert json.loads(report.to_json())["classes"][1] == {
        "id": 4, "name": "sit", "num_truth": 1, "num_predictions": 0, "ap": [0.0],
    }  # fmt: skip


def annotations(rows, score=None):
    """rows: (video, second, person, label)."""
    count = len(rows)
    return Annotations(
        videos=("a", "b"),
        video=np.array([r[0] for r in rows], np.int32),
        time_seconds=np.array([r[1] for r in rows], np.float64),
        boxes_xyxy=np.arange(4.0 * count).reshape(count, 4),
        unit="pixel",
        label=np.array([r[3] for r in rows], np.int64),
        person=np.array([r[2] for r in rows], np.int64),
        score=score,
    )


def test_rows_become_tubes():
    rows = [(0, 0.2, 5, 1), (0, 0.0, 5, 1), (0, 0.1, 5, 1), (0, 0.1, 5, 4), (0, 0.6, 5, 1), (1, 0.0, 5, 1),
            (0, 0.0, -1, 1), (0, 0.0, 5, -1)]  # fmt: skip
    score = np.array([0.3, 0.1, 0.2, 0.5, 0.9, 1, 1, 1])
    found = tubes_of(annotations(rows, score), rate=10)
    assert [(t.video, t.label, t.frames.tolist()) for t in found] == [
        ("a", 1, [0, 1, 2]), ("a", 1, [6]), ("a", 4, [1]), ("b", 1, [0]),
    ]  # fmt: skip
    assert found[0].score == pytest.approx(0.2)
    assert found[0].boxes_xyxy[:, 0].tolist() == [4, 8, 0]
    joined = tubes_of(annotations(rows, score), rate=10, step=4)
    assert [t.frames.tolist() for t in joined] == [[0, 1, 2, 6], [1], [0]]


def test_what_cannot_become_tubes():
    with pytest.raises(AnnotationError, match="person 5 has two boxes of label 1 in frame 0"):
        tubes_of(annotations([(0, 0.0, 5, 1), (0, 0.04, 5, 1)]), rate=10)
    without = annotations([(0, 0.0, 5, 1)])
    with pytest.raises(AnnotationError, match="no person ids"):
        tubes_of(Annotations(without.videos, without.video, without.time_seconds, without.boxes_xyxy, "pixel",
                             without.label), rate=10)  # fmt: skip
    assert tubes_of(annotations([]), rate=10) == []


@pytest.mark.parametrize("threshold", [0, -1, 1.1, math.nan])
def test_thresholds_are_checked(threshold):
    with pytest.raises(OptionError, match="thresholds"):
        evaluate_tubes([], [], LABELS, thresholds=[threshold])


def test_tubes_are_checked():
    with pytest.raises(OptionError, match="do not ascend"):
        Tube("a", 1, np.array([1, 1]), np.zeros((2, 4)))
    with pytest.raises(OptionError, match="at least one"):
        Tube("a", 1, np.array([], np.int64), np.zeros((0, 4)))
