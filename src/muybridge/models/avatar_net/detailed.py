"""Avatar-Net for pictures that keep their subject: the built-in network. Ours, around the paper's decorator.

    content ── encoder ── z ── style decorator ── z' ── up + fuse ── up + fuse ── up + fuse ── picture
                  │                                         │          │          │
                  └── at strides 4, 2 and 1, recoloured: ───┴──────────┴──────────┘
                      the style's mean and covariance

Against the paper's network: the picture's own colours ride along as the last three channels of every level; skips
bring what the decoder cannot know from an eighth of the pixels; upsampling is bilinear, and the overlaps of swapped
patches fade out at their borders, so that no grid shows.

Shapes as in `network`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muybridge.models.avatar_net.network import (
    STRIDE,
    Statistics,
    StyleNetwork,
    channel_statistics,
    impose_statistics,
)
from muybridge.models.avatar_net.tiling import run_tiled

# Statistics of features that hardly vary are not blown up by more than about 30.
_VARIANCE_EPSILON = 1e-3
_COLOUR_SCALE = 64.0
_DECODER_HALOS = (4, 3, 3, 1)


@dataclass(frozen=True)
class DetailedConfig:
    """The numbers of one network.

    Attributes:
        convolutions: output channels of the encoder's nine convolutions: two at each of the strides 1 and 2, five at
            4, of which the last is followed by stride 8.
        widths: channels of the four levels, the three colours included: of what the decoder sees.
        middle: convolutions of the decoder at stride 4.
        eigenvalue_floor: directions of whitened features with less variance than this are noise, and dropped.
    """

    convolutions: tuple[int, ...] = (16, 16, 32, 32, 64, 48, 48, 48, 64)
    widths: tuple[int, int, int, int] = (16, 32, 64, 64)
    middle: int = 1
    eigenvalue_floor: float = 0.02

    @property
    def suits_levels(self) -> bool:
        """Whether every level shows no more channels than its convolution has, and the colours."""
        ends = (self.convolutions[i] for i in (0, 2, 4, 8))
        return all(3 < width <= channels + 3 for width, channels in zip(self.widths, ends, strict=True))


class ColourEncoder(nn.Module):
    """VGG-19 up to relu4_1 with few channels, max pooling, and the picture's colours at every level."""

    # Indices of the convolutions that end a level, and of those that follow a pooling.
    _LEVELS = (0, 2, 4, 8)
    _POOLED = (2, 4, 8)

    def __init__(self, config: DetailedConfig) -> None:
        super().__init__()
        self.shown = [width - 3 for width in config.widths]
        before = (3, *config.convolutions[:-1])
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, padding_mode="reflect")
            for a, b in zip(before, config.convolutions, strict=True)
        )

    def forward(self, picture_B3HW: Tensor) -> list[Tensor]:
        """RGB in [0, 255] to four levels at strides 1, 2, 4, 8; colours divided by 64, averaged to the stride."""
        features, colours = picture_B3HW, picture_B3HW / _COLOUR_SCALE
        levels: list[Tensor] = []
        for number, convolution in enumerate(self.convolutions):
            if number in self._POOLED:
                features = F.max_pool2d(features, 2)
            features = convolution(features).relu()
            if number in self._LEVELS:
                levels.append(torch.cat([features[:, : self.shown[len(levels)]], colours], 1))
                colours = F.avg_pool2d(colours, 2)
        return levels


class _Stage(nn.Module):
    """Narrow, double the size, take in the skip, and mix."""

    def __init__(self, before: int, after: int, mixing: int, skip: int) -> None:
        super().__init__()
        self.narrow = _reflected(before, after)
        self.skip = nn.Conv2d(skip, after, 1)
        self.mix = nn.ModuleList(_reflected(after, after) for _ in range(mixing))

    def forward(self, features_BChw: Tensor, skip_BCHW: Tensor) -> Tensor:
        features = self.narrow(features_BChw).relu()
        features = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        features = features + self.skip(skip_BCHW)
        for convolution in self.mix:
            features = convolution(features).relu()
        return features


