"""AVA and AVA-Kinetics annotations and predictions: CSV rows of video, time, box, action and person or score.

A row is `video,seconds,left,top,right,bottom,action[,person or score]` with boxes normalised to the frame. A row of
two columns, `video,seconds`, states that the frame was looked at and holds nobody. A row whose action is empty is a
box without action, as in the lists of detected people that circulate with SlowFast. AVA-Kinetics writes fractions of
seconds and the same columns; any range of times is taken.
"""

import csv
from array import array
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from muybridge.counts import counted
from muybridge.data.annotations.table import BEYOND_REASON, NO_LABEL, NO_PERSON, Annotations
from muybridge.data.text_files import check_is_file, csv_rows, shown
from muybridge.errors import AnnotationError
from muybridge.escapes import csv_cell, from_csv_cell
from muybridge.media.outputs import atomic_output

EighthColumn = Literal["person", "score"]
_NAME_WIDTHS = (32, 256)
_BOX_COLUMNS = ("left", "top", "right", "bottom")


def read_ava(path: str | Path, *, eighth: EighthColumn) -> Annotations:
    """Read ground truth (`eighth="person"`, the column may lack) or predictions (`eighth="score"`).

    Predictions may hold boxes without area, which evaluators drop; a reversed box of a ground truth is an error.
    A file without an eighth column has no people, or scores of 1, as the published evaluators take it.

    Raises:
        MissingInput: no such file.
        AnnotationError: a row breaks the format; names file, line and rule.
    """
    path = Path(path)
    check_is_file(path)
    return _read_uniform(path, eighth) or _read_row_by_row(path, eighth)


def read_frame_list(path: str | Path) -> list[tuple[str, float]]:
    """Frames as (video, seconds), one `video,seconds` a line: excluded timestamps, or frames to run on.

    Raises:
        MissingInput: no such file.
        AnnotationError: a row breaks the format.
    """
    path = Path(path)
    check_is_file(path)
    frames: list[tuple[str, float]] = []
    for line, row in csv_rows(path):
        if len(row) != 2:
            raise AnnotationError(f"{path}, line {line}: {counted(len(row), 'column')}. Expected two: video,seconds.")
        frames.append((from_csv_cell(row[0]), _number(path, line, "seconds", row[1])))
    return frames


