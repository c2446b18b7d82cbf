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

    Raises:
        OutputError: the folder cannot be written.
        MissingExtra: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, after_step: int = 0, tensorboard: bool = False) -> None:
        self._board = _summary_writer(folder / "tensorboard", after_step) if tensorboard else None
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / HISTORY
        # A run that was killed had gone on after its last checkpoint; those steps are done again.
        kept = [row for row in read_history(folder) if row["step"] <= after_step] if after_step else []
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
            for name, value in numbers.items():
                if name != "step":
                    self._board.add_scalar(f"{section}/{name}", value, row["step"])

    def close(self) -> None:
        """Write what TensorBoard's writer still holds back."""
        if self._board is not None:
            self._board.close()


def read_history(folder: Path) -> list[dict[str, Any]]:
    """All rows, in order; none where there is no file. A last line that was cut off is left out."""
    path = folder / HISTORY
    if not path.is_file():
        return []
    whole_lines = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    return [json.loads(line) for line in whole_lines]


def _summary_writer(folder: Path, after_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtra("--tensorboard", extra="log") from error
    return SummaryWriter(str(folder), purge_step=after_step + 1 if after_step else None)
