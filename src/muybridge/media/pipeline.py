"""Reading and writing in threads beside the model. What fails in a thread is raised in the caller; nothing hangs.

reader thread ── bounded queue ── caller (the model) ── bounded queue ── writer thread
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

# How long a blocked thread waits before it looks whether the other side has gone away.
_POLL_SECONDS = 0.05


class _End:
    """Marks the end of a stream, with the exception that ended it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def prefetch(items: Iterable[T], *, depth: int = 2) -> Generator[T, None, None]:
    """Iterate over `items` in a thread that runs up to `depth` items ahead.

    An exception of `items` is raised here, after the items before it. Closing this generator early stops the thread
    and closes `items`.
    """
    handed: queue.Queue[T | _End] = queue.Queue(depth)
    stopped = threading.Event()
    thread = threading.Thread(target=_read, args=(items, handed, stopped), name="muybridge-reader", daemon=True)
    thread.start()
    try:
        while True:
            item = handed.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        thread.join()


def _read(items: Iterable[T], handed: "queue.Queue[T | _End]", stopped: threading.Event) -> None:
    def put(item: T | _End) -> bool:
        while not stopped.is_set():
            try:
                handed.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    iterator: Iterator[T] | None = None
    try:
        iterator = iter(items)
        for item in iterator:
            if not put(item):
                break
        else:
            put(_End())
    except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
        put(_End(error))
    finally:
        if isinstance(iterator, Generator):
            iterator.close()


class BackgroundWriter(Generic[T]):
    """Calls `write` for each item in a thread, in order, at most `depth` items behind.

    A context manager. An exception of `write` is raised by the next `put`, or at the end of the body. When the body
    itself raises, items not yet written are dropped.
    """

    def __init__(self, write: Callable[[T], None], *, depth: int = 2) -> None:
        self._write = write
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, name="muybridge-writer", daemon=True)

    def __enter__(self) -> "BackgroundWriter[T]":
        self._thread.start()
        return self

    def put(self, item: T) -> None:
        """Hand an item over; waits while the writer is `depth` items behind."""
        self._put(item)

    def _put(self, item: T | _End) -> None:
        while True:
            if self._error is not None:
                raise self._error
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if self._abandoned.is_set():
                    return
                continue
            if isinstance(item, _End) or self._abandoned.is_set():
                return
            try:
                self._write(item)
            except BaseException as error:  # noqa: BLE001 - raised in the caller by `put` or `__exit__`
                self._error = error
                return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._put(_End())
        finally:
            if kind is not None:
                self._abandoned.set()
            self._thread.join()
        if kind is None and self._error is not None:
            raise self._error
