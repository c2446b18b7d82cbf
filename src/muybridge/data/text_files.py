"""Text that others wrote, and numbers in it: whatever is wrong with them is one line that names the file."""

import csv
import errno
import json
import math
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from muybridge.errors import AnnotationError, MissingInput
from muybridge.media.outputs import is_folder

_LARGEST = 2**63 - 1


def check_is_file(path: Path) -> None:
    """Raise MissingInput unless this is a file; a name that the system cannot take leads to none."""
    if not is_file(path):
        raise MissingInput(f"{path} is not a file. Check the path.")


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; a name that the system cannot take leads to none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether this is a file."""
    return exists(path) and path.is_file()


def is_possible(path: Path) -> bool:
    """Whether the system takes such a name, whether or not there is something."""
    try:
        path.stat()
    except ValueError:
        return False
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True


def read_text(path: Path) -> str:
    """The text of an annotation file, UTF-8 with or without a byte order mark.

    Raises:
        MissingInput: no such file.
        AnnotationError: it is a folder, not UTF-8 text, or not readable.
    """
    if is_folder(path):
        raise AnnotationError(f"{path} is a folder. Name the file in it.")
    check_is_file(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f"{path}: byte {error.start} is not UTF-8 text. If it is a pickle, it is not read: convert it to JSON;"
            " otherwise save it as UTF-8."
        ) from error
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error


def csv_rows(path: Path, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """(line number, stripped cells) of every row that is not blank, without reading the whole file at once.

    Raises:
        MissingInput: no such file.
        AnnotationError: it is no CSV in UTF-8; names the line.
    """
    check_is_file(path)
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            for row in reader:
                line = reader.line_num
                if row and (len(row) > 1 or row[0].strip()):
                    yield line, [cell.strip() for cell in row]
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: not UTF-8 text. A pickle is not read; export the rows as CSV.") from error
    except csv.Error as error:
        raise AnnotationError(
            f"{path}, after line {line}: not CSV: {error}. Export it again with commas between the columns."
        ) from error
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error


def parse_json(where: Path | str, text: str) -> Any:
    """Parsed JSON, or AnnotationError naming the line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise AnnotationError(
            f"{where}, line {error.lineno}: not JSON: {error.msg}. Mend or export it again."
        ) from error
    except RecursionError as error:
        raise AnnotationError(f"{where}: JSON nested too deeply for any annotation format.") from error
    except ValueError as error:  # an integer of more digits than Python takes
        raise AnnotationError(f"{where}: JSON with a number of thousands of digits. Export it again.") from error


def parse_whole(text: str) -> int | None:
    """A whole number in plain digits from 0 to 2**63 - 1; None where the text is none."""
    if not text.isdecimal() or len(text) > 4000 or (value := int(text)) > _LARGEST:
        return None
    return value


def shown(value: Any) -> str:
    """Any value in a few words, for messages: one out of a file may be of any size."""
    return reprlib.repr(value)


def is_whole(value: Any) -> bool:
    """Whether a value out of JSON is a whole number from 0 to 2**63 - 1."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def is_number(value: Any) -> bool:
    """Whether a value out of JSON is a number that a float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
