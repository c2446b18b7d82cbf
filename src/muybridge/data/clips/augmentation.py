"""Augmentation of clips: whatever is drawn is done to all frames alike."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as pictures

from muybridge.data.clips.sampling import SamplingConfig, crop_views, resize_to_cover
from muybridge.errors import OptionError

Crop = Literal["random_resized", "jitter", "center"]
_BINS = 31  # torchvision counts magnitudes from 0 to 30, the papers from 0 to 10


@dataclass(frozen=True)
class AugmentationConfig:
    """What training does to a clip.

    Attributes:
        crop: "jitter" scales the short side by a factor from `jitter` and crops anywhere; "random_resized" takes a
            part of `area` and `ratio` and scales it to size; "center" is the test's crop.
        jitter: least and most of the scale.
        area: least and most of the picture's area.
        ratio: least and most of width to height, relative to the model's.
        flip: whether clips are mirrored half of the time. Wrong where labels tell left from right.
        flipped_labels: which class a class becomes in the mirror, both ways, such as {"pan left": "pan right",
            "pan right": "pan left"}.
        reversed_labels: which class a class becomes when it runs backwards, both ways, such as {"sit down":
            "stand up", "stand up": "sit down"}. Half of the clips of these classes are shown so; what a single frame
            shows then tells nothing of which of the two it is.
        rand_augment: draws of RandAugment; each does one operation to the whole clip, or with probability 1/2
            nothing, as in timm's form of it. 0 for none; the paper's recipe for Something-Something has 4.
        magnitude: of these operations, 0 to 10, each time with a deviation of 0.5.
        color: strength of random brightness, contrast and saturation, 0 to 1.
    """

    crop: Crop = "jitter"
    jitter: tuple[float, float] = (1.0, 1.15)
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    flipped_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    reversed_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    rand_augment: int = 0
    magnitude: float = 7.0
    color: float = 0.0

    def __post_init__(self) -> None:
        if self.crop not in ("random_resized", "jitter", "center"):
            raise OptionError(f"crop={self.crop!r} is unknown. Choose one of: random_resized, jitter, center.")
        if not 1 <= self.jitter[0] <= self.jitter[1]:
            raise OptionError(f"jitter={self.jitter} must rise and start at 1 or more, such as (1.0, 1.15).")
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise OptionError(f"area={self.area} must rise between 0 and 1, such as (0.08, 1.0).")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise OptionError(f"ratio={self.ratio} must rise above 0, such as (0.75, 1.33).")
        if not 0 <= self.color <= 1:
            raise OptionError(f"color={self.color} is not between 0 and 1. Choose such as 0.3.")
        if not 0 <= self.magnitude <= 10 or self.rand_augment < 0:
            raise OptionError(
                f"rand_augment={self.rand_augment} with magnitude={self.magnitude}: choose 0 or more operations of a "
                "magnitude between 0 and 10."
            )
        for option in ("flipped_labels", "reversed_labels"):
            pairs: Mapping[str, str] = getattr(self, option)
            for name, other in pairs.items():
                if pairs.get(other) != name:
                    raise OptionError(
                        f"{option} turns {name!r} into {other!r}, but not {other!r} into {name!r}. Give both."
                    )


def augment(
    frames: Tensor, config: AugmentationConfig, sampling: SamplingConfig, random: np.random.Generator
) -> tuple[Tensor, bool]:
    """A clip (T, 3, H, W) uint8 augmented and at the model's size, and whether it was mirrored."""
    if config.crop == "center":
        clip = crop_views(frames, sampling)[0]
    elif config.crop == "jitter":
        clip = _jittered_crop(frames, config, sampling, random)
    else:
        clip = _resized_crop(frames, config, sampling, random)
    mirrored = config.flip and bool(random.random() < 0.5)
    if mirrored:
        clip = clip.flip(-1)
    if config.rand_augment or config.color:
        # torchvision draws from torch's global generator, which is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random.integers(2**31)))
            for _ in range(config.rand_augment):
                magnitude = float(np.clip(random.normal(config.magnitude, 0.5), 0, 10))
                if random.random() < 0.5:
                    bins = round(magnitude / 10 * (_BINS - 1))
                    clip = v2.RandAugment(1, bins, _BINS, InterpolationMode.BILINEAR)(clip)
            if config.color:
                clip = v2.ColorJitter(config.color, config.color, config.color)(clip)
    return clip.contiguous(), mirrored


def _jittered_crop(
    frames: Tensor, config: AugmentationConfig, sampling: SamplingConfig, random: np.random.Generator
) -> Tensor:
    scaled = resize_to_cover(frames, sampling, scale=random.uniform(*config.jitter))
    height, width = sampling.size
    top = int(random.integers(0, scaled.shape[-2] - height + 1))
    left = int(random.integers(0, scaled.shape[-1] - width + 1))
    return scaled[..., top : top + height, left : left + width]


def _resized_crop(
    frames: Tensor, config: AugmentationConfig, sampling: SamplingConfig, random: np.random.Generator
) -> Tensor:
    height, width = frames.shape[-2:]
    target = sampling.size[1] / sampling.size[0]
    for _ in range(10):
        area = height * width * random.uniform(*config.area)
        ratio = target * math.exp(random.uniform(math.log(config.ratio[0]), math.log(config.ratio[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            break
    else:  # as in the usual random resized crop: the largest centred part of the right shape
        w, h = min(width, round(height * target)), min(height, round(width / target))
    top, left = int(random.integers(0, height - h + 1)), int(random.integers(0, width - w + 1))
    interpolation = InterpolationMode(sampling.interpolation)
    return pictures.resized_crop(frames, top, left, h, w, list(sampling.size), interpolation, antialias=True)
