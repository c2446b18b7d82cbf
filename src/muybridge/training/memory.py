"""How much memory a run took, and how to tell that there was too little of it."""

import sys

import torch


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
