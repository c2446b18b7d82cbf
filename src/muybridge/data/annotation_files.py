"""What the readers and writers of every annotation format share: opening, refusing, and one form of error."""

import json
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from muybridge.errors import AnnotationError, MissingInput
from muybridge.media.outputs import atomic_output

_PICKLE_SUFFIXES = {".pkl", ".pickle"}
_PICKLE_START = b"\x80"  # protocol 2 and later; older ones look like text and fail as such


def annotation_error(path: str | Path, rule: str, remedy: str, *, where: int | str | None = None) -> AnnotationError:
    """An error that names the file, the place in it, the rule that is broken and what to do.

    Args:
        where: a line number from 1, or a place such as `annotations[3].bbox`.
    """
    place = "" if where is None else f", line {where}" if isinstance(where, int) else f", {where}"
    return AnnotationError(f"{path}{place}: {rule}. {remedy}")


def refuse_pickle(path: str | Path, remedy: str) -> None:
    """Raise AnnotationError if the file is a pickle, without reading more than its first byte.

    A pickle is a program: opening one from elsewhere runs whatever its maker put there.
    """
    path = Path(path)
    require_file(path)
    with path.open("rb") as file:
        looks_like_one = file.read(1) == _PICKLE_START
    if looks_like_one or path.suffix.lower() in _PICKLE_SUFFIXES:
        raise annotation_error(path, "it is a pickle, which would have to be executed to be read", remedy)


def require_file(path: Path) -> None:
    """Raise MissingInput unless `path` is a file."""
    if not path.is_file():
        raise MissingInput(f"{path}: there is no such file. Check the name")


@contextmanager
def open_text(path: str | Path) -> Generator[TextIO]:
    """Open a UTF-8 text file, with or without byte order mark, its line ends untouched.

    Raises:
        MissingInput: it is not there.
        AnnotationError: it is not UTF-8.
    """
    path = Path(path)
    require_file(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise annotation_error(path, f"byte {error.start} is not UTF-8 text", "Save the file as UTF-8") from error


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        MissingInput: it is not there.
        AnnotationError: it is not UTF-8, not JSON, or nested too deeply to read.
    """
    with open_text(path) as file:
        try:
            return json.load(file)
        except json.JSONDecodeError as error:
            raise annotation_error(
                path, f"it is not JSON ({error.msg})", "Export it again, or mend that place", where=error.lineno
            ) from error
        except RecursionError as error:
            raise annotation_error(path, "it is nested too deeply", "Export it again") from error


def write_text(path: str | Path, write: Callable[[TextIO], None]) -> None:
    """Let `write` fill a UTF-8 file that appears whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_output(path) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        write(file)


def write_json(path: str | Path, content: object) -> None:
    """Write JSON, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """

    def write(file: TextIO) -> None:
        json.dump(content, file, ensure_ascii=False, allow_nan=False)
        file.write("\n")

    write_text(path, write)


def read_number(path: str | Path, text: str, what: str, *, where: int | str | None = None) -> float:
    """A finite number, or AnnotationError saying `what` it should have been."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise annotation_error(path, f"{what} is {text!r}", "Give a finite number", where=where)
    return value


def read_whole(path: str | Path, text: str, what: str, *, where: int | str | None = None) -> int:
    """A whole number, or AnnotationError saying `what` it should have been."""
    value = read_number(path, text, what, where=where)
    if not value.is_integer():
        raise annotation_error(path, f"{what} is {text!r}", "Give a whole number", where=where)
    return int(value)
