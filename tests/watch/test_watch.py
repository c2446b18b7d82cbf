"""Many look at one film: what is slow skips frames, nothing queues, all that is shown carries its time.

No test measures real time. Slow parts stand still until the test lets them go on, and the delays are those of a clock
that only the test moves.
"""

import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
import torch

from muybridge.errors import BrokenMedia, ModelError, OptionError
from muybridge.localize.results import Moment, People
from muybridge.media.video_reader import Frame
from muybridge.recognize.recognizer import Prediction
from muybridge.watch.parts import ActionPart, PaintPart, PeoplePart
from muybridge.watch.watch import OverlayConfig, Watch
from tests.localize.localized_videos import LABELS, MovingPeople
from tests.media.test_newest_frame import TestClock

PATIENCE = 20.0


def patiently(event: threading.Event) -> None:
    assert event.wait(PATIENCE), "it hangs"


def frame_at(index: int, rate: int = 10, tone: int | None = None) -> Frame:
    shade = index % 200 if tone is None else tone
    return Frame(np.full((96, 128, 3), shade, np.uint8), Fraction(index, rate), index)


def no_thread_is_left() -> bool:
    return not [t.name for t in threading.enumerate() if t.name.startswith("muybridge-")]


@dataclass
class Teller:
    """Says which frame it saw; stops at each where `hold` says so, until it is let go."""

    hold: Callable[[int], bool] = lambda index: False
    name: str = "labels"
    told: list[int] = field(default_factory=list[int])
    entered: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    saw: list[int] = field(default_factory=list[int])

    def see(self, frame: Frame) -> None:
        self.saw.append(frame.index)

    def is_due(self, frame: Frame) -> bool:
        return True

    def work(self, frame: Frame) -> Prediction:
        self.told.append(frame.index)
        if self.hold(frame.index):
            self.entered.set()
            patiently(self.let_go)
        share = frame.index / 1000
        return Prediction(("a", "b"), torch.tensor([share, 1 - share]), seconds=float(frame.pts_seconds))


class Painter(PaintPart):
    """Paints frames in one colour, when it is let go."""

    def __init__(self, work: Callable[[Frame], None]) -> None:
        self._work = work

    def work(self, frame: Frame) -> Frame:
        self._work(frame)
        return Frame(255 - frame.image, frame.pts_seconds, frame.index)


# ---- frames are dropped, not queued ----


def test_while_a_part_is_slow_the_picture_goes_on_and_the_part_then_takes_the_newest() -> None:
    part = Teller(hold=lambda index: index == 0)
    ready = threading.Event()
    alive: list[weakref.ref[np.ndarray]] = []
    most_alive = 0

    def camera() -> Iterator[Frame]:
        nonlocal most_alive
        for index in range(101):
            if index == 1:
                patiently(part.entered)
            if index == 100:
                patiently(ready)
            frame = frame_at(index)
            alive.append(weakref.ref(frame.image))
            most_alive = max(most_alive, sum(ref() is not None for ref in alive))
            yield frame

    shown = []
    for watched in Watch([part]).live(camera()):
        shown.append(watched)
        if watched.frame.index == 99:  # long after the part began with frame 0
            assert part.told == [0]
            part.let_go.set()
            # Only when it has taken the newest does the last one come.
            while len(part.told) < 2:
                assert no_error(part)
            ready.set()
    assert part.told in ([0, 99], [0, 99, 100])
    assert part.saw == list(range(101))
    indices = [watched.frame.index for watched in shown]
    assert indices == sorted(set(indices)) and indices[-1] == 100
    # One in the slow part's hand, one in the slot, and those that the camera and the test just pass on.
    assert most_alive <= 5
    assert no_thread_is_left()


def no_error(part: Teller) -> bool:
    return threading.active_count() > 0 and part.entered.is_set()


def test_every_frame_that_came_is_either_shown_or_counted_as_dropped() -> None:
    part = Teller()
    watch = Watch([part])
    shown = [watched.frame.index for watched in watch.live(frame_at(i) for i in range(300))]
    assert shown == sorted(set(shown)) and shown[-1] == 299
    assert watch.report.read == 300
    assert watch.report.shown == len(shown)
    assert watch.report.dropped == 300 - len(shown)
    assert watch.report.worked["labels"] == len(part.told)
    assert f"{len(shown)} shown, {300 - len(shown)} dropped" in watch.report.line()


def test_a_film_slower_than_the_machine_loses_nothing() -> None:
    part = Teller()
    seen = threading.Event()

    def film() -> Iterator[Frame]:
        for index in range(30):
            yield frame_at(index)
            patiently(seen)
            seen.clear()

    watch = Watch([part])
    for watched in watch.live(film()):
        assert watched.frame.index == watch.report.shown - 1
        seen.set()
    assert (watch.report.shown, watch.report.dropped) == (30, 0)


# ---- the delay is bounded ----


