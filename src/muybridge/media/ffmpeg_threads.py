"""How many threads FFmpeg decodes, converts and encodes a film in."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_threads: ContextVar[int] = ContextVar("threads", default=0)


def ffmpeg_threads() -> int:
    """For a film that is opened here; 0 lets FFmpeg choose, as many as there are cores."""
    return _threads.get()


@contextmanager
def limit_ffmpeg_threads(count: int) -> Generator[None, None, None]:
    """Films opened in this body, by this thread, are read and written in so many threads.

    With 1 the work is done in the thread that asks for it, so that what it takes can be told from the rest.
    """
    token = _threads.set(count)
    try:
        yield
    finally:
        _threads.reset(token)
