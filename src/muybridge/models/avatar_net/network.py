"""Avatar-Net: zero-shot style transfer in one pass (Sheng et al. 2018, arXiv 1805.03857).

    content ── encoder ── z ── style decorator ── z' ── decoder ── picture
                               ▲                        ▲  ▲  ▲
    style ──── encoder ── StyleCode: whitened map, colouring, mean and deviation of relu3_1, relu2_1, relu1_1

One frame is read top to bottom in `AvatarNet.forward`. The style's side is a value, `StyleCode`, computed once.

Shapes: B batch, C channels, H x W pixels, h x w locations of relu4_1 (an eighth of the pixels). Pictures are RGB
float in [0, 255]; sides must be multiples of `STRIDE` and at least `MIN_SIDE`.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muybridge.models.avatar_net.config import STRIDE, Interpolation, Projection
from muybridge.models.avatar_net.patch_swap import (
    MatchBonus,
    Squares,
    Window,
    cut_squares,
    match_patches,
    put_squares,
    rebuild_from_matches,
)
from muybridge.models.avatar_net.tiling import RunningStatistics, run_tiled, tiles

VGG19_WIDTHS = (64, 128, 256, 512)

Statistics = tuple[Tensor, Tensor]  # mean and standard deviation, each (C,) or (B, C, 1, 1)

EIGENVALUE_FLOOR = 1e-5
# As in the authors' code: added to the variance of what is normalised, not to that of what gives the statistics.
_VARIANCE_EPSILON = 1e-10
_ADAIN_EPSILON = 1e-7
# Directions of a skip's features that vary less than this are not raised to the style's deviation.
_SKIP_FLOOR = 1e-2
_MANY_LOCATIONS = 1 << 14
# How far beyond an output location a stage sees, in its input's locations. The encoder: 2 convolutions and a pooling
# at stride 1, the same at stride 2, 4 convolutions at stride 4, one at stride 8, rounded up to whole strides.
_ENCODER_HALO = 40
_DECODER_HALOS = (3, 2, 2, 4)


@dataclass(frozen=True)
class AvatarNetConfig:
    """The numbers of one network.

    Attributes:
        widths: channels of relu1_1, relu2_1, relu3_1 and relu4_1.
        mean: RGB that the encoder subtracts, in [0, 255]. The default is the one VGG was trained with.
    """

    widths: tuple[int, int, int, int] = VGG19_WIDTHS
    mean: tuple[float, float, float] = (123.68, 116.78, 103.94)


class VGGEncoder(nn.Module):
    """VGG-19 up to relu4_1, with average pooling in place of max pooling (section 3.1)."""

    mean: Tensor

    def __init__(self, config: AvatarNetConfig) -> None:
        super().__init__()
        w1, w2, w3, w4 = config.widths
        # Each stage ends in the relu after which it is named, so that its output is one level of the pyramid.
        self.stages = nn.ModuleList(
            [
                _convolutions(3, w1),
                nn.Sequential(_convolutions(w1, w1), nn.AvgPool2d(2), _convolutions(w1, w2)),
                nn.Sequential(_convolutions(w2, w2), nn.AvgPool2d(2), _convolutions(w2, w3)),
                nn.Sequential(_convolutions(w3, w3, w3, w3), nn.AvgPool2d(2), _convolutions(w3, w4)),
            ]
        )
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)

    def forward(self, picture_B3HW: Tensor) -> list[Tensor]:
        """RGB in [0, 255] to [relu1_1, relu2_1, relu3_1, relu4_1] at strides 1, 2, 4, 8."""
        features = picture_B3HW - self.mean
        levels: list[Tensor] = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return levels

    @torch.no_grad()
    def load_torchvision(self, vgg19_features: nn.Sequential) -> None:
        """Take over the convolutions of torchvision's `vgg19().features`.

        Those expect RGB in [0, 1], divided by the ImageNet deviation. That scaling is folded into the first
        convolution; the mean subtracted is then torchvision's, so that zero padding means the same in both.
        """
        ours = [m for m in self.modules() if isinstance(m, nn.Conv2d)]
        theirs = [m for m in vgg19_features if isinstance(m, nn.Conv2d)]
        for mine, other in zip(ours, theirs, strict=False):
            mine.weight.copy_(other.weight)
            cast(Tensor, mine.bias).copy_(cast(Tensor, other.bias))
        deviation = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)
        ours[0].weight.div_(255 * deviation.to(ours[0].weight))
        self.mean.copy_(255 * torch.tensor(TORCHVISION_MEAN).view(1, 3, 1, 1))


TORCHVISION_MEAN = (0.485, 0.456, 0.406)


class HourglassDecoder(nn.Module):
    """Mirror of the encoder with the three style fusions (section 3.3).

    `stages[i]` ends where fusion i stands; `finish` turns the last fused map into a picture.
    """

    def __init__(self, config: AvatarNetConfig) -> None:
        super().__init__()
        w1, w2, w3, w4 = config.widths
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_reflected(w4, w3), _upsampling(), _reflected(w3, w3, w3, w3)),
                nn.Sequential(_reflected(w3, w2), _upsampling(), _reflected(w2, w2)),
                nn.Sequential(_reflected(w2, w1), _upsampling(), _reflected(w1, w1)),
            ]
        )
        last = nn.Conv2d(w1, 3, 7, padding=3, padding_mode="reflect")
        self.finish = nn.Sequential(_reflected(w1, w1), last)

    def forward(self, z_BChw: Tensor, targets: Sequence[Statistics] | None) -> Tensor:
        """Features to RGB, nominally in [0, 255], not clipped.

        Args:
            z_BChw: (B, w4, h, w).
            targets: mean and deviation to impose at relu3_1, relu2_1, relu1_1, in that order; None fuses nothing.
        """
        features = z_BChw
        for level, stage in enumerate(self.stages):
            features = stage(features)
            if targets is not None:
                features = impose_statistics(features, targets[level])
        return self.finish(features) + 127.5


def _convolutions(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def _reflected(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect"), nn.ReLU()]
    return nn.Sequential(*layers)


def _upsampling() -> nn.Upsample:
    return nn.Upsample(scale_factor=2, mode="nearest")


# --- statistics and projections ---


def channel_statistics(features_BCHW: Tensor, epsilon: float = _VARIANCE_EPSILON) -> Statistics:
    """Mean and root of (population variance + epsilon) over space, in float32, each (B, C, 1, 1)."""
    first = features_BCHW[:, :, :1, :1].float()
    # Counted from one of the values: a channel that never changes then has exactly that mean and no deviation.
    # Rows of channels are how channels-last maps lie in memory, and a matrix product runs through them fastest.
    rows = (features_BCHW.float() - first).permute(0, 2, 3, 1).flatten(1, 2)
    mean = rows.mean(1)
    squares = (rows.transpose(1, 2) @ rows).diagonal(dim1=1, dim2=2) / rows.shape[1]
    variance = (squares - mean.square()).clamp_min(0)
    shape = first.shape
    return first + mean.view(shape), (variance + epsilon).sqrt().view(shape)


def impose_statistics(features_BCHW: Tensor, target: Statistics, own: Statistics | None = None) -> Tensor:
    """AdaIN: give every channel the target's mean and deviation (Huang & Belongie 2017).

    `own` are the statistics of the whole map where `features_BCHW` is only a tile of it.
    """
    mean, deviation = own if own is not None else channel_statistics(features_BCHW)
    # The mean is taken out first: the gain of a channel that hardly changes is large.
    return ((features_BCHW - mean) * (target[1] / deviation) + target[0]).to(features_BCHW.dtype)


def blend_statistics(parts: Sequence[tuple[float, Statistics]]) -> Statistics:
    """Weighted sum of means and of deviations. The weights should sum to 1."""
    mean = sum((weight * s[0] for weight, s in parts), start=torch.zeros(()))
    deviation = sum((weight * s[1] for weight, s in parts), start=torch.zeros(()))
    return mean, deviation


@dataclass(frozen=True, eq=False)
class Whitening:
    """An affine map of features to zero mean and unit (co)variance, and back.

    Attributes:
        mean: (C,).
        whiten: (C, C), symmetric; zero on the directions that were dropped.
        colour: (C, C), its pseudo-inverse, to a hair.
    """

    mean: Tensor
    whiten: Tensor
    colour: Tensor

    def forward(self, features_ChW: Tensor) -> Tensor:
        """(C, h, w) features to their whitened form."""
        flat = features_ChW.flatten(1) - self.mean[:, None]
        return (self.whiten @ flat).view_as(features_ChW)

    def inverse(self, whitened_Chw: Tensor) -> Tensor:
        """(C, h, w) whitened features back to this map's mean and (co)variance."""
        flat = self.colour @ whitened_Chw.flatten(1) + self.mean[:, None]
        return flat.view_as(whitened_Chw)


