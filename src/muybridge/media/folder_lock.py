"""One run a folder: two would write over each other."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from muybridge.errors import MuybridgeError
from muybridge.media.outputs import output_error

LOCK = ".lock"


@contextmanager
def held(folder: Path, *, busy: MuybridgeError) -> Generator[None]:
    """Hold the folder while the body runs. The system gives it up when a process ends, however it ends.

    Args:
        busy: raised where somebody else holds it.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise busy from error
    except NotImplementedError:  # a file system without locks
        yield
        return
    except OSError as error:
        raise output_error(folder / LOCK, error) from error
    try:
        yield
    finally:
        lock.release()
