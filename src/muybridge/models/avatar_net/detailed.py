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

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muybridge.models.avatar_net.network import (
    STRIDE,
    Statistics,
    StyleNetwork,
    channel_statistics,
)
from muybridge.models.avatar_net.tiling import run_tiled

# Statistics of features that hardly vary are not blown up by more than about 30.
_VARIANCE_EPSILON = 1e-3
_COLOUR_SCALE = 64.0
# Colours that vary by less than about the root of this, of 255, are not raised to the style's.
_COLOUR_FLOOR = 4.0
BANDS = 5
# Bands are not wholly apart: what one takes on changes its neighbours, and a second time comes nearer.
_ROUNDS = 2
# How far a band's values move to the style's distribution, and at how many quantiles that is told.
_SPREAD_SHARE = 0.6
QUANTILES = 65
_MOST_ORDERED = 1 << 14
_LEAST_STEP = 0.02  # between quantiles, of 255
_STEPS = 512  # of the table that a band's values are moved by
# Light, red against green, blue against yellow: at right angles, each of length 1.
_OPPONENTS = ((0.577350, 0.577350, 0.577350), (0.707107, -0.707107, 0.0), (-0.408248, -0.408248, 0.816497))
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
            features = convolution(features).relu_()
            if number in self._LEVELS:
                levels.append(torch.cat([features[:, : self.shown[len(levels)]], colours], 1))
                colours = F.avg_pool2d(colours, 2)
        return levels


_Fusion = tuple[Tensor, Tensor]  # gain and shift of every channel, each (C,)


class _Stage(nn.Module):
    """Narrow, double the size, take in the skip, and mix."""

    def __init__(self, before: int, after: int, mixing: int, skip: int) -> None:
        super().__init__()
        self.narrow = _reflected(before, after)
        self.skip = nn.Conv2d(skip, after, 1)
        self.mix = nn.ModuleList(_reflected(after, after) for _ in range(mixing))

    def forward(self, features_1Chw: Tensor, joined_1CHW: Tensor, fusion: _Fusion | None = None) -> Tensor:
        """Features to be fused first, and what `skip` made of the skip."""
        features = _doubled(convolve_fused(self.narrow, features_1Chw, fusion).relu_()).add_(joined_1CHW)
        for convolution in self.mix:
            features = convolution(features).relu_()
        return features


def convolve_fused(convolution: nn.Conv2d, features_1CHW: Tensor, fusion: _Fusion | None) -> Tensor:
    """A reflected convolution of `features * gain + shift`, which the weights take upon themselves."""
    if fusion is None:
        return convolution(features_1CHW)
    gain, shift = fusion
    bias = cast(Tensor, convolution.bias) + convolution.weight.sum((2, 3)) @ shift
    weight = convolution.weight * gain.view(1, -1, 1, 1)
    return F.conv2d(F.pad(features_1CHW, (1, 1, 1, 1), mode="reflect"), weight, bias)


def fusion(features_1CHW: Tensor, target: Statistics) -> _Fusion:
    """What gives a map the target's mean and deviation."""
    mean, deviation = channel_statistics(features_1CHW, _VARIANCE_EPSILON)
    gain = target[1] / deviation
    return gain.flatten(), (target[0] - gain * mean).flatten()


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
        if self.finish.weight.is_meta:
            return  # no values to draw; torch would load its compiler for them
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

    def join(self, skips: Sequence[Tensor]) -> list[Tensor]:
        """Skips, finest first, as the stages take them in."""
        stages = [cast(_Stage, stage) for stage in reversed(self.stages)]
        return [stage.skip(skip) for stage, skip in zip(stages, skips, strict=True)]

    def forward(
        self, z_1Chw: Tensor, targets: Sequence[Statistics], joined: Sequence[Tensor], tile: int | None = None
    ) -> Tensor:
        """Features to RGB, nominally in [0, 255], not clipped.

        Args:
            z_1Chw: (1, w4, h, w).
            targets: mean and deviation to impose at strides 4, 2 and 1, and for the picture `band_statistics` and
                `band_quantiles`.
            joined: what `join` gives.
            tile: side of the tiles to work in, in pixels.
        """
        features, before = z_1Chw, None
        for level, (stage, skip) in enumerate(zip(self.stages, reversed(joined), strict=True)):
            if tile is None:
                features = stage(features, skip, before)
            else:
                side, halo = tile * 2**level // STRIDE, _DECODER_HALOS[level]
                part = partial(stage, fusion=before)
                features = run_tiled(part, features, side=side, halo=halo, scale=2, beside=skip)
            before = fusion(features, targets[level])
        finish = partial(convolve_fused, self.finish, fusion=before)
        if tile is None:
            features = finish(features)
        else:
            features = run_tiled(finish, features, side=tile, halo=_DECODER_HALOS[3], scale=1)
        picture = features * _COLOUR_SCALE
        for _ in range(_ROUNDS):
            picture = impose_bands(picture, targets[3], targets[4])
        return picture


