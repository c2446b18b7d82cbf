"""Results appear whole or not at all: written beside their place, then renamed."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from muybridge.errors import OutputError


@contextmanager
def atomic_output(path: str | Path) -> Generator[Path]:
    """Give the body a temporary path beside `path`, with the same suffix, and rename it when the body succeeds.

    On any exception, Ctrl-C included, the temporary file is removed and `path` is as it was before. Missing parent
    folders are made.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    path = Path(path)
    check_writable(path)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Make the folder of `path` and try it, so that hours of work do not end in a refusal.

    Raises:
        OutputError: `path` is a folder, or its folder cannot be made or written.
    """
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder. Name a file in it")
    probe = path.with_name(f".{path.stem}.{os.getpid()}.probe")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise output_error(path, error) from error


def output_error(path: Path, error: OSError) -> OutputError:
    """One clear sentence for an operating system's refusal to write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = "the disk or quota is full. Free some space, or write elsewhere with -o"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "the folder is not writable. Write elsewhere with -o"
    else:
        remedy = f"{error.strerror or error}. Write elsewhere with -o"
    return OutputError(f"cannot write {path}: {remedy}")
