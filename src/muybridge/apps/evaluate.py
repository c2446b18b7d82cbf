"""`muybridge evaluate recognizer`."""

import json
import math
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def evaluate_recognizer(
    data: Path,
    /,
    *,
    model: Annotated[str, Parameter(alias="-m")],
    split: str | None = None,
    root: Path | None = None,
    temporal_views: int | None = None,
    spatial_views: int | None = None,
    order: bool = True,
    batch_size: int = 8,
    workers: int = 0,
    backbone_weights: Path | None = None,
    report: Path | None = None,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    device: str = "auto",
) -> None:
    """Measure a recognizer on labelled clips: top-1 and top-5, or mAP, and whether it reads the order of frames.

    Parameters
    ----------
    data
        Labelled clips, as `muybridge train recognizer` takes them.
    model
        camera, a .safetensors file, or OWNER/NAME on the Hugging Face hub.
    split
        train, val, test or all, as far as the data has them; held-out draws again the clips that training held out
        of undivided data. By default test, else val, else all.
    root
        Folder that the paths in a list are relative to.
    temporal_views
        Places in time that a clip is looked at, by default as the model file says.
    spatial_views
        1 looks at the centre, 3 at both ends of the long side too; by default as the model file says.
    order
        Also measure the clips with their frames shuffled, backwards, and by one frame alone.
    batch_size
        Clips at a time.
    workers
        Processes that read clips.
    backbone_weights
        A file with the backbone's weights, if they do not come by its name,
        or timm to fetch the published ones.
    report
        An HTML page to write, with the confusion matrix and the clips confused most.
    out
        A JSON file to write, with all numbers.
    device
        auto, cpu, cuda, mps.
    """
    from rich.console import Console

    from muybridge.apps.batch import check_apart
    from muybridge.errors import OptionError
    from muybridge.escapes import printable
    from muybridge.media.outputs import atomic_output, check_writable
    from muybridge.recognize.evaluate import evaluate
    from muybridge.recognize.report import console_tables

    for path in (report, out):
        if path is not None:
            check_writable(path)
            check_apart(path, [model, data, *([report] if report and path is out else [])])
    for name, value, least in (("--batch-size", batch_size, 1), ("--workers", workers, 0)):
        if value < least:
            raise OptionError(f"{name} {value} must be {least} or more")
    measured = evaluate(
        model,
        data,
        split=split,
        root=root,
        temporal_views=temporal_views,
        spatial_views=spatial_views,
        orders=order,
        batch_size=batch_size,
        workers=workers,
        device=device,
        backbone_weights=backbone_weights,
        report=report,
    )
    console = Console()
    for table in console_tables(measured.report, measured.order):
        console.print(table)
    if measured.left_out:
        console.print(f"{len(measured.left_out)} clips cannot be read and do not count:", highlight=False)
        for entry in measured.left_out:
            console.print(printable(f"  {entry.path}"), highlight=False, markup=False)
    if out is not None:
        classes = {
            row.name: {"clips": row.clips, "score": None if math.isnan(row.score) else row.score}
            for row in measured.report.classes
        }
        counted = {"clips": len(measured.clips), "left_out": [str(entry.path) for entry in measured.left_out]}
        content = {"model": model, "data": str(data), **counted, **measured.numbers(), "classes": classes}
        text = json.dumps(content, indent=2, allow_nan=False)
        with atomic_output(out) as beside:
            beside.write_text(text + "\n", encoding="utf-8")
