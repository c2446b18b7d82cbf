"""Answers of `muybridge recognize` as a table, CSV or JSON."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from muybridge.decimals import SCORE, SECONDS
from muybridge.escapes import csv_cell, printable
from muybridge.media.outputs import atomic_output
from muybridge.media.sources import Source
from muybridge.recognize.files import FileAnswer, RecognizeJob
from muybridge.recognize.recognizer import Prediction

_COLUMNS = ("file", "start_seconds", "end_seconds", "label", "score")


def write_answers(answers: Sequence[FileAnswer], format: str, path: Path | None, *, top: int) -> None:
    """Print answers, or write them to a file, whole or not at all."""
    text = {"table": _table, "csv": _csv, "json": _json}[format](answers, top)
    if path is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    with atomic_output(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _table(answers: Sequence[FileAnswer], top: int) -> str:
    lines: list[str] = []
    for answer in answers:
        lines.append(printable(answer.source))
        if not answer.spans:
            lines.append("  nothing it knows: no span is above the threshold")
        lines += [f"  {_clock(s.start)} - {_clock(s.end)}  {s.score:.2f}  {printable(s.label)}" for s in answer.spans]
        if answer.num_windows == 1:  # a short clip: its runners-up are worth a look
            others = answer.windows[0].prediction.top(top)[1:]
            lines += [f"  {'':19}  {score:.2f}  {printable(name)}" for name, score in others]
    return "\n".join(lines) + "\n"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes):2d}:{rest:05.2f}"


def live_header(format: str) -> str:
    """What stands before the lines of a live source."""
    return ",".join(_COLUMNS) + "\n" if format == "csv" else ""


def live_line(
    job: RecognizeJob, format: str, source: Source, start: float, end: float, prediction: Prediction
) -> str:
    """One answer of a live source: a line of a table, of CSV, or a JSON object; empty where no label reaches the
    threshold."""
    found = [(name, score) for name, score in prediction.top(job.top) if score >= job.threshold]
    if not found:
        return ""
    if format == "json":
        top = [{"label": name, "score": round(score, SCORE)} for name, score in found]
        return json.dumps({"start": round(start, SECONDS), "end": round(end, SECONDS), "top": top}) + "\n"
    if format == "csv":
        text = io.StringIO()
        name, score = found[0]
        csv.writer(text, lineterminator="\n").writerow(_cells(source.location, start, end, name, score))
        return text.getvalue()
    labels = "  ".join(f"{score:.2f} {printable(name)}" for name, score in found)
    return f"{_clock(start)} - {_clock(end)}  {labels}\n" if end > start else f"{_clock(start)}  {labels}\n"


def _csv(answers: Sequence[FileAnswer], top: int) -> str:
    del top
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for answer in answers:
        for span in answer.spans:
            rows.writerow(_cells(answer.source, span.start, span.end, span.label, span.score))
    return text.getvalue()


def _cells(file: str, start: float, end: float, label: str, score: float) -> tuple[str, ...]:
    times = (f"{seconds:.{SECONDS}f}" for seconds in (start, end))
    return (csv_cell(file), *times, csv_cell(label), f"{score:.{SCORE}f}")


def _json(answers: Sequence[FileAnswer], top: int) -> str:
    files = [
        {
            "file": answer.source,
            "spans": [span.to_json() for span in answer.spans],
            "windows": [window.to_json(top=top) for window in answer.windows],
        }
        for answer in answers
    ]
    return json.dumps(files, indent=1) + "\n"
