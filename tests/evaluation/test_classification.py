"""Scores of whole clips against counts done by hand and naive loops."""

import itertools

import pytest
import torch

from muybridge.errors import OptionError
from muybridge.evaluation.classification import (
    OrderReport,
    classification_report,
    frame_orders,
    most_confused,
)

NAMES = ("jump", "run", "sit")


def test_numbers_and_table_counted_by_hand():
    #            jump  run  sit
    rows = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.5, 0.2, 0.3]]
    truth = torch.tensor([0, 0, 0, 1, 2])
    report = classification_report(torch.tensor(rows), truth, NAMES)
    assert report.numbers == pytest.approx({"top1": 2 / 5, "mean_class_accuracy": (1 / 3 + 1 + 0) / 3})
    assert report.accuracy == pytest.approx(2 / 5)
    assert report.confusion is not None
    assert report.confusion.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 0]]
    assert [(r.name, r.clips, r.taken_for) for r in report.classes] == [
        ("jump", 3, "run"),
        ("run", 1, ""),
        ("sit", 1, "jump"),
    ]
    assert [r.score for r in report.classes] == pytest.approx([1 / 3, 1, 0])


def test_top5_against_a_naive_loop():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(200, 9, generator=generator).softmax(1)
    truth = torch.randint(9, (200,), generator=generator)
    report = classification_report(probabilities, truth, [str(k) for k in range(9)])
    ranked = [sorted(range(9), key=lambda k, row=row: -row[k]) for row in probabilities.tolist()]
    hits = [label in order[:5] for order, label in zip(ranked, truth.tolist(), strict=True)]
    assert report.numbers["top5"] == pytest.approx(sum(hits) / 200)
    assert 0.3 < report.numbers["top5"] < 0.8


def test_a_class_without_clips_does_not_count_in_the_mean():
    report = classification_report(torch.eye(3)[[0, 1]], torch.tensor([0, 1]), NAMES)
    assert report.numbers["mean_class_accuracy"] == 1.0
    assert report.classes[2].clips == 0
    assert report.classes[2].score != report.classes[2].score


def naive_average_precision(scores: list[float], positives: list[int]) -> float:
    """Mean over positives of precision at their rank."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    hits, precisions = 0, []
    for rank, i in enumerate(order, start=1):
        if positives[i]:
            hits += 1
            precisions.append(hits / rank)
    return sum(precisions) / len(precisions)


def test_mean_average_precision_against_a_naive_loop():
    generator = torch.Generator().manual_seed(1)
    probabilities = torch.rand(60, 4, generator=generator)
    truth = (torch.rand(60, 4, generator=generator) < 0.3).float()
    truth[:, 2] = 0  # a class nobody has
    report = classification_report(probabilities, truth, ["a", "b", "c", "d"])
    expected = [naive_average_precision(probabilities[:, k].tolist(), truth[:, k].tolist()) for k in (0, 1, 3)]
    assert report.numbers == pytest.approx({"mAP": sum(expected) / 3})
    assert [report.classes[k].score for k in (0, 1, 3)] == pytest.approx(expected)
    assert report.classes[2].clips == 0
    assert report.confusion is None


@pytest.mark.parametrize(
    ("probabilities", "truth"),
    [
        (torch.empty(0, 3), torch.empty(0, dtype=torch.int64)),
        (torch.rand(2, 3), torch.tensor([0])),
        (torch.rand(1, 2), torch.tensor([0])),
        (torch.rand(2, 3), torch.zeros(2, 3)),
    ],
)
def test_what_cannot_be_measured_is_refused(probabilities, truth):
    with pytest.raises(OptionError):
        classification_report(probabilities, truth, NAMES)


def test_orders_of_frames():
    orders = frame_orders(8, seed=3)
    assert orders["reversed"].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert orders["single_frame"].tolist() == [4] * 8
    assert sorted(orders["shuffled"].tolist()) == list(range(8))
    assert frame_orders(8, seed=3)["shuffled"].tolist() == orders["shuffled"].tolist()
    assert frame_orders(8, seed=4)["shuffled"].tolist() != orders["shuffled"].tolist()
    assert all(value.tolist() == [0] for value in frame_orders(1, seed=0).values())


def test_a_shuffled_clip_is_never_in_its_own_order_and_all_others_occur():
    seen = {tuple(frame_orders(3, seed=seed)["shuffled"].tolist()) for seed in range(200)}
    assert seen == set(itertools.permutations(range(3))) - {(0, 1, 2)}


def test_the_order_gap():
    assert OrderReport(0.9, 0.4, 0.1, 0.3).order_gap == pytest.approx(0.5)


def test_the_most_confused_clips_come_worst_first():
    rows = [[0.8, 0.1, 0.1], [0.45, 0.35, 0.2], [0.05, 0.05, 0.9], [0.6, 0.3, 0.1]]
    truth = torch.tensor([0, 1, 1, 2])
    worst = most_confused(torch.tensor(rows), truth, 10)
    assert [(c.index, c.truth, c.predicted) for c in worst] == [(2, 1, 2), (3, 2, 0), (1, 1, 0)]
    assert worst[0].probability == pytest.approx(0.9)
    assert [c.index for c in most_confused(torch.tensor(rows), truth, 1)] == [2]


def test_of_several_labels_a_class_above_one_that_is_there_confuses():
    rows = torch.tensor([[0.9, 0.8, 0.1], [0.9, 0.2, 0.7], [0.3, 0.2, 0.1]])
    truth = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert [(c.index, c.truth, c.predicted) for c in most_confused(rows, truth, 5)] == [(1, 1, 2)]
