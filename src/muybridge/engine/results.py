"""The folder of a run: who it is, what is done, and the table in the end.

results.parquet   one row a file, when the run ends or is stopped
run.json          the verb and its options: a folder belongs to one run
rows.jsonl        a line as soon as a file is done, from which a run that was killed goes on
files/            what was made of the files
.lock             held while a run is at work
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muybridge import __version__
from muybridge.engine.rows import Name, Row, write_table
from muybridge.errors import ModelError, OptionError, OutputError
from muybridge.media.folder_lock import LOCK, held
from muybridge.media.outputs import atomic_output, check_writable, output_error
from muybridge.media.sources import natural_order
from muybridge.schema import build, parse_json

TABLE, IDENTITY, JOURNAL, FILES = "results.parquet", "run.json", "rows.jsonl", "files"
# A run on another machine is the same run.
_NOT_OF_THE_RUN = ("device",)
_PARTIAL = ".*.partial*"


class ResultsFolder:
    """What is done of a run, on disk. Made by `opened`.

    Attributes:
        folder: of all of it.
        done: inputs with a row, and whether that is one of a failure.
        deaths: how often an input's worker died.
    """

    def __init__(self, folder: Path, about: Mapping[str, str]) -> None:
        self.folder, self._about = folder, dict(about)
        self.done: dict[str, bool] = {}
        self.deaths: dict[str, int] = {}
        self._targets = dict[str, str]()
        self._journal = _whole_lines(folder / JOURNAL)
        try:
            for line in self._lines():
                if isinstance(line, _Death):
                    self.deaths[line.died] = self.deaths.get(line.died, 0) + 1
                else:
                    self.done[line.input] = line.status == "failed"
                    self._targets[line.input] = line.target
        except BaseException:
            self.close()
            raise

    def add(self, row: Row, target: Path) -> None:
        """Keep a row; when this returns, no end of this process loses it.

        Args:
            target: where its results are, whose name no other input gets.

        Raises:
            OutputError: there is no space.
        """
        self._append(json.dumps(row.to_json() | {"target": str(target)}))
        self.done[row.input] = row.status == "failed"
        self._targets[row.input] = str(target)

    def add_death(self, input: str) -> int:
        """Keep that an input's worker died; returns how often."""
        self._append(json.dumps({"died": input}))
        self.deaths[input] = self.deaths.get(input, 0) + 1
        return self.deaths[input]

    def forget_failures(self) -> None:
        """Let inputs that failed be done again; until they are, their rows stay."""
        self.done = {name: failed for name, failed in self.done.items() if not failed}
        self._targets = {name: target for name, target in self._targets.items() if name in self.done}
        self.deaths.clear()

    def rows(self) -> Iterator[Row]:
        """All rows, by their inputs in natural order; of an input done again, the later one."""
        latest = {line.input: line for line in self._lines() if isinstance(line, _Done)}
        for name in sorted(latest, key=lambda name: natural_order(Path(name))):
            yield latest[name]

    def targets(self) -> set[Path]:
        """Where the results of inputs are."""
        return set(map(Path, self._targets.values()))

    def write_table(self) -> Path:
        """Write the table of what is done so far; returns its path.

        Raises:
            OutputError: it cannot be written.
        """
        path = self.folder / TABLE
        write_table(path, self.rows(), self._about)
        return path

    def _append(self, line: str) -> None:
        data = line.encode("ascii") + b"\n"
        try:
            written = os.write(self._journal, data)
            if written < len(data):  # what a disk takes before it is full; the rest tells why
                os.write(self._journal, data[written:])
        except OSError as error:
            raise output_error(self.folder / JOURNAL, error) from error

    def _lines(self) -> "Iterator[_Done | _Death]":
        with open(self._journal, "rb", closefd=False) as file:  # by its name it might be another file by now
            file.seek(0)
            for number, text in enumerate(file, 1):
                try:
                    values = json.loads(text)
                    kind = _Death if isinstance(values, dict) and "died" in values else _Done
                    line = build(kind, values, source=JOURNAL)
                except (ModelError, ValueError, RecursionError) as error:
                    where = f"{self.folder / JOURNAL}, line {number}"
                    raise OutputError(f"{where} is damaged. Name a new folder with --results") from error
                yield line

    def close(self) -> None:
        """Close the journal."""
        os.close(self._journal)


