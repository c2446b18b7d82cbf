"""AVA frame-mAP against a naive evaluator in plain Python, and against the published answer of a public example."""

import heapq
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muybridge.data.annotations.ava import read_ava
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError, MissingInput, OptionError
from muybridge.evaluation.ava import AVA_PROTOCOLS, evaluate_ava, evaluate_frames

LABELS = LabelMap(("bend", "sit", "talk"), (1, 11, 80))


def naive_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    intersection = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    return intersection / union if union > 0 else 0.0


def naive_ap(hits, num_truths):
    """All-point AP from the precision and recall after every detection."""
    precision, recall, true = [0.0], [0.0], 0
    for position, hit in enumerate(hits, start=1):
        true += hit
        precision.append(true / position)
        recall.append(true / num_truths)
    precision.append(0.0)
    recall.append(1.0)
    for index in range(len(precision) - 2, -1, -1):
        precision[index] = max(precision[index], precision[index + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def naive_top(rows, limit):
    """A bounded heap over the rows in their order, ties by the whole tuple; returns them in the order of the file."""
    heap = []
    for number, (_, box, label, score) in rows:
        entry = (score, label, box[1], box[0], box[3], box[2], number)
        if len(heap) < limit:
            heapq.heappush(heap, entry)
        elif score > heap[0][0]:
            heapq.heapreplace(heap, entry)
    kept = {entry[-1] for entry in heap}
    return [row for row in rows if row[0] in kept]


def naive_map(truth, empty, predictions, excluded, protocol, ids, limit=50):  # noqa: C901
    """truth: (frame, box, label); predictions: (frame, box, label, score). Returns {class: AP} and their mean."""
    removes = protocol in ("ava-2019", "slowfast", "mmaction2")
    listed = {frame for frame, *_ in truth} | set(empty)
    truth = [row for row in truth if row[2] in ids and not (removes and row[0] in excluded)]
    with_truth = {frame for frame, *_ in truth}
    frames = defaultdict(list)
    for number, row in enumerate(predictions):
        frame, _, label, score = row
        if label not in ids or (removes and frame in excluded):
            continue
        if protocol == "mmaction2" and (score < 0.002 or frame not in with_truth):
            continue
        if protocol == "activitynet-2020" and frame not in listed:
            continue
        frames[frame].append((number, row))
    pooled = defaultdict(list)
    for frame, rows in frames.items():
        if protocol in ("ava-2019", "activitynet-2020"):
            rows = naive_top(rows, limit)
        taken = set()
        for number, (_, box, label, score) in sorted(rows, key=lambda row: (-row[1][3], row[0])):
            if box[2] <= box[0] or box[3] <= box[1]:
                continue
            best, best_iou = None, -1.0
            for index, (other, other_box, other_label) in enumerate(truth):
                if other == frame and other_label == label and naive_iou(box, other_box) > best_iou:
                    best, best_iou = index, naive_iou(box, other_box)
            hit = best_iou >= 0.5 and best not in taken
            if hit:
                taken.add(best)
            pooled[label].append((-score, number, hit))
    figures = {}
    for label in ids:
        count = sum(row[2] == label for row in truth)
        if count:
            figures[label] = naive_ap([hit for *_, hit in sorted(pooled[label])], count)
    return figures, (sum(figures.values()) / len(figures) if figures else None)


def write_case(folder: Path, truth, empty, predictions, excluded):
    def lines(rows):
        return "".join(",".join(str(cell) for cell in row) + "\n" for row in rows)

    files = {
        "truth.csv": [(*frame, *box, label, person) for person, (frame, box, label) in enumerate(truth)]
        + list(empty),
        "predictions.csv": [(*frame, *box, label, repr(score)) for frame, box, label, score in predictions],
        "excluded.csv": excluded,
    }
    for name, rows in files.items():
        (folder / name).write_text(lines(rows))
    (folder / "labels.pbtxt").write_text(
        "".join(f'item {{\n  name: "{n}"\n  id: {i}\n}}\n' for n, i in zip(LABELS.names, LABELS.ids, strict=True))
    )
    return [folder / name for name in ("truth.csv", "predictions.csv", "labels.pbtxt", "excluded.csv")]


def check(report, figures, mean):
    assert {entry.id for entry in report.classes if entry.average_precision is not None} == set(figures)
    for entry in report.classes:
        if entry.id in figures:
            assert math.isclose(entry.average_precision, figures[entry.id], rel_tol=0, abs_tol=1e-9)
    assert (report.mean_average_precision is None) == (mean is None)
    if mean is not None:
        assert math.isclose(report.mean_average_precision, mean, rel_tol=0, abs_tol=1e-9)


def random_case(seed, *, num_predictions=300):
    random = np.random.default_rng(seed)
    frames = [(f"v{video}", f"{second:04d}") for video in range(2) for second in (1, 902)]

    def box(spread):
        left, top = random.choice([0.1, 0.5]), random.choice([0.1, 0.4])
        moved = np.array([left, top, left + 0.4, top + 0.5]) + random.normal(0, spread, 4)
        return tuple(round(float(edge), 3) for edge in moved)

    def draw(items):
        return items[random.integers(len(items))]

    truth = [(draw(frames[:3]), box(0.03), int(draw([1, 11, 7]))) for _ in range(12)]
    truth = [(frame, (min(b[0], b[2]), b[1], max(b[0], b[2]), max(b[1], b[3])), label) for frame, b, label in truth]
    predictions = []
    for _ in range(num_predictions):
        edges = box(0.06)
        if random.random() < 0.1:
            edges = (edges[2], edges[1], edges[0], edges[3])
        # One decimal makes ties everywhere: within a frame, at the cut of fifty, and between frames.
        score = round(float(random.random()), int(draw([1, 1, 4]))) * float(draw([1, 1, 0.001]))
        predictions.append((draw(frames), edges, int(draw([1, 11, 80, 7])), score))
    return truth, [frames[3]] if seed % 2 else [], predictions, [frames[1]] if seed % 3 else []


@pytest.mark.parametrize("protocol", AVA_PROTOCOLS)
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_naive_evaluator(tmp_path, seed, protocol):
    case = random_case(seed)
    truth, predictions, labels, excluded = write_case(tmp_path, *case)
    report = evaluate_ava(truth, predictions, labels, excluded, protocol)
    check(report, *naive_map(*case, protocol, LABELS.ids))


frame_of = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["0001", "0902"]))
edge = st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.7, 1.0])
box_of = st.tuples(edge, edge, edge, edge)
truth_box = box_of.map(lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])))
label_of = st.sampled_from([1, 11, 80, 7])
score_of = st.sampled_from([0.0, 0.001, 0.002, 0.25, 0.5, 1.0])


