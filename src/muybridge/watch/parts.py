"""The parts that look at a film while it is watched, each at its own cost and pace.

    LabelPart, StreamLabelPart   what happens            the last window of frames, or a causal model's memory
    PeoplePart                   who is there            one frame
    ActionPart                   what each person does   a clip around a moment half a clip ago
    PaintPart                    the picture, painted    one frame, with the memory of the one painted before

A part is asked in two ways: `see` is told of every frame and only keeps it; `work` takes as long as it takes and is
called with the newest frame when the part is free. Windows, tracking, clips and painting are those of the tasks.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch

from muybridge.data.localization import scaled_picture
from muybridge.data.person_motion import AFTER, PersonMotion
from muybridge.errors import OptionError
from muybridge.localize.localizer import Localizer
from muybridge.localize.movement import with_velocity
from muybridge.localize.results import Moment, People, between
from muybridge.media.images import resize_image
from muybridge.media.newest_frame import FrameHistory
from muybridge.media.video_reader import Frame
from muybridge.people.sightings import PeopleSource
from muybridge.recognize.recognizer import RGB, Prediction, Recognizer
from muybridge.recognize.windows import WindowConfig, steady_sampling, window_predictions
from muybridge.stylize.stylizer import Style, StylizeConfig, Stylizer
from muybridge.stylize.temporal import TemporalConfig

# Frames kept for each one that a model takes: how finely the moments it wants are met.
_FINENESS = 8
_TOUCHING = 1e-6
# Seconds for which what is wanted of a moment is kept while newer frames come.
_SLACK = 1.0


class Part(Protocol):
    """One of those that look.

    Attributes:
        name: plural or singular noun for people.
    """

    @property
    def name(self) -> str: ...

    def see(self, frame: Frame) -> None:
        """Every frame that comes, in order, from another thread than `work`; quick."""
        ...

    def is_due(self, frame: Frame) -> bool:
        """Whether this frame, the newest, is to be worked on."""
        ...

    def work(self, frame: Frame) -> Any:
        """A result about this frame; None where there is none."""
        ...


class LabelPart:
    """What happens: one answer about the last window of frames every step, as `window_predictions` gives.

    Args:
        frame_rate: of the source, for models that take every n-th frame of a file.
    """

    name = "labels"

    def __init__(self, recognizer: Recognizer, config: WindowConfig, *, frame_rate: float | None = None) -> None:
        self._recognizer, self._frame_rate = recognizer, frame_rate
        sampling = steady_sampling(recognizer.sampling, frame_rate)
        self._window, self._step = config.resolved(sampling)
        self._history = FrameHistory(self._window, spacing=self._window / (_FINENESS * sampling.frames))
        self._first: float | None = None
        self._due = 0.0

    def see(self, frame: Frame) -> None:
        """See `Part`."""
        self._history.add(frame)

    def is_due(self, frame: Frame) -> bool:
        """As soon as a window is full, and then every step."""
        seconds = float(frame.pts_seconds)
        if self._first is None:
            self._first, self._due = seconds, seconds + self._window
        return seconds >= self._due - _TOUCHING

    def work(self, frame: Frame) -> Prediction | None:
        """Its `seconds` are the end of the window."""
        end = float(frame.pts_seconds)
        self._due = end + self._step
        start = end - self._window
        whole = WindowConfig(self._window, self._window)
        frames = self._history.between(start, end)
        answers = window_predictions(
            self._recognizer, frames, whole, shots=[(start, end)], batch_size=1, frame_rate=self._frame_rate
        )
        answer = next(answers, None)
        return None if answer is None else replace(answer.prediction, seconds=end)


class StreamLabelPart:
    """What happens, told by a causal model after each frame that its sampling takes, at the price of one image."""

    name = "labels"

    def __init__(self, recognizer: Recognizer, *, frame_rate: float | None = None) -> None:
        self._rate = steady_sampling(recognizer.sampling, frame_rate).rate
        self._image: RGB = np.zeros((1, 1, 3), np.uint8)
        self._answers = recognizer.stream(self._images())
        self._due: float | None = None

    def see(self, frame: Frame) -> None:
        """Nothing: the model has a memory of its own."""

    def is_due(self, frame: Frame) -> bool:
        """At the rate of the model's sampling."""
        return self._due is None or float(frame.pts_seconds) >= self._due - _TOUCHING

    def work(self, frame: Frame) -> Prediction:
        """Its `seconds` are the frame's."""
        seconds = float(frame.pts_seconds)
        self._due = max((seconds if self._due is None else self._due) + 1 / self._rate, seconds)
        self._image = frame.image
        return replace(next(self._answers), seconds=seconds)

    def _images(self) -> Iterator[RGB]:
        while True:
            yield self._image


