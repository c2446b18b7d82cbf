"""AVA frame-mAP against a naive evaluator in plain Python, and against the published answer of a public example."""

import heapq
import itertools
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


def naive_heap(rows, limit):
    """The challenge's reading of one frame: (box, label, score) rows into a heap, whose array is sorted by score."""
    heap = []
    for (left, top, right, bottom), label, score in rows:
        entry = (score, label, top, left, bottom, right)
        if limit is None or len(heap) < limit:
            heapq.heappush(heap, entry)
        elif score > heap[0][0]:
            heapq.heapreplace(heap, entry)
    listed = sorted(heap, key=lambda entry: -entry[0])
    return [((left, top, right, bottom), label, score) for score, label, top, left, bottom, right in listed]


def naive_list(rows, protocol, limit):
    """One frame as each program lists it."""
    if protocol in ("ava-2019", "activitynet-2020"):
        return naive_heap(rows, limit)
    return sorted(rows, key=lambda row: -row[2])


def naive_map(truth, empty, predictions, excluded, protocol, ids, limit=50):  # noqa: C901
    """truth: (frame, box, label), its place is the person; predictions: (frame, box, label, score).

    Returns {class: AP} and their mean, as the published program counts: frames as they first occur, their rows as
    `naive_list` has them, and of a class all scores in one array, sorted by numpy and reversed.
    """
    removes = protocol in ("ava-2019", "slowfast", "mmaction2")
    listed = {frame for frame, *_ in truth} | set(empty)
    true_frames, frames = defaultdict(list), defaultdict(list)
    for person, (frame, box, label) in enumerate(truth):
        if label in ids and not (removes and frame in excluded):
            true_frames[frame].append((box, label, float(person)))
    for frame, box, label, score in predictions:
        if label not in ids or (removes and frame in excluded):
            continue
        if protocol == "mmaction2" and (score < 0.002 or frame not in true_frames):
            continue
        if protocol == "activitynet-2020" and frame not in listed:
            continue
        frames[frame].append((box, label, score))
    pooled_scores, pooled_hits = defaultdict(list), defaultdict(list)
    for frame, rows in frames.items():
        truths = naive_list(true_frames[frame], protocol, None)
        taken = set()
        for box, label, score in naive_list(rows, protocol, limit):
            if box[2] <= box[0] or box[3] <= box[1]:
                continue
            best, best_iou = None, -1.0
            for index, (other_box, other_label, _) in enumerate(truths):
                if other_label == label and naive_iou(box, other_box) > best_iou:
                    best, best_iou = index, naive_iou(box, other_box)
            hit = best_iou >= 0.5 and best not in taken
            if hit:
                taken.add(best)
            pooled_scores[label].append(score)
            pooled_hits[label].append(hit)
    figures = {}
    for label in ids:
        count = sum(row[1] == label for rows in true_frames.values() for row in rows)
        if count:
            order = np.argsort(np.array(pooled_scores[label], float))[::-1]
            figures[label] = naive_ap([pooled_hits[label][place] for place in order], count)
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


def test_published_answer(real_data, tmp_path):
    toy = real_data / "annotations" / "ava_eval_toy"
    report = evaluate_ava(toy / "gt.csv", toy / "pred.csv", toy / "action_list.txt")
    assert report.mean_average_precision == pytest.approx(0.0938552189, abs=1e-9)
    figures = [entry.average_precision for entry in report.classes]
    assert figures == pytest.approx([0.170454545, 0.0, 0.111111111], abs=1e-9)
    # No two scores are equal, so that no order can change anything.
    assert report.lowest == report.highest == report.mean_average_precision
    (tmp_path / "reversed.csv").write_text("".join(reversed((toy / "pred.csv").read_text().splitlines(True))))
    turned = evaluate_ava(toy / "gt.csv", tmp_path / "reversed.csv", toy / "action_list.txt")
    assert turned.mean_average_precision == report.mean_average_precision


@pytest.mark.parametrize("protocol", AVA_PROTOCOLS)
def test_any_order_of_the_rows_lies_in_the_stated_interval(tmp_path, protocol):
    """Reversed and shuffled files: each equals the naive evaluator, and no figure leaves the interval of any."""
    truth, empty, predictions, excluded = random_case(4)
    random = np.random.default_rng(0)
    orders = [np.arange(len(predictions))[::-1], *(random.permutation(len(predictions)) for _ in range(6))]
    reports = []
    for order in orders:
        case = truth, empty, [predictions[place] for place in order], excluded
        reports.append(evaluate_ava(*write_case(tmp_path, *case), protocol))
        check(reports[-1], *naive_map(*case, protocol, LABELS.ids))
    figures = [report.mean_average_precision for report in reports]
    assert max(figures) - min(figures) > 1e-4  # ties are at work
    for report in reports:
        assert report.lowest <= min(figures) and max(figures) <= report.highest
    assert "the order of equal scores allows" in str(reports[0])


