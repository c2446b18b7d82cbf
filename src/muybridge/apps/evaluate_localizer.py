"""`muybridge evaluate localizer`."""

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def evaluate_localizer(
    annotations: Path,
    /,
    *,
    videos: Path,
    model: Annotated[str, Parameter(alias="-m")],
    boxes: Path | None = None,
    min_score: float = 0.85,
    every: str = "0s",
    protocol: Literal["ava-2019", "activitynet-2020", "slowfast", "mmaction2"] = "ava-2019",
    banks: Path | None = None,
    batch_size: int = 4,
    scales: Annotated[list[int] | None, Parameter(negative=(), consume_multiple=True)] = None,
    flip: Annotated[bool, Parameter(negative=())] = False,
    backbone_weights: Path | None = None,
    predictions: Path | None = None,
    report: Path | None = None,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    device: str = "auto",
) -> None:
    """Measure a localizer on annotated videos: frame-mAP, and video-mAP where people have ids.

    Parameters
    ----------
    annotations
        Who does what, as `muybridge train localizer` takes it.
    videos
        Folder of the videos that they name.
    model
        A .safetensors file, or OWNER/NAME on the Hugging Face hub.
    boxes
        Detections with scores, used in place of the true boxes, as published figures are.
    min_score
        Detections less sure are left out.
    every
        Least time between key frames, where every frame is annotated; 0s takes all.
    protocol
        Whose rules, see `muybridge evaluate ava`. The report states them.
    banks
        Folder of feature banks, for a model that reads them.
    batch_size
        Clips at a time.
    scales
        See each clip at several sizes, told as pixels of the frame's short side, such as 224 256 320.
    flip
        See each clip mirrored too.
    backbone_weights
        A file with an image model's weights, if they do not come by its name,
        or timm to fetch the published ones.
    predictions
        A CSV file to write, in AVA's form.
    report
        An HTML page to write, with a table of classes and the worst errors.
    out
        A JSON file to write, with all numbers.
    device
        auto, cpu, cuda, mps.
    """
    from muybridge.apps.durations import parse_seconds
    from muybridge.data.annotations.ava import write_ava
    from muybridge.escapes import printable_lines
    from muybridge.localize.evaluate import evaluate
    from muybridge.localize.views import TestViews
    from muybridge.media.outputs import atomic_output, check_writable

    for path in (predictions, report, out):
        if path is not None:
            check_writable(path)
    measured = evaluate(
        model,
        annotations,
        videos,
        boxes=boxes,
        min_score=min_score,
        every_seconds=parse_seconds("--every", every),
        protocol=protocol,
        banks=banks,
        batch_size=batch_size,
        views=TestViews(tuple(scales or ()), flip),
        device=device,
        backbone_weights=backbone_weights,
        report=report,
    )
    print(printable_lines(str(measured.frames)))  # noqa: T201
    print(f"boxes: {measured.boxes}")  # noqa: T201
    if measured.tubes is not None:
        print("\n" + printable_lines(measured.tubes.to_text()))  # noqa: T201
    if predictions is not None:
        write_ava(predictions, measured.predictions, eighth="score")
    if out is not None:
        tubes = None if measured.tubes is None else json.loads(measured.tubes.to_json())
        content = {**measured.numbers(), "boxes": measured.boxes, "frames": json.loads(measured.frames.to_json())}
        with atomic_output(out) as beside:
            beside.write_text(json.dumps({**content, "tubes": tubes}, indent=2) + "\n", encoding="utf-8")
