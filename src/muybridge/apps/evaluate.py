"""`muybridge evaluate recognizer`, `localizer` and `ava`."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from muybridge.counts import counted
from muybridge.errors import OptionError
from muybridge.escapes import printable, printable_lines
from muybridge.evaluation.options import DEFAULT_AVA_PROTOCOL, AvaProtocolName
from muybridge.localize.options import EvaluateConfig as LocalizerEvaluation
from muybridge.options import FLAT, PLAIN
from muybridge.recognize.options import EvaluateConfig as RecognizerEvaluation

_CONFIG = Parameter(help="A YAML file with options by their names; those given here too come before those in it.")
_OUT = Parameter(alias="-o", help="A JSON file to write, with all numbers.")
Config = Annotated[Path | None, _CONFIG]
Out = Annotated[Path | None, _OUT]


def evaluate_recognizer(on: Annotated[RecognizerEvaluation, FLAT], *, out: Out = None, config: Config = None) -> None:
    """Measure a recognizer on labelled clips: top-1 and top-5, or mAP, and whether it reads the order of frames."""
    from rich.console import Console

    from muybridge.recognize.evaluate import evaluate
    from muybridge.recognize.report import console_tables

    _check(on.report, out, inputs=[on.model, on.data])
    measured = evaluate(on)
    console = Console()
    for table in console_tables(measured.report, measured.order):
        console.print(table)
    if measured.left_out:
        console.print(
            f"not counted, since it cannot be read: {counted(len(measured.left_out), 'clip')}", highlight=False
        )
        for entry in measured.left_out:
            console.print(printable(f"  {entry.path}"), highlight=False, markup=False)
    classes = {
        row.name: {"clips": row.clips, "score": None if math.isnan(row.score) else row.score}
        for row in measured.report.classes
    }
    about = {"clips": len(measured.clips), "left_out": [str(entry.path) for entry in measured.left_out]}
    _write(out, {"model": on.model, "data": str(on.data), **about, **measured.numbers(), "classes": classes})


def evaluate_localizer(
    on: Annotated[LocalizerEvaluation, FLAT],
    *,
    predictions: Path | None = None,
    out: Out = None,
    config: Config = None,
) -> None:
    """Measure a localizer on annotated videos: frame-mAP, and video-mAP where people have ids.

    Parameters
    ----------
    predictions
        A CSV file to write, in AVA's form.
    """
    from muybridge.data.annotations.ava import write_ava
    from muybridge.localize.evaluate import evaluate

    _check(predictions, on.report, out, inputs=[on.model, on.annotations])
    if on.protocol == "jhmdb":
        _evaluate_jhmdb(on, predictions, out)
        return
    measured = evaluate(on)
    print(printable_lines(str(measured.frames)))  # noqa: T201
    print(f"boxes: {measured.boxes}")  # noqa: T201
    if measured.tubes is not None:
        print("\n" + printable_lines(measured.tubes.to_text()))  # noqa: T201
    if predictions is not None:
        write_ava(predictions, measured.predictions, eighth="score")
    tubes = None if measured.tubes is None else json.loads(measured.tubes.to_json())
    content = {**measured.numbers(), "boxes": measured.boxes, "frames": json.loads(measured.frames.to_json())}
    _write(out, {**content, "tubes": tubes})


def _evaluate_jhmdb(on: LocalizerEvaluation, predictions: Path | None, out: Path | None) -> None:
    from muybridge.localize.clip_tubes import evaluate_jhmdb

    if predictions is not None or on.report is not None:
        raise OptionError(
            "protocol=jhmdb writes neither predictions nor a report page. Leave them out; --out has all numbers."
        )
    measured = evaluate_jhmdb(on)
    print(printable_lines(measured.to_text()))  # noqa: T201
    _write(out, {"model": on.model, **measured.to_json()})


def evaluate_ava(
    *,
    truth: Path,
    predictions: Path,
    labels: Path,
    excluded: Path | None = None,
    protocol: AvaProtocolName = DEFAULT_AVA_PROTOCOL,
    json: Annotated[bool, PLAIN] = False,
    config: Config = None,
) -> None:
    """Score a CSV of detections by AVA's frame-mAP at IoU 0.5. Needs no model and no video.

    Parameters
    ----------
    truth
        CSV of rows video,seconds,left,top,right,bottom,action[,person]; video,seconds alone is a frame with nobody.
    predictions
        CSV of rows video,seconds,left,top,right,bottom,action,score.
    labels
        The classes that count: pbtxt of item { name id } blocks, text or JSON. Rows of other classes are left out.
    excluded
        CSV of rows video,seconds that are not to be counted.
    protocol
        Whose rules: ava-2019 is the challenge's (50 rows a frame, detections anywhere count); activitynet-2020
        ignores frames that the truth does not list; slowfast takes all rows; mmaction2 drops scores under 0.002 and
        ignores frames without truth. The report states them.
    json
        Print the report as JSON.
    """
    from muybridge.evaluation.ava import evaluate_ava as evaluate

    report = evaluate(truth, predictions, labels, excluded, protocol)
    print(report.to_json() if json else printable_lines(str(report)))  # noqa: T201


def _check(*results: Path | None, inputs: list[str | Path]) -> None:
    """Refuse, before anything is measured, what cannot be written or would replace an input or another result."""
    from muybridge.apps.batch import check_apart
    from muybridge.media.outputs import check_writable

    taken = list(inputs)
    for path in results:
        if path is not None:
            check_writable(path)
            check_apart(path, taken)
            taken.append(path)


def _write(out: Path | None, numbers: Mapping[str, Any]) -> None:
    from muybridge.media.outputs import atomic_output

    if out is not None:
        with atomic_output(out) as beside:
            beside.write_text(json.dumps(numbers, indent=2, allow_nan=False) + "\n", encoding="utf-8")
