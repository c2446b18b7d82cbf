"""Action tubes as JSON, the form that UCF101-24, JHMDB and MultiSports share.

All three circulate as a pickled dictionary. A pickle runs whatever code its author put in, so it is never opened;
its JSON twin has the same keys:

    labels        list of class names; a class is its place in it
    gttubes       {video: {class: [tube, ...]}}, a tube is a list of [frame, left, top, right, bottom], frames from 1
    resolution    {video: [height, width]}
    nframes, train_videos, test_videos    optional; the latter lists of lists of videos, one a split

It is made from a pickle that one trusts by

    python -c "import json, pickle, sys; json.dump(pickle.load(open(sys.argv[1], 'rb'),
    encoding='latin1'), sys.stdout, default=lambda value: value.tolist())" IN.pkl > OUT.json

A tube's boxes become rows whose `person` is the tube's number within its video.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muybridge.data.annotations.frame_clock import FrameClock, clock_of
from muybridge.data.annotations.table import AnnotationRows, Annotations
from muybridge.data.label_maps import LabelMap
from muybridge.data.text_files import is_file, is_whole, parse_json, parse_whole, read_text, shown
from muybridge.errors import AnnotationError
from muybridge.media.outputs import atomic_output

_PICKLE_SUFFIXES = (".pkl", ".pickle", ".p")


@dataclass(frozen=True, eq=False)
class TubeSet:
    """Annotations of a data set of tubes, its classes, and its splits as (training, test) names of videos."""

    annotations: Annotations
    labels: LabelMap
    splits: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()


def refuse_pickle(path: Path, advice: str) -> None:
    """Raise AnnotationError for a pickle, told by its suffix or first byte, without opening it as one."""
    looks = path.suffix.lower() in _PICKLE_SUFFIXES
    if not looks and is_file(path):
        with path.open("rb") as file:
            looks = file.read(1) == b"\x80"
    if looks:
        raise AnnotationError(f"{path} is a pickle, which can run any code when it is opened, so it is not. {advice}")


def read_tubes(path: str | Path, *, rate_fps: float | FrameClock) -> TubeSet:
    """Read the JSON form: boxes in pixels, frames as `rate_fps` tells, a rate or a clock.

    Raises:
        MissingInput: no such file.
        AnnotationError: a pickle, or the file breaks the form; names video and class.
        OptionError: rate_fps is not positive.
    """
    path, clock = Path(path), clock_of(rate_fps)
    refuse_pickle(path, "Convert one you trust to JSON, as the module muybridge.data.annotations.tubes describes.")
    content = parse_json(path, read_text(path))
    if not isinstance(content, dict) or not isinstance(content.get("gttubes"), dict):
        raise AnnotationError(f"{path}: no 'gttubes' object. It maps each video to its tubes by class.")
    names = content.get("labels")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise AnnotationError(f"{path}: 'labels' must be a list of class names.")
    labels = LabelMap(tuple(names), tuple(range(len(names))))
    rows = AnnotationRows("pixel", _sizes(path, content.get("resolution", {})))
    for video, by_class in content["gttubes"].items():
        number = 0
        if not isinstance(by_class, dict) or not all(isinstance(tubes, list) for tubes in by_class.values()):
            raise AnnotationError(f"{path}, video {video!r}: expected lists of tubes by class. Export it again.")
        for label, tubes in by_class.items():
            where = f"{path}, video {video!r}, class {shown(label)}"
            number_of_class = parse_whole(label)
            if number_of_class is None or number_of_class >= len(names):
                raise AnnotationError(f"{where}: no such class. They are numbered 0 to {len(names) - 1}.")
            for tube in tubes:
                table = _tube(where, tube)
                times = clock.seconds(video, table[:, 0].astype(np.int64) - 1).tolist()
                for time, box in zip(times, table[:, 1:].tolist(), strict=True):
                    rows.add(video, time, box, label=number_of_class, person=number)
                number += 1
    return TubeSet(rows.annotations(), labels, _splits(path, content))


def write_tubes(path: str | Path, tubes: TubeSet, *, rate_fps: float | FrameClock) -> None:
    """Write the JSON form; rows of one video, class and person become one tube. Edges are written to the hundredth of
    a pixel.

    Raises:
        AnnotationError: boxes are not in pixels, or rows have no person.
        OptionError: rate_fps is not positive.
        OutputError: it cannot be written.
    """
    path, annotations, clock = Path(path), tubes.annotations.rounded(), clock_of(rate_fps)
    if annotations.unit != "pixel" or annotations.person is None or (annotations.person < 0).any():
        raise AnnotationError(f"{path}: tubes need boxes in pixels and a person in every row. Track the boxes first.")
    columns = tubes.labels.columns(annotations.label).tolist()
    frames = np.zeros(len(annotations), np.int64)
    for index in np.unique(annotations.video).tolist():
        mine = annotations.video == index
        frames[mine] = clock.numbers(annotations.videos[index], annotations.time_seconds[mine]) + 1
    collected: dict[str, dict[str, dict[int, list[list[float]]]]] = {name: {} for name in annotations.videos}
    for row in np.argsort(frames, kind="stable").tolist():
        by_class = collected[annotations.videos[annotations.video[row]]].setdefault(str(columns[row]), {})
        tube = by_class.setdefault(int(annotations.person[row]), [])
        tube.append([int(frames[row]), *annotations.boxes_xyxy[row].tolist()])
    content = {
        "labels": list(tubes.labels.names),
        "gttubes": {
            video: {label: list(people.values()) for label, people in by_class.items()}
            for video, by_class in collected.items()
        },
        "resolution": {video: [height, width] for video, (width, height) in annotations.frame_sizes.items()},
        "train_videos": [list(train) for train, _ in tubes.splits],
        "test_videos": [list(test) for _, test in tubes.splits],
    }
    with atomic_output(path) as beside:
        beside.write_text(json.dumps(content), encoding="utf-8")


def _sizes(path: Path, resolution: Any) -> dict[str, tuple[int, int]]:
    sizes: dict[str, tuple[int, int]] = {}
    if not isinstance(resolution, dict):
        raise AnnotationError(f"{path}: 'resolution' must map each video to [height, width].")
    for video, size in resolution.items():
        if not isinstance(size, list) or len(size) != 2 or not all(is_whole(side) and side > 0 for side in size):
            raise AnnotationError(
                f"{path}, video {video!r}: resolution is {shown(size)}. It must be [height, width]."
            )
        sizes[video] = (size[1], size[0])
    return sizes


def _splits(path: Path, content: dict[str, Any]) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """(training videos, test videos) of each split."""
    lists = [content.get(key, []) for key in ("train_videos", "test_videos")]
    if not all(isinstance(parts, list) and all(isinstance(part, list) for part in parts) for parts in lists):
        raise AnnotationError(f"{path}: 'train_videos' and 'test_videos' must be lists of lists of names.")
    train, test = ([tuple(map(str, part)) for part in parts] for parts in lists)
    return tuple(zip(train, test, strict=False))


def _tube(where: str, tube: Any) -> NDArray[np.float64]:
    try:
        table = np.array(tube, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise AnnotationError(f"{where}: a tube is not a table of numbers. Export it again.") from error
    if table.ndim != 2 or table.shape[1] != 5 or not np.isfinite(table).all():
        raise AnnotationError(
            f"{where}: a tube has shape {table.shape} or NaN. A row is frame, left, top, right, bottom."
        )
    if (
        (table[:, 0] < 1).any()
        or (table[:, 0] > 2**53).any()
        or (table[:, 0] % 1).any()
        or (np.diff(table[:, 0]) <= 0).any()
    ):
        raise AnnotationError(f"{where}: frames must be whole, count from 1 and increase.")
    if (table[:, 3:] < table[:, 1:3]).any():
        raise AnnotationError(f"{where}: a box is reversed. Order it as left, top, right, bottom.")
    return table
