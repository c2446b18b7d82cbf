"""Progress of long work: a bar with rate and remaining time on a terminal, plain lines elsewhere."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

from muybridge.escapes import printable

_SECONDS_BETWEEN_LINES = 10.0


class ProgressLine(ABC):
    """One piece of long work whose `advance` is called after each unit.

    Made by `progress_line`; the total may be unknown (None), as for a live stream.
    """

    def __init__(self, title: str, total: int | None, unit: str, done: int) -> None:
        self.title, self.total, self.unit = printable(title), total, unit
        self.done = self._done_before = done
        self._start = time.monotonic()

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Say that `count` more units are done; `detail` is a short text such as the current loss."""
        self.done += count
        self._show(detail)

    def note(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        print(printable(text), file=sys.stderr, flush=True)  # noqa: T201

    @abstractmethod
    def _show(self, detail: str) -> None: ...

    def _summary(self) -> str:
        rate = (self.done - self._done_before) / max(time.monotonic() - self._start, 1e-9)
        amount = f"{self.done}/{self.total}" if self.total else f"{self.done}"
        # Seconds a unit read better than a rate that rounds to zero.
        speed = (
            f"{rate:.2f} {self.unit}/s"
            if rate >= 0.1
            else f"{1 / rate if rate else 0:.1f} s/{self.unit.removesuffix('s')}"
        )
        text = f"{self.title}: {amount} {self.unit}, {speed}"
        if self.total and rate:
            text += f", {_clock((self.total - self.done) / rate)} left"
        return text


class _PlainLines(ProgressLine):
    def __init__(self, title: str, total: int | None, unit: str, done: int, stream: TextIO) -> None:
        super().__init__(title, total, unit, done)
        self._stream = stream
        self._next = time.monotonic() + _SECONDS_BETWEEN_LINES

    def _show(self, detail: str) -> None:
        now = time.monotonic()
        if now >= self._next or self.done == self.total:
            self._next = now + _SECONDS_BETWEEN_LINES
            print(self._summary() + (f", {detail}" if detail else ""), file=self._stream, flush=True)


class _Bar(ProgressLine):
    def __init__(self, title: str, total: int | None, unit: str, done: int) -> None:
        super().__init__(title, total, unit, done)
        from rich.progress import BarColumn, Progress, TextColumn

        words = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[detail]}"))
        self.bar = Progress(next(words), BarColumn(), next(words))
        self._task = self.bar.add_task(self.title, total=total, completed=done, detail="")

    def note(self, text: str) -> None:
        self.bar.console.print(printable(text), highlight=False, markup=False)

    def _show(self, detail: str) -> None:
        summary = self._summary().removeprefix(f"{self.title}: ") + (f", {detail}" if detail else "")
        self.bar.update(self._task, completed=self.done, detail=summary)


@contextmanager
def progress_line(
    title: str, *, total: int | None, unit: str, done: int = 0, quiet: bool = False
) -> Generator[ProgressLine]:
    """Show progress on standard error while the body runs.

    Args:
        title: what is being done.
        total: number of units, or None where nobody knows.
        unit: plural noun of the unit: frames, steps, files.
        done: units done before, as in a resumed run; they do not count for the rate.
        quiet: show nothing.
    """
    if quiet:
        yield _Silent(title, total, unit, done)
    elif sys.stderr.isatty():
        line = _Bar(title, total, unit, done)
        with line.bar:
            yield line
    else:
        yield _PlainLines(title, total, unit, done, sys.stderr)


class _Silent(ProgressLine):
    def note(self, text: str) -> None:
        del text

    def _show(self, detail: str) -> None:
        del detail


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
