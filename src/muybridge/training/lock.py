"""One training a folder: two would write each other's checkpoints."""

from contextlib import AbstractContextManager
from pathlib import Path

from muybridge.errors import TrainingError
from muybridge.media.folder_lock import LOCK, held

__all__ = ["LOCK", "only_training_in"]


def only_training_in(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder while the body runs.

    Raises:
        TrainingError: another training holds it.
        OutputError: the folder cannot be made or written.
    """
    busy = TrainingError(f"another training is writing into {folder}. Wait for it, or choose another --out")
    return held(folder, busy=busy)
