"""The parts of a report page that tell how well clips were recognized."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table as RichTable

from muybridge.escapes import printable
from muybridge.evaluation.classification import ClassificationReport, Confused, OrderReport, wilson_interval
from muybridge.evaluation.report_page import Chart, Facts, Matrix, Part, Strip, Strips, Table

_NAMES = {"top1": "top-1", "top5": "top-5", "mean_class_accuracy": "mean over classes", "mAP": "mAP"}


def score_parts(report: ClassificationReport, order: OrderReport | None) -> list[Part]:
    """The numbers, the order report, the confusion matrix and the table of classes."""
    scores = [(_NAMES[name], _percent(value)) for name, value in report.numbers.items()]
    if report.confusion is not None:
        right, count = int(report.confusion.diagonal().sum()), int(report.confusion.sum())
        low, high = wilson_interval(right, count)
        scores += [("right", f"{right} of {count}"), ("95 % confidence", f"{100 * low:.0f} to {100 * high:.0f} %")]
    parts: list[Part] = [Facts("Scores", scores)]
    if order is not None:
        parts.append(order_table(order))
    if report.confusion is not None:
        names = [row.name for row in report.classes]
        parts.append(Matrix("Confusion", names, report.confusion.cpu().numpy()))
    kind = "recognized" if report.confusion is not None else "average precision"
    headers = ["class", "clips", kind, *(["most often taken for"] if report.confusion is not None else [])]
    rows = [
        [row.name, str(row.clips), _percent(row.score), *([row.taken_for] if report.confusion is not None else [])]
        for row in sorted(report.classes, key=lambda row: math.inf if math.isnan(row.score) else row.score)
    ]
    return [*parts, Table("Classes, worst first", headers, rows)]


def order_table(order: OrderReport) -> Table:
    """What becomes of the accuracy when the order of frames is spoilt."""
    rows = [
        ["as they are", _percent(order.accuracy)],
        ["frames shuffled", _percent(order.shuffled)],
        ["backwards", _percent(order.reversed)],
        ["middle frame alone", _percent(order.single_frame)],
        ["order gap: as they are - shuffled", f"{100 * order.order_gap:+.1f} points"],
    ]
    return Table("Is the order of frames read?", ["clips", "accuracy"], rows)


def curve_parts(history: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Charts of the loss, of accuracy in training and validation, and of the learning rate, as far as there are any:
    a head that is fitted takes no steps."""
    steps = [row for row in history if "loss" in row]
    checks = [row for row in history if "validation" in row]
    training = {"training": [(row["step"], row["accuracy"]) for row in steps if "accuracy" in row]}
    names = list(checks[0]["validation"]) if checks else []
    held_out = {
        f"held out: {_NAMES.get(name, name)}": [(row["step"], row["validation"][name]) for row in checks]
        for name in names
    }
    charts = [
        Chart("Loss", {"loss": [(row["step"], row["loss"]) for row in steps]}),
        Chart("Accuracy", training | held_out, y_range=(0, 1)),
        Chart("Learning rate", {"learning rate": [(row["step"], row["learning_rate"]) for row in steps]}),
    ]
    return [chart for chart in charts if any(chart.curves.values())]


def confused_part(
    confused: Sequence[Confused],
    names: Sequence[str],
    clip_name: Callable[[int], str],
    frames: Callable[[int], NDArray[np.uint8]],
) -> list[Part]:
    """Film strips of the clips that were taken for something else.

    Args:
        clip_name: of a row.
        frames: (T, H, W, 3) uint8 of a row.
    """
    strips = [
        Strip(
            f"{clip_name(c.index)}: {names[c.truth]}, taken for {names[c.predicted]} ({_percent(c.probability)})",
            frames(c.index),
        )
        for c in confused
    ]
    return [Strips("Most confused clips", strips)] if strips else []


def console_tables(report: ClassificationReport, order: OrderReport | None) -> list[RichTable]:
    """The same for a terminal, as tables of rich."""
    tables: list[RichTable] = []
    for part in score_parts(report, order):
        if isinstance(part, Facts):
            headers, rows = ("score", "value"), part.rows
        elif isinstance(part, Table):
            headers, rows = part.headers, part.rows
        else:
            continue
        table = RichTable(*headers, title=part.title, title_justify="left")
        for row in rows:
            table.add_row(*(escape(printable(cell)) for cell in row))
        tables.append(table)
    return tables


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"
