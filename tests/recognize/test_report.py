"""The parts of a recognizer's report: what stands in them, and in which order."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from muybridge.evaluation.classification import Confused, OrderReport, classification_report
from muybridge.evaluation.report_page import Chart, Facts, Matrix, Strips, Table, report_page
from muybridge.recognize.report import confused_part, console_tables, curve_parts, score_parts

NAMES = ("jump [high]", "run", "sit")


@pytest.fixture
def report():
    rows = torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1]])
    return classification_report(rows, torch.tensor([0, 0, 1]), NAMES)


def test_scores_order_confusion_and_classes_worst_first(report):
    facts, order, matrix, classes = score_parts(report, OrderReport(0.9, 0.4, 0.1, 0.3))
    assert isinstance(facts, Facts) and ("top-1", "66.7 %") in facts.rows
    # Wilson's bounds of 2 in 3: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), with z = 1.96.
    assert facts.rows[-2:] == [("right", "2 of 3"), ("95 % confidence", "21 to 94 %")]
    assert isinstance(order, Table)
    assert [row[1] for row in order.rows] == ["90.0 %", "40.0 %", "10.0 %", "30.0 %", "+50.0 points"]
    assert isinstance(matrix, Matrix) and matrix.counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert isinstance(classes, Table)
    assert [row[0] for row in classes.rows] == ["jump [high]", "run", "sit"]  # the class without clips last
    assert classes.rows[2][2] == "–"


def test_without_steps_there_are_no_curves_of_steps():
    (accuracy,) = curve_parts([{"step": 0, "validation": {"top1": 0.5}}])
    assert accuracy.title == "Accuracy"
    assert curve_parts([]) == []


def test_several_labels_have_no_confusion():
    truth = torch.tensor([[1, 0], [0, 1]])
    report = classification_report(torch.tensor([[0.9, 0.2], [0.3, 0.6]]), truth, ("a", "b"))
    parts = score_parts(report, None)
    assert [type(part) for part in parts] == [Facts, Table]
    assert isinstance(parts[1], Table) and parts[1].headers == ["class", "clips", "average precision"]


def test_curves_of_a_history():
    history = [
        {"step": 1, "loss": 2.0, "accuracy": 0.1, "learning_rate": 0.0},
        {"step": 1, "validation": {"top1": 0.2}},
        {"step": 2, "loss": 1.0, "accuracy": 0.4, "learning_rate": 0.1},
        {"step": 2, "validation": {"top1": 0.3}},
    ]
    loss, accuracy, rate = curve_parts(history)
    assert isinstance(loss, Chart) and loss.curves == {"loss": [(1, 2.0), (2, 1.0)]}
    assert isinstance(accuracy, Chart)
    assert accuracy.curves == {"training": [(1, 0.1), (2, 0.4)], "held out: top-1": [(1, 0.2), (2, 0.3)]}
    assert isinstance(rate, Chart) and rate.curves == {"learning rate": [(1, 0.0), (2, 0.1)]}
    report_page("r", [Chart("Loss", {"loss": []})])  # one without a point is drawn empty


def test_confused_clips_say_what_they_are_and_were_taken_for():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    (part,) = confused_part([Confused(5, 2, 1, 0.75)], NAMES, lambda i: f"clip {i}.mp4", lambda i: frames)
    assert isinstance(part, Strips)
    assert part.strips[0].caption == "clip 5.mp4: sit, taken for run (75.0 %)"
    assert confused_part([], NAMES, str, lambda i: frames) == []


def test_the_terminal_shows_names_with_brackets_as_they_are(report):
    console = Console(width=100, record=True, file=io.StringIO())
    for table in console_tables(report, None):
        console.print(table)
    assert "jump [high]" in console.export_text()
