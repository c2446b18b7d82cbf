"""Frames in, frames with people and their actions out, in one pass and with a bounded number of frames held.

frame ──┬── every look: who is there ──────────────────────┐
        ├── every key frame: its clip, when it is complete ─┴─ actions ── people of the frames that waited for it
        └── waits until the look after it and the actions nearest to it are known
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from muybridge.data.localization import KeyFrameSampling
from muybridge.errors import OptionError
from muybridge.localize.clips import KeyClip, KeyClips
from muybridge.localize.results import Moment, People, ShownPeople
from muybridge.media.gaps import stretches
from muybridge.media.video_reader import Frame
from muybridge.people.sightings import PeopleSource

Answer = Callable[[float, Tensor, People], NDArray[np.float32]]
# No film has more frames than one in so many seconds.
_LEAST_SECONDS = 0.001


@dataclass(frozen=True)
class LocalizeConfig:
    """What the user can ask of a localizer.

    Attributes:
        every: seconds from one key frame, at which actions are worked out, to the next.
        look_every: seconds from one look for people to the next, at most; key frames are always looked at.
        min_score: detections scored below it are not people.
        threshold: actions less probable are neither drawn nor written, where a format holds no scores.
    """

    every: float = 1.0
    look_every: float = 0.2
    min_score: float = 0.5
    threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in ("every", "look_every"):
            if not _LEAST_SECONDS <= getattr(self, name) < float("inf"):
                raise OptionError(f"{name}={getattr(self, name)} must be {_LEAST_SECONDS} s or more, such as 1.")
        for name in ("min_score", "threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name}={getattr(self, name)} is out of range. Choose 0 to 1.")

    @property
    def looks_per_key(self) -> int:
        """Looks for people from one key frame to the next."""
        return max(1, int(np.ceil(self.every / self.look_every - 1e-6)))


def configured(config: LocalizeConfig | None, options: Mapping[str, Any]) -> LocalizeConfig:
    """A config, or one of the given fields.

    Raises:
        OptionError: both, or an unknown field.
    """
    if config is not None and options:
        raise OptionError(f"config and {', '.join(options)} were both given: put all options into the config")
    unknown = sorted(options.keys() - LocalizeConfig.__dataclass_fields__.keys())
    if unknown:
        raise OptionError(f"{unknown[0]} is no option. Known: {', '.join(LocalizeConfig.__dataclass_fields__)}")
    return config or replace(LocalizeConfig(), **options)


@dataclass(frozen=True, eq=False)
class LocalizedFrame:
    """A frame and who does what in it.

    Attributes:
        frame: as it came.
        people: with the actions of the nearest key frame.
    """

    frame: Frame
    people: People


class LocalizeRun:
    """One pass over one video.

    Args:
        sampling: of the model's clips.
        num_classes: K.
        answer: actions (n, K) from the key frame's time, clip (T, 3, h, w) uint8 and people.
        keep: whether looks, key frames and frame times are recorded, which a stream without end must not.

    Attributes:
        looks, key_frames, frame_seconds: what was recorded.
    """

    def __init__(
        self,
        sampling: KeyFrameSampling,
        num_classes: int,
        people: PeopleSource,
        answer: Answer,
        config: LocalizeConfig,
        *,
        keep: bool = True,
    ) -> None:
        self._people, self._answer, self._config, self._keep = people, answer, config, keep
        self._num_classes = num_classes
        self._sampling = sampling
        self._clips = KeyClips(sampling, config.every)
        self._shown_people = ShownPeople(config.every, num_classes)
        self._shown: Frame | None = None
        self._next_look = 0
        self._last_look: Moment | None = None
        self._looked_at_shown = False
        self._people_at_key: dict[int, People] = {}
        self._last_key: int | None = None
        self.looks: list[Moment] = []
        self.key_frames: list[Moment] = []
        self.frame_seconds: list[float] = []

    def walk(self, frames: Iterable[Frame]) -> Iterator[LocalizedFrame]:
        """Every frame, in order, as soon as its people's actions are known. In a gap nobody is looked for."""
        for stretch in stretches(frames):
            self._clips = KeyClips(self._sampling, self._config.every)
            self._shown, self._last_look = None, None
            yield from self._walk(stretch)

    def _walk(self, frames: Iterable[Frame]) -> Iterator[LocalizedFrame]:
        held: deque[Frame] = deque()
        for frame in frames:
            seconds = float(frame.pts_seconds)
            self._look_until(seconds)
            for clip in self._clips.push(frame.image, seconds):
                self._answer_key(clip)
            self._shown, self._looked_at_shown = frame, False
            held.append(frame)
            if self._keep:
                self.frame_seconds.append(seconds)
            while held and self._is_known(float(held[0].pts_seconds)):
                yield self._localized(held.popleft())
        if self._shown is None:
            return
        self._look_until(float("inf"))
        for clip in self._clips.finish():
            self._answer_key(clip)
        while held:
            yield self._localized(held.popleft())

    def _localized(self, frame: Frame) -> LocalizedFrame:
        seconds = float(frame.pts_seconds)
        people = self._shown_people.at(seconds)
        self._shown_people.forget_before(seconds)
        return LocalizedFrame(frame, people)

    def _is_known(self, seconds: float) -> bool:
        if self._last_look is None or self._last_look.seconds < seconds or self._last_key is None:
            return False
        return self._last_key >= int(np.floor(seconds / self._config.every + 0.5))

    def _look_until(self, until: float) -> None:
        """Look at the frame on display, if the grid of looks has a time before `until`."""
        shown = self._shown
        if shown is None:
            return
        every, per_key = self._config.every, self._config.looks_per_key
        seconds = float(shown.pts_seconds)
        if self._last_look is None:
            self._next_look = int(np.floor(seconds / every * per_key + 1e-6))
        first = self._next_look
        ended = until == float("inf")
        while self._next_look * every / per_key < (seconds + 1e-6 if ended else until - 1e-9):
            self._next_look += 1
        if first == self._next_look and not ended:
            return
        if not self._looked_at_shown:
            self._looked_at_shown = True
            self._look(shown, seconds)
        people = self._last_look.people if self._last_look else People.nobody(self._num_classes)
        for number in range(first, self._next_look):
            if number % per_key == 0:
                self._people_at_key[number // per_key] = people

    def _look(self, frame: Frame, seconds: float) -> None:
        sighting = self._people.look(frame.image, seconds)
        if sighting is None:
            return
        unknown = np.full((len(sighting.ids), self._num_classes), np.nan, np.float32)
        look = Moment(seconds, People(sighting.boxes, sighting.ids, sighting.scores, unknown))
        self._last_look = look
        self._shown_people.add_look(look)
        if self._keep:
            self.looks.append(look)

    def _answer_key(self, clip: KeyClip) -> None:
        number = round(clip.seconds / self._config.every)
        people = self._people_at_key.pop(number, People.nobody(self._num_classes))
        actions = self._answer(clip.seconds, clip.clip(), people)
        key = Moment(clip.seconds, People(people.boxes, people.ids, people.scores, actions))
        self._shown_people.add_key(key)
        self._last_key = number
        if self._keep:
            self.key_frames.append(key)

    @property
    def notes(self) -> list[str]:
        """What went wrong, in sentences for the user."""
        return list(self._people.notes)
