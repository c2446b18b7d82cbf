"""One file done by a loaded model, the same for every engine."""

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from muybridge.engine.inputs import is_remote, local_copy
from muybridge.engine.rows import Row
from muybridge.engine.tasks import Work
from muybridge.errors import InputError, MuybridgeError, OptionError, OutputError
from muybridge.escapes import printable
from muybridge.media.outputs import is_full
from muybridge.media.sources import Source

# A file that ended its worker so often is named and left.
MOST_DEATHS = 2


@dataclass(frozen=True)
class Item:
    """A file to do.

    Attributes:
        target: where its result goes.
        deaths: how often its worker died before.
    """

    source: Source
    target: Path
    deaths: int = 0


@dataclass(frozen=True)
class Ended:
    """What would meet every file alike, such as a broken model or a full disk, in one sentence."""

    message: str


def do_file(work: Work, item: Item, folder: Path) -> Row | Ended:
    """Do one file; what is wrong with it becomes its row.

    Args:
        folder: absolute, of the results.
    """
    start = time.monotonic()
    location = item.source.location

    def seconds() -> float:
        return round(time.monotonic() - start, 3)

    try:
        with local_copy(item.source) if is_remote(item.source) else nullcontext(item.source) as source:
            outcome = work(source, item.target)
    except MuybridgeError as error:
        is_its_own = isinstance(error, (InputError, OptionError)) or (
            isinstance(error, OutputError) and not is_full(error)
        )
        return Row.failed(location, str(error), seconds()) if is_its_own else Ended(str(error))
    notes = tuple(printable(note) for note in outcome.notes)
    outputs = tuple(_shown(path, folder) for path in outcome.outputs)
    return Row(location, "done", None, seconds(), tuple(outcome.labels), outputs, notes)


def _shown(path: Path, folder: Path) -> str:
    absolute = path.absolute()
    return str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute)


def died(location: str) -> Row:
    """The row of a file that is left alone."""
    error = f"{location} ended its worker {MOST_DEATHS} times, as a lack of memory or a fault of a decoder does"
    return Row.failed(location, error)


def limit_threads(workers: int) -> None:
    """Share the cores among workers of one machine, unless the environment says otherwise."""
    if "OMP_NUM_THREADS" not in os.environ:
        import torch

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // workers))