@settings(max_examples=120, deadline=None)
@given(
    truth=st.lists(st.tuples(frame_of, truth_box, label_of), max_size=8),
    empty=st.lists(frame_of, max_size=2),
    predictions=st.lists(st.tuples(frame_of, box_of, label_of, score_of), max_size=20),
    excluded=st.lists(frame_of, max_size=2),
    protocol=st.sampled_from(sorted(AVA_PROTOCOLS)),
)
def test_equals_the_naive_evaluator_on_odd_cases(tmp_path_factory, truth, empty, predictions, excluded, protocol):
    folder = tmp_path_factory.mktemp("case")
    files = write_case(folder, truth, empty, predictions, excluded)
    report = evaluate_ava(files[0], files[1], files[2], files[3], protocol)
    check(report, *naive_map(truth, empty, predictions, excluded, protocol, LABELS.ids))


def test_published_answer(real_data):
    toy = real_data / "annotations" / "ava_eval_toy"
    report = evaluate_ava(toy / "gt.csv", toy / "pred.csv", toy / "action_list.txt")
    assert report.mean_average_precision == pytest.approx(0.0938552189, abs=1e-9)
    figures = [entry.average_precision for entry in report.classes]
    assert figures == pytest.approx([0.170454545, 0.0, 0.111111111], abs=1e-9)


