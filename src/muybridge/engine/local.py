"""Worker processes of this machine, each with a model; one that dies is replaced, and its file tried once more."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from muybridge.engine.rows import Row
from muybridge.engine.tasks import Task
from muybridge.engine.work import MOST_DEATHS, Ended, Item, died, do_file, limit_threads
from muybridge.errors import MuybridgeError

# For what a worker was writing to be removed by itself.
_GRACE_SECONDS = 5.0


class _Worker:
    """A process, and what it is doing.

    Attributes:
        item: what it is doing; None where it waits or loads.
        is_loaded: whether it has its model.
    """

    def __init__(self, task: Task, folder: Path, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, task, folder, workers), daemon=True)
        self._process.start()
        theirs.close()
        self.item: Item | None = None
        self.is_loaded = False

    def give(self, item: Item) -> None:
        self.item = item
        self.pipe.send(item)

    def exit_code(self) -> int | None:
        """Of one whose pipe is closed."""
        self._process.join(_GRACE_SECONDS)
        return self._process.exitcode

    def stop(self) -> None:
        """Let it remove what it was writing, and end."""
        self.pipe.close()
        if self._process.is_alive():
            self._process.terminate()

    def kill(self) -> None:
        """End it, and wait for that."""
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


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
        self._workers: list[_Worker] = []
        self._unborn = 0  # workers that died before they had a model, one after another

    def run(self, items: deque[Item], workers: int) -> Iterator[tuple[Item, Row]]:
        for _ in range(min(workers, len(items))):
            self._workers.append(_Worker(self._task, self._folder, workers))
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

    def _give(self, worker: _Worker, items: deque[Item]) -> None:
        try:
            worker.give(items.popleft())
        except OSError:  # it died while it waited; its end is told by its pipe
            if worker.item is not None:
                items.appendleft(worker.item)
                worker.item = None

    def _told(self, worker: _Worker, told: Row | Ended | None) -> tuple[Item, Row] | None:
        if isinstance(told, Ended):
            raise MuybridgeError(told.message)
        if told is None:
            worker.is_loaded, self._unborn = True, 0
            return None
        item, worker.item = worker.item, None
        return None if item is None else (item, told)

    def _replace(self, worker: _Worker, items: deque[Item], workers: int) -> tuple[Item, Row] | None:
        code, item = worker.exit_code(), worker.item
        self._workers.remove(worker)
        worker.stop()
        worker.kill()
        if not worker.is_loaded:
            self._unborn += 1
            if self._unborn > workers:
                raise MuybridgeError(f"the workers end before they have a model (exit code {code}). See above")
        self._workers.append(_Worker(self._task, self._folder, workers))
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


def _serve(pipe: "Connection[Any, Any]", task: Task, folder: Path, workers: int) -> None:
    """A worker: items in, rows out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run is told, and tells its workers
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_the_run, name="muybridge-orphan", daemon=True).start()
    try:
        limit_threads(workers)
        try:
            work = task.load()
        except MuybridgeError as error:
            pipe.send(Ended(str(error)))
            return
        pipe.send(None)
        while True:
            pipe.send(do_file(work, pipe.recv(), folder))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _end_with_the_run() -> None:
    """Nobody waits for a worker whose run was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_GRACE_SECONDS)
    os._exit(1)
