"""Where a model runs."""

import torch

from muybridge.errors import OptionError
from muybridge.training.memory import is_out_of_memory


def choose_device(name: str = "auto") -> torch.device:
    """The named device, or the fastest present: CUDA, then Apple's MPS, then the CPU.

    Raises:
        OptionError: an unknown device, or one this machine lacks.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"device={name!r} cannot be used here ({reason}). Try auto or cpu") from error
    return device


class PeopleMemory:
    """Turns running out of memory over a clip with many people into an error that says what to do."""

    def __init__(self, people: int, device: torch.device) -> None:
        self._people, self._device = people, device

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (RuntimeError, MemoryError)) and is_out_of_memory(error):
            raise OptionError(
                f"a clip with {self._people} people does not fit into the memory of {self._device}. "
                "Raise --min-score for fewer people, or choose --device cpu"
            ) from error