@pytest.mark.parametrize("seed", range(4))
def test_interval_is_what_all_orders_reach(tmp_path, seed):
    """Where no limit is in the way, the bounds are those of a trial of every order."""
    random = np.random.default_rng(seed)
    frames, box = [("a", "0001"), ("b", "0001")], (0.1, 0.1, 0.5, 0.5)
    boxes = [box, (0.1, 0.1, 0.5, 0.45), (0.6, 0.6, 0.9, 0.9)]
    truth = [(frame, box, 1) for frame in frames]
    rows = [
        (frames[random.integers(2)], boxes[random.integers(3)], 1, float(random.integers(1, 3)) / 4) for _ in range(6)
    ]
    files = write_case(tmp_path, truth, [], rows, [])
    report = evaluate_ava(*files, protocol="ava-2019")
    # Within a frame the earlier of two equal rows finds the box; thereafter the evaluator sorts all rows anew.
    taken, hits = set(), {}
    for place in sorted(range(6), key=lambda place: -rows[place][3]):
        frame, mine, _, _ = rows[place]
        hits[place] = naive_iou(mine, box) >= 0.5 and frame not in taken
        taken |= {frame} if hits[place] else set()
    reached = {
        naive_ap([hits[place] for place in sorted(order, key=lambda place: -rows[place][3])], 2)
        for order in itertools.permutations(range(6))
    }
    assert report.lowest == pytest.approx(min(reached), abs=1e-12)
    assert report.highest == pytest.approx(max(reached), abs=1e-12)


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
    for label, notes in (
        (11, ()),
        (12, ("no predicted box is of a class in the label map: its ids are 11 to 11, those of the boxes 12 to 12",)),
    ):
        files[1].write_text(f"film,0902,0.1,0.1,0.5,0.9,{label},0.8\n")
        assert evaluate_ava(*files).notes[:1] == notes


def test_errors(tmp_path):
    files = write_case(tmp_path, *random_case(0))
    with pytest.raises(OptionError, match="ava-2019"):
        evaluate_ava(*files, protocol="ava")
    with pytest.raises(MissingInput, match=r"nothing\.csv"):
        evaluate_ava(tmp_path / "nothing.csv", *files[1:])
    truth = read_ava(files[0], eighth="person")
    with pytest.raises(AnnotationError, match="no scores"):
        evaluate_frames(truth, truth, LABELS)


TRUE_ROW = "film,0902,0.1,0.1,0.5,0.9,11,0\n"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("film.mp4,0902,0.1,0.1,0.5,0.9,11,0.8", "the truth is of the videos 'film', the predictions of 'film.mp4'"),
        ("film,2,0.1,0.1,0.5,0.9,11,0.8", "has 'film' at 902 to 902 s, the predictions at 2 to 2 s"),
        (
            "film,0902,0.1,0.1,0.5,0.9,10,0.8",
            "the ids 11 to 11, the predictions 10 to 10; ids one higher would fit 1",
        ),
        ("film,0902,0.1,0.1,0.5,0.9,12,0.8", "the predictions 12 to 12; ids one lower would fit 1 of them"),
        ("film,0902,0.6,0.1,0.9,0.9,11,0.8", "at 902 s the true box [0.1, 0.1, 0.5, 0.9], predicted is [0.6, 0.1"),
        ("film,0902,64,48,320,432,11,0.8", "predicted boxes reach 432: they look like pixels"),
    ],
)
def test_where_nothing_matches_it_says_what_was_compared(tmp_path, found, said):
    files = [tmp_path / name for name in ("truth.csv", "found.csv", "labels.pbtxt")]
    files[0].write_text(TRUE_ROW)
    files[1].write_text(found + "\n")
    files[2].write_text("".join(f'item {{\n  name: "class {n}"\n  id: {n}\n}}\n' for n in (10, 11, 12)))
    report = evaluate_ava(*files)
    assert report.mean_average_precision == 0
    assert any(said in note for note in report.notes), report.notes
    files[1].write_text("film,0902,0.1,0.1,0.5,0.9,11,0.8\n")
    assert evaluate_ava(*files).notes == ()


def test_matches_that_are_excluded_are_told_of(tmp_path):
    files = [tmp_path / name for name in ("truth.csv", "found.csv", "labels.pbtxt", "excluded.csv")]
    files[0].write_text(TRUE_ROW + "film,0903,0.1,0.1,0.5,0.9,11,0\nother,0904\n")
    files[1].write_text("film,0902,0.1,0.1,0.5,0.9,11,0.8\nother,0904,0.1,0.1,0.5,0.9,11,0.8\n")
    files[2].write_text('item {\n  name: "sit"\n  id: 11\n}\n')
    files[3].write_text("film,0902\n")
    (note,) = evaluate_ava(*files).notes
    assert "of 1 predicted box over a true one of the same class, the frame is excluded" in note
    files[1].write_text("other,0904,0.1,0.1,0.5,0.9,11,0.8\n")
    (note,) = evaluate_ava(*files).notes
    assert note == "nothing matches: the truth is of the videos 'film', the predictions of 'other'"


def test_classes_beyond_the_label_map_are_told_of(tmp_path):
    """As where a network's columns, from 0, were written for ids from 1."""
    files = [tmp_path / name for name in ("truth.csv", "found.csv", "labels.pbtxt")]
    files[0].write_text("film,0902,0.1,0.1,0.5,0.9,1,0\n")
    files[1].write_text("".join(f"film,0902,0.1,0.1,0.5,0.9,{label},0.8\n" for label in (0, 1)))
    files[2].write_text('item {\n  name: "sit"\n  id: 1\n}\nitem {\n  name: "lie"\n  id: 2\n}\n')
    assert "of classes beyond the label map's ids, 1 to 2: 1 predicted box, such as of 0" in (
        evaluate_ava(*files).notes
    )
