"""Frames in, frames with people and their actions out, in one pass and with a bounded number of frames held.

frame ──┬── every look: who is there, settled in two seconds ┐
        ├── every key frame: its clip, when it is complete ──┴─ actions ── people of the frames that waited for it
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
from muybridge.data.person_motion import AFTER, PersonMotion
from muybridge.errors import OptionError
from muybridge.localize.clips import KeyClip, KeyClips
from muybridge.localize.movement import with_velocity
from muybridge.localize.options import LocalizeConfig
from muybridge.localize.results import Moment, People, ShownPeople
from muybridge.media.gaps import stretches
from muybridge.media.video_reader import Frame
from muybridge.models.dense_motion.codebook import Codebook
from muybridge.people.hindsight import Hindsight, Look
from muybridge.people.sightings import PeopleSource

# Seconds for which looks are kept after they are settled: a key frame waits for its clip and its own look.
_REMEMBERED = 4.0
Answer = Callable[[float, Tensor, People], NDArray[np.float32]]


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
        codebook: for a model that reads how people move, what makes vectors of it.
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
        codebook: Codebook | None = None,
        keep: bool = True,
    ) -> None:
        self._people, self._answer, self._config, self._keep = people, answer, config, keep
        self._num_classes = num_classes
        self._sampling, self._codebook = sampling, codebook
        self._motion: PersonMotion | None = None
        self._clips = KeyClips(sampling, config.every)
        self._shown_people = ShownPeople(config.every, num_classes)
        self._shown: Frame | None = None
        self._next_look = 0
        self._last_look: Moment | None = None
        self._last_seen: float | None = None
        self._looked_at_shown = False
        self._hindsight = Hindsight(least_score=config.min_score)
        self._recent: deque[Moment] = deque()
        self._keys_of_look: deque[tuple[int, float]] = deque()
        self._people_at_key: dict[int, People] = {}
        self._complete: deque[KeyClip] = deque()
        self._last_key: int | None = None
        self.looks: list[Moment] = []
        self.key_frames: list[Moment] = []
        self.frame_seconds: list[float] = []

    def walk(self, frames: Iterable[Frame]) -> Iterator[LocalizedFrame]:
        """Every frame, in order, as soon as its people's actions are known. In a gap nobody is looked for."""
        for stretch in stretches(frames):
            self._clips = KeyClips(self._sampling, self._config.every)
            self._motion = None if self._codebook is None else PersonMotion(self._codebook)
            self._shown, self._last_look, self._last_seen = None, None, None
            yield from self._walk(stretch)

    def _walk(self, frames: Iterable[Frame]) -> Iterator[LocalizedFrame]:
        held: deque[Frame] = deque()
        for frame in frames:
            seconds = float(frame.pts_seconds)
            self._look_until(seconds)
            self._complete.extend(self._clips.push(frame.image, seconds))
            self._answer_keys(seconds)
            if self._motion is not None:
                self._motion.see(frame)
            self._shown, self._looked_at_shown = frame, False
            held.append(frame)
            if self._keep:
                self.frame_seconds.append(seconds)
            while held and self._is_known(float(held[0].pts_seconds)):
                yield self._localized(held.popleft())
        if self._shown is None:
            return
        self._look_until(float("inf"))
        self._settle(self._hindsight.finish())
        self._complete.extend(self._clips.finish())
        self._answer_keys(float("inf"))
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
        if self._last_seen is None:
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
        for number in range(first, self._next_look):
            if number % per_key == 0 and self._last_seen is not None:
                self._keys_of_look.append((number // per_key, self._last_seen))
        self._give_to_keys()

    def _look(self, frame: Frame, seconds: float) -> None:
        sighting = self._people.look(frame.image, seconds)
        if sighting is not None:
            self._last_seen = seconds
            self._settle(self._hindsight.add(seconds, sighting))

    def _settle(self, looks: Iterable[Look]) -> None:
        """Looks that will not change any more."""
        for each in looks:
            sighting = each.sighting
            unknown = np.full((len(sighting.ids), self._num_classes), np.nan, np.float32)
            look = Moment(each.seconds, People(sighting.boxes, sighting.ids, sighting.scores, unknown))
            self._last_look = look
            self._give_to_keys()
            self._shown_people.add_look(look)
            self._recent.append(look)
            while self._recent[0].seconds < look.seconds - _REMEMBERED:
                self._recent.popleft()
            if self._keep:
                self.looks.append(look)

    def _give_to_keys(self) -> None:
        """The people of the last settled look to the key frames that wait for it."""
        look = self._last_look
        while look is not None and self._keys_of_look and self._keys_of_look[0][1] <= look.seconds:
            self._people_at_key[self._keys_of_look.popleft()[0]] = look.people

    def _answer_keys(self, until: float) -> None:
        """Complete clips, as far as it is settled who is in them, and all frames before a time were seen."""
        ahead = 0.0 if self._motion is None else AFTER
        while self._complete and self._complete[0].seconds + ahead < until:
            number = round(self._complete[0].seconds / self._config.every)
            if any(key == number for key, _ in self._keys_of_look):
                return
            self._answer_key(self._complete.popleft(), number)

    def _answer_key(self, clip: KeyClip, number: int) -> None:
        people = self._people_at_key.pop(number, People.nobody(self._num_classes))
        people = with_velocity(people, self._recent, clip.seconds)
        if self._motion is not None:
            people = replace(people, motion=self._motion.of(people.boxes, clip.seconds)[0].numpy())
            self._motion.forget(clip.seconds + self._config.every)
        actions = self._answer(clip.seconds, clip.clip(), people)
        key = Moment(clip.seconds, replace(people, actions=actions))
        self._shown_people.add_key(key)
        self._last_key = number
        if self._keep:
            self.key_frames.append(key)

    @property
    def notes(self) -> list[str]:
        """What went wrong, in sentences for the user."""
        return list(self._people.notes)
