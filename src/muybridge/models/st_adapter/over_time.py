"""From one vector a frame to what the head reads of a clip.

The paper takes the mean over time, which forgets the order of what the vectors say. "change" keeps beside it the
difference of the clip's two halves, whose sign turns when the clip is reversed, and the deviation over time, which
tells how much is going on. With a linear head on a frozen model it is the cheapest way to read movement.

One letter an axis: B clips, T frames, D features of a frame, F features of a clip.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from muybridge.errors import OptionError
from muybridge.models.st_adapter.config import OverTime

# How many vectors of D each way reads of a clip.
SUMMARIES: dict[OverTime, int] = {"mean": 1, "change": 3}
_LEAST_VARIANCE = 1e-4  # keeps the root's slope finite where nothing changes


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
        The normalized mean; with "change" after it the later half's mean less the earlier half's, and the deviation.
        Both are zero in a clip of one frame; of an odd number of frames the middle one is in neither half.
    """
    mean = features_BTD.mean(dim=1)
    if over_time == "mean":
        return normalize(mean)
    half = max(1, features_BTD.shape[1] // 2)
    difference = features_BTD[:, -half:].mean(dim=1) - features_BTD[:, :half].mean(dim=1)
    variance = (features_BTD - mean[:, None]).square().mean(dim=1)
    deviation = (variance + _LEAST_VARIANCE).sqrt() - _LEAST_VARIANCE**0.5
    return torch.cat([normalize(mean), difference, deviation], dim=-1)


class Standardization(nn.Module):
    """Features to mean 0 and deviation 1 over the training clips, while a head is trained; see `fold_into`.

    Args:
        features_NF: of the training clips.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, features_NF: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", features_NF.mean(dim=0), persistent=False)
        self.register_buffer("deviation", features_NF.std(dim=0, correction=0) + 1e-3, persistent=False)

    def forward(self, features_BF: Tensor) -> Tensor:
        return (features_BF - self.mean) / self.deviation

    @torch.no_grad()
    def fold_into(self, head: nn.Linear) -> None:
        """Change a head on standardized features into the same head on the features themselves."""
        head.bias -= head.weight @ (self.mean / self.deviation)
        head.weight /= self.deviation
