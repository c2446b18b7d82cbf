"""Augmentation of clips: whatever is drawn is done to all frames alike."""

import math

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as pictures

from muybridge.data.clips.sampling import SamplingConfig, crop_views, resize_to_cover
from muybridge.data.options import AugmentationConfig

_BINS = 31  # torchvision counts magnitudes from 0 to 30, the papers from 0 to 10


def augment(
    frames: Tensor, config: AugmentationConfig, sampling: SamplingConfig, random: np.random.Generator
) -> tuple[Tensor, bool]:
    """A clip (T, 3, H, W) uint8 augmented and at the model's size, and whether it was mirrored."""
    if config.crop == "center":
        clip = crop_views(frames, sampling)[0]
        clip = clip.round().clamp(0, 255).to(torch.uint8) if clip.is_floating_point() else clip
    elif config.crop == "random_resized":
        clip = _resized_crop(frames, config, sampling, random)
    else:
        clip = _jittered_crop(frames, config, sampling, random)
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
    return pictures.resized_crop(
        frames, top, left, h, w, list(sampling.size), interpolation, antialias=not sampling.as_authors
    )
