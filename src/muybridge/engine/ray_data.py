"""The same work by Ray Data: actors that hold the model, on this machine or on a cluster."""

from collections.abc import Generator, Sequence
from pathlib import Path

from muybridge.engine.rows import Row
from muybridge.engine.tasks import Task
from muybridge.engine.work import Item


def run_ray(
    task: Task, items: Sequence[Item], *, workers: int, address: str | None, folder: Path
) -> Generator[tuple[Item, Row], None, None]:
    raise NotImplementedError
