"""What a localizer finds: people at every look, their actions at key frames, and both as annotations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muybridge.data.annotations.table import NO_LABEL, AnnotationRows, Annotations
from muybridge.data.label_maps import LabelMap
from muybridge.errors import MissingExtra

if TYPE_CHECKING:
    from supervision import Detections  # pyright: ignore[reportMissingImports]

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class People:
    """Who is in a frame.

    Attributes:
        boxes: (n, 4) float32, x1 y1 x2 y2 as fractions of the frame, within it and with area.
        ids: (n,) int64, one a person, the same over time.
        scores: (n,) float32, the detector's.
        actions: (n, K) float32 probabilities of the classes; NaN for someone whom no key frame has shown yet.
        velocity: (n, 2) fractions of the frame's width and height a second, right and down, of late; NaN where it
            is not known, None where it was not asked for.
    """

    boxes: Floats
    ids: Integers
    scores: Floats
    actions: Floats
    velocity: Floats | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def nobody(cls, num_classes: int) -> "People":
        """An empty frame."""
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.int64),
            np.zeros(0, np.float32),
            np.zeros((0, num_classes), np.float32),
        )

    def pixel_boxes(self, width: int, height: int) -> Floats:
        """(n, 4) float32 in pixels of a frame of this size."""
        return self.boxes * np.array([width, height, width, height], np.float32)


@dataclass(frozen=True, eq=False)
class Moment:
    """People at a time in seconds."""

    seconds: float
    people: People


def between(before: Moment | None, after: Moment | None, seconds: float) -> People | None:
    """Who is there between two looks: boxes of those seen in both move evenly, others are there up to the middle.

    Actions are not looked at; the result has those of the look that each person is taken from.
    """
    if before is None or after is None or after.seconds <= before.seconds:
        known = before or after
        return None if known is None else known.people
    share = min(max((seconds - before.seconds) / (after.seconds - before.seconds), 0.0), 1.0)
    near, far = (before.people, after.people) if share < 0.5 else (after.people, before.people)
    place = {int(person): row for row, person in enumerate(far.ids)}
    boxes = near.boxes.copy()
    weight = share if share < 0.5 else 1 - share
    for row, person in enumerate(near.ids.tolist()):
        if person in place:
            boxes[row] += weight * (far.boxes[place[person]] - boxes[row])
    return People(boxes, near.ids, near.scores, near.actions)


@dataclass(frozen=True)
class ActionSpan:
    """A stretch of time in which a person does something.

    Attributes:
        start, end: seconds.
        label: of the class.
        score: mean of its probability over the key frames in it.
    """

    person: int
    start: float
    end: float
    label: str
    score: float


@dataclass(frozen=True, eq=False)
class LocalizeResult:
    """Who does what, where and when in one video.

    Attributes:
        video: its name.
        labels: the classes.
        width, height: of its frames in pixels.
        rate: frames a second.
        every: seconds from key frame to key frame.
        looks: people at every look, with actions at none.
        key_frames: people with their actions.
        frame_seconds: (F,) when each frame is shown; empty where frames were not counted.
        notes: what was lost or guessed, in sentences for the user.
    """

    video: str
    labels: LabelMap
    width: int
    height: int
    rate: float
    every: float
    looks: Sequence[Moment] = field(repr=False)
    key_frames: Sequence[Moment] = field(repr=False)
    frame_seconds: NDArray[np.float64] = field(repr=False, default_factory=lambda: np.zeros(0))
    notes: tuple[str, ...] = ()

    @cached_property
    def ids(self) -> list[int]:
        """Everybody who was in a key frame, in order of appearance."""
        return list(dict.fromkeys(person for key in self.key_frames for person in key.people.ids.tolist()))

    def annotations(self, *, threshold: float = 0.0) -> Annotations:
        """Rows of key frames, boxes normalised: one for each person and class of probability `threshold` or more."""
        rows = AnnotationRows("normalised", {self.video: (self.width, self.height)})
        for key in self.key_frames:
            people = key.people
            if not len(people):
                rows.add_empty(self.video, key.seconds)
            for box, person, actions in zip(
                people.boxes.tolist(), people.ids.tolist(), people.actions.tolist(), strict=True
            ):
                for column, score in enumerate(actions):
                    if score >= threshold:
                        rows.add(
                            self.video, key.seconds, box, label=self.labels.ids[column], person=person, score=score
                        )
        return rows.annotations()

    def tracks(self, *, threshold: float) -> Annotations:
        """Rows of every frame, boxes in pixels: people between looks, with the actions of the nearest key frame.

        Someone who does nothing from `threshold` on has one row without a class, whose score is the detector's. Times
        are frame numbers over `rate`, as the formats that count frames want.
        """
        rows = AnnotationRows("pixel", {self.video: (self.width, self.height)})
        shown = ShownPeople(self.every, len(self.labels))
        looks = list(self.looks)
        for look in looks:
            shown.add_look(look)
        for key in self.key_frames:
            shown.add_key(key)
        for frame, seconds in enumerate(self.frame_seconds.tolist()):
            people = shown.at(seconds)
            for box, person, score, actions in zip(
                people.pixel_boxes(self.width, self.height).tolist(),
                people.ids.tolist(),
                people.scores.tolist(),
                people.actions,
                strict=True,
            ):
                found = np.flatnonzero(actions >= threshold).tolist()
                for column in found or [None]:
                    label = NO_LABEL if column is None else self.labels.ids[column]
                    value = score if column is None else float(actions[column])
                    rows.add(self.video, frame / self.rate, box, label=label, person=person, score=value)
        return rows.annotations()

    def spans(self, *, threshold: float) -> list[ActionSpan]:
        """When each person does what, from the key frames and within the film; ordered by person and time."""
        last = float(self.frame_seconds[-1]) + 1 / self.rate if len(self.frame_seconds) else np.inf
        open_spans: dict[tuple[int, int], list[tuple[float, float]]] = {}
        closed: list[ActionSpan] = []

        def close(key: tuple[int, int]) -> None:
            seen = open_spans.pop(key)
            start, end = seen[0][0] - self.every / 2, seen[-1][0] + self.every / 2
            score = float(np.mean([score for _, score in seen]))
            closed.append(ActionSpan(key[0], max(0.0, start), min(end, last), self.labels.names[key[1]], score))

        for moment in self.key_frames:
            people = moment.people
            rows, columns = np.nonzero(people.actions >= threshold)
            now = {
                (int(people.ids[row]), column): float(people.actions[row, column])
                for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            }
            for key in [key for key in open_spans if key not in now]:
                close(key)
            for key, score in now.items():
                open_spans.setdefault(key, []).append((moment.seconds, score))
        for key in list(open_spans):
            close(key)
        return sorted(closed, key=lambda span: (span.person, span.start, span.label))

    def supervision(self, key_frame: int) -> "Detections":
        """The people of a key frame as `supervision.Detections`.

        Boxes are in pixels, `tracker_id` is the person, `class_id` the column of the likeliest class, confidence its
        probability; all probabilities lie in `data["actions"]`.

        Raises:
            MissingExtra: supervision is not installed.
        """
        return as_supervision(self.key_frames[key_frame].people, self.labels, self.width, self.height)

    def to_json(self, *, threshold: float) -> dict[str, Any]:
        """Key frames, people, their actions from `threshold` on, and spans, as plain numbers and text."""
        frames: list[dict[str, Any]] = []
        for key in self.key_frames:
            people = key.people
            frames.append(
                {
                    "seconds": key.seconds,
                    "people": [
                        {
                            "id": person,
                            "box_xyxy": [round(edge, 2) for edge in box],
                            "score": round(score, 4),
                            "actions": self._named(actions, threshold),
                        }
                        for person, box, score, actions in zip(
                            people.ids.tolist(),
                            people.pixel_boxes(self.width, self.height).tolist(),
                            people.scores.tolist(),
                            people.actions,
                            strict=True,
                        )
                    ],
                }
            )
        return {
            "video": self.video,
            "width": self.width,
            "height": self.height,
            "rate": self.rate,
            "labels": list(self.labels.names),
            "key_frames": frames,
            "spans": [vars(span) for span in self.spans(threshold=threshold)],
        }

    def _named(self, actions: Floats, threshold: float) -> Mapping[str, float]:
        order = np.argsort(-actions, kind="stable")
        return {self.labels.names[i]: round(float(actions[i]), 4) for i in order.tolist() if actions[i] >= threshold}


class ShownPeople:
    """Who is shown at a time, from looks and key frames given in order of time, and asked in order of time.

    Actions are those of the key frame nearest in time, or of the one before where that does not know the person.
    """

    def __init__(self, every: float, num_classes: int) -> None:
        self._every, self._num_classes = every, num_classes
        self._looks: list[Moment] = []
        self._keys: list[Moment] = []
        self._look = self._key = 0

    def add_look(self, look: Moment) -> None:
        """Later than those before."""
        self._looks.append(look)

    def add_key(self, key: Moment) -> None:
        """Later than those before."""
        self._keys.append(key)

    def forget_before(self, seconds: float) -> None:
        """Drop what no later time needs, for streams."""
        while len(self._looks) > 1 and self._looks[1].seconds <= seconds:
            self._looks.pop(0)
        while len(self._keys) > 2 and self._keys[2].seconds <= seconds - self._every:
            self._keys.pop(0)
        self._look = self._key = 0

    def at(self, seconds: float) -> People:
        """The people of this time."""
        looks, keys = self._looks, self._keys
        while self._look + 1 < len(looks) and looks[self._look + 1].seconds <= seconds:
            self._look += 1
        before = looks[self._look] if looks and looks[self._look].seconds <= seconds else None
        after = (
            looks[self._look + 1] if self._look + 1 < len(looks) else (None if before else next(iter(looks), None))
        )
        people = between(before, after, seconds)
        if people is None:
            return People.nobody(self._num_classes)
        while self._key + 1 < len(keys) and keys[self._key + 1].seconds <= seconds + self._every / 2 + 1e-9:
            self._key += 1
        actions = np.full((len(people), self._num_classes), np.nan, np.float32)
        for key in keys[max(0, self._key - 1) : self._key + 1]:  # the nearer one last, so that it counts
            place = {int(person): row for row, person in enumerate(key.people.ids)}
            for row, person in enumerate(people.ids.tolist()):
                if person in place:
                    actions[row] = key.people.actions[place[person]]
        return People(people.boxes, people.ids, people.scores, actions)


def as_supervision(people: People, labels: LabelMap, width: int, height: int) -> "Detections":
    """See `LocalizeResult.supervision`."""
    try:
        from supervision import Detections  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra("supervision.Detections", extra="detect") from error
    known = np.logical_not(np.isnan(people.actions).any(axis=1))
    actions = np.where(known[:, None], people.actions, 0)
    best = actions.argmax(1) if len(people) else np.zeros(0, int)
    return Detections(
        xyxy=people.pixel_boxes(width, height),
        confidence=actions[np.arange(len(people)), best],
        class_id=best,
        tracker_id=people.ids,
        data={"class_name": np.array(labels.names)[best], "actions": actions},
    )
