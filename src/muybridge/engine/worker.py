"""A process that holds a model and does one file after another; a file that ends it ends nothing else."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from muybridge.engine.rows import Row
from muybridge.engine.tasks import Task
from muybridge.engine.work import Ended, Item, do_file, limit_threads
from muybridge.errors import MuybridgeError

# For what a worker was writing to be removed by itself.
_GRACE_SECONDS = 5.0


class Worker:
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

    def do(self, item: Item) -> Row | Ended | None:
        """Have a file done, and wait for that; None where the process died of it."""
        try:
            if not self.is_loaded:
                told = self.pipe.recv()
                if isinstance(told, Ended):
                    return told
                self.is_loaded = True
            self.give(item)
            return self.pipe.recv()
        except (EOFError, OSError):
            if not self.is_loaded:
                return Ended(f"a worker ended before it had a model (exit code {self.exit_code()}). See above")
            return None

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
        """End it where it did not, and wait for that."""
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


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