def picture_bands(picture_B3HW: Tensor) -> list[Tensor]:
    """What a picture adds at strides 1, 2, 4 and 8 to the next coarser one, and the picture at stride 16 itself."""
    bands: list[Tensor] = []
    for _ in range(BANDS - 1):
        coarser = F.avg_pool2d(picture_B3HW, 2, ceil_mode=True)
        bands.append(picture_B3HW - _grown(coarser, picture_B3HW))
        picture_B3HW = coarser
    return [*bands, picture_B3HW]


def band_statistics(picture_B3HW: Tensor) -> Statistics:
    """The mean colour, (B, 3, 1, 1), and the symmetric roots of the bands' covariances, (B, 5, 3, 3)."""
    bands = picture_bands(picture_B3HW.float())
    return bands[-1].mean((2, 3), keepdim=True), torch.stack([_root(_covariance(band)) for band in bands], 1)


def band_quantiles(picture_B3HW: Tensor) -> Statistics:
    """How values are spread in all bands but the coarsest, along light and the two pairs of opponent colours.

    Covariance does not tell a few bold lines on bare paper from faint ones all over; quantiles do.

    Returns:
        The medians, (B, 4, 3, 1), and counted from them the quantiles, (B, 4, 3, 65).
    """
    found = torch.stack([_quantiles(_opponents(band)) for band in picture_bands(picture_B3HW.float())[:-1]], 1)
    median = found[..., QUANTILES // 2, None]
    return median, found - median


def impose_bands(picture_B3HW: Tensor, target: Statistics, spread: Statistics | None = None) -> Tensor:
    """Give a picture the mean colour of others, and each of its bands the colours' covariance.

    Of all linear maps that do so it is the one that moves colours least. Its gradient is left out: the picture learns
    under it as if it were fixed.

    Args:
        target: as of `band_statistics`.
        spread: as of `band_quantiles`: towards this the values of the bands are moved too, each band as strong as it
            was.
    """
    bands = picture_bands(picture_B3HW)
    moved = [_recoloured(band, target[1][:, number]) for number, band in enumerate(bands)]
    if spread is not None:
        wanted = spread[0] + spread[1]
        moved[:-1] = [_spread(band, wanted[:, number]) for number, band in enumerate(moved[:-1])]
    picture = moved[-1] + target[0]
    for band in reversed(moved[:-1]):
        picture = band + _grown(picture, band)
    return picture


def _recoloured(band_B3HW: Tensor, root_B33: Tensor) -> Tensor:
    """A band with its mean taken out, and with this root of its covariance."""
    with torch.no_grad():
        # The optimal transport of one normal distribution to another.
        own = _root(_covariance(band_B3HW) + _COLOUR_FLOOR * torch.eye(3, device=band_B3HW.device))
        inverse = torch.linalg.inv(own)
        matrix = inverse @ _root(own @ root_B33 @ root_B33 @ own) @ inverse
        mean = band_B3HW.mean((2, 3))[..., None]
    return (matrix @ (band_B3HW.flatten(2) - mean)).view(band_B3HW.shape)


def _opponents(picture_B3HW: Tensor) -> Tensor:
    return torch.einsum("oc,bchw->bohw", torch.tensor(_OPPONENTS, device=picture_B3HW.device), picture_B3HW)


def _quantiles(band_B3HW: Tensor) -> Tensor:
    """(B, 3, 65) from the smallest but a hair to the largest; of a large band some of the locations tell as much."""
    flat = band_B3HW.flatten(2)
    ordered = flat[..., :: math.ceil(flat.shape[2] / _MOST_ORDERED)].sort(dim=2).values
    places = torch.linspace(0.002, 0.998, QUANTILES, device=flat.device) * (ordered.shape[2] - 1)
    return ordered[..., places.round().long()]


def _spread(band_B3HW: Tensor, wanted_B3Q: Tensor) -> Tensor:
    """A band whose values go a part of the way to these quantiles, scaled so that they are no larger as a whole.

    The table of moves is made without a gradient, as the map of `_recoloured` is.
    """
    B, _, H, W = band_B3HW.shape
    values = _opponents(band_B3HW).flatten(2)
    with torch.no_grad():
        # Quantiles as good as equal are drawn apart a little, or a hair's difference would become a visible one.
        apart = _LEAST_STEP * (torch.arange(QUANTILES, device=values.device) - QUANTILES // 2)
        own = _quantiles(values[..., None]) + apart
        wanted = wanted_B3Q.expand(B, -1, -1)
        size, wanted_size = (q.square().mean(2, keepdim=True).sqrt() for q in (own, wanted))
        moves = _SPREAD_SHARE * (wanted * (size / (wanted_size + 1e-6)).clamp_max(1) - own)
        first, width = own[..., :1], (own[..., -1:] - own[..., :1]).clamp_min(1e-3)
        at = torch.linspace(0, 1, _STEPS + 1, device=own.device) * width + first
        table = _interpolated(at, own, moves)
    moved: list[Tensor] = []
    for b in range(B):
        for channel in range(3):  # one by one: of a large picture each takes memory
            place = ((values[b, channel] - first[b, channel]) * (_STEPS / width[b, channel])).clamp(0, _STEPS - 1e-3)
            step = place.detach().long()
            of_step = table[b, channel]
            between = (place - step) * (of_step[1:] - of_step[:-1])[step]
            moved.append(values[b, channel] + of_step[step] + between)
    spread = torch.stack(moved).view(B, 3, H, W)
    return torch.einsum("oc,bohw->bchw", torch.tensor(_OPPONENTS, device=spread.device), spread)


def _interpolated(at_B3N: Tensor, known_B3Q: Tensor, values_B3Q: Tensor) -> Tensor:
    """Piecewise linear functions, known at rising places, at other places within them: (B, 3, N)."""
    after = torch.searchsorted(known_B3Q, at_B3N.contiguous()).clamp(1, known_B3Q.shape[2] - 1)
    (x0, x1), (y0, y1) = ((t.gather(2, after - 1), t.gather(2, after)) for t in (known_B3Q, values_B3Q))
    share = ((at_B3N - x0) / (x1 - x0).clamp_min(1e-6)).clamp(0, 1)
    return torch.lerp(y0, y1, share)


def _grown(picture_BCHW: Tensor, like_BCHW: Tensor) -> Tensor:
    return F.interpolate(picture_BCHW, like_BCHW.shape[2:], mode="bilinear", align_corners=False)


def _doubled(picture_BCHW: Tensor) -> Tensor:
    return F.interpolate(picture_BCHW, scale_factor=2, mode="bilinear", align_corners=False)


def _covariance(band_B3HW: Tensor) -> Tensor:
    flat = band_B3HW.flatten(2)
    flat = flat - flat.mean(2, keepdim=True)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def _root(covariance_B33: Tensor) -> Tensor:
    """The symmetric root of symmetric matrices without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(covariance_B33.double())
    root = (vectors * values.clamp_min(0).sqrt()[:, None]) @ vectors.transpose(1, 2)
    return root.to(covariance_B33.dtype)


def _reflected(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect")


class DetailedAvatarNet(StyleNetwork):
    """The colour encoder, the paper's decorator, and the decoder with skips."""

    window = "hann"
    match_step = 2
    coherence = 0.15
    softness = 1.0
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

    def picture_statistics(self, levels: Mapping[int, Tensor]) -> list[Statistics]:
        """The bands' colours and how they are spread; see `StyleNetwork.picture_statistics`."""
        picture = levels[0][:, -3:] * _COLOUR_SCALE
        return [band_statistics(picture), band_quantiles(picture)]

    @property
    def joints(self) -> list[tuple[Tensor, Tensor]]:
        """See `StyleNetwork.joints`."""
        skips = [cast(nn.Conv2d, stage.skip) for stage in reversed(self.decoder.stages)]
        return [(skip.weight[:, :, 0, 0], cast(Tensor, skip.bias)) for skip in skips]

    def render(self, z_BChw: Tensor, targets: Sequence[Statistics], skips: Sequence[Tensor]) -> Tensor:
        """See `StyleNetwork.render`."""
        joined = self.decoder.join(skips)
        painted: list[Tensor] = []
        for i in range(len(z_BChw)):
            # A target of one picture holds for all.
            of_one = [tuple(part[i % len(part)][None] for part in target) for target in targets]
            own = [skip[i : i + 1] for skip in joined]
            painted.append(self.decoder(z_BChw[i : i + 1], of_one, own))
        return torch.cat(painted)

    @torch.inference_mode()
    def decode(
        self, z_Chw: Tensor, targets: Sequence[Statistics], skips: Sequence[Tensor] = (), *, tile: int | None = None
    ) -> Tensor:
        """See `StyleNetwork.decode`."""
        features = z_Chw[None].to(next(self.decoder.parameters()).dtype)
        return self.decoder(features, targets, skips, tile).clamp(0, 255)
