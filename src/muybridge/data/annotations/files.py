"""Annotations of any format that this package reads, told by what is in the file."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from muybridge.data.annotations.ava import read_ava
from muybridge.data.annotations.coco import read_coco
from muybridge.data.annotations.cvat import read_cvat
from muybridge.data.annotations.frame_clock import SLACK_SECONDS, FilmClock, FilmsByName, FrameClock
from muybridge.data.annotations.mot import read_mot
from muybridge.data.annotations.table import NO_LABEL, NO_PERSON, Annotations, look_like_pixels
from muybridge.data.annotations.tubes import read_tubes
from muybridge.data.annotations.via import read_via
from muybridge.data.label_maps import LabelMap
from muybridge.data.text_files import csv_rows, exists, parse_json, read_text, shown
from muybridge.data.video_files import VideoFile, VideoFolder, find_videos, video_file
from muybridge.errors import AnnotationError, InputError, MissingInput
from muybridge.media.frame_times import FrameTimes
from muybridge.media.outputs import is_folder
from muybridge.media.sources import film_name


def read_annotated_videos(path: Path, labels: LabelMap, videos: Path) -> tuple[Annotations, dict[str, VideoFile]]:
    """Annotations with actions, and the videos that they are about.

    Args:
        path: AVA CSV, VIA 3 (JSON or CSV), COCO JSON, CVAT for video XML, tubes as JSON; or a folder of such files.
        labels: gives names their ids; ids of a file must be in it.
        videos: folder that holds the videos; frame numbers become seconds by the times of its films.

    Raises:
        MissingInput: no such file, or a folder without annotations.
        AnnotationError: a file breaks its format, a video is missing, or a class is not in the label map.
    """
    files = _files(path)
    films = _Films(videos)
    parts = [_read(file, labels, films) for file in files]
    annotations = join_annotations(parts)
    labels.columns(annotations.label[annotations.label != NO_LABEL])
    return annotations, find_videos(annotations.videos, videos)


def read_boxes(path: Path, videos: Sequence[Path], *, rename_lone: bool = False) -> Annotations:
    """Boxes of people, their actions left out, whatever the format.

    Args:
        path: AVA CSV, MOT text, COCO JSON, CVAT XML, VIA JSON or CSV; or a folder of such files. In AVA's CSV the
            eighth column is taken for a score where it holds fractions, else for a person.
        videos: the videos that the boxes are about; frame numbers become seconds by their times.
        rename_lone: take boxes of one video for those of the one video given, whatever its name: a MOT file has none
            but its own.

    Raises:
        MissingInput: no such file.
        AnnotationError: a file breaks its format, a box is reversed, or all boxes lie after the ends of their videos.
    """
    films = _Films(None, videos)
    files = _files(path)
    parts = [_read(file, None, films) for file in files]
    for file, part in zip(files, parts, strict=True):
        _check_order(file, part)
    joined = join_annotations(parts)
    _check_times(path, joined, films)
    if rename_lone and len(videos) == 1 and len(joined.videos) <= 1:
        name = film_name(videos[0])
        joined = replace(
            joined, videos=(name,), frame_sizes=dict(zip([name], joined.frame_sizes.values(), strict=False))
        )
    return replace(joined, label=np.full(len(joined), NO_LABEL, np.int64))


def _check_order(path: Path, boxes: Annotations) -> None:
    """Refuse what AVA's evaluators drop among predictions: here it would be somebody missing without a word."""
    reversed_ = (boxes.boxes_xyxy[:, 2:] < boxes.boxes_xyxy[:, :2]).any(axis=1)
    if reversed_.any():
        row = int(np.argmax(reversed_))
        name, box = boxes.videos[boxes.video[row]], [round(edge, 6) for edge in boxes.boxes_xyxy[row].tolist()]
        raise AnnotationError(
            f"{path}: the box {box} of {shown(name)} at {boxes.time_seconds[row]:g} s is reversed. Order it left,"
            " top, right, bottom."
        )


def _check_times(path: Path, boxes: Annotations, films: "_Films") -> None:
    """Refuse boxes of which none is of a moment that its video has; the first video that has one is enough."""
    said = ""
    for index in np.unique(boxes.video).tolist():
        name, times = boxes.videos[index], boxes.time_seconds[boxes.video == index]
        with contextlib.suppress(AnnotationError, InputError):  # of videos not given or broken others tell
            film = video_file(films.path_of(name))
            if film.duration_seconds is None or times.min() <= film.duration_seconds + SLACK_SECONDS:
                return
            said = said or (
                f"{path}: the boxes of {shown(name)} are at {times.min():g} to {times.max():g} s, but {film.path} "
                f"lasts {film.duration_seconds:g} s. Count seconds from its start, or give the annotated video."
            )
    if said:
        raise AnnotationError(said)


def _files(path: Path) -> list[Path]:
    if is_folder(path):
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in (".csv", ".xml", ".json", ".txt"))
        if not files:
            raise MissingInput(f"the folder {path} holds no annotations. Give CSV, XML, JSON or MOT text files")
        return files
    if not exists(path):
        raise MissingInput(f"there is no file of annotations {path}")
    return [path]


