"""Where a model runs, how much memory that took, and how to tell that there was too little of it."""

import sys

import torch

from muybridge.counts import counted
from muybridge.errors import OptionError
from muybridge.memory import main_memory_bytes


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
                f"a clip with {counted(self._people, 'person', 'people')} does not fit into the memory of "
                f"{self._device}. Raise --min-score for fewer people, or choose --device cpu"
            ) from error


def memory_bytes(device: torch.device) -> int | None:
    """All memory that tensors on a device may take; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return main_memory_bytes()


def peak_memory_bytes(device: torch.device) -> int | None:
    """Most memory taken so far: by tensors on a GPU, else by the process; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation on a GPU or in main memory failed."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    # The CPU allocator and Apple's raise plain RuntimeErrors.
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "not enough memory" in text or "MPS backend out of memory" in text
    )