def fit_whitening(
    features_Chw: Tensor, projection: Projection = "zca", floor: float = EIGENVALUE_FLOOR, softness: float = 0.0
) -> Whitening:
    """Whitening of one feature map by its own mean and covariance (section 3.2, step 1).

    The covariance is divided by h * w and taken in float64. Directions with an eigenvalue of `floor` or less carry
    no signal and are dropped in both directions, so a flat picture yields zeros, never NaN.

    Args:
        features_Chw: (C, h, w) float32 or float64.
        projection: "zca" for U diag(s^-1/2) U^T, "adain" for the per-channel deviation alone, of every channel
            however little it changes.
        softness: added to the variances. Directions that vary less stay below unit variance: in flat parts they hold
            noise alone.
    """
    flat = features_Chw.flatten(1).double()
    mean = flat.mean(1)
    centred = flat - mean[:, None]
    if projection == "adain":
        variance = centred.square().mean(1)
        whiten, colour = (
            torch.diag((variance + softness + _ADAIN_EPSILON).rsqrt()),
            torch.diag((variance + softness).sqrt()),
        )
    else:
        values, vectors = torch.linalg.eigh(centred @ centred.T / flat.shape[1])
        kept = values > floor
        root, vectors = (values[kept] + softness).sqrt(), vectors[:, kept]
        whiten, colour = (vectors / root) @ vectors.T, (vectors * root) @ vectors.T
    dtype = features_Chw.dtype
    return Whitening(mean.to(dtype), whiten.to(dtype), colour.to(dtype))


