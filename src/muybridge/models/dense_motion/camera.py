"""What the camera does, as a few numbers: the map of the whole picture from frame to frame, summed over a clip.

    flow ── affine map of the whole picture ── pan, tilt, zoom, roll ── sums over a clip ── logarithms

One letter an axis: P pairs of neighbouring frames, H x W pixels.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from muybridge.models.dense_motion.descriptors import MotionConfig, affine_maps

MOVES = ("pan", "tilt", "zoom", "roll")
# Frames a second: a camera moves slowly beside those in front of it.
_RATE = 12.5
# Of the picture's width: what is far below hardly counts as a way.
LITTLE = 0.01


def camera_steps(flow_P2HW: Tensor) -> Tensor:
    """How far each of `MOVES` moves the picture from each frame to the next, (P, 4) float32, in its widths.

    Above 0 for a pan to the left (what is seen goes right), a tilt up, a zoom in and a roll to the left (what is seen
    turns clockwise). A zoom and a roll move each pixel differently: theirs is the root mean square over the picture.

    Args:
        flow_P2HW: where each pixel of the earlier frame is in the later one, x and y in pixels from where it was.
    """
    height, width = flow_P2HW.shape[-2:]
    shift, across, down = affine_maps(flow_P2HW).unbind(dim=1)
    across, down = across / max(1, width - 1), down / max(1, height - 1)  # a pixel
    growth = (across[:, 0] + down[:, 1]) / 2
    clockwise = (across[:, 1] - down[:, 0]) / 2
    from_middle = math.sqrt((1 + (height / width) ** 2) / 12)
    return torch.stack([*(shift / width).unbind(dim=1), growth * from_middle, clockwise * from_middle], dim=1)


@dataclass(frozen=True)
class CameraMotion:
    """Vectors of what the camera does in clips: nothing in it is learned.

    Attributes:
        config: how closely motion is looked at.
        hash: how a model file calls these vectors.
    """

    config: MotionConfig = field(default_factory=lambda: MotionConfig(rate=_RATE))
    hash: ClassVar[str] = "camera"

    @property
    def length(self) -> int:
        """Numbers of a clip's vector."""
        return 1 + 2 * len(MOVES)

    def vector(self, steps_P4: Tensor) -> Tensor:
        """(length,) float32: 1, the way of each of `MOVES` over a clip on a logarithmic scale with its sign, and the
        same without; zeros where there is no pair of frames.

        A linear classifier on these can ask which way is the longest: differences are those of logarithms.

        Args:
            steps_P4: as `camera_steps` gives them.
        """
        if not len(steps_P4):
            return torch.zeros(self.length)
        way = steps_P4.sum(dim=0)
        far = (way.abs() / LITTLE).log1p()
        return torch.cat([torch.ones(1), far * way.sign(), far])