class PeoplePart:
    """Who is there: boxes and identities of the newest frame.

    Args:
        num_classes: of the actions that others will find out.
        look_every: least seconds from one look to the next.
        remember: for how many seconds looks are kept, for `at`.
    """

    name = "people"

    def __init__(
        self, source: PeopleSource, *, num_classes: int, look_every: float = 0.0, remember: float = 0.0
    ) -> None:
        self._source, self._num_classes, self._look_every = source, num_classes, look_every
        self._remember = remember
        self._looks: deque[Moment] = deque()
        self._lock = threading.Lock()
        self._due = -float("inf")

    @property
    def notes(self) -> list[str]:
        """What went wrong, in sentences for the user."""
        return list(self._source.notes)

    def see(self, frame: Frame) -> None:
        """Nothing: a look needs one frame."""

    def is_due(self, frame: Frame) -> bool:
        """As often as asked for, and possible."""
        return float(frame.pts_seconds) >= self._due - _TOUCHING

    def work(self, frame: Frame) -> Moment | None:
        """The people of this frame, without actions."""
        seconds = float(frame.pts_seconds)
        self._due = seconds + self._look_every
        sighting = self._source.look(frame.image, seconds)
        if sighting is None:
            return None
        unknown = np.full((len(sighting.ids), self._num_classes), np.nan, np.float32)
        look = Moment(seconds, People(sighting.boxes, sighting.ids, sighting.scores, unknown))
        with self._lock:
            self._looks.append(look)
            while len(self._looks) > 1 and self._looks[1].seconds <= seconds - self._remember:
                self._looks.popleft()
        return look

    def at(self, seconds: float) -> People | None:
        """Who was there at a time, between two looks, with their velocity up to then; None before the first look.

        Of whom too few looks are kept from before that time, the velocity is not known.
        """
        with self._lock:
            looks = list(self._looks)
        before = next((look for look in reversed(looks) if look.seconds <= seconds), None)
        after = next((look for look in looks if look.seconds > seconds), None)
        people = between(before, after, seconds)
        return None if people is None else with_velocity(people, looks, seconds)


class ActionPart:
    """What each person does, at a moment so long ago that the clip around it is there.

    Args:
        every: least seconds from one moment to the next.

    Raises:
        OptionError: the model reads a feature bank, which a film watched for the first time does not have.
    """

    name = "actions"

    def __init__(self, localizer: Localizer, people: PeoplePart, *, every: float) -> None:
        if localizer.bank_span is not None:
            raise OptionError(
                "this localizer reads a feature bank, which watch does not keep. Give one without, or use localize"
            )
        self._localizer, self._people, self._every = localizer, people, every
        sampling = localizer.sampling
        self._motion = None if localizer.motion is None else PersonMotion(localizer.motion.codebook)
        later = 0.0 if self._motion is None else max(0.0, AFTER - sampling.seconds_ahead)
        self._ahead = sampling.seconds_ahead + later
        span = sampling.frames / sampling.rate + later
        self._history = FrameHistory(span, spacing=1 / (_FINENESS * sampling.rate))
        self._due = -float("inf")

    def see(self, frame: Frame) -> None:
        """See `Part`."""
        self._history.add(frame)
        if self._motion is not None:
            self._motion.see(frame)
            self._motion.forget(float(frame.pts_seconds) - self._ahead - _SLACK)

    def is_due(self, frame: Frame) -> bool:
        """Every so many seconds, once somebody has looked."""
        return float(frame.pts_seconds) >= self._due - _TOUCHING

    def work(self, frame: Frame) -> Moment | None:
        """The people of a moment with their actions; its time is that moment's."""
        seconds = float(frame.pts_seconds)
        sampling = self._localizer.sampling
        key = max(seconds - self._ahead, 0.0)
        people = self._people.at(key)
        if people is None:
            return None
        self._due = seconds + self._every
        height, width = frame.image.shape[:2]
        size = sampling.size(width, height)
        scaled: dict[int, torch.Tensor] = {}
        clip: list[torch.Tensor] = []
        for shown in self._history.at(sampling.seconds(key).tolist()):
            if id(shown) not in scaled:  # a slow film shows one frame at several of the moments
                scaled[id(shown)] = scaled_picture(shown.image, size, preprocessing=sampling.preprocessing)
            clip.append(scaled[id(shown)])
        if self._motion is not None:
            people = replace(people, motion=self._motion.of(people.boxes, key)[0].numpy())
        actions = self._localizer.actions_of(people, torch.stack(clip))
        return Moment(key, People(people.boxes, people.ids, people.scores, actions))


class PaintPart:
    """The picture in a style; every frame that it has time for.

    Frames keep their size: those painted smaller, as `config.size` says, are enlarged again.

    Args:
        styles: several mix evenly.
        temporal: None paints each frame alone.
    """

    name = "painting"

    def __init__(
        self,
        stylizer: Stylizer,
        styles: Sequence[Style],
        *,
        config: StylizeConfig | None = None,
        temporal: TemporalConfig | None = None,
    ) -> None:
        self._frame: Frame | None = None
        self._painted = stylizer.stream(
            self._frames(), list(styles), config=config or StylizeConfig(), temporal=temporal
        )

    def see(self, frame: Frame) -> None:
        """Nothing: the painter has a memory of its own."""

    def is_due(self, frame: Frame) -> bool:
        """Always."""
        del frame
        return True

    def work(self, frame: Frame) -> Frame:
        """The painted frame, with the time of the one it was made of."""
        self._frame = frame
        painted = next(self._painted)
        height, width = frame.image.shape[:2]
        if painted.image.shape == frame.image.shape:
            return painted
        return replace(painted, image=resize_image(painted.image, width, height))

    def _frames(self) -> Iterator[Frame]:
        while self._frame is not None:
            yield self._frame