def test_the_delay_of_a_slow_painter_is_that_of_its_own_work_however_long_it_goes_on() -> None:
    clock = TestClock()
    entered, burst, shown = threading.Event(), threading.Event(), threading.Event()

    def work(frame: Frame) -> None:
        entered.set()
        patiently(burst)
        burst.clear()
        clock.time += 2.0

    def camera() -> Iterator[Frame]:
        yield frame_at(0)
        for number in range(12):
            patiently(entered)
            entered.clear()
            for index in range(10):  # ten frames come in a second while it paints
                clock.time += 0.1
                yield frame_at(1 + number * 10 + index)
            if number == 11:
                break
            burst.set()
            patiently(shown)
            shown.clear()
        burst.set()

    def let_the_rest_go(watched_index: int) -> None:
        if watched_index >= 110:
            burst.set()

    watch = Watch([Painter(work)], clock=clock)
    delays, indices = [], []
    for watched in watch.live(camera()):
        delays.append(watched.delay)
        indices.append(watched.frame.index)
        let_the_rest_go(watched.frame.index)
        shown.set()
    assert indices == [0, *range(10, 121, 10)]
    # Coming when a painting begins that takes 2 s, with the second of the next burst before its own: never more.
    assert delays[:-1] == pytest.approx([3.0] + [5.0] * (len(delays) - 2))
    assert max(delays) == pytest.approx(5.0)
    assert watch.report.most_delay == pytest.approx(max(delays))
    assert watch.report.dropped == 121 - len(indices)


# ---- times ----


def test_results_carry_the_time_of_their_frame_and_no_later_one_is_drawn() -> None:
    part = Teller()
    gate = threading.Event()

    def camera() -> Iterator[Frame]:
        for index in range(60):
            yield frame_at(index)
            patiently(gate)
            gate.clear()

    source = MovingPeople()
    people = PeoplePart(source, num_classes=1)
    labelled = looked = 0
    for watched in Watch([part, people]).live(camera()):
        seconds = float(watched.frame.pts_seconds)
        assert seconds == watched.frame.index / 10
        if watched.label is not None:
            labelled += 1
            assert watched.label.seconds <= seconds
            # The answer itself says which frame it is about.
            assert float(watched.label.probabilities[0]) * 1000 / 10 == pytest.approx(watched.label.seconds, abs=1e-3)
        if watched.looked_at is not None:
            looked += 1
            assert watched.looked_at <= seconds
            np.testing.assert_allclose(watched.people.boxes, source.boxes_at(watched.looked_at), atol=1e-5)
        gate.set()
    assert labelled and looked


def test_people_on_a_late_picture_stand_where_they_stood_then() -> None:
    """A painted picture is older than the last look; boxes are those of its time, between two looks."""
    source = MovingPeople(speed=0.2)
    people = PeoplePart(source, num_classes=1, look_every=0.4)
    painting, go_on, shown = threading.Event(), threading.Event(), threading.Event()

    def work(frame: Frame) -> None:
        if frame.index == 5:
            painting.set()
            patiently(go_on)
        if frame.index == 8:
            patiently(shown)

    def camera() -> Iterator[Frame]:
        for index in range(6):
            yield frame_at(index)
            while len(source.asked) < index // 4 + 1:  # looks at 0 and .4 s
                assert threading.active_count()
        patiently(painting)
        yield frame_at(8)
        while len(source.asked) < 3:
            assert threading.active_count()
        go_on.set()

    boxes = {}
    for watched in Watch([people, Painter(work)]).live(camera()):
        boxes[watched.frame.index] = watched.people.boxes
        if watched.frame.index == 5:
            shown.set()
    assert source.asked == pytest.approx([0.0, 0.4, 0.8])
    np.testing.assert_allclose(boxes[5], source.boxes_at(0.5), atol=1e-5)


# ---- every frame ----


class Actions(ActionPart):
    """Tells 0.2 s late that everybody does the second thing."""

    def __init__(self, people: PeoplePart) -> None:
        self._source = people

    def see(self, frame: Frame) -> None: ...

    def is_due(self, frame: Frame) -> bool:
        return frame.index % 5 == 4

    def work(self, frame: Frame) -> Moment:
        seconds = float(frame.pts_seconds) - 0.2
        people = self._source.at(seconds)
        actions = np.tile(np.array([0.1, 0.9, 0.2], np.float32), (len(people), 1))
        return Moment(seconds, People(people.boxes, people.ids, people.scores, actions))


