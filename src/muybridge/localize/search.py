"""The first of two passes over a video: who is where, so that the second can paint only those, or all but them."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from muybridge.counts import counted
from muybridge.data.annotations.table import Annotations
from muybridge.data.localization import KeyFrameSampling
from muybridge.errors import InputError, OptionError
from muybridge.localize.files import boxes_of
from muybridge.localize.localizer import Localizer
from muybridge.localize.masks import PeopleChoice, PeopleMask, check_actions
from muybridge.localize.results import LocalizeResult, Moment, People
from muybridge.localize.stream import LocalizeConfig, LocalizeRun
from muybridge.media.pipeline import prefetch
from muybridge.media.sources import Source
from muybridge.media.video_reader import Frame, VideoReader
from muybridge.people.detector import Detector
from muybridge.people.sightings import DetectedPeople, GivenPeople, PeopleSource
from muybridge.people.tracks import Tracker
from muybridge.progress import ProgressLine, progress_line

# Without a localizer no clips are read; the run still wants to be told of some.
_NO_CLIPS = KeyFrameSampling(frames=1, rate=1.0, short_side=1)
_MOST_NAMED = 12


@dataclass(frozen=True, eq=False)
class PeopleSearch:
    """Looks for the people whom a mask covers.

    People have the numbers that `muybridge localize` gives them: the same looks by the same tracker.

    Attributes:
        choice: whom.
        detector: finds them; None only where `boxes` tell who is where.
        localizer: says what they do; None where that does not matter.
        boxes: who is where, by the videos' names.
        config: when to look, and how sure to be.

    Raises:
        OptionError: an action that nobody knows, no detector and no boxes, or a localizer that reads a feature bank.
    """

    choice: PeopleChoice
    detector: Detector | None = None
    localizer: Localizer | None = None
    boxes: Annotations | None = None
    config: LocalizeConfig = field(default_factory=LocalizeConfig)

    def __post_init__(self) -> None:
        check_actions(self.choice, () if self.localizer is None else self.localizer.labels.names)
        if self.detector is None and self.boxes is None:
            raise OptionError("people are found by a detector, or told by boxes. Give one of them")
        if self.localizer is not None and self.localizer.bank_span is not None:
            raise OptionError("this localizer reads a feature bank, which is not written here. Give one without")

    def in_video(self, source: Source, *, quiet: bool = False) -> tuple[PeopleMask, list[str]]:
        """The mask of a video file over time, and what is to be said about it.

        Raises:
            InputError: the video cannot be read, or nobody in it has a number that was chosen.
            InputError: it is a live stream, which cannot be read twice.
        """
        if source.kind == "stream":
            raise InputError(
                f"{source.location} is a live stream, which cannot be read twice. Record it first, or leave --who out"
            )
        with ExitStack() as stack:
            reader = stack.enter_context(VideoReader(source.location))
            title = f"{source.relative.name}, looking for people"
            line = stack.enter_context(progress_line(title, total=reader.info.num_frames, unit="frames", quiet=quiet))
            frames = prefetch(reader, depth=2)
            stack.callback(frames.close)
            name = source.name
            run = self._run(self._people(name, reader))
            for _ in run.walk(_counted(frames, line)):
                pass
            notes = list(run.notes)
            if self.localizer is None:
                mask = PeopleMask.of_looks(run.looks, self.choice)
            else:
                result = self.localizer.result(run, reader, name, self.config)
                mask = PeopleMask.of_result(result, self.choice)
                notes += self._doing(result)
        return mask, [*notes, *self._found(source.relative.name, run.looks)]

    def in_picture(self, picture: NDArray[np.uint8], name: str) -> tuple[PeopleMask, list[str]]:
        """The mask of one picture (H, W, 3) RGB, whose people are numbered the surest first.

        Raises:
            InputError: actions or boxes are asked for, which belong to videos, or nobody has a chosen number.
        """
        if self.choice.actions:
            raise InputError(f"{name} is a picture. What people do is seen in videos: leave --doing out")
        if self.detector is None:
            raise InputError(f"{name} is a picture. Files of boxes are about videos: leave --boxes out")
        people = DetectedPeople(self.detector, Tracker(rate=1.0), min_score=self.config.min_score)
        seen = people.look(picture, 0.0)
        if seen is None:
            raise InputError(f"{name}: {people.notes[0]}")
        looks = [Moment(0.0, People(seen.boxes, seen.ids, seen.scores, np.zeros((len(seen.ids), 0), np.float32)))]
        return PeopleMask.of_looks(looks, self.choice), self._found(name, looks)

    def _people(self, name: str, reader: VideoReader) -> PeopleSource:
        tracker = Tracker(rate=self.config.looks_per_key / self.config.every)
        if self.boxes is not None:
            boxes = boxes_of(self.boxes, name, reader.info.width, reader.info.height)
            return GivenPeople(boxes, min_score=self.config.min_score, tracker=tracker)
        assert self.detector is not None
        return DetectedPeople(self.detector, tracker, min_score=self.config.min_score)

    def _run(self, people: PeopleSource) -> LocalizeRun:
        if self.localizer is not None:
            return self.localizer.run(people, self.config)
        return LocalizeRun(_NO_CLIPS, 0, people, _no_actions, self.config)

    def _found(self, name: str, looks: list[Moment]) -> list[str]:
        """Who was found, and whether those who were chosen are among them."""
        outcome = "all of it is painted" if self.choice.all_but else "it is not painted"
        spans: dict[int, tuple[float, float, float]] = {}
        for look in looks:
            for person, box in zip(look.people.ids.tolist(), look.people.boxes.tolist(), strict=True):
                start, _, middle = spans.get(person, (look.seconds, 0.0, (box[0] + box[2]) / 2))
                spans[person] = start, look.seconds, middle
        missing = sorted(self.choice.ids - spans.keys())
        described = f"{name} shows {_described(spans)}"
        if missing and len(missing) == len(self.choice.ids):
            numbers = ", ".join(map(str, missing))
            raise InputError(f"nobody has the number {numbers}: {described}. Choose --who among them")
        if not spans:
            return [f"{name} shows nobody, so {outcome}"]
        return [f"nobody in {name} has the number {number}" for number in missing] + [described]

    def _doing(self, result: LocalizeResult) -> list[str]:
        columns = [result.labels.names.index(action) for action in self.choice.actions]
        most = max(
            (float(np.nan_to_num(key.people.actions[:, columns]).max(initial=0.0)) for key in result.key_frames),
            default=0.0,
        )
        if not columns or most >= self.choice.threshold:
            return []
        return [
            f"nobody is seen to {' or '.join(self.choice.actions)} with a probability of {self.choice.threshold:g} "
            f"or more; the most is {most:.2f}"
        ]


def _described(spans: dict[int, tuple[float, float, float]]) -> str:
    """People, the longest seen first: number, when, and where they appeared."""
    if not spans:
        return "nobody"
    longest = sorted(spans, key=lambda person: spans[person][0] - spans[person][1])
    parts: list[str] = []
    for person in longest[:_MOST_NAMED]:
        start, end, middle = spans[person]
        place = "left" if middle < 1 / 3 else "right" if middle > 2 / 3 else "middle"
        parts.append(f"{person} ({place}, {start:.1f} to {end:.1f} s)" if end > 0 else f"{person} ({place})")
    more = f" and {len(spans) - _MOST_NAMED} more" if len(spans) > _MOST_NAMED else ""
    return f"{counted(len(spans), 'person', 'people')}: {', '.join(parts)}{more}"


def _counted(frames: Iterable[Frame], line: ProgressLine) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        line.advance()


def _no_actions(seconds: float, clip: Tensor, people: People) -> NDArray[np.float32]:
    del seconds, clip
    return people.actions