# --- the style's side, and the decorator ---


@dataclass(frozen=True, eq=False)
class StyleCode:
    """All that the network needs of a style picture; computed once, reused for every frame.

    Attributes:
        whitened: (C, h, w) whitened relu4_1 of the style.
        mean, colour: (C,) and (C, C), which give whitened features this style's mean and covariance.
        statistics: mean and deviation, each (1, C, 1, 1), of relu3_1, relu2_1 and relu1_1, and perhaps
            `band_statistics` and `band_quantiles` of the built-in network.
        projection, floor: how it was whitened; content is whitened alike.
        window: how the overlaps of its patches are weighted.
        match_step, coherence: see `match_patches`.
        softness: added to variances in whitening.
        skips: mean and colouring, (C,) and (C, C), of the levels that the decoder takes in, finest first.
        textures: of those, the maps themselves, (C, H, W), that are put to the content's locations; None for others.
        squares: what `cut_once` keeps.
    """

    whitened: Tensor
    mean: Tensor
    colour: Tensor
    statistics: tuple[Statistics, ...]
    projection: Projection = "zca"
    floor: float = EIGENVALUE_FLOOR
    window: Window = "box"
    match_step: int = 1
    coherence: float = 0.0
    softness: float = 0.0
    skips: tuple[tuple[Tensor, Tensor], ...] = ()
    textures: tuple[Tensor | None, ...] = ()
    squares: dict[int, Squares] = field(default_factory=dict[int, Squares], init=False, repr=False)

    def to(self, device: torch.device | str) -> "StyleCode":
        """The same code on another device."""
        if self.whitened.device == torch.device(device):
            return self
        return replace(
            self,
            whitened=self.whitened.to(device),
            mean=self.mean.to(device),
            colour=self.colour.to(device),
            statistics=tuple((mean.to(device), deviation.to(device)) for mean, deviation in self.statistics),
            skips=tuple((mean.to(device), colour.to(device)) for mean, colour in self.skips),
            textures=tuple(None if texture is None else texture.to(device) for texture in self.textures),
        )


def encode_style(levels: Sequence[Tensor], projection: Projection = "zca") -> StyleCode:
    """The style's side for the paper's network from the encoder's four levels of one picture, each (1, C, H, W)."""
    z = levels[3][0].float()
    whitening = fit_whitening(z, projection)
    s1, s2, s3 = (channel_statistics(level, 0.0) for level in levels[:3])
    return StyleCode(whitening.forward(z), whitening.mean, whitening.colour, (s3, s2, s1), projection)