def test_every_frame_is_looked_at_in_turn_by_the_films_own_time() -> None:
    label = Teller()
    people = PeoplePart(MovingPeople(), num_classes=3, look_every=0.2, remember=2.0)
    painter = Painter(lambda frame: None)
    watch = Watch([people, Actions(people), label, painter], labels=LABELS)
    found = list(watch.every(frame_at(i) for i in range(30)))
    assert [watched.frame.index for watched in found] == list(range(30))
    assert [watched.label.seconds for watched in found] == [i / 10 for i in range(30)]
    assert [watched.looked_at for watched in found] == pytest.approx([i // 2 * 2 / 10 for i in range(30)])
    assert watch.report.worked == {"people": 15, "actions": 6, "labels": 30, "painting": 30}
    assert (watch.report.shown, watch.report.dropped) == (30, 0)
    for watched in found:
        index = watched.frame.index
        assert watched.frame.image[-1, -1, 0] == 255 - index  # painted, and the corner is not drawn on
        actions = watched.people.actions
        assert np.isnan(actions).all() if index < 4 else (actions[:, 1] == np.float32(0.9)).all()
    assert len(list(watch.every((frame_at(i) for i in range(30)), seconds=0.5))) == 5


def test_what_is_drawn_is_what_is_known() -> None:
    frame = frame_at(0, tone=90)
    plain = next(Watch([], overlay=OverlayConfig(top=0)).every([frame]))
    np.testing.assert_array_equal(plain.frame.image, frame.image)
    boxes = next(Watch([PeoplePart(MovingPeople(), num_classes=1)], overlay=OverlayConfig(top=0)).every([frame]))
    changed = (boxes.frame.image != 90).any(-1)
    assert changed[:, : round(0.1 * 128)].any() and not changed[:, round(0.4 * 128) :].any()
    words = next(Watch([Teller()]).every([frame]))
    assert (words.frame.image[:40, :60] != 90).any() and (words.frame.image[60:] == 90).all()
    np.testing.assert_array_equal(frame.image, 90)  # the frame itself is as it was


# ---- ends ----


@pytest.mark.parametrize("error", [ModelError("the model broke"), ValueError("a mistake of ours")])
@pytest.mark.parametrize("painted", [False, True])
def test_what_fails_in_a_part_is_raised_to_whoever_watches(error, painted) -> None:
    def fail(frame: Frame) -> None:
        if frame.index >= 3:
            raise error

    class Failing(Teller):
        def work(self, frame: Frame) -> Prediction:
            fail(frame)
            return super().work(frame)

    def endless() -> Iterator[Frame]:
        index = 0
        while True:
            yield frame_at(index)
            index += 1

    part = Painter(fail) if painted else Failing()
    with pytest.raises(type(error), match=str(error)):
        for _ in Watch([part]).live(endless()):
            pass
    assert no_thread_is_left()
    with pytest.raises(type(error), match=str(error)):
        list(Watch([part]).every(frame_at(i) for i in range(9)))


def test_what_fails_in_the_reader_is_raised_too() -> None:
    def torn() -> Iterator[Frame]:
        yield frame_at(0)
        raise BrokenMedia("the stream is torn")

    with pytest.raises(BrokenMedia, match="torn"):
        list(Watch([Teller()]).live(torn()))
    assert no_thread_is_left()


def test_too_little_memory_says_which_option_helps() -> None:
    def fail(frame: Frame) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OptionError, match=r"painting.*--size"):
        list(Watch([Painter(fail)]).live([frame_at(0)]))


def test_the_end_of_the_film_is_the_end_even_with_nothing_in_it() -> None:
    assert list(Watch([Teller(), Painter(lambda frame: None)]).live([])) == []
    assert [watched.frame.index for watched in Watch([]).live([frame_at(0)])] == [0]
    assert no_thread_is_left()


def test_it_ends_when_the_window_says_so() -> None:
    asked = 0

    def idle() -> bool:
        nonlocal asked
        asked += 1
        return asked < 20

    def stalled() -> Iterator[Frame]:
        index = 0
        while True:
            yield frame_at(index)
            index += 1

    watch = Watch([Teller()])
    assert len(list(watch.live(stalled(), idle=idle))) <= 20
    assert asked == 20
    assert no_thread_is_left()


def test_ctrl_c_reaches_the_caller_and_leaves_no_thread() -> None:
    part = Teller()

    def camera() -> Iterator[Frame]:
        index = 0
        while True:
            yield frame_at(index)
            index += 1

    shown = 0
    with pytest.raises(KeyboardInterrupt):
        for _ in Watch([part]).live(camera()):
            shown += 1
            if shown == 5:
                signal.raise_signal(signal.SIGINT)
    assert shown == 5


def test_a_film_that_decodes_too_slowly_says_so() -> None:
    clock = TestClock()

    def slow() -> Iterator[Frame]:
        for index in range(5):
            clock.time += 1.0
            yield frame_at(index)

    watch = Watch([], clock=clock)
    for _ in watch.live(slow(), speed=1.0):
        pass
    assert any("longer than asked" in note and "--speed" in note for note in watch.notes)


@pytest.mark.parametrize("options", [{"top": -1}, {"threshold": 1.5}])
def test_options_that_mean_nothing_are_refused(options) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        OverlayConfig(**options)
