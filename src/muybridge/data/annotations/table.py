"""Who is where, when and doing what: the one in-memory form that every annotation format is read into.

Letters of shapes: N rows, E frames known to be empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from muybridge.counts import counted
from muybridge.decimals import PIXELS, SCORE
from muybridge.errors import AnnotationError

BoxUnit = Literal["normalised", "pixel"]
NO_LABEL = -1
NO_PERSON = -1
# No coordinate, time or score is as large; float32 holds what is below.
BEYOND_REASON = 1e12


@dataclass(frozen=True, eq=False)
class Annotations:
    """Rows of (video, time, box, label), in the order of their file. Someone with two actions has two rows.

    Attributes:
        videos: names, without a folder; `video` points into it.
        video: (N,) integers in [0, len(videos)).
        time_seconds: (N,) float64, from the start of the video.
        boxes_xyxy: (N, 4) float64, left, top, right, bottom, in `unit`. May leave the frame.
        unit: "normalised" to the frame, which spans [0, 1], or "pixel" with edges as continuous coordinates.
        label: (N,) int64 class ids as the label map numbers them; NO_LABEL where a box carries no action.
        person: (N,) int64 identity within its video, NO_PERSON where it is not known; None when none is known.
        score: (N,) float64 confidences of predictions; None for a ground truth.
        frame_sizes: (width, height) in pixels of a video by its name, where the file tells.
        empty_video, empty_time_seconds: (E,) frames stated to hold nobody.

    Raises:
        AnnotationError: shapes disagree, a number is not finite or beyond reason, a video index is out of range.
    """

    videos: tuple[str, ...]
    video: NDArray[np.int32]
    time_seconds: NDArray[np.float64]
    boxes_xyxy: NDArray[np.float64]
    unit: BoxUnit
    label: NDArray[np.int64]
    person: NDArray[np.int64] | None = None
    score: NDArray[np.float64] | None = None
    frame_sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    empty_video: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    empty_time_seconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        count = len(self.video)
        columns = {"time_seconds": self.time_seconds, "label": self.label, "person": self.person, "score": self.score}
        for name, column in columns.items():
            if column is not None and column.shape != (count,):
                raise AnnotationError(
                    f"{name} has shape {column.shape} beside {counted(count, 'row')}. It must be ({count},)."
                )
        if self.boxes_xyxy.shape != (count, 4):
            raise AnnotationError(f"boxes_xyxy has shape {self.boxes_xyxy.shape}. It must be ({count}, 4).")
        if len(self.empty_video) != len(self.empty_time_seconds):
            raise AnnotationError("empty_video and empty_time_seconds differ in length. Give one time a frame.")
        for name, column in {**columns, "boxes_xyxy": self.boxes_xyxy}.items():
            if column is not None and column.dtype.kind == "f" and not (np.abs(column) < BEYOND_REASON).all():
                raise AnnotationError(f"{name} holds NaN, infinity or a number beyond reason. Remove those rows.")
        for index in (self.video, self.empty_video):
            if len(index) and not (index.min() >= 0 and index.max() < len(self.videos)):
                raise AnnotationError(f"A row points to a video outside the {len(self.videos)} given ones.")

    def __len__(self) -> int:
        return len(self.video)

    def __repr__(self) -> str:
        parts = [counted(len(self), "row"), counted(len(self.videos), "video"), f"unit={self.unit!r}"]
        parts += [name for name in ("person", "score") if getattr(self, name) is not None]
        return f"Annotations({', '.join(parts)})"

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Annotations":
        """The rows of a mask or of indices. Videos and empty frames stay as they are."""
        return replace(
            self,
            video=self.video[rows],
            time_seconds=self.time_seconds[rows],
            boxes_xyxy=self.boxes_xyxy[rows],
            label=self.label[rows],
            person=None if self.person is None else self.person[rows],
            score=None if self.score is None else self.score[rows],
        )

    def of_video(self, name: str) -> "Annotations":
        """The rows of one video.

        Raises:
            AnnotationError: no such video.
        """
        if name not in self.videos:
            known = ", ".join(self.videos[:5])
            raise AnnotationError(f"There are no annotations of the video {name!r}. They name {known}, ...")
        return self.select(self.video == self.videos.index(name))

    def normalised(self, frame_sizes: Mapping[str, tuple[int, int]] | None = None) -> "Annotations":
        """The same with boxes in [0, 1] of the frame.

        Args:
            frame_sizes: (width, height) by video; those of the file where None.

        Raises:
            AnnotationError: a video's size is not known.
        """
        return self._scaled("normalised", frame_sizes)

    def in_pixels(self, frame_sizes: Mapping[str, tuple[int, int]] | None = None) -> "Annotations":
        """The same with boxes in pixels; arguments and errors as of `normalised`."""
        return self._scaled("pixel", frame_sizes)

    def rounded(self) -> "Annotations":
        """The same with boxes in pixels and scores as files hold them, whose readers show no more decimals."""
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy.round(PIXELS) if self.unit == "pixel" else self.boxes_xyxy,
            score=None if self.score is None else self.score.round(SCORE),
        )

    def _scaled(self, unit: BoxUnit, frame_sizes: Mapping[str, tuple[int, int]] | None) -> "Annotations":
        if unit == self.unit or not len(self):
            return replace(self, unit=unit)
        known = {**self.frame_sizes, **(frame_sizes or {})}
        used = np.unique(self.video)
        missing = [self.videos[index] for index in used if self.videos[index] not in known]
        if missing:
            raise AnnotationError(
                f"The frame size of {missing[0]!r} is not known, so its boxes cannot be made {unit}."
                " Pass frame_sizes={name: (width, height)}."
            )
        sizes = np.ones((len(self.videos), 4))
        for index in used:
            sizes[index] = np.tile(known[self.videos[index]], 2)
        rows = sizes[self.video]
        boxes = self.boxes_xyxy / rows if unit == "normalised" else self.boxes_xyxy * rows
        return replace(self, boxes_xyxy=boxes, unit=unit, frame_sizes=known)


def look_like_pixels(annotations: Annotations) -> float | None:
    """How far boxes that are said to be normalised reach, where most of them reach past twice the frame."""
    if annotations.unit == "pixel" or not len(annotations):
        return None
    reach = np.abs(annotations.boxes_xyxy).max(axis=1)
    return float(reach.max()) if np.median(reach) > 2 else None


@dataclass
class AnnotationRows:
    """Collects rows while a file is read, then becomes `Annotations`.

    `add` takes what one row holds; a person or score of None means that the file does not tell.
    """

    unit: BoxUnit
    frame_sizes: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    _videos: dict[str, int] = field(default_factory=dict[str, int])
    _video: list[int] = field(default_factory=list[int])
    _numbers: list[tuple[float, float, float, float, float]] = field(
        default_factory=list[tuple[float, float, float, float, float]]
    )
    _label: list[int] = field(default_factory=list[int])
    _person: list[int | None] = field(default_factory=list[int | None])
    _score: list[float | None] = field(default_factory=list[float | None])
    _empty: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])

    def add(
        self,
        video: str,
        time_seconds: float,
        box_xyxy: Sequence[float],
        *,
        label: int = NO_LABEL,
        person: int | None = None,
        score: float | None = None,
    ) -> None:
        left, top, right, bottom = box_xyxy
        self._video.append(self._videos.setdefault(video, len(self._videos)))
        self._numbers.append((time_seconds, left, top, right, bottom))
        self._label.append(label)
        self._person.append(person)
        self._score.append(score)

    def add_empty(self, video: str, time_seconds: float) -> None:
        """State that a frame holds nobody."""
        self._empty.append((self._videos.setdefault(video, len(self._videos)), time_seconds))

    def annotations(self) -> Annotations:
        """What was collected. Scores are there when every row has one.

        Raises:
            AnnotationError: a class or a person has a number beyond 64 bits.
        """
        if any(abs(number or 0) >= 2**63 for number in (*self._label, *self._person)):
            raise AnnotationError("A class or a person has a number beyond 64 bits. Number them from 0.")
        numbers = np.array(self._numbers, np.float64).reshape(-1, 5)
        people = [NO_PERSON if person is None else person for person in self._person]
        scores = [score for score in self._score if score is not None]
        return Annotations(
            videos=tuple(self._videos),
            video=np.array(self._video, np.int32),
            time_seconds=numbers[:, 0].copy(),
            boxes_xyxy=numbers[:, 1:].copy(),
            unit=self.unit,
            label=np.array(self._label, np.int64),
            person=np.array(people, np.int64) if any(person is not None for person in self._person) else None,
            score=np.array(scores) if scores and len(scores) == len(self._score) else None,
            frame_sizes=self.frame_sizes,
            empty_video=np.array([video for video, _ in self._empty], np.int32),
            empty_time_seconds=np.array([time for _, time in self._empty], np.float64),
        )