@dataclass(frozen=True)
class Decoration:
    """How strongly, and in which sense, content features become style features.

    Attributes:
        strength: 0 to 1.
        interpolation: "normalized" blends before colouring: strength 0 is whitening and colouring without swap.
            "biased" blends after colouring with the raw content features: strength 0 is the content.
        patch_size: odd side of the swapped patches, in locations of relu4_1 (8 pixels each).
        detail: 0 to 1, what goes to the decoder past the decorator. 0: matched pieces of the style alone, nothing of
            the content's own structure; 0.5: both in full; 1: the structure alone. The paper's network has no such
            way, and paints alike at any detail.
    """

    strength: float = 1.0
    interpolation: Interpolation = "normalized"
    patch_size: int = 5
    detail: float = 0.5


@dataclass(frozen=True, eq=False)
class Swap:
    """Result of matching one content map against one style.

    Attributes:
        features: (C, h, w) whitened style patches put at the content's locations, overlaps averaged; recoloured
            after `decorate`.
        matches: (h, w) int64 flat style locations.
    """

    features: Tensor
    matches: Tensor


def swap(whitened_Chw: Tensor, style: StyleCode, patch_size: int, bonus: MatchBonus | None = None) -> Swap:
    """Section 3.2, steps 2 and 3: match whitened patches, then rebuild from the style's un-normalised ones."""
    step = style.match_step
    matches = match_patches(
        whitened_Chw, style.whitened, patch_size=patch_size, bonus=bonus, step=step, coherence=style.coherence
    )
    features = rebuild_from_matches(style.whitened, matches, patch_size=patch_size, window=style.window)
    return Swap(features, matches)


def recolour(z_Chw: Tensor, whitened_Chw: Tensor, swapped_Chw: Tensor, style: StyleCode, how: Decoration) -> Tensor:
    """Section 3.2, step 4: blend by strength and give the style's mean and covariance. All maps (C, h, w)."""
    blend = swapped_Chw
    if how.interpolation == "normalized":
        blend = torch.lerp(whitened_Chw, swapped_Chw, how.strength)
    coloured = Whitening(style.mean, style.colour, style.colour).inverse(blend)
    return coloured if how.interpolation == "normalized" else torch.lerp(z_Chw, coloured, how.strength)


def decorate(z_Chw: Tensor, style: StyleCode, how: Decoration) -> Swap:
    """The whole style decorator for one content map and one style: (C, h, w) features, float32 or float64."""
    whitened = fit_whitening(z_Chw, style.projection, style.floor, style.softness).forward(z_Chw)
    swapped = swap(whitened, style, how.patch_size)
    return Swap(recolour(z_Chw, whitened, swapped.features, style, how), swapped.matches)


def fusion_targets(
    content_levels: Sequence[Statistics], styles: Sequence[tuple[float, StyleCode]], how: Decoration
) -> list[Statistics]:
    """Statistics that the decoder imposes at relu3_1, relu2_1, relu1_1, and on the picture where the network does.

    With "biased" they move from the content's own (strength 0, the training condition: a faithful copy) to the
    style's (strength 1), so that strength acts on fusions and features alike. With "normalized" they are the
    style's at any strength.

    Args:
        content_levels: the content's, as `StyleNetwork.statistics_of` gives them.
        styles: (weight, code) with weights that sum to 1.
    """
    targets: list[Statistics] = []
    share = how.strength if how.interpolation == "biased" else 1.0
    for level, own in enumerate([*reversed(content_levels[:3]), *content_levels[3:]]):
        parts = [(weight * share, code.statistics[level]) for weight, code in styles]
        if share < 1:
            parts.append((1 - share, own))
        targets.append(blend_statistics(parts))
    return targets


def cut_texture(style: StyleCode, level: int, of_pieces_DC: Tensor) -> Squares:
    """A style's texture of a level, under a linear map, as `put_squares` takes it."""
    texture = style.textures[level]
    assert texture is not None, "the level has no texture"
    factor = texture.shape[2] // style.whitened.shape[2]
    return cut_squares(torch.einsum("dc,chw->dhw", of_pieces_DC, texture), factor, style.match_step)


def cut_once(style: StyleCode, level: int, of_pieces_DC: Tensor) -> Squares:
    """`cut_texture`, kept with the style: for a network that is not trained any more, and always gives this map."""
    if level not in style.squares:
        style.squares[level] = cut_texture(style, level, of_pieces_DC)
    return style.squares[level]


