"""`muybridge evaluate ava`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def evaluate_ava(
    *,
    truth: Path,
    predictions: Path,
    labels: Path,
    excluded: Path | None = None,
    protocol: Literal["ava-2019", "activitynet-2020", "slowfast", "mmaction2"] = "ava-2019",
    json: Annotated[bool, Parameter(negative=())] = False,
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
    from muybridge.escapes import printable_lines
    from muybridge.evaluation.ava import evaluate_ava as evaluate

    report = evaluate(truth, predictions, labels, excluded, protocol)
    print(report.to_json() if json else printable_lines(str(report)))  # noqa: T201