@dataclass(frozen=True)
class _Done(Row):
    """A row as a line keeps it."""

    target: Name = ""


@dataclass(frozen=True)
class _Death:
    """A line that tells that an input's worker died."""

    died: Name


def _whole_lines(path: Path) -> int:
    """The journal, opened to append; a line that a killed process left half-written is cut off."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o666)
        size = os.fstat(handle).st_size
        end = size
        while end:
            start = max(0, end - (1 << 16))
            place = os.pread(handle, end - start, start).rfind(b"\n")
            end = start + place + 1 if place >= 0 else start
            if place >= 0:
                break
        if end < size:
            os.ftruncate(handle, end)
    except OSError as error:
        raise output_error(path, error) from error
    return handle


@contextmanager
def opened(folder: Path, verb: str, options: Mapping[str, Any]) -> Generator[ResultsFolder]:
    """The folder of a run, new or as it was left; held by this run alone while the body runs.

    Args:
        options: of the verb, as JSON has them. Files that they name count by what is in them.

    Raises:
        OptionError: another run is at work in it, or it holds another run's results, or other files.
        OutputError: it cannot be written.
    """
    busy = OptionError(f"another run is at work in {folder}. Wait for it, or name another folder with --results")
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"--results {folder} is a file. Name a folder")
    for name in (LOCK, IDENTITY, JOURNAL, TABLE):
        _check_own(folder / name)
    with held(folder, busy=busy):
        identity = {
            "verb": verb,
            "options": {name: _told(value) for name, value in options.items() if name not in _NOT_OF_THE_RUN},
        }
        _check_identity(folder, identity)
        _remove_partial_files(folder)
        check_writable(folder / TABLE)  # before hours of work
        results = ResultsFolder(folder, {"muybridge": __version__, "run": json.dumps(identity)})
        try:
            yield results
        finally:
            results.close()


def _told(value: Any) -> Any:
    """An option as JSON; a file by its name and a hash of what is in it."""
    if isinstance(value, (str, Path)):
        path = Path(value)
        with contextlib.suppress(OSError, ValueError):
            if path.is_file():
                with path.open("rb") as file:
                    return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _told(item) for name, item in value.items()}
    return [_told(item) for item in value] if isinstance(value, (list, tuple)) else value


def _check_identity(folder: Path, identity: dict[str, Any]) -> None:
    path = folder / IDENTITY
    if not path.exists():
        if others := sorted(other.name for other in folder.iterdir() if other.name != LOCK):
            raise OptionError(f"{folder} holds other files, such as {others[0]}. Name a new folder with --results")
        with atomic_output(path) as beside:
            beside.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")
        return
    try:
        before = parse_json(path.read_bytes(), source=str(path))
        verb, options = before["verb"], before["options"]
        now = identity["options"]
        changed = [name for name in now.keys() | options.keys() if now.get(name) != options.get(name)]
    except (OSError, TypeError, KeyError, AttributeError, ModelError) as error:
        raise OptionError(f"{path} does not tell which run it is of. Name a new folder with --results") from error
    if verb != identity["verb"]:
        raise OptionError(
            f"{folder} holds the results of another run, of {verb!r:.60}. Name a new folder with --results"
        )
    if changed:
        options_changed = ", ".join("--" + name.replace("_", "-") for name in sorted(changed))[:300]
        raise OptionError(
            f"{folder} holds the results of another run: it differs in {options_changed}. Name a new folder with "
            "--results"
        )


def _check_own(path: Path) -> None:
    """A folder that came from elsewhere may lead out of itself, or hold what blocks who opens it."""
    if path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir()):
        raise OptionError(
            f"{path} is a link or a device, and a run writes to its own files alone. Name a new folder with --results"
        )


def _remove_partial_files(folder: Path) -> None:
    """What a killed process was writing; nobody else writes while the folder is held."""
    for path in folder.rglob("*"):
        _check_own(path)
        if path.match(_PARTIAL):
            with contextlib.suppress(OSError):
                path.unlink()