class _Films:
    """The films that annotations are about: which is meant by a name, and when its frames are shown."""

    def __init__(self, folder: Path | None, videos: Sequence[Path] = ()) -> None:
        self._folder = None if folder is None else VideoFolder(folder)
        self._videos = list(videos)
        self._times = FilmsByName(self.path_of)

    def clock(self, source: Path) -> FrameClock:
        """For the frame numbers in an annotation file."""

        def times_of(name: str) -> FrameTimes:
            try:
                return self._times(name)
            except (AnnotationError, InputError) as error:
                raise type(error)(f"{source} counts frames of {shown(name)}: {error}") from error

        return FilmClock(times_of)

    def path_of(self, name: str) -> Path:
        """Where a video lies, or AnnotationError."""
        if self._folder is not None:
            return self._folder.paths([name])[name]
        matching = [
            video
            for video in self._videos
            if name in (video.name, film_name(video)) or Path(name).stem == film_name(video)
        ]
        if not matching and len(self._videos) == 1:
            matching = self._videos
        if not matching:
            raise AnnotationError(
                "it is not among the videos given, so that their times are not known. Name the file as its video, or"
                " give that video."
            )
        return matching[0]


def _read(path: Path, labels: LabelMap | None, films: _Films) -> Annotations:
    readers: dict[str, Callable[[Path, LabelMap | None, FrameClock], Annotations]] = {
        ".csv": _read_csv,
        ".xml": lambda file, labels, clock: read_cvat(file, rate_fps=clock, labels=labels),
        ".json": _read_json,
        ".txt": lambda file, _, clock: read_mot(file, rate_fps=clock),
    }
    if path.suffix.lower() not in readers:
        raise AnnotationError(f"{path} is of no known format. Give AVA or VIA .csv, CVAT .xml, .json, or MOT .txt.")
    try:
        return readers[path.suffix.lower()](path, labels, films.clock(path))
    except AnnotationError as error:  # of the table, which knows no file
        raise error if str(path) in str(error) else AnnotationError(f"{path}: {error}") from error


def _read_csv(path: Path, labels: LabelMap | None, clock: FrameClock) -> Annotations:
    del clock
    first = next((row for _, row in csv_rows(path)), [])
    if first and first[0].startswith("#"):
        return read_via(path, labels)
    if labels is not None:
        return _in_shares(path, read_ava(path, eighth="person"))
    eighths = [row[7] for _, row in csv_rows(path) if len(row) == 8]
    # A lone 1 everywhere may be either, and does no harm as a score.
    are_people = all(text.isdecimal() for text in eighths) and not set(eighths) <= {"1"}
    return _in_shares(path, read_ava(path, eighth="person" if are_people else "score"))


def _in_shares(path: Path, annotations: Annotations) -> Annotations:
    """The same, or AnnotationError for boxes in pixels."""
    reach = look_like_pixels(annotations)
    if reach is not None:
        raise AnnotationError(
            f"{path}: the boxes reach {reach:g}, as pixels do. AVA's are shares of the frame: divide left and right"
            " by its width, top and bottom by its height."
        )
    return annotations


def _read_json(path: Path, labels: LabelMap | None, clock: FrameClock) -> Annotations:
    content: Any = parse_json(path, read_text(path))
    keys = set(content) if isinstance(content, dict) else set[str]()
    if "gttubes" in keys:
        tubes = read_tubes(path, rate_fps=clock)
        return _renamed(tubes.annotations, tubes.labels, labels, path)
    if {"metadata", "attribute"} <= keys:
        return read_via(path, labels)
    if "images" in keys:
        annotations, theirs = read_coco(path, rate_fps=clock)
        return _renamed(annotations, theirs, labels, path)
    raise AnnotationError(f"{path} is JSON of no known format. Give COCO, VIA 3, or tubes of UCF101-24's form.")


def _renamed(annotations: Annotations, theirs: LabelMap, ours: LabelMap | None, path: Path) -> Annotations:
    """A file's own class ids to those of the label map, by name."""
    if ours is None:
        return annotations
    used = annotations.label != NO_LABEL
    columns = theirs.columns(annotations.label[used])
    unknown = sorted({theirs.names[column] for column in np.unique(columns).tolist()} - ours.id_of.keys())
    if unknown:
        raise AnnotationError(f"{path}: the class {shown(unknown[0])} is not in the label map. Add it, or rename it.")
    ids = [ours.id_of.get(name, NO_LABEL) for name in theirs.names]
    label = annotations.label.copy()
    label[used] = np.array(ids, np.int64)[columns]
    return replace(annotations, label=label)


def join_annotations(parts: Sequence[Annotations]) -> Annotations:
    """All rows in one, boxes normalised where the parts differ. People of different parts stay different by video.

    Raises:
        AnnotationError: a frame size is not known where one is needed, or only some parts have scores.
    """
    if len(parts) == 1:
        return parts[0]
    if len({part.unit for part in parts}) > 1:
        parts = [part.normalised() for part in parts]
    if len({part.score is None for part in parts}) > 1:
        raise AnnotationError("Some of the files have scores and some have none. Give files of one kind.")
    videos = tuple(dict.fromkeys(name for part in parts for name in part.videos))
    place = {name: number for number, name in enumerate(videos)}

    def renumbered(part: Annotations, index: Any) -> Any:
        numbers = np.array([place[name] for name in part.videos], np.int32)
        return numbers[index] if len(numbers) else index

    people = None
    if any(part.person is not None for part in parts):
        people = np.concatenate([np.full(len(p), NO_PERSON) if p.person is None else p.person for p in parts])
    return Annotations(
        videos,
        np.concatenate([renumbered(part, part.video) for part in parts]),
        np.concatenate([part.time_seconds for part in parts]),
        np.concatenate([part.boxes_xyxy for part in parts]),
        parts[0].unit,
        np.concatenate([part.label for part in parts]),
        people,
        None if parts[0].score is None else np.concatenate([p.score for p in parts if p.score is not None]),
        {name: size for part in parts for name, size in part.frame_sizes.items()},
        np.concatenate([renumbered(part, part.empty_video) for part in parts]),
        np.concatenate([part.empty_time_seconds for part in parts]),
    )