def test_protocols_differ_where_the_rules_say_so(tmp_path):
    """One perfect detection; a better-scored one in a frame without truth, a third in a frame listed as empty."""
    box = (0.1, 0.1, 0.5, 0.5)
    truth = [(("a", "0001"), box, 1)]
    predictions = [(("a", "0001"), box, 1, 0.5), (("a", "0002"), box, 1, 0.9), (("a", "0003"), box, 1, 0.8)]
    files = write_case(tmp_path, truth, [("a", "0003")], predictions, [])
    results = {name: evaluate_ava(*files, protocol=name).mean_average_precision for name in AVA_PROTOCOLS}
    assert results == pytest.approx(
        {"ava-2019": 1 / 3, "activitynet-2020": 1 / 2, "slowfast": 1 / 3, "mmaction2": 1.0}
    )


def test_only_fifty_rows_of_a_frame_count(tmp_path):
    box, frame = (0.1, 0.1, 0.5, 0.5), ("a", "0001")
    predictions = [(frame, (0.6, 0.6, 0.9, 0.9), 11, 0.9)] * 50 + [(frame, box, 1, 0.5)]
    files = write_case(tmp_path, [(frame, box, 1)], [], predictions, [])
    assert evaluate_ava(*files, protocol="ava-2019").mean_average_precision == 0
    assert evaluate_ava(*files, protocol="slowfast").mean_average_precision == 1


def test_report_prints_its_protocol_and_survives_json(tmp_path):
    case = random_case(1)
    files = write_case(tmp_path, *case)
    report = evaluate_ava(*files, protocol="activitynet-2020")
    text = str(report)
    assert "protocol activitynet-2020" in text
    assert "ignored unless listed" in text
    assert "does not use one" in text
    assert all(name in text for name in LABELS.names)
    content = json.loads(report.to_json())
    assert content["mean_average_precision"] == report.mean_average_precision
    assert content["classes"][2]["average_precision"] is None
    assert content["rules"] == list(report.rules)


def test_frames_far_apart_and_close_together_stay_apart(tmp_path):
    """Videos of months, and frames a tenth of a millisecond apart: no two frames are taken for one."""
    box = (0.1, 0.1, 0.5, 0.5)
    far = 2**32 / 1000  # seconds; numbers that pack milliseconds into 32 bits begin anew here
    frames = [("a", "0"), ("b", "0"), ("a", repr(far)), ("a", "5.0001"), ("a", "5.0002")]
    truth = [(frame, box, 1) for frame in frames[1:4]]
    predictions = [(frame, box, 1, 1 - number / 10) for number, frame in enumerate(frames)]
    files = write_case(tmp_path, truth, [], predictions, [frames[1]])
    report = evaluate_ava(*files, protocol="slowfast")
    check(report, *naive_map(truth, [], predictions, [frames[1]], "slowfast", LABELS.ids))
    assert report.num_prediction_frames == 4 and report.classes[0].num_found == 2


def test_nothing_to_find(tmp_path):
    files = write_case(tmp_path, [], [], [(("a", "1"), (0, 0, 1, 1), 1, 0.5)], [])
    report = evaluate_ava(*files)
    assert report.mean_average_precision is None
    assert "no class has ground truth" in str(report)


def test_nothing_predicted(tmp_path):
    files = write_case(tmp_path, [(("a", "1"), (0, 0, 1, 1), 1)], [], [], [])
    assert evaluate_ava(*files).mean_average_precision == 0


def test_classes_that_fit_no_label_are_told_of(tmp_path):
    files = [tmp_path / name for name in ("truth.csv", "found.csv", "labels.pbtxt")]
    files[0].write_text("film,0902,0.1,0.1,0.5,0.9,11,0\n")
    files[2].write_text('item {\n  name: "sit"\n  id: 11\n}\n')
    for label, notes in ((11, ()), (12, ("no predicted box is of a class in the label map",))):
        files[1].write_text(f"film,0902,0.1,0.1,0.5,0.9,{label},0.8\n")
        assert evaluate_ava(*files).notes == notes


def test_errors(tmp_path):
    files = write_case(tmp_path, *random_case(0))
    with pytest.raises(OptionError, match="ava-2019"):
        evaluate_ava(*files, protocol="ava")
    with pytest.raises(MissingInput, match=r"nothing\.csv"):
        evaluate_ava(tmp_path / "nothing.csv", *files[1:])
    truth = read_ava(files[0], eighth="person")
    with pytest.raises(AnnotationError, match="no scores"):
        evaluate_frames(truth, truth, LABELS)
