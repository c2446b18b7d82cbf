"""From one vector a frame to what the head reads of a clip.

The paper takes the mean over time, which forgets the order of what the vectors say. "change" keeps beside it the
difference of the clip's two halves, whose sign turns when the clip is reversed; that of its middle from the whole,
which tells what comes and goes; the deviation over time, which tells how much is going on; the largest value, which
tells what was there for a moment; and the size of the steps from frame to frame, which tells how fast it goes on. It
works on roots: activations are many small numbers and few large ones,
which would speak for all (Perronnin et al. 2010). With a linear head on a frozen model it is the cheapest way to read
movement.

One letter an axis: B clips, T frames, D features of a frame, F features of a clip.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from muybridge.errors import OptionError
from muybridge.models.st_adapter.config import OverTime

# How many vectors of D each way reads of a clip.
SUMMARIES: dict[OverTime, int] = {"mean": 1, "change": 6}
_LEAST = 1e-4  # keeps a root's slope finite at 0


def check_over_time(over_time: str) -> None:
    """Raises OptionError unless it is a known way."""
    if over_time not in SUMMARIES:
        raise OptionError(f"over_time='{over_time}' is unknown. Choose one of: {', '.join(SUMMARIES)}.")


def summarize(features_BTD: Tensor, over_time: OverTime, normalize: Callable[[Tensor], Tensor]) -> Tensor:
    """What the head reads of a clip, (B, F).

    Args:
        features_BTD: a vector a frame, one frame or more.
        normalize: the backbone's last norm, for the mean.

    Returns:
        The normalized mean. With "change" its signed root, and of the signed roots of the vectors the later half's
        mean less the earlier half's, the middle half's less that of all, the deviation, the largest value, and the
        mean size of the steps from frame to frame. In a clip of one frame all but the mean and the largest value are
        zero; of an odd number of frames the middle one is in neither half.
    """
    mean = normalize(features_BTD.mean(dim=1))
    if over_time == "mean":
        return mean
    roots = _signed_root(features_BTD)
    frames = roots.shape[1]
    half, quarter = max(1, frames // 2), frames // 4
    difference = roots[:, -half:].mean(dim=1) - roots[:, :half].mean(dim=1)
    middle = roots[:, quarter : frames - quarter].mean(dim=1) - roots.mean(dim=1)
    variance = (roots - roots.mean(dim=1, keepdim=True)).square().mean(dim=1)
    deviation = (variance + _LEAST).sqrt() - _LEAST**0.5
    # Divided by their number, not averaged: a clip of one frame has none.
    steps = (roots[:, 1:] - roots[:, :-1]).abs().sum(dim=1) / max(1, frames - 1)
    return torch.cat([_signed_root(mean), difference, middle, deviation, roots.amax(dim=1), steps], dim=-1)


def _signed_root(x: Tensor) -> Tensor:
    return x.sign() * ((x.abs() + _LEAST).sqrt() - _LEAST**0.5)


class Standardization(nn.Module):
    """Features to mean 0 and deviation 1 over the training clips, while a head is trained; see `fold_into`.

    Args:
        features_NF: of the training clips.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, features_NF: Tensor) -> None:
        super().__init__()
        features_NF = features_NF.float()  # a frozen backbone may work in half precision
        self.register_buffer("mean", features_NF.mean(dim=0), persistent=False)
        self.register_buffer("deviation", features_NF.std(dim=0, correction=0) + 1e-3, persistent=False)

    def forward(self, features_BF: Tensor) -> Tensor:
        return (features_BF.float() - self.mean) / self.deviation

    @torch.no_grad()
    def fold_into(self, head: nn.Linear) -> None:
        """Change a head on standardized features into the same head on the features themselves."""
        head.bias.sub_(head.weight @ (self.mean / self.deviation))
        head.weight.div_(self.deviation)