def transfer_skips(
    content_maps: Sequence[Tensor],
    styles: Sequence[tuple[float, StyleCode]],
    how: Decoration,
    matches: Sequence[Tensor],
    joints: Sequence[tuple[Tensor, Tensor]] = (),
    *,
    cut: Callable[[StyleCode, int, Tensor], Squares] = cut_texture,
) -> list[Tensor]:
    """What goes past the decorator to the decoder: the content's structure with the style's mean and covariance.

    Where the styles have textures their matched pieces follow as further channels. Strength acts as in
    `fusion_targets`.

    Args:
        content_maps: the encoder's levels at `skip_levels`, each (1, C, H, W).
        styles: (weight, code) with weights that sum to 1.
        matches: (h, w) of each style, as `swap` found them.
        joints: a linear map for each level that is to follow, of weights (D, C) or (D, 2 * C) and bias (D,). All that
            happens here is linear, so that it costs nothing beside.
        cut: gives a style's texture under a linear map.

    Returns:
        A map for each level, (1, C, H, W) or (1, 2 * C, H, W); with joints (1, D, H, W).
    """
    share = how.strength if how.interpolation == "biased" else 1.0
    # What the structure has in the first channels, and in those of the pieces.
    alone, among = min(1.0, 2 * how.detail), max(0.0, 2 * how.detail - 1)
    skips: list[Tensor] = []
    for level, content in enumerate(content_maps):
        textured = styles[0][1].textures[level] is not None
        matrix, own_mean, mean = _structure(content, styles, level, share)
        C = len(mean)
        one = torch.eye((2 if textured else 1) * C, device=mean.device)
        weight, bias = joints[level] if joints else (one, torch.zeros_like(one[0]))
        of_skip, of_pieces = weight[:, :C], weight[:, C:]
        of_structure = alone * of_skip + (among * of_pieces if textured else 0)
        of_content = of_structure @ matrix
        offset = bias + of_structure @ (mean - matrix @ own_mean) + (1 - alone) * (of_skip @ mean)
        if textured:
            of_content = of_content + (1 - among) * (1 - share) * of_pieces
        joined = F.linear(content.permute(0, 2, 3, 1), of_content, offset).permute(0, 3, 1, 2)
        if textured and among < 1:
            for (of_style, code), matched in zip(styles, matches, strict=True):
                amount = (1 - among) * share * of_style
                if code.textures[level] is not None and amount > 0:
                    joined = joined + amount * put_squares(cut(code, level, of_pieces), matched)
        skips.append(joined)
    return skips


