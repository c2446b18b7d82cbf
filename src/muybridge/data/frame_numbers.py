"""Times of frames, for formats that count frames, and rows gathered by person."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muybridge.data.annotations import NO_LABEL, NO_PERSON, Annotations
from muybridge.errors import OptionError


def check_rate(rate: float) -> float:
    """`rate`, or OptionError unless it is a positive number of frames a second."""
    if not 0 < rate < float("inf"):
        raise OptionError(f"rate={rate} must be frames a second, above 0. Read it from the video")
    return float(rate)


def frame_numbers(time_seconds: NDArray[np.float64], rate: float) -> NDArray[np.int64]:
    """(N,) times to the nearest frames, counted from 0, at `rate` frames a second."""
    return np.rint(time_seconds * check_rate(rate)).astype(np.int64)


@dataclass(frozen=True)
class PersonBox:
    """One person in one frame, with all that is said of them.

    Attributes:
        frame: from 0.
        box_xyxy: in the annotations' unit.
        person: None where it is not known.
        labels: class ids with scores; the score is None where there are none.
    """

    frame: int
    box_xyxy: tuple[float, float, float, float]
    person: int | None
    labels: tuple[tuple[int, float | None], ...]
    score: float | None


def person_boxes(annotations: Annotations, video: str, rate: float) -> Iterator[PersonBox]:
    """One entry a person and frame of a video, by frame: rows that differ in nothing but label are one person's."""
    rows = annotations.of_video(video)
    frames = frame_numbers(rows.time_seconds, rate).tolist()
    people = [NO_PERSON] * len(rows) if rows.person is None else rows.person.tolist()
    scores = [None] * len(rows) if rows.score is None else rows.score.tolist()
    gathered: defaultdict[tuple[int, int, tuple[float, ...]], list[tuple[int, float | None]]] = defaultdict(list)
    for frame, person, box, label, score in zip(
        frames, people, rows.boxes_xyxy.tolist(), rows.label.tolist(), scores, strict=True
    ):
        gathered[frame, person, tuple(box)].append((label, score))
    for (frame, person, box), said in sorted(gathered.items(), key=lambda item: item[0][0]):
        best = max((score for _, score in said if score is not None), default=None)
        labels = tuple((label, score) for label, score in said if label != NO_LABEL)
        left, top, right, bottom = box
        yield PersonBox(frame, (left, top, right, bottom), None if person == NO_PERSON else person, labels, best)
