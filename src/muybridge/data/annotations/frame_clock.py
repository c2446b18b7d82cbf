"""Seconds of the frame numbers that annotation tools write, by a steady rate or by the films' own times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from muybridge.counts import counted
from muybridge.data.text_files import shown
from muybridge.errors import AnnotationError, OptionError
from muybridge.media.frame_times import FrameTimes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
# Decoders differ by a few frames at the end of a film; what lies further out belongs to another one.
SLACK_SECONDS = 1.0


class FrameClock(Protocol):
    """Tells when frames are shown, and which frame is shown when. Frames count from 0."""

    def seconds(self, video: str, frames: Sequence[int] | Integers) -> Floats:
        """(n,) seconds of (n,) frames of a video by its name."""
        ...

    def numbers(self, video: str, seconds: Floats) -> Integers:
        """(n,) frames on display at (n,) seconds."""
        ...

    def num_frames(self, video: str) -> int | None:
        """How many frames the video has, where that is known."""
        ...


@dataclass(frozen=True)
class SteadyClock:
    """The same number of frames in every second, whatever the video.

    Raises:
        OptionError: the rate is not positive.
    """

    rate_fps: float

    def __post_init__(self) -> None:
        if not 0 < self.rate_fps < float("inf"):
            raise OptionError(f"rate_fps is {self.rate_fps}. It must be the videos' positive frames a second.")

    def seconds(self, video: str, frames: Sequence[int] | Integers) -> Floats:
        """Frames over the rate."""
        del video
        return np.asarray(frames, np.float64) / self.rate_fps

    def numbers(self, video: str, seconds: Floats) -> Integers:
        """The nearest frames."""
        del video
        return np.rint(np.asarray(seconds) * self.rate_fps).astype(np.int64)

    def num_frames(self, video: str) -> None:
        """Unknown."""
        del video


class FilmClock:
    """The times of the films themselves, which may come at a varying rate.

    Args:
        times_of: the times of a video's film by its name.

    Raises:
        AnnotationError: by its methods, a frame that the film does not have; up to a second after its end frames are
            taken to go on at the mean rate.
    """

    def __init__(self, times_of: Callable[[str], FrameTimes]) -> None:
        self._times_of = times_of

    def seconds(self, video: str, frames: Sequence[int] | Integers) -> Floats:
        """When the film shows these frames."""
        times, wanted = self._times_of(video), np.asarray(frames, np.int64)
        count = len(times)
        step = float(times.seconds[-1] - times.seconds[0]) / (count - 1) if count > 1 else SLACK_SECONDS
        beyond = wanted - (count - 1)
        wrong = wanted[(wanted < 0) | (beyond * step > SLACK_SECONDS)]
        if len(wrong):
            raise AnnotationError(
                f"frame {wrong[0]} of {shown(video)} is annotated, but {times.path} has {counted(count, 'frame')}, 0 "
                f"to {count - 1}. Give the film that was annotated."
            )
        return times.seconds[wanted.clip(max=count - 1)] + beyond.clip(min=0) * step

    def numbers(self, video: str, seconds: Floats) -> Integers:
        """The frames on display."""
        return self._times_of(video).numbers(seconds)

    def num_frames(self, video: str) -> int:
        """Of the film."""
        return len(self._times_of(video))


def clock_of(rate_fps: float | FrameClock) -> FrameClock:
    """A number of frames a second as a clock; a clock as it is.

    Raises:
        OptionError: the rate is not positive.
    """
    return SteadyClock(rate_fps) if isinstance(rate_fps, int | float) else rate_fps


class FilmsByName:
    """The frame times of a folder's films, or of films given one by one; each film is read through once.

    Args:
        path_of: where a video lies, by its name.
    """

    def __init__(self, path_of: Callable[[str], Path]) -> None:
        self._path_of = path_of
        self._known: dict[Path, FrameTimes] = {}

    def __call__(self, video: str) -> FrameTimes:
        path = self._path_of(video)
        if path not in self._known:
            self._known[path] = FrameTimes(path)
        return self._known[path]
