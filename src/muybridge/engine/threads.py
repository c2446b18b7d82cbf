"""Threads of this process that share one model, as suits a GPU: no file may end it."""

from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from muybridge.engine.rows import Row
from muybridge.engine.tasks import Task
from muybridge.engine.work import Ended, Item, do_file
from muybridge.errors import MuybridgeError


def run_threads(
    task: Task, items: Sequence[Item], *, workers: int, folder: Path
) -> Generator[tuple[Item, Row], None, None]:
    """Rows as they come.

    Args:
        folder: absolute, of the results.

    Raises:
        MuybridgeError: what would meet every file alike: the model cannot be had, or the disk is full.
    """
    if not items:
        return
    work, left = task.load(), iter(items)
    busy: dict[Future[Row | Ended], Item] = {}
    with ThreadPoolExecutor(workers, "muybridge-files") as pool:
        while True:
            while len(busy) < workers and (item := next(left, None)) is not None:
                busy[pool.submit(do_file, work, item, folder)] = item
            if not busy:
                return
            for future in wait(busy, return_when=FIRST_COMPLETED).done:
                item, told = busy.pop(future), future.result()
                if isinstance(told, Ended):
                    raise MuybridgeError(told.message)
                yield item, told
