"""Watch: one reading of a video feeds all that looks at it, and the newest that each knows is drawn over the picture.

    reader ── Player ── Newest ──┬── LabelPart ── what happens ─────┐
    (thread)                     ├── PeoplePart ── who is there ────┤
                                 ├── ActionPart ── who does what ───┼── Overlay ── drawn frame ── window, file
                                 ├── PaintPart ── painted frame ────┤   (main thread)
                                 └── the frame itself, if not painted

Live, each part runs in a thread of its own and takes the newest frame when it is free. What came in between it never
sees. So a slow part makes its own results rarer and older, but nobody else waits for it; at any time a part has one
frame in hand and one waits for all, and no queue grows. The picture shown is the newest one, or with a painter the
newest that is painted, under results that may be older: all carry the time of the frame that they are about. A delay
is from the moment when a frame comes out of the reader, due by the film's own speed, to when it is drawn.

People between two looks stand where the looks around that time say, if a later one is known by then (as it is when
painting takes long), else where they were last seen. Actions follow people by their identity.

For a film there is another way, `every`: no frame is left out, all parts look in turn, by the film's own time, and
the result does not depend on the machine.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from muybridge.data.label_maps import LabelMap
from muybridge.devices import is_out_of_memory
from muybridge.errors import OptionError
from muybridge.localize.files import labels_of
from muybridge.localize.results import Moment, People, ShownPeople
from muybridge.localize.steady import SteadyActions
from muybridge.media.box_overlays import PeopleDrawer
from muybridge.media.newest_frame import Arrival, Clock, Newest, Player, WallClock, limited
from muybridge.media.overlays import draw_scores
from muybridge.media.video_reader import Frame
from muybridge.recognize.recognizer import Prediction
from muybridge.watch.parts import ActionPart, PaintPart, Part, PeoplePart

# Where nobody tells actions: people without any.
NO_ACTIONS = LabelMap(("person",), (1,))
# How long the main thread waits for a picture before it looks after its window again.
_IDLE_SECONDS = 0.01
_RECENT = 200


@dataclass(frozen=True)
class OverlayConfig:
    """What is drawn.

    Attributes:
        top: labels of what happens, likeliest first; 0 for none.
        actions: most of a person.
        threshold: actions less probable are not drawn.
        every: seconds between the moments at which actions are told.
        clock: whether the film's time stands above the labels.
    """

    top: int = 3
    actions: int = 1
    threshold: float = 0.5
    every: float = 1.0
    clock: bool = True

    def __post_init__(self) -> None:
        if self.top < 0:
            raise OptionError(f"top={self.top} must be 0 or more")
        if not 0 <= self.threshold <= 1:
            raise OptionError(f"threshold={self.threshold} is out of range. Choose 0 to 1.")


@dataclass(frozen=True, eq=False)
class WatchedFrame:
    """A frame as it is shown.

    Attributes:
        frame: drawn on, (H, W, 3) uint8 RGB, with the time and index of the source's frame.
        people: those drawn on it.
        looked_at: seconds of the newest look for people that is known; None before the first.
        label: what happens; its `seconds` say when that was found.
        delay: seconds from when the frame came to when it was drawn.
    """

    frame: Frame
    people: People
    looked_at: float | None
    label: Prediction | None
    delay: float


class Overlay:
    """The newest results, drawn over frames that come in order of time. Used by one thread.

    Args:
        labels: classes of actions; `NO_ACTIONS` where nobody tells them.
    """

    def __init__(self, config: OverlayConfig, labels: LabelMap = NO_ACTIONS) -> None:
        self._config, self._labels = config, labels
        self._people = ShownPeople(config.every, len(labels))
        self._steady = SteadyActions(labels, threshold=config.threshold, top=config.actions)
        self._drawer = PeopleDrawer()
        self._looked_at: float | None = None
        self._label: Prediction | None = None

    def take(self, result: Moment | Prediction, *, has_actions: bool = False) -> None:
        """A new result: a label, people of a look, or, with `has_actions`, people of a key moment."""
        if isinstance(result, Prediction):
            self._label = result
        elif has_actions:
            self._people.add_key(result)
        else:
            self._people.add_look(result)
            self._looked_at = result.seconds

    def draw(self, frame: Frame, *, delay: float = 0.0) -> WatchedFrame:
        """The frame with what is known drawn over it."""
        config = self._config
        seconds = float(frame.pts_seconds)
        people = self._people.at(seconds)
        self._people.forget_before(seconds)
        height, width = frame.image.shape[:2]
        image = self._drawer.draw(frame.image, labels_of(people, self._steady, self._labels, width, height))
        if config.top:
            scores = self._label.top(config.top) if self._label else []
            image = draw_scores(image, scores, title=f"{seconds:.1f} s" if config.clock else "")
        drawn = replace(frame, image=image)
        return WatchedFrame(drawn, people, self._looked_at, self._label, delay)


class WatchReport:
    """Counts and delays of one watching, so far.

    Attributes:
        read: frames that came.
        shown: frames that were shown.
        worked: for each part how many results it gave.
        newest_delay, mean_delay, most_delay: seconds from a frame's coming to its being drawn; the mean is that of
            the last few hundred frames.
        seconds: since the first frame came.
    """

    def __init__(self, clock: Clock, names: Sequence[str]) -> None:
        self._clock = clock
        self._start: float | None = None
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self.read = self.shown = 0
        self.worked = dict.fromkeys(names, 0)
        self.newest_delay = self.most_delay = 0.0
        self._last = 0.0

    @property
    def dropped(self) -> int:
        """Frames that came and were not shown."""
        return max(self.read - self.shown, 0)

    @property
    def mean_delay(self) -> float:
        """See the class."""
        return sum(self._recent) / len(self._recent) if self._recent else 0.0

    @property
    def seconds(self) -> float:
        """See the class."""
        return 0.0 if self._start is None else max(self._last - self._start, 0.0)

    def add_read(self, frame: Frame) -> None:
        """A frame came."""
        del frame
        self._last = self._clock.now()
        if self._start is None:
            self._start = self._last
        self.read += 1

    def add_shown(self, delay: float) -> None:
        """A frame was shown."""
        self.shown += 1
        self._last = self._clock.now()
        self._recent.append(delay)
        self.newest_delay, self.most_delay = delay, max(delay, self.most_delay)

    def line(self, *, delay: bool = True) -> str:
        """One line for people: frames shown and dropped, delay, rate of each part."""
        share = self.dropped / self.read if self.read else 0.0
        parts = [f"{self.shown} shown, {self.dropped} dropped ({share:.0%})"]
        if delay:
            parts.append(f"delay {_milliseconds(self.mean_delay)}, at most {_milliseconds(self.most_delay)}")
        if self.seconds > 0:
            rates = {"shown": self.shown, **self.worked}
            parts.append(", ".join(f"{name} {count / self.seconds:.1f}/s" for name, count in rates.items()))
        return "; ".join(parts)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


class Watch:
    """All parts together, for one watching of one source.

    Example:
        >>> watch = Watch([LabelPart(Recognizer.from_pretrained("camera"), WindowConfig())])
        >>> with VideoReader("film.mp4") as reader:
        ...     for watched in watch.live(reader, speed=1):
        ...         show(watched.frame.image)
        >>> print(watch.report.line())

    Args:
        parts: those that look, at most one `PaintPart`.
        labels: classes of the actions, where one of the parts tells them.

    Attributes:
        report: what was shown and dropped, and how late.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        overlay: OverlayConfig | None = None,
        labels: LabelMap = NO_ACTIONS,
        clock: Clock | None = None,
    ) -> None:
        self._parts = tuple(parts)
        self._clock = clock or WallClock()
        self._overlay = Overlay(overlay or OverlayConfig(), labels)
        self._slowed_by = 0.0
        self.report = WatchReport(self._clock, [part.name for part in parts])

    @property
    def notes(self) -> list[str]:
        """What went otherwise than asked, in sentences for the user."""
        notes = [note for part in self._parts if isinstance(part, PeoplePart) for note in part.notes]
        if self._slowed_by > 1:
            notes.append(
                f"decoding did not keep up: the film was played {self._slowed_by:.1f} s longer than asked. "
                "Lower --speed"
            )
        return notes

    def live(
        self,
        frames: Iterable[Frame],
        *,
        speed: float | None = None,
        seconds: float | None = None,
        idle: Callable[[], bool] | None = None,
    ) -> Generator[WatchedFrame, None, None]:
        """The newest frame again and again, with the newest results; frames are dropped, not queued.

        Args:
            frames: of a camera, a stream or a film.
            speed: 1 plays a film at its own speed; None takes frames as they come, from a camera.
            seconds: how much to watch; None for all.
            idle: called about every 10 ms from this thread; the watching ends when it says False.

        Raises:
            MuybridgeError: what failed in a part or in the reader, like any other exception of theirs; all threads
                have ended by then.
        """
        workers = [_Worker(part) for part in self._parts]
        painter = next((worker for worker in workers if isinstance(worker.part, PaintPart)), None)
        see = [self.report.add_read, *(part.see for part in self._parts)]
        player = Player(frames, speed=speed, seconds=seconds, see=see, clock=self._clock)
        shown = player.newest if painter is None else painter.painted
        number = 0
        try:
            player.start()
            for worker in workers:
                worker.start(player.newest)
            while idle is None or idle():
                arrival = shown.wait(number, _IDLE_SECONDS)
                _raise_first(player.error, *(worker.error for worker in workers))
                if arrival is not None:
                    number = arrival.number
                    yield self._drawn(arrival, workers)
                elif shown.ended and shown.count == number:
                    break
        finally:
            player.close()
            for worker in workers:
                worker.join()
                self.report.worked[worker.part.name] = worker.done
            self._slowed_by = player.lost_seconds

    def every(self, frames: Iterable[Frame], *, seconds: float | None = None) -> Generator[WatchedFrame, None, None]:
        """Every frame of a film, all parts in turn; as slow as they are together.

        Args:
            seconds: how much of the film; None for all.
        """
        for frame in limited(frames, seconds):
            came = self._clock.now()
            self.report.add_read(frame)
            picture = frame
            for part in self._parts:
                part.see(frame)
            for part in self._parts:
                result = _worked(part, frame) if part.is_due(frame) else None
                if result is None:
                    continue
                self.report.worked[part.name] += 1
                if isinstance(part, PaintPart):
                    picture = result
                else:
                    self._overlay.take(result, has_actions=isinstance(part, ActionPart))
            delay = self._clock.now() - came
            watched = self._overlay.draw(picture, delay=delay)
            self.report.add_shown(delay)
            yield watched

    def _drawn(self, arrival: Arrival[Frame], workers: "Sequence[_Worker]") -> WatchedFrame:
        for worker in workers:
            for result in worker.take_results():
                self._overlay.take(result, has_actions=isinstance(worker.part, ActionPart))
            self.report.worked[worker.part.name] = worker.done
        watched = self._overlay.draw(arrival.value)
        delay = self._clock.now() - arrival.at
        self.report.add_shown(delay)
        return WatchedFrame(watched.frame, watched.people, watched.looked_at, watched.label, delay)


