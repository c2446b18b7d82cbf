"""A slot for the newest frame, a film played into it by a clock of the test's, and a short memory of frames."""

import threading
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from muybridge.errors import BrokenMedia, OptionError
from muybridge.media.newest_frame import FrameHistory, Newest, Player, forward, limited
from muybridge.media.video_reader import Frame

PATIENCE = 20.0


class TestClock:
    """Waiting takes no time, but is counted."""

    __test__ = False

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float, stopped: threading.Event) -> None:
        assert seconds > 0
        self.time += seconds


def frames_at(*times: float | Fraction) -> list[Frame]:
    return [Frame(np.full((2, 2, 3), i % 256, np.uint8), Fraction(t), i) for i, t in enumerate(times)]


def play(frames, **options) -> tuple[Player, list[tuple[float, Frame]]]:
    """A player that has played to its end, and when it told of each frame."""
    clock = options.setdefault("clock", TestClock())
    told: list[tuple[float, Frame]] = []
    player = Player(frames, see=[lambda frame: told.append((clock.now(), frame))], **options)
    player.start()
    number, left = 0, threading.Event()
    while not left.is_set():
        arrival = player.newest.wait(number, PATIENCE)
        if arrival is None:
            assert player.newest.ended, "it hangs"
            left.set()
        else:
            number = arrival.number
    player.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("muybridge-")]
    return player, told


# ---- the slot ----


def test_the_newest_takes_the_place_of_what_was_there() -> None:
    slot: Newest[str] = Newest()
    assert slot.wait(0, 0.0) is None
    for number, value in enumerate("abc"):
        slot.put(value, float(number))
    arrival = slot.wait(0)
    assert arrival is not None
    assert (arrival.number, arrival.value, arrival.at) == (3, "c", 2.0)
    assert slot.wait(3, 0.0) is None


def test_the_last_can_be_taken_after_the_end_and_then_nothing() -> None:
    slot: Newest[str] = Newest()
    slot.put("a", 0.0)
    slot.end()
    last = slot.wait(0)
    assert last is not None and last.value == "a"
    assert slot.wait(1) is None  # without a timeout: the end wakes whoever waits
    assert slot.ended


def test_whoever_waits_is_woken_by_what_comes() -> None:
    slot: Newest[str] = Newest()
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(slot.wait(0)))
    thread.start()
    slot.put("late", 0.0)
    thread.join(PATIENCE)
    assert [arrival.value for arrival in got] == ["late"]  # pyright: ignore[reportAttributeAccessIssue]


# ---- the player ----


@pytest.mark.parametrize("speed", [1.0, 0.5, 4.0])
def test_each_frame_is_handed_over_when_it_is_due(speed) -> None:
    times = [Fraction(0), Fraction(1, 30), Fraction(1, 2), Fraction(5, 3)]
    _, told = play(frames_at(*times), speed=speed)
    assert [at - told[0][0] for at, _ in told] == pytest.approx([float(t) / speed for t in times])
    assert [frame.pts_seconds for _, frame in told] == times


def test_a_film_that_starts_late_is_not_waited_for() -> None:
    _, told = play(frames_at(7, 8), speed=1.0)
    assert [at for at, _ in told] == pytest.approx([100.0, 101.0])


def test_where_decoding_does_not_keep_up_the_film_is_played_longer_and_says_so() -> None:
    clock = TestClock()

    def slow() -> Iterator[Frame]:
        for frame in frames_at(*[Fraction(i, 10) for i in range(20)]):
            clock.time += 0.5 if frame.index < 10 else 0.0
            yield frame

    player, told = play(slow(), speed=1.0, clock=clock)
    gaps = np.diff([at for at, _ in told])
    assert gaps[:9] == pytest.approx([0.5] * 9)
    assert gaps[9:] == pytest.approx([0.1] * 10)  # and does not rush to make up for it
    assert player.lost_seconds == pytest.approx(9 * 0.4)


def test_a_small_lag_is_made_up_for() -> None:
    clock = TestClock()

    def hiccup() -> Iterator[Frame]:
        for frame in frames_at(*[Fraction(i, 10) for i in range(6)]):
            clock.time += 0.2 if frame.index == 2 else 0.0
            yield frame

    player, told = play(hiccup(), speed=1.0, clock=clock)
    assert [round(at - 100, 6) for at, _ in told] == [0.0, 0.1, 0.3, 0.3, 0.4, 0.5]
    assert player.lost_seconds == 0


