"""What a user can choose of a run over many files, as data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from muybridge.errors import OptionError
from muybridge.options import MOST_READERS, PLAIN
from muybridge.schema import Within, require_within

MANY = Parameter(group="Many files")
MOST_ON_CLUSTER = 1 << 16  # actors


@dataclass(frozen=True)
class ManyFiles:
    """How a run over many files is done.

    Attributes:
        listed: A text file that names more inputs, one a line.
        results: Folder for a table with one row a file, results.parquet, and for what is made of the files. A run
            that was stopped goes on where it was (pip install 'muybridge[parquet]').
        workers: With --results: processes side by side, each with a model of its own; with ray, at most so many.
        engine: With --results: local is processes of this machine, threads one process whose workers share a model,
            ray a cluster (pip install 'muybridge[ray]').
        address: Of a Ray cluster that is there, such as ray://HOST:10001 or auto. Without it, Ray starts on this
            machine.
        retry_failed: Of a run that goes on: try the files again that failed.
    """

    listed: Annotated[Path | None, Parameter(name="--list")] = None
    results: Path | None = None
    workers: int = 1
    engine: Literal["local", "threads", "ray"] = "local"
    address: str | None = None
    retry_failed: Annotated[bool, PLAIN] = False

    def __post_init__(self) -> None:
        most = MOST_ON_CLUSTER if self.engine == "ray" else MOST_READERS
        require_within(self, {"workers": Within(1, most)})
        if self.results is None:
            given = {
                "--workers": self.workers != 1,
                "--engine": self.engine != "local",
                "--retry-failed": self.retry_failed,
            }
            if option := next((name for name, is_given in given.items() if is_given), None):
                raise OptionError(
                    f"{option} is for runs that keep a table of results. Name its folder with --results"
                )
        if self.address is not None and self.engine != "ray":
            raise OptionError("--address is that of a Ray cluster. Add --engine ray")
