"""MOT Challenge text: `frame,id,left,top,width,height,confidence,...` rows of one video, frames counted from 1."""

import csv
import math
from pathlib import Path

import numpy as np

from muybridge.counts import counted
from muybridge.data.annotations.frame_clock import FrameClock, clock_of
from muybridge.data.annotations.table import NO_PERSON, AnnotationRows, Annotations
from muybridge.data.text_files import read_text, shown
from muybridge.decimals import PIXELS
from muybridge.errors import AnnotationError
from muybridge.media.outputs import atomic_output

# Frames and ids up to it are exact as floats.
_LARGEST = 2**53
_COLUMNS = ("frame", "id", "left", "top", "width", "height", "confidence")


def read_mot(path: str | Path, *, rate_fps: float | FrameClock, video: str | None = None) -> Annotations:
    """Read tracks or detections (id -1), boxes in pixels, with confidences as scores.

    Coordinates are taken as the file has them: MOT counts pixels from 1, other tools from 0, and the file does not
    tell. Columns after the seventh are ignored; without a seventh column the confidence is 1. Rows of confidence 0
    are kept, though ground truth files mark with it what evaluators should ignore.

    Args:
        path: the text file.
        rate_fps: frames a second of the video, or a clock that knows when each is shown.
        video: its name; the file's stem where None.

    Raises:
        MissingInput: no such file.
        AnnotationError: a row breaks the format; names the line.
        OptionError: rate_fps is not positive.
    """
    path = Path(path)
    clock, name = clock_of(rate_fps), video or path.stem
    rows = AnnotationRows("pixel")
    found: list[tuple[int, tuple[float, ...], int | None, float]] = []
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        if not text.strip():
            continue
        cells = [cell.strip() for cell in text.strip().rstrip(",").split(",")] if "," in text else text.split()
        if len(cells) < 6:
            raise AnnotationError(
                f"{path}, line {line}: {counted(len(cells), 'column')}. Expected {','.join(_COLUMNS)}."
            )
        try:
            frame, person, left, top, width, height = (float(cell) for cell in cells[:6])
            score = float(cells[6]) if len(cells) > 6 else 1.0
        except ValueError as error:
            raise AnnotationError(
                f"{path}, line {line}: {shown(text)}. The first seven columns are numbers."
            ) from error
        if not all(abs(number) < _LARGEST for number in (frame, person, left, top, width, height, score)):
            raise AnnotationError(f"{path}, line {line}: NaN, infinity or a number beyond reason. Drop the row.")
        if frame < 1 or frame % 1 or person % 1 or person < NO_PERSON or width < 0 or height < 0:
            raise AnnotationError(
                f"{path}, line {line}: frame {cells[0]}, id {cells[1]}, size {cells[4]} x {cells[5]}: frames count"
                " from 1, ids from 0 or -1 for none, and sizes are not negative."
            )
        identity = None if person == NO_PERSON else int(person)
        box = (left, top, left + width, top + height)
        found.append((int(frame) - 1, box, identity, score))
    times = clock.seconds(name, [frame for frame, *_ in found]).tolist() if found else []
    for time, (_, box, identity, score) in zip(times, found, strict=True):
        rows.add(name, time, box, person=identity, score=score)
    return rows.annotations()


def write_mot(path: str | Path, annotations: Annotations, *, rate_fps: float | FrameClock) -> None:
    """Write one video's boxes in pixels, in order of frame and id. Actions are not kept: MOT has no place for them.

    Rows that differ in their action alone are written once, with the highest score. Edges and scores are written as
    `Annotations.rounded` has them.

    Raises:
        AnnotationError: several videos, or boxes not in pixels.
        OptionError: rate_fps is not positive.
        OutputError: it cannot be written.
    """
    path, clock = Path(path), clock_of(rate_fps)
    if annotations.unit != "pixel" or len(np.unique(annotations.video)) > 1:
        raise AnnotationError(f"{path}: MOT takes one video with boxes in pixels. Use .of_video() and .in_pixels().")
    annotations, count = annotations.rounded(), len(annotations)
    people = np.full(count, NO_PERSON) if annotations.person is None else annotations.person
    scores = np.ones(count) if annotations.score is None else annotations.score
    name = annotations.videos[int(annotations.video[0])] if count else ""
    frames = clock.numbers(name, annotations.time_seconds) + 1 if count else np.zeros(0, np.int64)
    written: dict[tuple[int, int, tuple[float, ...]], float] = {}
    for frame, person, box, score in zip(
        frames.tolist(), people.tolist(), annotations.boxes_xyxy.tolist(), scores.tolist(), strict=True
    ):
        key = (frame, person, tuple(box))
        written[key] = max(score, written.get(key, -math.inf))
    with atomic_output(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for (frame, person, (left, top, right, bottom)), score in sorted(written.items()):
            size = round(right - left, PIXELS), round(bottom - top, PIXELS)
            writer.writerow([frame, person, left, top, *size, score, -1, -1, -1])
