"""What a run tells of itself: one JSON line a step or validation, and TensorBoard's files where asked for.

{"step": 7, "loss": 0.9, "accuracy": 0.5, "learning_rate": 0.001}
{"step": 7, "validation": {"top1": 0.6}}
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from muybridge.errors import MissingExtra
from muybridge.media.outputs import atomic_output, output_error

HISTORY = "history.jsonl"


class History:
    """Appends rows to `history.jsonl` in a folder.

    Args:
        folder: made where it is missing.
        after_step: keep the rows of a resumed run up to this step and drop what followed it; 0 starts anew.
        tensorboard: write the same numbers into the sub-folder `tensorboard`.

    Attributes:
        num_damaged: lines of the resumed run that could not be read and are left out.

    Raises:
        OutputError: the folder cannot be written.
        MissingExtra: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, after_step: int = 0, tensorboard: bool = False) -> None:
        self._board = _summary_writer(folder / "tensorboard", after_step) if tensorboard else None
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / HISTORY
        # A run that was killed had gone on after its last checkpoint; those steps are done again.
        rows, self.num_damaged = _read(folder) if after_step else ([], 0)
        kept = [row for row in rows if row["step"] <= after_step]
        with atomic_output(self.path) as beside:
            beside.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

    def record(self, row: Mapping[str, Any]) -> None:
        """Append one row; `step` and named numbers, or `step` and a mapping of them under "validation"."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise output_error(self.path, error) from error
        if self._board is not None:
            section, numbers = ("validation", row["validation"]) if "validation" in row else ("train", row)
            try:
                for name, value in numbers.items():
                    if name != "step":
                        self._board.add_scalar(f"{section}/{name}", value, row["step"])
            except OSError as error:  # its writer tells at the next number what the system said of one before
                raise output_error(self.path.parent / "tensorboard", error) from error

    def close(self) -> None:
        """Write what TensorBoard's writer still holds back."""
        if self._board is not None:
            try:
                self._board.close()
            except OSError as error:
                raise output_error(self.path.parent / "tensorboard", error) from error


def read_history(folder: Path) -> list[dict[str, Any]]:
    """All rows, in order; none where there is no file. Lines that are damaged or cut off are left out."""
    return _read(folder)[0]


def _read(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows, and how many whole lines are none."""
    path = folder / HISTORY
    if not path.is_file():
        return [], 0
    whole_lines = path.read_bytes().rpartition(b"\n")[0].splitlines()
    rows = [row for line in whole_lines if (row := _row(line)) is not None]
    return rows, len(whole_lines) - len(rows)


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    numbers = row.get("validation", row) if isinstance(row, dict) else None
    if not isinstance(numbers, dict) or not all(map(_is_number, numbers.values())):
        return None
    return row if isinstance(row.get("step"), int) and not isinstance(row["step"], bool) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def _summary_writer(folder: Path, after_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtra("--tensorboard", extra="log") from error
    return SummaryWriter(str(folder), purge_step=after_step + 1 if after_step else None)
