"""Which frames of a video make a clip, and how they become what the model sees.

Dense sampling takes frames at a steady rate, or every n-th frame of the file; segment sampling takes one frame from
each of T equal parts of the clip (Wang et al. 2016, arXiv 1608.00859). Training draws at random, tests do not.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as pictures

from muybridge.data.options import SamplingConfig
from muybridge.errors import OptionError

# A frame on display so long before a clip's end is the clip's last one, at any frame rate below 1,000 a second.
_LAST_MOMENT_SECONDS = 1e-3


@dataclass(frozen=True)
class ViewConfig:
    """How often a clip is looked at in a test; the answers are averaged.

    Attributes:
        temporal: stretches of time, spread evenly.
        spatial: crops: 1 for the centre, 3 for the two ends and the centre of the long side.
    """

    temporal: int = 1
    spatial: int = 1

    def __post_init__(self) -> None:
        if self.temporal < 1:
            raise OptionError(f"temporal={self.temporal} views show nothing. Choose 1 or more.")
        if self.spatial not in (1, 3):
            raise OptionError(f"spatial={self.spatial} views are not offered. Choose 1 or 3.")


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
    """Indices (T,) of every `stride`-th frame among `count` frames from `first` on; arguments as `sample_seconds`.

    A clip shorter than what is asked for is filled up, as there.
    """
    stride = config.stride or 1
    slack = max(count - ((config.frames - 1) * stride + 1), 0)
    begin = int(random.integers(0, slack + 1)) if random is not None else round(slack * view)
    places = begin + np.arange(config.frames) * stride
    # The last place sampled is the last one on the grid that the clip still has.
    last = count - 1 if random is None else places[places < count][-1]
    return first + np.minimum(places, last)


def temporal_views(count: int) -> list[float]:
    """Where in a clip to look: the middle, or evenly from the start to the end."""
    return [0.5] if count == 1 else [float(place) for place in np.linspace(0, 1, count)]


def resize_to_cover(frames: Tensor, config: SamplingConfig, *, scale: float = 1.0) -> Tensor:
    """Frames (T, 3, H, W) uint8 scaled, aspect kept, until a crop of `config.size` fits, times `scale`."""
    height, width = frames.shape[-2:]
    least = max(config.size[0] / height, config.size[1] / width)
    short_side = config.resize_short_side or min(config.size)
    factor = least * scale * short_side / min(config.size)
    wanted = [max(side, round(length * factor)) for side, length in zip(config.size, (height, width), strict=True)]
    if wanted == [height, width]:
        return frames
    return pictures.resize(frames, wanted, InterpolationMode(config.interpolation), antialias=True)


def crop_views(frames: Tensor, config: SamplingConfig, spatial: int = 1) -> list[Tensor]:
    """Crops (T, 3, *size): the centre one, or three along the side that reaches over."""
    frames = resize_to_cover(frames, config)
    height, width = config.size
    over_y, over_x = frames.shape[-2] - height, frames.shape[-1] - width
    places = (0.5,) if spatial == 1 else (0.0, 0.5, 1.0)
    crops: list[Tensor] = []
    for place in places:
        top = round(over_y * (place if over_y > over_x else 0.5))
        left = round(over_x * (place if over_x >= over_y else 0.5))
        crops.append(frames[..., top : top + height, left : left + width])
    return crops


def normalize(frames: Tensor, config: SamplingConfig) -> Tensor:
    """Frames (..., 3, H, W) uint8 as float32, mean and deviation taken out, on their own device."""
    mean, std = (
        torch.tensor(values, device=frames.device, dtype=torch.float32).view(3, 1, 1)
        for values in (config.mean, config.std)
    )
    return (frames.float() / 255 - mean) / std
