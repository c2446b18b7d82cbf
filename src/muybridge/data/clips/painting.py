"""Augmentation by painting: a training clip in the style of a picture, all frames alike.

What a clip shows stays and what it is made of changes, so that a model trained so leans less on colour and texture
(stylized ImageNet, arXiv 1811.12231, does so with pictures). Frames are painted together: they share the statistics
by which content becomes style, so that paint does not tell one moment from another.

Letters of shapes: T frames, C channels, h x w locations, an eighth of the pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from muybridge.data.sampling import Draw
from muybridge.errors import OptionError
from muybridge.models.avatar_net.config import MIN_SIDE
from muybridge.models.avatar_net.network import (
    STRIDE,
    Decoration,
    StyleCode,
    StyleNetwork,
    fit_whitening,
    fusion_targets,
    recolour,
    swap,
    transfer_skips,
)

# Drawn apart from everything else, so that what is not painted is as it would be without painting.
_STREAM = 0x7061696E74


@dataclass(frozen=True)
class PaintingConfig:
    """How training clips are painted.

    Attributes:
        styles: names of built-in styles, picture files, folders of pictures, or saved styles.
        probability: share of the clips that are painted.
        strength: range from which it is drawn, clip by clip; 1 is the style alone.
        patch_size: odd side of the pieces of style, in units of 8 pixels.
        largest_side: short side in pixels that clips are painted at, at most; larger ones are scaled down for it, and
            up again.
    """

    styles: tuple[str, ...]
    probability: float = 0.5
    strength: tuple[float, float] = (0.3, 0.8)
    patch_size: int = 3
    largest_side: int = 160

    def __post_init__(self) -> None:
        if not self.styles:
            raise OptionError("styles names none to paint with. Give at least one, such as ember.")
        if not 0 < self.probability <= 1:
            raise OptionError(f"probability={self.probability} is out of range. Choose above 0, up to 1.")
        if not 0 <= self.strength[0] <= self.strength[1] <= 1:
            raise OptionError(f"strength={self.strength} must rise between 0 and 1, such as (0.3, 0.8).")
        if self.largest_side < MIN_SIDE:
            raise OptionError(f"largest_side={self.largest_side} is too small. Choose {MIN_SIDE} or more.")


class ClipPainter:
    """Paints clips with styles that were looked at once.

    Args:
        network: used as it is, on the CPU.
        styles: at least one.
    """

    def __init__(self, network: StyleNetwork, styles: Sequence[StyleCode], config: PaintingConfig) -> None:
        self.network, self.styles, self.config = network.eval(), list(styles), config

    def __call__(self, frames: Tensor, seed: int) -> Tensor:
        """A clip (T, 3, H, W) uint8, painted or as it was, as the seed decides."""
        random = np.random.default_rng((_STREAM, seed))
        if random.random() >= self.config.probability:
            return frames
        style = self.styles[int(random.integers(len(self.styles)))]
        return self.paint(frames, style, strength=float(random.uniform(*self.config.strength)))

    @torch.no_grad()
    def paint(self, frames: Tensor, style: StyleCode, *, strength: float) -> Tensor:
        """A clip (T, 3, H, W) uint8 in a style."""
        size = cast(tuple[int, int], tuple(frames.shape[-2:]))
        pictures = frames.float()
        scale = self.config.largest_side / min(size)
        if scale < 1:
            smaller = [max(1, round(side * scale)) for side in size]
            pictures = F.interpolate(pictures, smaller, mode="bilinear", antialias=True)
        height, width = pictures.shape[-2:]
        # Whole matches, so that those of one frame end where the next one's begin.
        grain = STRIDE * style.match_step
        bottom, right = (max(MIN_SIDE, -(-side // grain) * grain) - side for side in (height, width))
        pictures = F.pad(pictures, (0, right, 0, bottom), mode="replicate")
        painted = self._decode(pictures, style, Decoration(strength, "biased", self.config.patch_size))
        painted = painted[..., :height, :width]
        if scale < 1:
            painted = F.interpolate(painted, size, mode="bilinear")
        return painted.add(0.5).clamp(0, 255).to(torch.uint8)

    def _decode(self, pictures_T3HW: Tensor, style: StyleCode, how: Decoration) -> Tensor:
        levels = self.network.look(pictures_T3HW)
        z_TChw: Tensor = levels[3].float()
        h = z_TChw.shape[2]
        # Frames one above another are one map, whose statistics are the whole clip's.
        z_CNw = _stacked(z_TChw)
        whitened_CNw = fit_whitening(z_CNw, style.projection, style.floor, style.softness).forward(z_CNw)
        swapped = [swap(each, style, how.patch_size) for each in whitened_CNw.split(h, dim=1)]
        features = torch.cat([each.features for each in swapped], dim=1)
        recoloured = recolour(z_CNw, whitened_CNw, features, style, how)
        own = self.network.statistics_of([_stacked(level)[None] for level in levels])
        targets = fusion_targets(own, [(1.0, style)], how)
        maps = [_stacked(levels[n])[None] for n in self.network.skip_levels]
        skips = transfer_skips(maps, [(1.0, style)], how, [torch.cat([each.matches for each in swapped])])
        return self.network.render(
            torch.stack(recoloured.split(h, dim=1)), targets, [_unstacked(skip, len(z_TChw)) for skip in skips]
        )


def _stacked(maps_TChw: Tensor) -> Tensor:
    """(T, C, h, w) to (C, T * h, w)."""
    return maps_TChw.transpose(0, 1).flatten(1, 2)


def _unstacked(map_1CNw: Tensor, T: int) -> Tensor:
    """(1, C, T * h, w) to (T, C, h, w)."""
    return torch.cat(map_1CNw.chunk(T, dim=2))


class PaintedClips(Dataset[dict[str, Tensor]]):
    """Another data set's items, some of whose "frames" (T, 3, H, W) uint8 are painted. Indexed by `Draw`."""

    def __init__(self, clips: Dataset[dict[str, Tensor]], painter: ClipPainter) -> None:
        self.clips, self.painter = clips, painter

    def __len__(self) -> int:
        return len(cast(Any, self.clips))

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        item = self.clips[cast(Any, draw)]
        return {**item, "frames": self.painter(item["frames"], draw.seed)}
