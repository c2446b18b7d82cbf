"""The same work by Ray Data: actors that hold the model, on this machine or on a cluster.

driver ── a block a file ── pool of actors, which grows to the number of workers ── rows ── driver
                                ├── each has a process with the model: a file that kills it leaves the actor alive
                                └── one actor that counts tries, since an actor can be lost with its machine

Ray replaces actors that die, but a pool that loses them again and again may wait for them for ever
(ray-project/ray, issues 41258 and 62746), so that no file may reach one.
"""

import json
import os
import pickle
import signal
import socket
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from muybridge.engine.rows import Row
from muybridge.engine.tasks import Task
from muybridge.engine.work import MOST_DEATHS, Ended, Item, died
from muybridge.engine.worker import Worker
from muybridge.errors import MissingExtra, MuybridgeError, OptionError

_ANSWER_SECONDS = 5.0
_RAY_PORT = 6379


def run_ray(
    task: Task, items: Sequence[Item], *, workers: int, address: str | None, folder: Path
) -> Generator[tuple[Item, Row], None, None]:
    """Rows as they come.

    Args:
        address: of a cluster that is there; None starts Ray on this machine.
        folder: absolute, of the results; every machine of a cluster sees it there.

    Raises:
        MissingExtra: Ray is not installed.
        OptionError: no cluster answers at the address.
        MuybridgeError: what would meet every file alike.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra("--engine ray", extra="ray") from error
    if not items:
        return
    with ExitStack() as stack:
        _connect(ray, address, workers)
        stack.callback(ray.shutdown)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        begun = [item.deaths for item in items]
        tries = ray.remote(_Tries).options(num_cpus=0).remote(begun)
        blocks = [{"number": number, "item": pickle.dumps(item)} for number, item in enumerate(items)]
        device = str(getattr(task, "device", ""))
        rows = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map(
            cast(Any, _Actor),
            fn_constructor_args=(cast(Any, ray).cloudpickle.dumps(task), folder, workers, tries),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
            num_gpus=1 if device.startswith("cuda") else None,
        )
        for told in rows.iter_rows():
            if told["ended"]:
                raise MuybridgeError(told["ended"])
            yield items[told["number"]], Row.from_json(json.loads(told["row"]))


def _connect(ray: Any, address: str | None, workers: int) -> None:
    """A cluster, or Ray on this machine, where nothing of it is told to anybody."""
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM) if is_main}
    quiet = {"logging_level": "ERROR", "log_to_driver": True, "configure_logging": True}
    try:
        if address is None:
            os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
            os.environ.setdefault("RAY_worker_niceness", "0")  # 15 otherwise, behind all else on this machine
            ray.init(address="local", include_dashboard=False, **quiet)  # never what else runs here
        else:
            _check_answers(address)
            ray.init(address=address, **quiet)
    except OptionError:
        raise
    except Exception as error:
        where = f"at {address}" if address else "on this machine"
        raise OptionError(f"no Ray answers {where}: {(str(error).splitlines() or [''])[0]}") from error
    finally:
        for number, handler in handlers.items():  # Ray ends a process at SIGTERM without a word
            signal.signal(number, handler)


def _check_answers(address: str) -> None:
    """Refuse at once what Ray would try for minutes.

    Raises:
        OptionError: nobody listens there.
    """
    if address in ("auto", "local"):
        return
    parts = urlsplit(address if "://" in address else f"ray-gcs://{address}")
    try:
        port = parts.port or (10001 if parts.scheme == "ray" else _RAY_PORT)
        socket.create_connection((parts.hostname or "", port), _ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise OptionError(
            f"no Ray cluster answers at --address {address}: {error}. Start one, or leave it out"
        ) from error


class _Tries:
    """How often each file was begun. One actor of its own."""

    def __init__(self, deaths: list[int]) -> None:
        self._begun = deaths

    def begin(self, number: int) -> int:
        """Count a beginning; returns how many there were before, none of which came to an end."""
        self._begun[number] += 1
        return self._begun[number] - 1


class _Actor:
    """Has a process that holds a model, and another where that dies. Where it is lost itself, Ray makes another."""

    def __init__(self, task: bytes, folder: Path, workers: int, tries: Any) -> None:
        self._task, self._folder, self._workers, self._tries = task, folder, workers, tries
        self._worker: Worker | None = None

    def __call__(self, block: Mapping[str, Any]) -> dict[str, Any]:
        """A row, as JSON, or why the run has to end."""
        told = self._do(int(block["number"]), pickle.loads(block["item"]))
        if isinstance(told, Ended):
            return {"number": block["number"], "row": "", "ended": told.message}
        return {"number": block["number"], "row": json.dumps(told.to_json()), "ended": ""}

    def _do(self, number: int, item: Item) -> Row | Ended:
        import ray

        while cast(int, ray.get(self._tries.begin.remote(number))) < MOST_DEATHS:
            if self._worker is None:
                self._worker = Worker(cast(Task, pickle.loads(self._task)), self._folder, self._workers)
            told = self._worker.do(item)
            if told is not None:
                return told
            self._worker.stop()
            self._worker.kill()
            self._worker = None
        return died(item.source.location)
