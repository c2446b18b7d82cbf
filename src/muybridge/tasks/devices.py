"""Where a model runs."""

import torch

from muybridge.errors import OptionError


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
