"""Only the newest of what comes in: what is slow skips frames and never works through a queue of old ones.

    reader ── Player, in a thread, at the film's own speed ── Newest ──┬── whoever is free takes the newest frame
                                                     └─ FrameHistory   └── ...

A `Newest` holds one frame, whatever the number of those who take from it. So each has at most one frame in hand and
one waiting, and what is shown is late by the time of one step of work, not by that of all that was missed.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Generic, Protocol, TypeVar

from muybridge.errors import OptionError
from muybridge.media.video_reader import LONGEST_STILL_SECONDS, Frame

T = TypeVar("T")
# A film that comes later than this, because decoding cannot keep up, is played more slowly from then on.
_MOST_LATE_SECONDS = 0.25


class Clock(Protocol):
    """Tells and waits; a test brings its own."""

    def now(self) -> float:
        """Seconds since some start."""
        ...

    def wait(self, seconds: float, stopped: threading.Event) -> None:
        """Let time pass, or less where `stopped` is set before."""
        ...


class WallClock:
    """The time that people live in."""

    def now(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wait(self, seconds: float, stopped: threading.Event) -> None:
        """See `Clock`."""
        stopped.wait(seconds)


@dataclass(frozen=True, eq=False)
class Arrival(Generic[T]):
    """Something new.

    Attributes:
        number: counted from 1.
        value: what it is.
        at: when it came, or when the frame came that it was made of, by the clock.
    """

    number: int
    value: T
    at: float


class Newest(Generic[T]):
    """A slot for one thing, overwritten by the next; any number of threads may put and wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._arrival: Arrival[T] | None = None
        self._ended = False

    @property
    def count(self) -> int:
        """How many were put."""
        arrival = self._arrival
        return arrival.number if arrival else 0

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    def put(self, value: T, at: float) -> None:
        """Take the place of what was there."""
        with self._changed:
            self._arrival = Arrival(self.count + 1, value, at)
            self._changed.notify_all()

    def end(self) -> None:
        """Say that nothing more will come; what is there can still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, after: int, timeout: float | None = None) -> Arrival[T] | None:
        """The newest, as soon as there is one later than number `after`; None at the end, or when time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self.count > after, timeout)
            return self._arrival if self.count > after else None


class FrameHistory:
    """The last few seconds of frames, for models that look at more than one.

    Args:
        seconds: how far back it reaches.
        spacing: frames nearer than this to the last one kept are left out, which bounds how many are held.
    """

    def __init__(self, seconds: float, *, spacing: float) -> None:
        self._seconds, self._spacing = seconds, spacing
        self._frames: deque[Frame] = deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: Frame) -> None:
        """Take the next frame, later than those before."""
        seconds = float(frame.pts_seconds)
        with self._lock:
            if self._frames and seconds - float(self._frames[-1].pts_seconds) < self._spacing - 1e-6:
                return
            self._frames.append(frame)
            # The one on display at the far end stays.
            while len(self._frames) > 1 and float(self._frames[1].pts_seconds) <= seconds - self._seconds:
                self._frames.popleft()

    def between(self, start: float, end: float) -> list[Frame]:
        """Frames on display from `start` to `end` in seconds, in order; fewer where the history is younger."""
        with self._lock:
            frames = [frame for frame in self._frames if float(frame.pts_seconds) <= end + 1e-6]
        first = max((i for i, f in enumerate(frames) if float(f.pts_seconds) <= start + 1e-6), default=0)
        return frames[first:]

    def at(self, times: Sequence[float]) -> list[Frame]:
        """The frame on display at each of the times, in order of time; before the first one, the first.

        Raises:
            LookupError: there is none.
        """
        with self._lock:
            frames = list(self._frames)
        found: list[Frame] = []
        place = 0
        for seconds in times:
            while place + 1 < len(frames) and float(frames[place + 1].pts_seconds) <= seconds + 1e-6:
                place += 1
            found.append(frames[place])
        return found


class Player:
    """Plays frames into a slot, in a thread of its own.

    Times start at 0 for a live source and never go back, even where a stream's clock is set back.

    Args:
        frames: in order; may be endless.
        speed: 1 for the film's own; None hands every frame over as soon as it comes, as a camera does.
        seconds: how much of it to play; None for all.
        see: told of every frame before it is put into the slot; must be quick.

    Attributes:
        newest: the slot.
        error: what ended it, other than the end.
        lost_seconds: by how much the film was played longer than asked, since decoding did not keep up.

    Raises:
        OptionError: speed or seconds is not positive.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        *,
        speed: float | None = None,
        seconds: float | None = None,
        see: Sequence[Callable[[Frame], None]] = (),
        clock: Clock | None = None,
    ) -> None:
        for name, value in (("speed", speed), ("seconds", seconds)):
            if value is not None and not 0 < value < float("inf"):
                raise OptionError(f"{name}={value} must be above 0, such as 1")
        self._frames, self._speed, self._seconds, self._see = frames, speed, seconds, tuple(see)
        self._clock = clock or WallClock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="muybridge-player", daemon=True)
        self.newest: Newest[Frame] = Newest()
        self.error: BaseException | None = None
        self.lost_seconds = 0.0

    def start(self) -> None:
        """Begin to play."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait until the source is let go."""
        self._stopped.set()
        self.newest.end()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        iterator: Iterator[Frame] | None = None
        try:
            iterator = iter(self._frames)
            for frame in self._in_time(limited(forward(iterator, live=self._speed is None), self._seconds)):
                if self._stopped.is_set():
                    break
                for see in self._see:
                    see(frame)
                self.newest.put(frame, self._clock.now())
        except BaseException as error:  # noqa: BLE001 - raised by whoever watches
            self.error = error
        finally:
            if isinstance(iterator, Generator):
                iterator.close()
            self.newest.end()

    def _in_time(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Each frame when it is due."""
        start: float | None = None
        for frame in frames:
            if self._speed is not None:
                place = float(frame.pts_seconds) / self._speed
                now = self._clock.now()
                start = now - place if start is None else start
                late = now - (start + place)
                if late > _MOST_LATE_SECONDS:
                    start += late
                    self.lost_seconds += late
                elif late < -LONGEST_STILL_SECONDS:  # a gap in the recording, which nobody would sit through
                    start += late
                elif late < 0:
                    self._clock.wait(-late, self._stopped)
            yield frame


def forward(frames: Iterable[Frame], *, live: bool) -> Iterator[Frame]:
    """The same frames with times that never go back; those of a live source start at 0."""
    shift, last = Fraction(0), None
    for frame in frames:
        if last is None and live:
            shift = -frame.pts_seconds
        elif last is not None and frame.pts_seconds + shift < last:
            shift = last - frame.pts_seconds
        last = frame.pts_seconds + shift
        yield replace(frame, pts_seconds=last)


def limited(frames: Iterable[Frame], seconds: float | None) -> Iterator[Frame]:
    """The frames of the first so many seconds, or all."""
    first: Fraction | None = None
    for frame in frames:
        first = frame.pts_seconds if first is None else first
        if seconds is not None and frame.pts_seconds - first >= seconds:
            return
        yield frame
