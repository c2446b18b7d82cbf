"""MOTChallenge text: one row a box, `frame,id,left,top,width,height,confidence[,class,visibility | ,x,y,z]`.

Frames count from 1. Coordinates are taken as they stand, as the benchmark's own evaluation does.
"""

import configparser
import csv
from pathlib import Path
from typing import Literal, TextIO

from muybridge.data.annotation_files import annotation_error, open_text, read_number, read_whole, write_text
from muybridge.data.annotations import AnnotationRows, Annotations
from muybridge.data.frame_numbers import check_rate, person_boxes
from muybridge.errors import OptionError

Kind = Literal["truth", "predictions"]
_PEDESTRIAN = 1


def read_mot(path: str | Path, *, kind: Kind, rate: float | None = None, video: str | None = None) -> Annotations:
    """Read the people of one sequence: boxes in pixels, track ids, no actions.

    Args:
        path: `gt/gt.txt`, `det/det.txt` or a tracker's result.
        kind: truth drops rows of confidence 0, which mark what is to be ignored, and of other classes than
            pedestrians; predictions keep all, with the confidence as score.
        rate: frames a second; None reads it from `seqinfo.ini` in the folder of the sequence.
        video: its name; None takes it from `seqinfo.ini`, else from the file.

    Raises:
        MissingInput: it is not there.
        OptionError: the rate is not known.
        AnnotationError: a row breaks the format; names the line.
    """
    path = Path(path)
    info = _sequence_info(path)
    if rate is None and "framerate" not in info:
        raise OptionError(f"{path}: its frames a second are not known, for lack of a seqinfo.ini. Pass rate=")
    seconds_a_frame = 1 / check_rate(rate if rate is not None else read_number(path, info["framerate"], "frameRate"))
    name = video or info.get("name", path.stem)
    rows = AnnotationRows("pixel")
    if "imwidth" in info and "imheight" in info:
        width, height = (read_whole(path, info[key], key) for key in ("imwidth", "imheight"))
        rows.frame_sizes[name] = (width, height)
    with open_text(path) as file:
        reader = csv.reader(file)
        for row in reader:
            if row:
                _add_row(path, reader.line_num, row, rows, name, seconds_a_frame, kind)
    return rows.annotations()


def write_mot(path: str | Path, annotations: Annotations, *, rate: float, video: str | None = None) -> None:
    """Write one video's people in pixels, with one row a person and frame whatever they do; without actions.

    The confidence is the best score of the person's rows, 1 without scores; unknown people are -1.

    Args:
        video: which; None where there is only one.

    Raises:
        OptionError: there are several videos and none is named.
        AnnotationError: boxes are normalised and the picture's size is not known.
        OutputError: it cannot be written.
    """
    if video is None and len(annotations.videos) != 1:
        raise OptionError(f"MOT files hold one video, these annotations have {len(annotations.videos)}. Pass video=")
    name = video or annotations.videos[0]
    in_pixels = annotations.in_pixels()

    def write(file: TextIO) -> None:
        for one in person_boxes(in_pixels, name, rate):
            left, top, right, bottom = one.box_xyxy
            person = -1 if one.person is None else one.person
            confidence = 1.0 if one.score is None else one.score
            file.write(
                f"{one.frame + 1},{person},{left:.6g},{top:.6g},{right - left:.6g},{bottom - top:.6g},"
                f"{confidence:.6g},-1,-1,-1\n"
            )

    write_text(path, write)


def _sequence_info(path: Path) -> dict[str, str]:
    for folder in path.resolve().parents[:2]:
        found = folder / "seqinfo.ini"
        if found.is_file():
            parser = configparser.ConfigParser(interpolation=None)
            try:
                with open_text(found) as file:
                    parser.read_file(file)
                return dict(parser["Sequence"])
            except (configparser.Error, KeyError) as error:
                raise annotation_error(
                    found, f"it has no readable [Sequence] part ({error})", "Mend or remove it"
                ) from error
    return {}


def _add_row(
    path: Path, line: int, row: list[str], rows: AnnotationRows, name: str, seconds_a_frame: float, kind: Kind
) -> None:
    if not 7 <= len(row) <= 10:
        raise annotation_error(
            path,
            f"the row has {len(row)} columns",
            "Write frame,id,left,top,width,height,confidence and up to three more",
            where=line,
        )
    frame = read_whole(path, row[0], "the frame", where=line)
    if frame < 1:
        raise annotation_error(path, f"the frame is {frame}", "Count frames from 1", where=line)
    person = read_whole(path, row[1], "the id", where=line)
    left, top, width, height, confidence = (read_number(path, text, "a number", where=line) for text in row[2:7])
    if width <= 0 or height <= 0:
        raise annotation_error(path, f"the box is {width:g} wide and {height:g} high", "Drop the row", where=line)
    if kind == "truth":
        # Ground truth of 2D sequences has a class in the eighth column, results have -1 for a place in the world.
        has_class = len(row) == 9
        if confidence == 0 or (has_class and read_whole(path, row[7], "the class", where=line) != _PEDESTRIAN):
            return
    rows.add(
        name,
        (frame - 1) * seconds_a_frame,
        (left, top, left + width, top + height),
        person=None if person < 0 else person,
        score=confidence if kind == "predictions" else None,
    )
