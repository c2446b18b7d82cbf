"""What a localizer finds: people at every look, their actions at key frames, and both as annotations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from muybridge.data.annotations.table import NO_LABEL, AnnotationRows, Annotations
from muybridge.data.label_maps import LabelMap
from muybridge.decimals import PIXELS, SCORE, SECONDS
from muybridge.errors import MissingExtra
from muybridge.media.video_reader import LONGEST_STILL_SECONDS

if TYPE_CHECKING:
    from supervision import Detections  # pyright: ignore[reportMissingImports]

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
_TOUCHING = 1e-6


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
        motion: (n, M) how each moves, as `muybridge.data.person_motion` tells it; zeros where it is not known, None
            where it was not asked for.
    """

    boxes: Floats
    ids: Integers
    scores: Floats
    actions: Floats
    velocity: Floats | None = None
    motion: Floats | None = None

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

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "person": self.person,
            "start": round(self.start, SECONDS),
            "end": round(self.end, SECONDS),
            "label": self.label,
            "score": round(self.score, SCORE),
        }


@dataclass
class _Stay:
    """A span as it grows.

    Attributes:
        scores: by the time of the key frame that told them.
    """

    start: float
    end: float = 0.0
    scores: dict[float, float] = field(default_factory=dict[float, float])

    @property
    def score(self) -> float:
        """Their mean."""
        return float(np.mean([*self.scores.values()]))


class _Told(NamedTuple):
    """What one key frame says of a person.

    Attributes:
        since, until: for which time it speaks, in seconds.
        seconds: of the key frame.
        actions: (K,) probabilities of the classes.
    """

    person: int
    since: float
    until: float
    seconds: float
    actions: Floats


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
        """Everybody who was seen, in order of appearance."""
        return list(self.presence)

    @cached_property
    def seconds(self) -> float:
        """When the film ends; where frames were not counted, when the last that is known of it does."""
        if len(self.frame_seconds):
            return float(self.frame_seconds[-1]) + 1 / self.rate
        known = [look.seconds for look in self.looks] + [key.seconds + self.every / 2 for key in self.key_frames]
        return max(known, default=0.0)

    @cached_property
    def _stretches(self) -> list[tuple[float, float]]:
        """From the first frame to the end of the last one, anew after each gap in the recording."""
        times = self.frame_seconds
        if not len(times):
            return [(0.0, self.seconds)]
        parts = np.split(times, np.flatnonzero(np.diff(times) > LONGEST_STILL_SECONDS) + 1)
        return [(float(part[0]), float(part[-1]) + 1 / self.rate) for part in parts]

    @cached_property
    def presence(self) -> Mapping[int, Sequence[tuple[float, float]]]:
        """When each person is there, as (start, end) in seconds, by person in order of appearance.

        Each look speaks for the frames that are nearer to it than to others, as long as these are shown, the first
        and the last one for the film's start and end; key frames do where nobody looked between them.
        """
        found: dict[int, list[tuple[float, float]]] = {}
        for start, end in self._stretches:
            looks = [look for look in self.looks or self.key_frames if start <= look.seconds < end]
            edges = [start, *(self._edge(a.seconds, b.seconds) for a, b in pairwise(looks)), end]
            for look, (since, until) in zip(looks, pairwise(edges), strict=False):
                for person in look.people.ids.tolist():
                    times = found.setdefault(person, [])
                    if times and since <= times[-1][1] + _TOUCHING:
                        times[-1] = times[-1][0], until
                    else:
                        times.append((since, until))
        return found

    def _edge(self, before: float, after: float) -> float:
        """When the first frame is shown that is nearer to the later of two looks; the middle if that is not known."""
        middle = (before + after) / 2
        frame = int(np.searchsorted(self.frame_seconds, middle - _TOUCHING))
        return min(float(self.frame_seconds[frame]), after) if frame < len(self.frame_seconds) else middle

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
        """When each person does what; ordered by person and time.

        As `tracks` has it: people are there as the looks say, and do what the key frame nearest in time says, or the
        one before where that does not know them. The first and the last key frame speak for the film's start and end.
        """
        found: dict[tuple[int, int], list[_Stay]] = {}
        for told in self._told():
            columns = np.flatnonzero(told.actions >= threshold).tolist()
            stretches = self._seen_between(told.person, told.since, told.until) if columns else ()
            for (start, end), column in product(stretches, columns):
                stays = found.setdefault((told.person, column), [])
                if not stays or start > stays[-1].end + _TOUCHING:
                    stays.append(_Stay(start))
                stays[-1].end = end
                stays[-1].scores[told.seconds] = float(told.actions[column])
        spans = [
            ActionSpan(person, stay.start, stay.end, self.labels.names[column], stay.score)
            for (person, column), stays in found.items()
            for stay in stays
        ]
        return sorted(spans, key=lambda span: (span.person, span.start, span.label))

    def _told(self) -> Iterator[_Told]:
        """What key frames say of each person, in order of time; the one before does of those whom one lacks."""
        for start, end in self._stretches:
            keys = [key for key in self.key_frames if start <= key.seconds < end]
            edges = [start, *(key.seconds - self.every / 2 for key in keys[1:]), end]
            before: dict[int, tuple[float, Floats]] = {}
            for key, (since, until) in zip(keys, pairwise(edges), strict=False):
                ids = key.people.ids.tolist()
                known = {
                    person: (key.seconds, actions) for person, actions in zip(ids, key.people.actions, strict=True)
                }
                for person, (seconds, actions) in (before | known).items():
                    yield _Told(person, since, until, seconds, actions)
                before = known

    def _seen_between(self, person: int, since: float, until: float) -> list[tuple[float, float]]:
        """The parts of a stretch of time in which someone is there, as (start, end) in seconds."""
        parts = [(max(start, since), min(end, until)) for start, end in self.presence.get(person, ())]
        return [(start, end) for start, end in parts if end - start > _TOUCHING]

    def supervision(self, key_frame: int) -> "Detections":
        """The people of a key frame as `supervision.Detections`.

        Boxes are in pixels, `tracker_id` is the person, `class_id` the column of the likeliest class, confidence its
        probability; all probabilities lie in `data["actions"]`.

        Raises:
            MissingExtra: supervision is not installed.
        """
        return as_supervision(self.key_frames[key_frame].people, self.labels, self.width, self.height)

    def to_json(self, *, threshold: float) -> dict[str, Any]:
        """People and when they are seen, key frames with actions from `threshold` on, and spans, as plain data."""
        frames: list[dict[str, Any]] = []
        for key in self.key_frames:
            people = key.people
            frames.append(
                {
                    "seconds": round(key.seconds, SECONDS),
                    "people": [
                        {
                            "id": person,
                            "box_xyxy": [round(edge, PIXELS) for edge in box],
                            "score": round(score, SCORE),
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
            "seconds": round(self.seconds, SECONDS),
            "labels": list(self.labels.names),
            "people": [
                {"id": person, "seen": [[round(edge, SECONDS) for edge in stay] for stay in stays]}
                for person, stays in self.presence.items()
            ],
            "key_frames": frames,
            "spans": [span.to_json() for span in self.spans(threshold=threshold)],
        }

    def _named(self, actions: Floats, threshold: float) -> Mapping[str, float]:
        order = np.argsort(-actions, kind="stable")
        return {
            self.labels.names[i]: round(float(actions[i]), SCORE) for i in order.tolist() if actions[i] >= threshold
        }


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