class SkipDecoder(nn.Module):
    """Decorated features and skips to a picture, with the three style fusions at strides 4, 2 and 1."""

    def __init__(self, config: DetailedConfig) -> None:
        super().__init__()
        w1, w2, w3, w4 = config.widths
        self.stages = nn.ModuleList(
            [
                _Stage(w4, w3, config.middle, 2 * w3),
                _Stage(w3, w2, 1, 2 * w2),
                _Stage(w2, w1, 1, w1),
            ]
        )
        self.finish = _reflected(w1, 3)
        self._pass_colours()

    @torch.no_grad()
    def _pass_colours(self) -> None:
        """Start from a decoder that hands the colours, the last three channels, through, and so paints at once."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
                if module is self.finish:
                    module.weight.mul_(0.2)
                module.weight[-3:].mul_(0.03)
                middle = module.kernel_size[0] // 2
                for colour in (-1, -2, -3):
                    module.weight[colour, colour, middle, middle] = 1.0

    def forward(self, z_BChw: Tensor, targets: Sequence[Statistics], skips: Sequence[Tensor]) -> Tensor:
        """Features to RGB, nominally in [0, 255], not clipped.

        Args:
            z_BChw: (B, w4, h, w).
            targets: mean and deviation to impose at strides 4, 2 and 1.
            skips: content at strides 1, 2 and 4 with the style's statistics, of w1, 2 * w2 and 2 * w3 channels.
        """
        features = z_BChw
        for stage, skip, target in zip(self.stages, reversed(skips), targets, strict=True):
            features = fuse(stage(features, skip), target)
        return self.finish(features) * _COLOUR_SCALE


def _reflected(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect")


def detailed_statistics(features_BCHW: Tensor) -> Statistics:
    """Mean and deviation of every channel, with this network's own epsilon."""
    return channel_statistics(features_BCHW, _VARIANCE_EPSILON)


def fuse(features_BCHW: Tensor, target: Statistics) -> Tensor:
    """Exchange a map's statistics for others."""
    return impose_statistics(features_BCHW, target, detailed_statistics(features_BCHW))


class DetailedAvatarNet(StyleNetwork):
    """The colour encoder, the paper's decorator, and the decoder with skips."""

    window = "hann"
    match_step = 2
    variance_epsilon = _VARIANCE_EPSILON
    skip_levels = (0, 1, 2)
    texture_levels = (1, 2)

    def __init__(self, config: DetailedConfig | None = None) -> None:
        super().__init__()
        self.config = config or DetailedConfig()
        self.eigenvalue_floor = self.config.eigenvalue_floor
        self.encoder = ColourEncoder(self.config)
        self.decoder = SkipDecoder(self.config)

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """See `StyleNetwork.widths`."""
        return self.config.widths

    def look(self, picture_B3HW: Tensor) -> list[Tensor]:
        """See `StyleNetwork.look`."""
        return self.encoder(picture_B3HW)

    def render(self, z_BChw: Tensor, targets: Sequence[Statistics], skips: Sequence[Tensor]) -> Tensor:
        """See `StyleNetwork.render`."""
        return self.decoder(z_BChw, targets, skips)

    @torch.inference_mode()
    def decode(
        self, z_Chw: Tensor, targets: Sequence[Statistics], skips: Sequence[Tensor] = (), *, tile: int | None = None
    ) -> Tensor:
        """See `StyleNetwork.decode`."""
        features = z_Chw[None].to(next(self.decoder.parameters()).dtype)
        if tile is None:
            return self.render(features, targets, skips).clamp(0, 255)
        for level, (stage, skip) in enumerate(zip(self.decoder.stages, reversed(skips), strict=True)):
            halo = _DECODER_HALOS[level]
            features = run_tiled(stage, features, side=tile * 2**level // STRIDE, halo=halo, scale=2, beside=skip)
            features = fuse(features, targets[level])
        features = run_tiled(self.decoder.finish, features, side=tile, halo=_DECODER_HALOS[3], scale=1)
        return (features * _COLOUR_SCALE).clamp(0, 255)
