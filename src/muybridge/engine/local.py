"""Worker processes of this machine, each with a model; one that dies is replaced, and its file tried once more."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

from muybridge.engine.rows import Row
from muybridge.engine.tasks import Task
from muybridge.engine.work import MOST_DEATHS, Ended, Item, died
from muybridge.engine.worker import Worker
from muybridge.errors import MuybridgeError


def run_local(
    task: Task,
    items: Iterable[Item],
    *,
    workers: int,
    folder: Path,
    add_death: Callable[[str], int],
) -> Generator[tuple[Item, Row], None, None]:
    """Rows as they come.

    Args:
        folder: absolute, of the results.
        add_death: notes that an input's worker died, and tells how often that was.

    Raises:
        MuybridgeError: what would meet every file alike: the model cannot be had, the disk is full, no worker starts.
    """
    pool = _Pool(task, folder, add_death)
    try:
        yield from pool.run(deque(items), workers)
    finally:
        pool.close()


class _Pool:
    def __init__(self, task: Task, folder: Path, add_death: Callable[[str], int]) -> None:
        self._task, self._folder, self._add_death = task, folder, add_death
        self._workers: list[Worker] = []
        self._unborn = 0  # workers that died before they had a model, one after another

    def run(self, items: deque[Item], workers: int) -> Iterator[tuple[Item, Row]]:
        for _ in range(min(workers, len(items))):
            self._workers.append(Worker(self._task, self._folder, workers))
        while items or any(worker.item for worker in self._workers):
            for worker in self._workers:
                if items and worker.is_loaded and worker.item is None:
                    self._give(worker, items)
            for pipe in wait([worker.pipe for worker in self._workers]):
                worker = next(worker for worker in self._workers if worker.pipe is pipe)
                try:
                    told: Row | Ended | None = worker.pipe.recv()
                except (EOFError, OSError):
                    row = self._replace(worker, items, workers)
                else:
                    row = self._told(worker, told)
                if row is not None:
                    yield row

    def _give(self, worker: Worker, items: deque[Item]) -> None:
        try:
            worker.give(items.popleft())
        except OSError:  # it died while it waited; its end is told by its pipe
            if worker.item is not None:
                items.appendleft(worker.item)
                worker.item = None

    def _told(self, worker: Worker, told: Row | Ended | None) -> tuple[Item, Row] | None:
        if isinstance(told, Ended):
            raise MuybridgeError(told.message)
        if told is None:
            worker.is_loaded, self._unborn = True, 0
            return None
        item, worker.item = worker.item, None
        return None if item is None else (item, told)

    def _replace(self, worker: Worker, items: deque[Item], workers: int) -> tuple[Item, Row] | None:
        code, item = worker.exit_code(), worker.item
        self._workers.remove(worker)
        worker.stop()
        worker.kill()
        if not worker.is_loaded:
            self._unborn += 1
            if self._unborn > workers:
                raise MuybridgeError(f"the workers end before they have a model (exit code {code}). See above")
        self._workers.append(Worker(self._task, self._folder, workers))
        if item is None:
            return None
        deaths = self._add_death(item.source.location)
        if deaths >= MOST_DEATHS:
            return item, died(item.source.location)
        items.append(replace(item, deaths=deaths))
        return None

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.kill()
