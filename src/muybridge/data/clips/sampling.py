"""Which frames of a video make a clip, and how they become what the model sees.

Dense sampling takes frames at a steady rate, or every n-th frame of the file; segment sampling takes one frame from
each of T equal parts of the clip (Wang et al. 2016, arXiv 1608.00859). Training draws at random, tests do not.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as pictures

from muybridge.data.options import Preprocessing, SamplingConfig
from muybridge.errors import OptionError

# A frame on display so long before a clip's end is the clip's last one, at any frame rate below 1,000 a second.
_LAST_MOMENT_SECONDS = 1e-3
# The authors' code rounds the start of a sole view down, but that of the middle one of several to the nearest.
_SOLE_VIEW_OF_AUTHORS = 0.5 - 1e-9
# Of a clip of up to this length, eight frames at twelve a second show a good part.
_LONGEST_DENSE_SECONDS = 3.0


@dataclass(frozen=True)
class ViewConfig:
    """How often a clip is looked at in a test; the answers are averaged.

    Attributes:
        temporal: stretches of time, spread evenly.
        spatial: crops: 1 for the centre, 3 for the two ends and the centre of the long side.
        focus: beside them the part that moves, enlarged; see focus.py.
        dense_rate: where it is not 0, a clip is looked at once more, with `focus` at the part that moves: a short one
            at neighbouring frames around its middle, so many a second; a longer one, of which these would tell
            little, between the frames of the other look.
    """

    temporal: int = 1
    spatial: int = 1
    focus: bool = False
    dense_rate: float = 0.0

    def __post_init__(self) -> None:
        if self.temporal < 1:
            raise OptionError(f"temporal={self.temporal} views show nothing. Choose 1 or more.")
        if self.spatial not in (1, 3):
            raise OptionError(f"spatial={self.spatial} views are not offered. Choose 1 or 3.")
        if not self.dense_rate >= 0:
            raise OptionError(
                f"dense_rate={self.dense_rate} is no number of frames a second. Choose 12, or 0 for none."
            )

    @property
    def count(self) -> int:
        """How many views there are of a clip."""
        return self.temporal * (self.spatial + self.focus) + (self.dense_rate > 0)


def closer(config: SamplingConfig, rate: float, seconds: float) -> tuple[SamplingConfig, float]:
    """How a clip that lasts so long is looked at once more, and where in it: see `ViewConfig.dense_rate`."""
    if seconds > _LONGEST_DENSE_SECONDS:
        return replace(config, mode="segments", stride=None), 0.0
    return replace(config, mode="dense", rate=rate, stride=None), 0.5


def sample_seconds(
    config: SamplingConfig, start: float, end: float, *, random: np.random.Generator | None = None, view: float = 0.5
) -> NDArray[np.float64]:
    """Times (T,) in seconds of the frames to read from a clip that lasts from `start` to `end`.

    A clip shorter than what is asked for is filled up: in a test with its last frame, in training with the last one
    sampled, as the paper's code does. `stride` is not looked at: see `sample_indices`.

    Args:
        random: for training; None for a test.
        view: for a test: where in the clip to look, from 0 for its start to 1 for its end.
    """
    duration = max(end - start, 0.0)
    if config.mode == "segments":
        places = random.random(config.frames) if random is not None else np.full(config.frames, view)
        return start + (np.arange(config.frames) + places.clip(0, 0.999)) * duration / config.frames
    slack = max(duration - config.frames / config.rate, 0.0)
    begin = start + slack * (random.random() if random is not None else view)
    seconds = begin + np.arange(config.frames) / config.rate
    last = max(start, end - _LAST_MOMENT_SECONDS)
    return np.where(
        seconds <= last, seconds, last if random is None else seconds[max(0, (seconds <= last).sum() - 1)]
    )


def sample_indices(
    config: SamplingConfig, first: int, count: int, *, random: np.random.Generator | None = None, view: float = 0.5
) -> NDArray[np.int64]:
    """Numbers (T,) of frames among `count` from `first` on: every `stride`-th, or one of each of T equal parts.

    For a `config` that counts frames; arguments as `sample_seconds`.

    A clip shorter than what is asked for is filled up, as there.
    """
    if config.mode == "segments":
        bounds = [round(part * ((count - 1) / config.frames)) for part in range(config.frames + 1)]
        pairs = list(pairwise(bounds))
        if random is not None:
            return first + np.array([random.integers(start, end + 1) for start, end in pairs])
        # Halves are rounded down, as in the authors' middle of a part.
        return first + np.array([start + math.ceil((end - start) * view - 0.5) for start, end in pairs])
    stride = config.stride or 1
    slack = max(count - ((config.frames - 1) * stride + 1), 0)
    begin = int(random.integers(0, slack + 1)) if random is not None else round(slack * view)
    places = begin + np.arange(config.frames) * stride
    # The last place sampled is the last one on the grid that the clip still has.
    last = count - 1 if random is None else places[places < count][-1]
    return first + np.minimum(places, last)


def temporal_views(count: int, *, preprocessing: Preprocessing = "own") -> list[float]:
    """Where in a clip to look: the middle, or evenly from the start to the end."""
    sole = _SOLE_VIEW_OF_AUTHORS if preprocessing == "authors" else 0.5
    return [sole] if count == 1 else [float(place) for place in np.linspace(0, 1, count)]


def resize_to_cover(frames: Tensor, config: SamplingConfig, *, scale: float = 1.0) -> Tensor:
    """Frames (T, 3, H, W) uint8 scaled, aspect kept, until a crop of `config.size` fits, times `scale`."""
    wanted = _covering_size(frames, config, scale)
    if wanted == list(frames.shape[-2:]):
        return frames
    antialias = not config.as_authors
    return pictures.resize(frames, wanted, InterpolationMode(config.interpolation), antialias=antialias)


def _covering_size(frames: Tensor, config: SamplingConfig, scale: float) -> list[int]:
    sides: list[int] = list(frames.shape[-2:])
    least = max(Fraction(size, side) for size, side in zip(config.size, sides, strict=True))
    exact = least * Fraction(config.resize_short_side or min(config.size), min(config.size)) * Fraction(scale)
    # Fractions, since a product that is whole but for its float's last digit would be rounded down by one.
    rounded = [int(side * exact) if config.as_authors else round(side * float(exact)) for side in sides]
    return [max(size, side) for size, side in zip(config.size, rounded, strict=True)]


def _scaled_as_authors(frames: Tensor, config: SamplingConfig) -> Tensor:
    """Frames as float32, beyond [0, 255] where a bicubic curve overshoots."""
    wanted = _covering_size(frames, config, 1.0)
    corners = None if config.interpolation == "nearest" else False
    return F.interpolate(frames.float(), wanted, mode=config.interpolation, align_corners=corners)


def crop_views(frames: Tensor, config: SamplingConfig, spatial: int = 1) -> list[Tensor]:
    """Crops (T, 3, *size): the centre one, or three along the side that reaches over.

    Of frames uint8; with the authors' preprocessing float32 in about the same range, else uint8.
    """
    frames = _scaled_as_authors(frames, config) if config.as_authors else resize_to_cover(frames, config)
    place_of: Callable[[float], int] = int if config.as_authors else round
    height, width = config.size
    over_y, over_x = frames.shape[-2] - height, frames.shape[-1] - width
    places = (0.5,) if spatial == 1 else (0.0, 0.5, 1.0)
    crops: list[Tensor] = []
    for place in places:
        top = place_of(over_y * (place if over_y > over_x else 0.5))
        left = place_of(over_x * (place if over_x >= over_y else 0.5))
        crops.append(frames[..., top : top + height, left : left + width])
    return crops


def normalize(frames: Tensor, config: SamplingConfig) -> Tensor:
    """Frames (..., 3, H, W), uint8 or float in [0, 255], as float32 on their own device, mean and deviation taken
    out."""
    mean, std = (
        torch.tensor(values, device=frames.device, dtype=torch.float32).view(3, 1, 1)
        for values in (config.mean, config.std)
    )
    return (frames.float() / 255 - mean) / std
