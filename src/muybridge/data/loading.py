"""Reading a data set in processes of their own, of which neither a signal nor a broken file shows."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, TypeVar

from torch.utils.data import DataLoader

from muybridge.errors import MuybridgeError

T = TypeVar("T")
_LOOK_SECONDS = 1.0  # from one look for whoever started a process that reads to the next
_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Loader(DataLoader[T]):
    """torch's, whose processes leave it to the one that started them to end.

    Whoever ends a whole group of processes, by Ctrl-C or as a service manager does, would else end those that read
    first, at which torch prints a traceback. And a signal that comes while they are started is not lost. An error of
    ours that ends one of them is raised here with its own words alone.
    """

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not self.num_workers:
            return super().__iter__()
        with _signals_held_back():
            self.worker_init_fn = _end_for_parent_alone
            items = super().__iter__()
        return _in_own_words(items)


@contextmanager
def _signals_held_back() -> Generator[None, None, None]:
    """What asks this process to end does so after the body; processes that the body starts are never asked.

    Python swallows what a handler raises in what it calls at a fork.
    """
    came: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in _ENDING if callable(signal.getsignal(number))}
    # Another thread may take a signal that this one has blocked, and its handler runs in the main one all the same.
    for number in handlers:
        signal.signal(number, lambda number, frame: came.append((number, frame)))
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        if masked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in came[:1]:
            handlers[number](number, frame)


def _end_for_parent_alone(worker: int) -> None:
    """In a process that reads: of whoever asks it to end, which it has blocked, it listens to who started it."""
    del worker
    sys.excepthook = _tell_unless_hung_up
    if hasattr(signal, "sigtimedwait"):
        threading.Thread(target=_wait_for_parent, daemon=True).start()
    elif hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _tell_unless_hung_up(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Of the thread that hands over tensors, which is all that calls this.

    Whoever started this process may be asked to end while it fetches one: it tells that itself.
    """
    if not issubclass(kind, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, trace)


def _wait_for_parent() -> None:
    # torch asks who the parent is only when the process is up, which one that was killed before never was.
    parent = multiprocessing.parent_process()
    while parent is None or parent.is_alive():
        told = signal.sigtimedwait([signal.SIGTERM], _LOOK_SECONDS)
        if told is not None and told.si_pid == os.getppid():
            break
    os._exit(0)


def _in_own_words(items: Iterator[T]) -> Iterator[T]:
    try:
        yield from items
    except MuybridgeError as error:
        # torch puts a traceback before them, whose last line is the error's kind and words.
        if "Original Traceback" in str(error):
            error.args = (str(error).rstrip().rpartition("\n")[2].partition(": ")[2],)
        raise
