"""UCF101-24: the published ViPER files (.xgtf), or the JSON twin of the circulating pickle (`tubes.py`).

A ViPER file is of one video: an object a person, its boxes over spans of frames counted from 1, and spans in which
its action, a true-or-false attribute, holds. Boxes outside those spans are not part of the tube.
"""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from muybridge.data.annotations.safe_xml import read_xml
from muybridge.data.annotations.table import AnnotationRows
from muybridge.data.annotations.tubes import TubeSet, read_tubes
from muybridge.data.label_maps import LabelMap
from muybridge.data.text_files import parse_whole, shown
from muybridge.errors import AnnotationError, MissingInput
from muybridge.media.outputs import is_folder

RATE_FPS = 25.0
_MOST_FRAMES = 100_000
UCF101_24_CLASSES = (
    "Basketball", "BasketballDunk", "Biking", "CliffDiving", "CricketBowling", "Diving", "Fencing", "FloorGymnastics",
    "GolfSwing", "HorseRiding", "IceDancing", "LongJump", "PoleVault", "RopeClimbing", "SalsaSpin", "SkateBoarding",
    "Skiing", "Skijet", "SoccerJuggling", "Surfing", "TennisSwing", "TrampolineJumping", "VolleyballSpiking",
    "WalkingWithDog",
)  # fmt: skip
LABELS = LabelMap(UCF101_24_CLASSES, tuple(range(len(UCF101_24_CLASSES))))


def read_ucf101_24(path: str | Path) -> TubeSet:
    """Read a folder of .xgtf files (found recursively), one such file, or the JSON form.

    Raises:
        MissingInput: no such file, or a folder without .xgtf files.
        AnnotationError: a pickle, or a file breaks the format.
    """
    path = Path(path)
    if not is_folder(path) and path.suffix != ".xgtf":
        return read_tubes(path, rate_fps=RATE_FPS)
    files = sorted(path.rglob("*.xgtf")) if is_folder(path) else [path]
    if not files:
        raise MissingInput(f"{path} holds no .xgtf file. Name the folder of the published annotations.")
    rows = AnnotationRows("pixel")
    for file in files:
        _read_viper(file, rows)
    return TubeSet(rows.annotations(), LABELS)


def _read_viper(path: Path, rows: AnnotationRows) -> None:
    action = next((part for part in path.stem.split("_") if part in UCF101_24_CLASSES), None)
    if action is None:
        raise AnnotationError(f"{path}: the name holds no class of UCF101-24. Keep names like v_Biking_g01_c01.xgtf.")
    for number, person in enumerate(read_xml(path).iter("object")):
        where = f"{path}, object {person.get('id', number)}"
        acting = [_span(where, value) for value in person.iter("bvalue") if value.get("value") == "true"]
        seen: set[int] = set()
        for box in person.iter("bbox"):
            try:
                left, top, width, height = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
            except (KeyError, ValueError) as error:
                raise AnnotationError(f"{where}: a bbox needs numbers x, y, width, height.") from error
            if not np.isfinite((left, top, width, height)).all() or width < 0 or height < 0:
                raise AnnotationError(f"{where}: a bbox of {width} x {height}. Sizes are finite and not negative.")
            first, last = _span(where, box)
            for frame in range(first, last + 1):
                if frame in seen or (acting and not any(start <= frame <= stop for start, stop in acting)):
                    continue
                seen.add(frame)
                edges = (left, top, left + width, top + height)
                label = UCF101_24_CLASSES.index(action)
                rows.add(path.stem, (frame - 1) / RATE_FPS, edges, label=label, person=number)


def _span(where: str, element: ElementTree.Element) -> tuple[int, int]:
    text = element.get("framespan", "")
    first, _, last = text.partition(":")
    start, stop = parse_whole(first), parse_whole(last)
    if start is None or stop is None or not 1 <= start <= stop:
        raise AnnotationError(f"{where}: framespan is {shown(text)}. It must be FIRST:LAST, frames from 1.")
    # The set's longest video has 1,776 frames; a span of billions would only exhaust memory.
    if stop > _MOST_FRAMES:
        raise AnnotationError(f"{where}: framespan {shown(text)} is longer than any video of this set.")
    return start, stop
