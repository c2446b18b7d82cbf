"""Answers of `muybridge recognize` as a table, CSV or JSON."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from muybridge.media.outputs import atomic_output
from muybridge.tasks.recognize_files import FileAnswer


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
        lines.append(answer.source)
        if not answer.spans:
            lines.append("  no span is above the threshold")
        lines += [f"  {_clock(s.start)} - {_clock(s.end)}  {s.score:.2f}  {s.label}" for s in answer.spans]
        if len(answer.windows) == 1:  # a short clip: its runners-up are worth a look
            others = answer.windows[0].prediction.top(top)[1:]
            lines += [f"  {'':19}  {score:.2f}  {name}" for name, score in others]
    return "\n".join(lines) + "\n"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes):2d}:{rest:05.2f}"


def _csv(answers: Sequence[FileAnswer], top: int) -> str:
    del top
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("file", "start_seconds", "end_seconds", "label", "score"))
    for answer in answers:
        for span in answer.spans:
            rows.writerow((answer.source, f"{span.start:.3f}", f"{span.end:.3f}", span.label, f"{span.score:.4f}"))
    return text.getvalue()


def _json(answers: Sequence[FileAnswer], top: int) -> str:
    files = [
        {
            "file": answer.source,
            "spans": [
                {"start": round(s.start, 3), "end": round(s.end, 3), "label": s.label, "score": round(s.score, 4)}
                for s in answer.spans
            ],
            "windows": [
                {
                    "start": round(w.start, 3),
                    "end": round(w.end, 3),
                    "top": [{"label": name, "score": round(score, 4)} for name, score in w.prediction.top(top)],
                }
                for w in answer.windows
            ],
        }
        for answer in answers
    ]
    return json.dumps(files, indent=1) + "\n"
