"""The numbers of adapters, apart from the modules that are made of them."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from muybridge.errors import OptionError
from muybridge.schema import Within, require_within

Kernel = tuple[int, int, int]
Placement = Literal["mlp", "attention+mlp"]
Activation = Literal["gelu", "quick_gelu", "relu"]
Readout = Literal["auto", "class_token", "patch_mean"]
OverTime = Literal["mean", "change"]
LIMITS = {
    "width": Within(0, 16384),
    "kernel": Within(1, 63),
    "blocks": Within(1, 128),
    "frequency_scales": Within(1, 1024, items=16),
}


@dataclass(frozen=True)
class AdapterConfig:
    """The numbers of a set of adapters.

    Attributes:
        width: Channels of an adapter; 0 for half of the backbone's, as the paper's 384 of ViT-B's 768, or half of
            each block's where blocks differ.
        kernel: Extent of an adapter's convolution over time, height and width. 1 1 1 cannot tell the order of frames.
        placement: Adapters before each MLP, or before each attention as well; in a convolutional model, which has
            neither, mlp is behind each block.
        blocks: How many of the last blocks get adapters; by default all of a transformer's, a quarter of a
            convolutional model's.
        activation: Inside an adapter, after the convolution; by default none, as in the paper's code.
        causal: A frame is told about earlier frames only: for live streams.
        frequency_scales: Give half of an adapter's channels to a branch that filters frequencies of time, over
            windows of a whole clip, a half, a quarter: 1 2 4.
        keep_dead: also build the last adapter before the MLP where only the class token is read. It cannot reach
            the class token, is never run and never trained; checkpoints of the authors' code hold one.
    """

    width: int = 0
    kernel: Kernel = (3, 1, 1)
    placement: Placement = "mlp"
    blocks: int | None = None
    activation: Activation | None = None
    causal: bool = False
    frequency_scales: tuple[int, ...] = ()
    keep_dead: bool = False

    def __post_init__(self) -> None:
        if self.width < 0:
            raise OptionError(f"width={self.width} is not a number of channels. Choose 1 or more, such as 384.")
        if len(self.kernel) != 3 or min(self.kernel) < 1 or any(size % 2 == 0 for size in self.kernel[1:]):
            raise OptionError(
                f"kernel={self.kernel} is not (time, height, width) with odd height and width. Choose (3, 1, 1)."
            )
        if self.kernel[0] % 2 == 0 and not self.causal:
            raise OptionError(
                f"kernel={self.kernel} has an even extent in time, which has no centre frame. Choose an odd one or "
                "causal=True."
            )
        if self.placement not in get_args(Placement):
            raise OptionError(
                f"placement='{self.placement}' is unknown. Choose one of: {', '.join(get_args(Placement))}."
            )
        if self.activation not in (None, *get_args(Activation)):
            known = ", ".join(("None", *get_args(Activation)))
            raise OptionError(f"activation='{self.activation}' is unknown. Choose one of: {known}.")
        if self.blocks is not None and self.blocks < 1:
            raise OptionError(f"blocks={self.blocks} adapts nothing. Choose 1 or more, or leave the adapters out.")
        if any(parts < 1 for parts in self.frequency_scales):
            raise OptionError(f"frequency_scales={self.frequency_scales} holds a value below 1. Choose (1, 2, 4).")
        if self.frequency_scales and self.causal:
            raise OptionError(
                "frequency_scales looks at a whole clip, causal=True forbids it. Choose one of the two."
            )
        if self.frequency_scales and self.width == 1:
            raise OptionError(f"width={self.width} cannot be shared with a frequency branch. Choose 2 or more.")
        require_within(self, LIMITS)

    def for_channels(self, channels: int) -> "AdapterConfig":
        """With the width that suits a backbone of so many channels, if none was chosen."""
        return self if self.width else replace(self, width=max(1, channels // 2))
