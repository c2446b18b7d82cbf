"""The numbers of a SlowFast network, apart from the modules that are made of them."""

from dataclasses import dataclass
from typing import Literal

from muybridge.errors import OptionError

EXPANSION = 4
RGB = tuple[float, float, float]


@dataclass(frozen=True)
class SlowFastConfig:
    """The numbers of one network. The defaults are the published R-50 model.

    Attributes:
        blocks: bottlenecks in each of the four stages.
        width: channels of the slow stem; the stages have 4, 8, 16 and 32 times as many.
        fast_ratio: how many times narrower the fast pathway is (1 / beta); divides `width`.
        alpha: fast frames for each slow frame; divides the number of frames.
        lateral: what joins fast to slow: "conv-norm-relu", or the bare "conv".
        lateral_kernel: odd number of frames that the lateral convolution spans.
        slow_frames: "span" spreads them evenly from the first frame to the last; "stride" takes every alpha-th.
        frames: fast frames of a clip, as in training.
        frame_step: source frames, at 30 a second, from one fast frame to the next.
        short_side: pixels of the frame's shorter side, as in training.
        mean, std: RGB in [0, 255], subtracted and divided by `SlowFast.normalize`.
    """

    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    fast_ratio: int = 8
    alpha: int = 4
    lateral: Literal["conv-norm-relu", "conv"] = "conv-norm-relu"
    lateral_kernel: int = 7
    slow_frames: Literal["span", "stride"] = "span"
    frames: int = 32
    frame_step: int = 2
    short_side: int = 256
    mean: RGB = (114.75, 114.75, 114.75)
    std: RGB = (57.375, 57.375, 57.375)

    def __post_init__(self) -> None:
        if self.width < 1 or self.fast_ratio < 1 or self.width % self.fast_ratio:
            raise OptionError(
                f"width={self.width} and fast_ratio={self.fast_ratio}: fast_ratio must divide width. "
                f"Choose a width that is a multiple of {max(self.fast_ratio, 1)}."
            )
        if self.lateral_kernel % 2 == 0:
            raise OptionError(f"lateral_kernel={self.lateral_kernel} must be odd. Choose 5 or 7.")
        if self.alpha < 1 or self.frames % self.alpha:
            raise OptionError(
                f"frames={self.frames} must be a multiple of alpha={self.alpha}. "
                f"Choose frames={max(self.alpha, 1) * max(self.frames // max(self.alpha, 1), 1)}."
            )

    @property
    def context_channels(self) -> int:
        """Channels of the context map: slow and fast together."""
        last = self.width * 8 * EXPANSION
        return last + last // self.fast_ratio


SLOWFAST_R50 = SlowFastConfig()
SLOWFAST_R101 = SlowFastConfig(
    blocks=(3, 4, 23, 3),
    lateral="conv",
    lateral_kernel=5,
    slow_frames="stride",
    mean=(110.63666788, 103.16065604, 96.29023126),
    std=(38.7568578, 37.88248729, 40.02898126),
)
# Not a published model: small enough to train on a CPU. Its fast pathway is relatively wide, since an eighth of
# so few channels would hardly see motion.
SLOWFAST_SMALL = SlowFastConfig(
    blocks=(1, 2, 2, 1), width=16, fast_ratio=4, lateral_kernel=5, frames=16, frame_step=4, short_side=112
)
