"""Results appear whole or not at all: written beside their place, then renamed."""

import contextlib
import errno
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from muybridge.errors import OutputError

# So that a name of any length that a folder takes leaves room for what is added to it, in bytes.
_MOST_OF_STEM = 40


@contextmanager
def atomic_output(path: str | Path) -> Generator[Path]:
    """Give the body a temporary path beside `path`, with the same suffix, and rename it when the body succeeds.

    The temporary file is there, empty, under a name that nobody can guess and that was nobody's before. What the body
    wrote is on the disk before it gets its name. On any exception, Ctrl-C included, the temporary file is removed and
    `path` is as it was before. Missing parent folders are made.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    path = Path(path)
    check_writable(path)
    beside = name_beside(path)
    try:
        _create(beside)
        yield beside
        _sync(beside, os.O_RDWR)
        beside.replace(path)
        with contextlib.suppress(OSError):  # not every system lets a folder be synced
            _sync(path.parent, os.O_RDONLY)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # a disk that is gone took the file along
            beside.unlink(missing_ok=True)


def name_beside(path: Path) -> Path:
    """A hidden name in the folder of `path`, with its suffix, that nobody can guess."""
    stem = os.fsencode(path.stem)[:_MOST_OF_STEM].decode("utf-8", "ignore")
    return path.with_name(f".{stem}.{secrets.token_hex(8)}.partial{path.suffix}")


def _create(path: Path) -> None:
    """A new empty file; one that is there, or a link, is an error."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o666))


def _sync(path: Path, mode: int) -> None:
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(path: Path) -> None:
    """Make the folder of `path` and try it, so that hours of work do not end in a refusal.

    Raises:
        OutputError: `path` is a folder or a device, or its folder cannot be made or written.
    """
    if is_folder(path):
        raise OutputError(f"cannot write {path}: it is a folder. Name a file in it")
    probe = name_beside(path)
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"cannot write {path}: it is a device, not a file. Name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(probe)
        probe.unlink()
    except OSError as error:
        raise output_error(path, error) from error


def is_folder(path: Path) -> bool:
    """Whether a folder is there; of a name that no system takes, as being too long, nothing is."""
    return os.path.isdir(path)  # noqa: PTH112 - pathlib's raises for such names


def same_place(path: str | Path) -> str:
    """The same text for all names of one place; a link that leads to itself is its own place."""
    return os.path.realpath(path)


def output_error(path: Path, error: OSError) -> OutputError:
    """One clear sentence for an operating system's refusal to write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = "the disk or quota is full. Free some space, or write elsewhere with -o"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "the folder is not writable. Write elsewhere with -o"
    else:
        remedy = f"{error.strerror or error}. Write elsewhere with -o"
    return OutputError(f"cannot write {path}: {remedy}")


def is_full(error: OutputError) -> bool:
    """Whether there is no more space, which meets every result alike."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
