"""One run a folder: two would write over each other."""

import errno
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from muybridge.errors import MuybridgeError
from muybridge.escapes import printable
from muybridge.media.outputs import output_error

LOCK = ".lock"
# As some network file systems answer.
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def held(folder: Path, *, busy: MuybridgeError) -> Generator[None]:
    """Hold the folder while the body runs. The system gives it up when a process ends, however it ends.

    Where the file system has no locks, a line on standard error tells so, and the body runs unheld.

    Args:
        busy: raised where somebody else holds it.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The library's own way without locks is a file that a killed process leaves behind.
        lock = FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
        lock.acquire()
    except Timeout as error:
        raise busy from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise output_error(folder / LOCK, error) from error
        text = f"muybridge: note: {folder} lies where there are no locks. See to it that no other run writes there"
        print(printable(text), file=sys.stderr, flush=True)  # noqa: T201
        yield
        return
    try:
        yield
    finally:
        lock.release()
