"""Weights halfway between those that training starts from and those that it comes to (Wortsman et al. 2022, WiSE-FT).

A head fitted to a frozen model is of use at once, and adapters that learn from few clips leave it further behind than
they gain on other clips. Halfway they keep most of what was learned, and most of what was known.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

HALFWAY = 0.5


def trained_weights(network: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters that are trained, by name."""
    return {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}


@torch.no_grad()
def move_towards(network: nn.Module, start: Mapping[str, Tensor], share: float = HALFWAY) -> None:
    """Move trained parameters by this share of the way back to where they started."""
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            parameter.lerp_(start[name].to(parameter.device), share)


@contextmanager
def halfway(network: nn.Module, start: Mapping[str, Tensor]) -> Generator[None]:
    """Have the weights halfway back for a while."""
    reached = trained_weights(network)
    move_towards(network, start)
    try:
        yield
    finally:
        move_towards(network, reached, 1.0)
