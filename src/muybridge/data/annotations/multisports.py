"""MultiSports: published as a pickle, which is refused; read from its JSON twin or from the CSV that is made of it.

The CSV has rows `video,frame,left,top,right,bottom,action,tube[,score]`: boxes normalised to the frame, frames from
1, actions from 0, tubes from 0 in each action of a video. The ninth column is there for predicted tubes.
"""

from pathlib import Path

from muybridge.counts import counted
from muybridge.data.annotations.table import AnnotationRows
from muybridge.data.annotations.tubes import TubeSet, read_tubes, refuse_pickle
from muybridge.data.label_maps import LabelMap
from muybridge.data.text_files import check_is_file, csv_rows, shown
from muybridge.errors import AnnotationError

RATE_FPS = 25.0
_COLUMNS = ("frame", "left", "top", "right", "bottom", "action", "tube", "score")
_WHOLE = ("frame", "action", "tube")


def read_multisports(path: str | Path, *, labels: LabelMap | None = None) -> TubeSet:
    """Tubes of 66 fine-grained actions in videos of 25 frames a second.

    Args:
        path: JSON with boxes in pixels (see `read_tubes`), or a CSV with normalised ones. Its videos lose their .mp4.
        labels: classes of a CSV, which holds numbers only; None names them by their numbers. A JSON has its own.

    Returns:
        Tubes; `person` is the tube's number within its video.

    Raises:
        MissingInput: no such file.
        AnnotationError: a pickle, or a row breaks the format; names file, line and rule.
    """
    path = Path(path)
    return _read_csv(path, labels) if path.suffix.lower() == ".csv" else read_tubes(path, rate_fps=RATE_FPS)


def _read_csv(path: Path, labels: LabelMap | None) -> TubeSet:
    rows = AnnotationRows("normalised")
    people: dict[str, dict[tuple[int, int], int]] = {}
    classes, width = set[int](), 0
    refuse_pickle(path, "Name the CSV or the JSON.")
    check_is_file(path)
    known = None if labels is None else set(labels.ids)
    for line, row in csv_rows(path):
        where = f"{path}, line {line}"
        if len(row) not in (8, 9) or (width and len(row) != width):
            raise AnnotationError(
                f"{where}: {counted(len(row), 'column')}. Every row has 8"
                " (video,frame,left,top,right,bottom,action,tube), or every row 9 (and score)."
            )
        width = len(row)
        cells = _numbers(where, row[1:])
        box = [cells[edge] for edge in ("left", "top", "right", "bottom")]
        frame, action, tube = (int(cells[name]) for name in _WHOLE)
        if frame < 1 or box[2] < box[0] or box[3] < box[1]:
            raise AnnotationError(
                f"{where}: frames count from 1, and boxes are left, top, right, bottom. Correct it."
            )
        if known is not None and action not in known:
            raise AnnotationError(
                f"{where}: the class id {action} is not in the label map. Use the list of this set."
            )
        video = row[0].removesuffix(".mp4")
        tubes = people.setdefault(video, {})
        person = tubes.setdefault((action, tube), len(tubes))
        rows.add(video, (frame - 1) / RATE_FPS, box, label=action, person=person, score=cells.get("score"))
        classes.add(action)
    if labels is None:
        used = tuple(sorted(classes)) or (0,)
        labels = LabelMap(tuple(map(str, used)), used)
    return TubeSet(rows.annotations(), labels)


def _numbers(where: str, texts: list[str]) -> dict[str, float]:
    cells: dict[str, float] = {}
    for name, text in zip(_COLUMNS, texts, strict=False):
        try:
            cells[name] = float(text)
        except ValueError as error:
            raise AnnotationError(f"{where}: {name} is {shown(text)}, not a number.") from error
        if not abs(cells[name]) < 1e12 or (name in _WHOLE and (cells[name] < 0 or cells[name] % 1)):
            raise AnnotationError(f"{where}: {name} is {shown(text)}. Numbers are finite, {', '.join(_WHOLE)} whole.")
    return cells