class _Worker:
    """A part in its thread.

    Attributes:
        painted: where a painter's pictures go.
        done: how many results there were.
        error: what ended it, other than the end of the frames.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.painted: Newest[Frame] = Newest()
        self.done = 0
        self.error: BaseException | None = None
        # More are not waited for: whoever draws takes all there are for each picture.
        self._results: deque[Any] = deque(maxlen=_RECENT)
        self._thread: threading.Thread | None = None

    def start(self, frames: Newest[Frame]) -> None:
        self._thread = threading.Thread(
            target=self._run, args=(frames,), name=f"muybridge-{self.part.name}", daemon=True
        )
        self._thread.start()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def take_results(self) -> list[Any]:
        """Those not taken yet."""
        taken: list[Any] = []
        while self._results:
            taken.append(self._results.popleft())
        return taken

    def _run(self, frames: Newest[Frame]) -> None:
        number = 0
        try:
            while (arrival := frames.wait(number)) is not None:
                number = arrival.number
                result = _worked(self.part, arrival.value) if self.part.is_due(arrival.value) else None
                if result is None:
                    continue
                if isinstance(self.part, PaintPart):
                    self.painted.put(result, arrival.at)
                else:
                    self._results.append(result)
                self.done += 1
        except BaseException as error:  # noqa: BLE001 - raised in the main thread by `Watch.live`
            self.error = error
        finally:
            self.painted.end()


def _worked(part: Part, frame: Frame) -> Any:
    try:
        return part.work(frame)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OptionError(
            f"{part.name}: a frame does not fit into memory. Lower --size, or choose --device cpu"
        ) from error


def _raise_first(*errors: BaseException | None) -> None:
    for error in errors:
        if error is not None:
            raise error