def test_a_camera_is_taken_as_it_comes() -> None:
    _, told = play(frames_at(5, 6, 9))
    assert [at for at, _ in told] == [100.0] * 3
    assert [float(frame.pts_seconds) for _, frame in told] == [0, 1, 4]


def test_times_never_go_back() -> None:
    jumping = [Fraction(t) for t in (50, 51, 3, 4, 4, 5)]
    live = [frame.pts_seconds for frame in forward(frames_at(*jumping), live=True)]
    assert live == [0, 1, 1, 2, 2, 3]
    assert [f.pts_seconds for f in forward(frames_at(2, 3), live=False)] == [2, 3]


def test_so_many_seconds_and_no_more() -> None:
    _, told = play(frames_at(*[Fraction(i, 4) for i in range(400)]), seconds=1.5)
    assert [float(frame.pts_seconds) for _, frame in told] == [0, 0.25, 0.5, 0.75, 1.0, 1.25]
    assert len(list(limited(frames_at(5, 6, 7), 2.0))) == 2


@pytest.mark.parametrize("error", [BrokenMedia("torn"), ValueError("a mistake"), KeyboardInterrupt()])
def test_what_ends_the_source_is_kept_and_what_came_before_was_told(error) -> None:
    def failing() -> Iterator[Frame]:
        yield from frames_at(0, 1)
        raise error

    player, told = play(failing(), speed=1.0)
    assert player.error is error
    assert len(told) == 2


def test_closing_stops_an_endless_source_and_lets_it_go() -> None:
    let_go = threading.Event()

    def endless() -> Iterator[Frame]:
        try:
            while True:
                yield frames_at(0)[0]
        finally:
            let_go.set()

    player = Player(endless())
    player.start()
    assert player.newest.wait(3, PATIENCE) is not None
    player.close()
    assert let_go.is_set()
    assert player.error is None
    player.close()


@pytest.mark.parametrize("options", [{"speed": 0.0}, {"speed": float("nan")}, {"seconds": -1.0}])
def test_speeds_and_lengths_that_mean_nothing_are_refused(options) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        Player([], **options)


# ---- the memory ----


def shown_at(frames: list[Frame], seconds: float) -> Frame:
    """By looking through all."""
    before = [frame for frame in frames if float(frame.pts_seconds) <= seconds + 1e-9]
    return before[-1] if before else frames[0]


def test_history_gives_the_frames_that_were_on_display() -> None:
    random = np.random.default_rng(0)
    frames = frames_at(*np.cumsum(random.integers(1, 9, 60)).tolist())
    history = FrameHistory(40.0, spacing=0.0)
    for last, frame in enumerate(frames):
        history.add(frame)
        seen, now = frames[: last + 1], float(frame.pts_seconds)
        if now < 45:
            continue
        times = sorted(random.uniform(now - 40, now, 7).tolist())
        assert history.at(times) == [shown_at(seen, t) for t in times]
        start, end = times[1], times[5]
        inside = [f for f in seen if start < float(f.pts_seconds) <= end]
        first = shown_at(seen, start)
        assert history.between(start, end) == [first, *inside]
    assert len(history) < 41


def test_history_holds_no_more_frames_however_many_come() -> None:
    history = FrameHistory(2.0, spacing=0.25)
    for index in range(10_000):
        history.add(Frame(np.zeros((1, 1, 3), np.uint8), Fraction(index, 1000), index))
        assert len(history) <= 10
    gaps = np.diff([float(frame.pts_seconds) for frame in history.between(0, 100)])
    assert gaps.min() >= 0.25


def test_before_the_first_frame_the_first_is_shown() -> None:
    history = FrameHistory(2.0, spacing=0.0)
    frames = frames_at(5, 6)
    for frame in frames:
        history.add(frame)
    assert history.at([3.0, 5.5, 6.5]) == [frames[0], frames[0], frames[1]]
    assert history.between(3.0, 5.5) == [frames[0]]
