"""MOT Challenge text: `frame,id,left,top,width,height,confidence,...` rows of one video, frames counted from 1."""

import csv
import math
from pathlib import Path

import numpy as np

from muybridge.data.annotations.table import NO_PERSON, AnnotationRows, Annotations
from muybridge.data.label_maps import read_text
from muybridge.errors import AnnotationError, OptionError
from muybridge.media.outputs import atomic_output

_COLUMNS = ("frame", "id", "left", "top", "width", "height", "confidence")


def read_mot(path: str | Path, *, rate_fps: float, video: str | None = None) -> Annotations:
    """Read tracks or detections (id -1), boxes in pixels, with confidences as scores.

    Coordinates are taken as the file has them: MOT counts pixels from 1, other tools from 0, and the file does not
    tell. Columns after the seventh are ignored; without a seventh column the confidence is 1. Rows of confidence 0
    are kept, though ground truth files mark with it what evaluators should ignore.

    Args:
        path: the text file.
        rate_fps: frames a second of the video.
        video: its name; the file's stem where None.

    Raises:
        MissingInput: no such file.
        AnnotationError: a row breaks the format; names the line.
        OptionError: rate_fps is not positive.
    """
    path = Path(path)
    if not rate_fps > 0:
        raise OptionError(f"rate_fps is {rate_fps}. It must be the video's positive frames a second.")
    rows = AnnotationRows("pixel")
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        if not text.strip():
            continue
        cells = text.replace(",", " ").split()
        if len(cells) < 6:
            raise AnnotationError(f"{path}, line {line}: {len(cells)} columns. Expected {','.join(_COLUMNS)}.")
        try:
            frame, person, left, top, width, height = (float(cell) for cell in cells[:6])
            score = float(cells[6]) if len(cells) > 6 else 1.0
        except ValueError as error:
            raise AnnotationError(f"{path}, line {line}: {error}. The first seven columns are numbers.") from error
        if not all(math.isfinite(number) for number in (frame, person, left, top, width, height, score)):
            raise AnnotationError(f"{path}, line {line}: NaN or infinity. Drop the row.")
        if frame < 1 or frame % 1 or person % 1 or person < NO_PERSON or width < 0 or height < 0:
            raise AnnotationError(
                f"{path}, line {line}: frame {cells[0]}, id {cells[1]}, size {cells[4]} x {cells[5]}: frames count"
                " from 1, ids from 0 or -1 for none, and sizes are not negative."
            )
        identity = None if person == NO_PERSON else int(person)
        box = (left, top, left + width, top + height)
        rows.add(video or path.stem, (frame - 1) / rate_fps, box, person=identity, score=score)
    return rows.annotations()


def write_mot(path: str | Path, annotations: Annotations, *, rate_fps: float) -> None:
    """Write one video's boxes in pixels, in order of frame and id. Actions are not kept: MOT has no place for them.

    Rows that differ in their action alone are written once, with the highest score.

    Raises:
        AnnotationError: several videos, or boxes not in pixels.
        OptionError: rate_fps is not positive.
        OutputError: it cannot be written.
    """
    path = Path(path)
    if not rate_fps > 0:
        raise OptionError(f"rate_fps is {rate_fps}. It must be the video's positive frames a second.")
    if annotations.unit != "pixel" or len(np.unique(annotations.video)) > 1:
        raise AnnotationError(f"{path}: MOT takes one video with boxes in pixels. Use .of_video() and .in_pixels().")
    count = len(annotations)
    people = np.full(count, NO_PERSON) if annotations.person is None else annotations.person
    scores = np.ones(count) if annotations.score is None else annotations.score
    frames = np.rint(annotations.time_seconds * rate_fps).astype(int) + 1
    written: dict[tuple[int, int, tuple[float, ...]], float] = {}
    for frame, person, box, score in zip(
        frames.tolist(), people.tolist(), annotations.boxes_xyxy.tolist(), scores.tolist(), strict=True
    ):
        key = (frame, person, tuple(box))
        written[key] = max(score, written.get(key, -math.inf))
    with atomic_output(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for (frame, person, (left, top, right, bottom)), score in sorted(written.items()):
            writer.writerow([frame, person, left, top, right - left, bottom - top, score, -1, -1, -1])
