"""A run over many files: what is to be done, by whom, and what is kept of it."""

import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path

from muybridge.counts import counted
from muybridge.engine.inputs import find_sources
from muybridge.engine.options import ManyFiles
from muybridge.engine.results import FILES, ResultsFolder, opened
from muybridge.engine.rows import Row, require_parquet
from muybridge.engine.tasks import Task
from muybridge.engine.work import MOST_DEATHS, Item, died
from muybridge.errors import OptionError
from muybridge.escapes import printable
from muybridge.media.sources import output_paths
from muybridge.options import configuration
from muybridge.progress import progress_line

FAILED = 2


def run_many(task: Task, names: Sequence[str], many: ManyFiles, *, out: Path | None = None) -> int:
    """Do a verb for many files, and keep one row of each; goes on where a run of before was stopped.

    Args:
        out: folder of what is made of the files; None for one in the folder of results.

    Returns:
        The exit code: 0, or 2 where rows tell of failures.

    Raises:
        MissingExtra: Parquet, or Ray, is not installed.
        MuybridgeError: what would meet every file alike. All that was done is kept.
    """
    require_parquet()
    if many.results is None:
        raise OptionError("a run over many files keeps a table. Name its folder with --results")
    if out is not None and out.suffix:
        raise OptionError(f"{out} is one file, and many are made. Name a folder")
    folder = many.results
    options = configuration(task) | {"out": None if out is None else str(out)}
    with opened(folder, task.verb, options) as results:
        if many.retry_failed:
            results.forget_failures()
        items = _items(task, names, results, out or folder / FILES)
        try:
            _do(items, many, task, results)
        finally:
            left = sum(item.source.location not in results.done for item in items)
            if left:
                total = counted(len(results.done) + left, "input")
                _say(f"{left} of {total} left: the same command goes on with the rest")
            table = results.write_table()
        failed = sum(results.done.values())
        if failed:
            _say(f"{failed} of {counted(len(results.done), 'input')} failed: the table says why")
        print(printable(str(table)))  # noqa: T201
    return FAILED if failed else 0


def _items(task: Task, names: Sequence[str], results: ResultsFolder, out: Path) -> list[Item]:
    """What is still to be done, with places for its results that no other input has."""
    sources = [source for source in find_sources(names, task.find) if source.location not in results.done]
    targets = output_paths(sources, out.absolute(), suffix_of_stem="", taken=results.targets())
    return [
        Item(source, target, results.deaths.get(source.location, 0))
        for source, target in zip(sources, targets, strict=True)
    ]


def _do(items: Sequence[Item], many: ManyFiles, task: Task, results: ResultsFolder) -> None:
    given_up = [item for item in items if item.deaths >= MOST_DEATHS]  # before their rows were written
    todo = [item for item in items if item.deaths < MOST_DEATHS]
    done = len(results.done)
    with ExitStack() as stack:
        line = stack.enter_context(progress_line("files", total=done + len(items), unit="files", done=done))
        rows = stack.enter_context(closing(_rows(todo, many, task, results)))
        for item, row in chain(((item, died(item.source.location)) for item in given_up), rows):
            results.add(row, item.target)
            if row.error is not None:
                line.note(f"muybridge: failed: {row.error}")
            line.advance()


def _rows(
    items: Sequence[Item], many: ManyFiles, task: Task, results: ResultsFolder
) -> Generator[tuple[Item, Row], None, None]:
    folder = results.folder.absolute()
    if many.engine == "ray":
        from muybridge.engine.ray_data import run_ray

        return run_ray(task, items, workers=many.workers, address=many.address, folder=folder)
    if many.engine == "threads":
        from muybridge.engine.threads import run_threads

        return run_threads(task, items, workers=many.workers, folder=folder)
    from muybridge.engine.local import run_local

    return run_local(task, items, workers=many.workers, folder=folder, add_death=results.add_death)


def _say(text: str) -> None:
    print(f"muybridge: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201