def _structure(
    content_1CHW: Tensor, styles: Sequence[tuple[float, StyleCode]], level: int, share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The linear map that gives a level the styles' covariance, (C, C), its mean before, and after, (C,)."""
    C, H, W = content_1CHW.shape[1:]
    # On a fine map every second location of every second row tells the covariance as well.
    thinner = 2 if H * W > _MANY_LOCATIONS else 1
    own = fit_whitening(content_1CHW[0, :, ::thinner, ::thinner].float(), floor=_SKIP_FLOOR)
    # Whitening and colouring are one matrix, whatever the number of styles.
    matrix, mean = (1 - share) * torch.eye(C, device=own.mean.device), (1 - share) * own.mean
    for weight, code in styles:
        style_mean, colour = code.skips[level]
        matrix = matrix + weight * share * (colour @ own.whiten)
        mean = mean + weight * share * style_mean
    return matrix, own.mean, mean


@dataclass(frozen=True, eq=False)
class Encoded:
    """One content picture after the encoder.

    Attributes:
        z: (C, h, w) relu4_1, float32.
        statistics: of relu1_1, relu2_1, relu3_1, and what else `StyleNetwork.statistics_of` gives.
        levels: the four maps themselves; None where the picture was encoded in tiles.
        skips: of those, the ones that the decoder takes in, finest first; none in the paper's network.
    """

    z: Tensor
    statistics: list[Statistics]
    levels: list[Tensor] | None
    skips: list[Tensor]


class _Fusion(nn.Module):
    """`impose_statistics` with statistics fixed beforehand."""

    def __init__(self, target: Statistics, own: Statistics) -> None:
        super().__init__()
        self._target, self._own = target, own

    def forward(self, features_BCHW: Tensor) -> Tensor:
        return impose_statistics(features_BCHW, self._target, self._own)


class StyleNetwork(nn.Module, ABC):
    """Encoder, decorator and decoder, of the paper's network and of ours.

    Attributes:
        window: see `rebuild_from_matches`.
        match_step, coherence: see `match_patches`.
        eigenvalue_floor, softness: see `fit_whitening`.
        variance_epsilon: of the statistics that are taken from levels and imposed on the decoder's features.
        skip_levels: levels of the encoder, 0 the finest, that the decoder takes in.
        texture_levels: of those, the ones of which it takes in the style's matched pieces too.
    """

    window: Window = "box"
    match_step: int = 1
    coherence: float = 0.0
    softness: float = 0.0
    eigenvalue_floor: float = EIGENVALUE_FLOOR
    variance_epsilon: float = 0.0
    skip_levels: tuple[int, ...] = ()
    texture_levels: tuple[int, ...] = ()

    @property
    @abstractmethod
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the encoder's four levels."""

    @abstractmethod
    def look(self, picture_B3HW: Tensor) -> list[Tensor]:
        """RGB in [0, 255] to the encoder's four levels, at strides 1, 2, 4, 8."""

    @abstractmethod
    def render(self, z_BChw: Tensor, targets: Sequence[Statistics], skips: Sequence[Tensor]) -> Tensor:
        """Decorated features to RGB, nominally in [0, 255], not clipped, (B, 3, H, W).

        Args:
            targets: mean and deviation to impose at strides 4, 2 and 1, in that order, and on the picture.
            skips: what `transfer_skips` gives.
        """

    @abstractmethod
    def decode(
        self, z_Chw: Tensor, targets: Sequence[Statistics], skips: Sequence[Tensor] = (), *, tile: int | None = None
    ) -> Tensor:
        """`render` for one picture, clipped, perhaps in tiles: (C, h, w) to (1, 3, H, W) RGB in [0, 255].

        Args:
            skips: what `transfer_skips` gives with `joints`.
            tile: as for `encode`.
        """

    def reconstruct(self, picture_B3HW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The training pass (section 3.4): each picture its own style, the decorator off.

        Returns:
            The reconstruction, not clipped, and the encoder's four levels.
        """
        levels = self.look(picture_B3HW)
        own = self.statistics_of(levels)
        return self.render(levels[3], [*own[2::-1], *own[3:]], self.own_skips(levels)), levels

    def statistics_of(self, levels: Sequence[Tensor]) -> list[Statistics]:
        """Of the levels at strides 1, 2 and 4, and of what else this network imposes on what it paints."""
        own = [channel_statistics(level, self.variance_epsilon) for level in levels[:3]]
        return own + self.picture_statistics(dict(enumerate(levels)))

    def picture_statistics(self, levels: Mapping[int, Tensor]) -> list[Statistics]:
        """What is imposed on the painted picture, from a picture's levels; nothing by default."""
        return []

    @property
    def joints(self) -> list[tuple[Tensor, Tensor]]:
        """What `transfer_skips` is to do for `decode`: how the decoder takes in each level. None by default."""
        return []

    def own_skips(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """What `transfer_skips` gives at strength 0."""
        return [torch.cat([levels[n]] * (2 if n in self.texture_levels else 1), 1) for n in self.skip_levels]

    @torch.inference_mode()
    def encode(self, picture_13HW: Tensor, *, tile: int | None = None) -> Encoded:
        """relu4_1 and the statistics of the levels above it.

        Args:
            tile: side in pixels of the tiles to work in, a multiple of 8; None works in one piece.
        """
        epsilon = self.variance_epsilon
        if tile is None:
            levels = self.look(picture_13HW)
            return Encoded(
                levels[3][0].float(),
                self.statistics_of(levels),
                levels,
                [levels[level] for level in self.skip_levels],
            )
        running = [RunningStatistics() for _ in range(3)]
        kept = {level: self._empty_level(picture_13HW, level) for level in (*self.skip_levels, 3)}
        for part in tiles(picture_13HW.shape[2], picture_13HW.shape[3], tile):
            levels = [
                part.inner(level, _ENCODER_HALO, 2**i)
                for i, level in enumerate(self.look(part.with_halo(picture_13HW, _ENCODER_HALO)))
            ]
            for statistics, level in zip(running, levels, strict=False):
                statistics.add(level)
            for number, whole in kept.items():
                part.of(whole, 2**number).copy_(levels[number])
        statistics = [(mean, (d.square() + epsilon).sqrt()) for mean, d in (part.result() for part in running)]
        statistics += self.picture_statistics(kept)
        return Encoded(kept[3][0].float(), statistics, None, [kept[level] for level in self.skip_levels])

    def _empty_level(self, picture_13HW: Tensor, level: int) -> Tensor:
        H, W = (side >> level for side in picture_13HW.shape[2:])
        return picture_13HW.new_empty((1, self.widths[level], H, W))

    @torch.inference_mode()
    def encode_style(self, picture_13HW: Tensor, projection: Projection = "zca") -> StyleCode:
        """The style's side of a picture, as `forward` takes it."""
        return self.style_code(self.look(picture_13HW), projection)

    def style_code(self, levels: Sequence[Tensor], projection: Projection = "zca") -> StyleCode:
        """The style's side from the encoder's four levels of one picture, each (1, C, H, W)."""
        z = levels[3][0].float()
        whitening = fit_whitening(z, projection, self.eigenvalue_floor, self.softness)
        own = self.statistics_of(levels)
        kept = [fit_whitening(levels[level][0].float(), floor=self.variance_epsilon) for level in self.skip_levels]
        return StyleCode(
            whitening.forward(z),
            whitening.mean,
            whitening.colour,
            (*own[2::-1], *own[3:]),
            projection,
            self.eigenvalue_floor,
            self.window,
            self.match_step,
            self.coherence,
            self.softness,
            tuple((skip.mean, skip.colour) for skip in kept),
            tuple(levels[n][0].float() if n in self.texture_levels else None for n in self.skip_levels),
        )

    @torch.inference_mode()
    def forward(
        self, picture_B3HW: Tensor, styles: Sequence[tuple[float, StyleCode]], how: Decoration | None = None
    ) -> Tensor:
        """Paint pictures in one style, or in a weighted mixture of several.

        Args:
            picture_B3HW: RGB in [0, 255]; H and W multiples of 8, at least 32.
            styles: (weight, code) pairs; the weights must sum to 1.

        Returns:
            (B, 3, H, W) RGB in [0, 255].
        """
        how = how or Decoration()
        painted: list[Tensor] = []
        for picture in picture_B3HW.split(1):
            content = self.encode(picture)
            decorated = [decorate(content.z, code, how) for _, code in styles]
            z = sum(w * d.features for (w, _), d in zip(styles, decorated, strict=True))
            targets = fusion_targets(content.statistics, styles, how)
            skips = transfer_skips(content.skips, styles, how, [d.matches for d in decorated], self.joints)
            painted.append(self.decode(cast(Tensor, z), targets, skips))
        return torch.cat(painted)


class AvatarNet(StyleNetwork):
    """The paper's network."""

    def __init__(self, config: AvatarNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or AvatarNetConfig()
        self.encoder = VGGEncoder(self.config)
        self.decoder = HourglassDecoder(self.config)

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """See `StyleNetwork.widths`."""
        return self.config.widths

    def look(self, picture_B3HW: Tensor) -> list[Tensor]:
        """See `StyleNetwork.look`."""
        return self.encoder(picture_B3HW)

    def render(self, z_BChw: Tensor, targets: Sequence[Statistics], skips: Sequence[Tensor]) -> Tensor:
        """See `StyleNetwork.render`; there are no skips."""
        return self.decoder(z_BChw, targets)

    @torch.inference_mode()
    def decode(
        self, z_Chw: Tensor, targets: Sequence[Statistics], skips: Sequence[Tensor] = (), *, tile: int | None = None
    ) -> Tensor:
        """See `StyleNetwork.decode`."""
        features = z_Chw[None].to(next(self.decoder.parameters()).dtype)
        if tile is None:
            return self.render(features, targets, skips).clamp(0, 255)
        stages = [*self.decoder.stages, self.decoder.finish]
        for level, (stage, halo) in enumerate(zip(stages, _DECODER_HALOS, strict=True)):
            if level > 0:
                # A fusion needs its whole map's statistics; it is applied tile by tile, just before the next stage.
                stage = nn.Sequential(_Fusion(targets[level - 1], channel_statistics(features)), stage)
            scale = 2 if level < 3 else 1
            features = run_tiled(stage, features, side=tile * 2**level // STRIDE, halo=halo, scale=scale)
        return (features + 127.5).clamp(0, 255)