def write_ava(path: str | Path, annotations: Annotations, *, eighth: EighthColumn | None = None) -> None:
    """Write rows in their order, then a two-column row for each empty frame.

    Whole seconds are written as AVA does, in four digits; others, and all coordinates, in full precision, so that
    reading gives back equal numbers.

    Args:
        path: the CSV to write.
        annotations: with normalised boxes.
        eighth: "person", "score", or None to write whichever is there, score first.

    Raises:
        AnnotationError: boxes are in pixels, or what `eighth` names is not there.
        OutputError: it cannot be written.
    """
    path = Path(path)
    if annotations.unit != "normalised":
        raise AnnotationError(f"{path}: AVA boxes are normalised, these are in pixels. Call .normalised() first.")
    wanted = eighth or ("score" if annotations.score is not None else "person")
    last = annotations.score if wanted == "score" else annotations.person
    if eighth is not None and last is None:
        raise AnnotationError(f"{path}: there is no {eighth} to write. Leave eighth out.")
    with atomic_output(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [csv_cell(name) for name in annotations.videos]
        times = annotations.time_seconds.tolist()
        extra: list[list[Any]] = [[] for _ in times]
        if last is not None:
            extra = [[] if wanted == "person" and value == NO_PERSON else [value] for value in last.tolist()]
        for video, time, box, label, end in zip(
            annotations.video, times, annotations.boxes_xyxy.tolist(), annotations.label.tolist(), extra, strict=True
        ):
            action = "" if label == NO_LABEL else label
            writer.writerow([names[video], _seconds(time), *box, action, *end])
        for video, time in zip(annotations.empty_video, annotations.empty_time_seconds.tolist(), strict=True):
            writer.writerow([names[video], _seconds(time)])


def _seconds(time: float) -> str:
    return f"{int(time):04d}" if time.is_integer() else repr(time)


def _read_uniform(path: Path, eighth: EighthColumn) -> Annotations | None:
    """Read with numpy's C parser when every row has the same columns; None sends the file to the exact reader.

    Millions of rows take seconds this way, but its complaints name neither line nor rule.
    """
    num_columns = next((len(row) for _, row in csv_rows(path)), 0)
    if num_columns not in (7, 8):
        return None
    for width in _NAME_WIDTHS:
        columns = [("video", f"S{width}"), ("time", "f8"), ("box", "f8", 4), ("label", "i8"), ("eighth", "f8")]
        try:
            table = np.loadtxt(
                path,
                dtype=columns[: num_columns - 3],
                delimiter=",",
                comments=None,
                quotechar='"',
                encoding="utf-8-sig",
                ndmin=1,
            )
        except ValueError:
            return None
        # Neighbouring rows mostly belong to one video: names are compared once a run, not once a row.
        starts = np.flatnonzero(np.append(True, table["video"][1:] != table["video"][:-1]))
        names, run_video = np.unique(table["video"][starts], return_inverse=True)
        if max(len(name) for name in names.tolist()) < width:
            break
    else:
        return None
    video = np.repeat(run_video.astype(np.int32), np.diff(np.append(starts, len(table))))
    time, boxes, label = (np.ascontiguousarray(table[name]) for name in ("time", "box", "label"))
    last = np.ascontiguousarray(table["eighth"]) if num_columns == 8 else None
    del table
    decoded = tuple(name.decode("latin-1") for name in names.tolist())
    if not _sound(decoded, time, boxes, label, last, eighth):
        return None
    return _assemble(decoded, video, time, boxes, label, last, eighth)


def _sound(
    names: tuple[str, ...],
    time: NDArray[np.float64],
    boxes: NDArray[np.float64],
    label: NDArray[np.int64],
    last: NDArray[np.float64] | None,
    eighth: EighthColumn,
) -> bool:
    # numpy stores names as Latin-1 in bytes; leave all but ASCII to the exact reader.
    sound = all(name.isascii() and name for name in names) and bool((label >= 0).all())
    sound = sound and bool((time >= 0).all() and (time < BEYOND_REASON).all())
    sound = sound and bool(boxes.min(initial=0) > -BEYOND_REASON and boxes.max(initial=0) < BEYOND_REASON)
    if eighth == "person":
        sound = sound and bool((boxes[:, 2:] >= boxes[:, :2]).all())
        return sound and (last is None or bool(((last >= 0) & (last < 2**63) & (last % 1 == 0)).all()))
    return sound and (last is None or bool((np.abs(last) < BEYOND_REASON).all()))


def _read_row_by_row(path: Path, eighth: EighthColumn) -> Annotations:
    videos: dict[str, int] = {}
    video, empty_video, label = array("i"), array("i"), array("q")
    time, empty_time, boxes, last = array("d"), array("d"), array("d"), array("d")
    widths: dict[int, int] = {}
    for line, row in csv_rows(path):
        if len(row) not in (2, 7, 8):
            raise AnnotationError(
                f"{path}, line {line}: {counted(len(row), 'column')}. AVA rows have 7"
                f" (video,seconds,left,top,right,bottom,action), 8 (and {eighth}), or 2 (video,seconds: nobody)."
            )
        if not row[0]:
            raise AnnotationError(f"{path}, line {line}: the video's name is empty. Fill in the first column.")
        number = videos.setdefault(row[0], len(videos))
        seconds = _number(path, line, "seconds", row[1])
        if seconds < 0:
            raise AnnotationError(f"{path}, line {line}: the time {shown(row[1])} is negative. Count from the start.")
        if len(row) == 2:
            empty_video.append(number)
            empty_time.append(seconds)
            continue
        widths.setdefault(len(row), line)
        if eighth == "score" and len(widths) > 1:
            raise AnnotationError(f"{path}, line {line}: rows with and without a score are mixed. Give each row one.")
        video.append(number)
        time.append(seconds)
        boxes.extend(_box(path, line, row[2:6], may_be_reversed=eighth == "score"))
        label.append(_whole(path, line, "action", row[6]) if row[6].strip() else NO_LABEL)
        if len(row) == 7:
            last.append(NO_PERSON if eighth == "person" else 1)
        elif eighth == "person":
            last.append(_whole(path, line, "person", row[7]))
        else:
            last.append(_number(path, line, "score", row[7]))
    return _assemble(
        tuple(videos),
        np.array(video, np.int32),
        np.array(time, np.float64),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(label, np.int64),
        np.array(last, np.float64) if 8 in widths else None,
        eighth,
        np.array(empty_video, np.int32),
        np.array(empty_time, np.float64),
    )


def _assemble(
    videos: tuple[str, ...],
    video: NDArray[np.int32],
    time: NDArray[np.float64],
    boxes: NDArray[np.float64],
    label: NDArray[np.int64],
    last: NDArray[np.float64] | None,
    eighth: EighthColumn,
    empty_video: NDArray[np.int32] | None = None,
    empty_time: NDArray[np.float64] | None = None,
) -> Annotations:
    score = person = None
    if eighth == "score":
        score = np.ones(len(video)) if last is None else last
    elif last is not None:
        person = last.astype(np.int64)
    return Annotations(
        videos=tuple(from_csv_cell(name) for name in videos),
        video=video,
        time_seconds=time,
        boxes_xyxy=boxes,
        unit="normalised",
        label=label,
        person=person,
        score=score,
        empty_video=np.zeros(0, np.int32) if empty_video is None else empty_video,
        empty_time_seconds=np.zeros(0) if empty_time is None else empty_time,
    )


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise AnnotationError(f"{path}, line {line}: {column} is {shown(text)}, not a number.") from error
    if not abs(value) < (2**63 if column in ("action", "person") else BEYOND_REASON):
        raise AnnotationError(
            f"{path}, line {line}: {column} is {shown(text)}. Drop the row; numbers must be finite."
        )
    return value


def _whole(path: Path, line: int, column: str, text: str) -> int:
    value = _number(path, line, column, text)
    if not 0 <= value < 2**63 or not value.is_integer():
        raise AnnotationError(
            f"{path}, line {line}: {column} is {shown(text)}. It must be a whole number, 0 or more."
        )
    return int(value)


def _box(path: Path, line: int, cells: list[str], *, may_be_reversed: bool) -> list[float]:
    box = [_number(path, line, column, cell) for column, cell in zip(_BOX_COLUMNS, cells, strict=True)]
    if not may_be_reversed and (box[2] < box[0] or box[3] < box[1]):
        raise AnnotationError(f"{path}, line {line}: the box {box} is reversed. Order it left, top, right, bottom.")
    return box
