"""Threads beside the model: what fails is raised in the caller, nothing hangs, nothing runs on."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from muybridge.media.pipeline import BackgroundWriter, prefetch

PATIENCE = 20.0


def ends(work: Callable[[], None]) -> BaseException | None:
    """What `work` raises; fails where it hangs or leaves a thread of ours behind."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it hangs"
    left = [t.name for t in threading.enumerate() if t.name.startswith("muybridge-")]
    assert not left
    return raised[0] if raised else None


def test_items_arrive_in_order() -> None:
    got: list[int] = []
    assert ends(lambda: got.extend(prefetch(range(100), depth=3))) is None
    assert got == list(range(100))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failing_producer_raises_in_the_caller_after_what_came_before(error: type[BaseException]) -> None:
    got: list[int] = []

    def failing() -> Iterator[int]:
        yield from range(5)
        raise error("the reader broke")

    caught = ends(lambda: got.extend(prefetch(failing())))
    assert isinstance(caught, error)
    assert got == list(range(5))


def test_a_producer_that_cannot_even_start_raises() -> None:
    class Unstartable:
        def __iter__(self) -> Iterator[int]:
            raise ValueError("cannot start")

    assert str(ends(lambda: list(prefetch(Unstartable())) and None)) == "cannot start"


def test_closing_early_stops_the_thread_and_closes_the_producer() -> None:
    closed = threading.Event()
    made: list[int] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                made.append(len(made))
                yield made[-1]
        finally:
            closed.set()

    def work() -> None:
        items = prefetch(endless(), depth=2)
        assert [next(items), next(items)] == [0, 1]
        items.close()

    assert ends(work) is None
    assert closed.is_set()
    assert len(made) <= 6  # two taken, two queued, one waiting, one in the making


def test_a_failing_consumer_stops_the_producer() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    def work() -> None:
        items = prefetch(endless())
        try:
            for _ in items:
                raise RuntimeError("the model broke")
        finally:
            items.close()

    assert str(ends(work)) == "the model broke"
    assert closed.is_set()


def test_everything_is_written_in_order() -> None:
    written: list[int] = []

    def slowly(item: int) -> None:
        time.sleep(0.001)
        written.append(item)

    def work() -> None:
        with BackgroundWriter(slowly, depth=2) as writer:
            for item in range(50):
                writer.put(item)

    assert ends(work) is None
    assert written == list(range(50))


@pytest.mark.parametrize("count", [1, 2, 100], ids=["found at the end", "while it waits", "by a later put"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_write_raises_in_the_caller(count: int, error: type[BaseException]) -> None:
    def broken(item: int) -> None:
        raise error("the disk broke")

    def work() -> None:
        with BackgroundWriter(broken, depth=2) as writer:
            for item in range(count):
                writer.put(item)

    caught = ends(work)
    assert isinstance(caught, error)
    assert str(caught) == "the disk broke"


def test_a_failing_body_drops_what_is_not_written() -> None:
    gate = threading.Event()
    written: list[int] = []

    def gated(item: int) -> None:
        gate.wait(PATIENCE)
        written.append(item)

    def work() -> None:
        with BackgroundWriter(gated, depth=4) as writer:
            for item in range(4):
                writer.put(item)
            threading.Timer(0.2, gate.set).start()
            raise RuntimeError("the model broke")

    assert str(ends(work)) == "the model broke"
    assert written in ([0], [])


def test_the_caller_waits_for_a_slow_writer() -> None:
    gate = threading.Event()
    handed: list[int] = []

    def feed() -> None:
        with BackgroundWriter(lambda item: gate.wait(PATIENCE) and None, depth=2) as writer:
            for item in range(10):
                writer.put(item)
                handed.append(item)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    thread.join(0.4)
    assert len(handed) <= 3  # one with the writer, two in the queue
    gate.set()
    thread.join(PATIENCE)
    assert len(handed) == 10
