"""What Avatar-Net hands to the training loop.

The paper trains the decoder alone, to reconstruct: each picture is its own style and the decorator is off (arXiv
1805.03857, section 3.4). That is `ReconstructionObjective`. The built-in model's decoder is trained to paint:
`PaintingObjective` puts the decorator into the loop and judges what comes out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muybridge.models.avatar_net.detailed import DetailedAvatarNet
from muybridge.models.avatar_net.network import (
    STRIDE,
    Decoration,
    Statistics,
    StyleNetwork,
    channel_statistics,
    decorate,
    fusion_targets,
    transfer_skips,
)


@dataclass(frozen=True)
class ReconstructionWeights:
    """Weights of the paper's loss on RGB in [0, 255].

    Attributes:
        pixel: of the mean squared error of pixels.
        feature: of the mean squared error at each of the encoder's four levels.
        total_variation: of the mean absolute difference of neighbouring pixels.
    """

    pixel: float = 10.0
    feature: float = 1.0
    total_variation: float = 10.0


def total_variation(picture_BCHW: Tensor) -> Tensor:
    """Mean absolute difference of vertical and of horizontal neighbours, summed."""
    down = (picture_BCHW[..., 1:, :] - picture_BCHW[..., :-1, :]).abs().mean()
    right = (picture_BCHW[..., :, 1:] - picture_BCHW[..., :, :-1]).abs().mean()
    return down + right


class ReconstructionObjective(nn.Module):
    """The paper's objective: the encoder is frozen, the decoder learns to invert it with the fusions in place."""

    def __init__(self, network: StyleNetwork, weights: ReconstructionWeights | None = None) -> None:
        super().__init__()
        self.network = network
        self.weights = weights or ReconstructionWeights()
        network.get_submodule("encoder").requires_grad_(False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"photo": (B, 3, S, S) RGB in [0, 255]} to the loss and its parts."""
        photo = batch["photo"]
        reconstruction, levels = self.network.reconstruct(photo)
        again = self.network.look(reconstruction)
        pixel = F.mse_loss(reconstruction.float(), photo)
        feature = torch.stack([F.mse_loss(a.float(), b.float()) for a, b in zip(again, levels, strict=True)]).sum()
        variation = total_variation(reconstruction.float())
        w = self.weights
        loss = w.pixel * pixel + w.feature * feature + w.total_variation * variation
        return {"loss": loss, "pixel": pixel, "feature": feature, "variation": variation}


@dataclass(frozen=True)
class PaintingWeights:
    """Weights of the built-in model's loss.

    Attributes:
        style: distance of channel statistics between a painted picture and its style, at the encoder's levels.
        deep_style: the same at the levels of the perceptual network.
        covariance: relative distance of the covariances at all those levels.
        colour: distance of means, deviations and covariance of the colours, in units of 40.
        structure: what a painted picture changes of the photograph's self-similarity, at two deep levels.
        copy: error of pictures painted at strength 0, which should be the photograph.
        range: how far pixels leave [0, 255].
        grid: unevenness of pixel steps over the phases of 2, 4 and 8 columns and rows.
    """

    style: float = 6.0
    deep_style: float = 6.0
    covariance: float = 0.7
    colour: float = 1.0
    structure: float = 14.0
    copy: float = 0.5
    range: float = 1.0
    grid: float = 0.2


class PaintingObjective(nn.Module):
    """The decoder alone, with the decorator in the loop; the encoder is frozen and judges, with a second network.

    Args:
        network: its decoder is trained.
        channel_sizes: for each of the encoder's levels the true size of its channels, colours left out, (C - 3,): the
            encoder gives all of them the same deviation.
        perceptual: frozen; RGB in [0, 255] to levels, the last two of which tell the structure.
        copies: share of the pictures that are painted at strength 0.
    """

    def __init__(
        self,
        network: DetailedAvatarNet,
        channel_sizes: Sequence[Tensor],
        perceptual: nn.Module,
        weights: PaintingWeights | None = None,
        copies: float = 0.12,
    ) -> None:
        super().__init__()
        self.network, self.perceptual = network, perceptual.requires_grad_(False)
        network.encoder.requires_grad_(False)
        self.weights, self.copies = weights or PaintingWeights(), copies
        for level, sizes in enumerate(channel_sizes):
            self.register_buffer(f"sizes_{level}", sizes.view(1, -1, 1, 1), persistent=False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"photo": (B, 3, S, S), "style": (B, 3, S', S')}, RGB in [0, 255], to the loss and its parts."""
        photo, style = batch["photo"], batch["style"]
        painted_as = self._draw(len(photo))
        with torch.no_grad():
            levels, style_levels = self.network.look(photo), self.network.look(style)
            z, targets, skips = self._decorate(levels, style_levels, painted_as)
        painted = self.network.render(z, targets, skips).float()
        # Judged at a random offset, or the decoder would learn where the judge's grid of poolings lies.
        top, left = (int(torch.randint(STRIDE, ())) for _ in range(2))
        window = (..., slice(top, top + photo.shape[2] - STRIDE), slice(left, left + photo.shape[3] - STRIDE))
        paint = [i for i, how in enumerate(painted_as) if how.strength > 0]
        copy = [i for i, how in enumerate(painted_as) if how.strength == 0]
        parts = self._painting_parts(painted[paint][window], photo[paint][window], style[paint])
        parts["copy"] = self._copy_error(painted[copy], photo[copy])
        parts["range"] = (F.relu(painted - 255) + F.relu(-painted)).mean() / 10
        parts["grid"] = grid_unevenness(painted[paint])
        loss = torch.stack([getattr(self.weights, name) * value for name, value in parts.items()]).sum()
        return {"loss": loss, **parts}

    def _draw(self, B: int) -> list[Decoration]:
        """Half of the pictures at the middle of the detail's range, some at strength 0; never all at strength 0."""
        drawn: list[Decoration] = []
        for i in range(B):
            copied = i > 0 and float(torch.rand(())) < self.copies * B / max(1, B - 1)
            detail = float(torch.rand(())) if float(torch.rand(())) < 0.5 else 0.5
            drawn.append(Decoration(0.0 if copied else 1.0, "biased", patch_size=(3, 5)[i % 2], detail=detail))
        return drawn

    def _decorate(
        self, levels: Sequence[Tensor], style_levels: Sequence[Tensor], painted_as: Sequence[Decoration]
    ) -> tuple[Tensor, list[Statistics], list[Tensor]]:
        """Decorated features, fusion targets and skips of B photographs in B styles."""
        network = self.network
        of_each: list[tuple[Tensor, list[Statistics], list[Tensor]]] = []
        for i, how in enumerate(painted_as):
            code = network.style_code([level[i : i + 1] for level in style_levels])
            mine = [level[i : i + 1] for level in levels]
            own = network.statistics_of(mine)
            if how.strength == 0:
                of_each.append((mine[3][0].float(), [*own[2::-1], *own[3:]], network.own_skips(mine)))
                continue
            styles, decorated = [(1.0, code)], decorate(mine[3][0].float(), code, how)
            maps = [mine[level] for level in network.skip_levels]
            skips = transfer_skips(maps, styles, how, [decorated.matches])
            of_each.append((decorated.features, fusion_targets(own, styles, how), skips))
        targets = [
            (torch.cat([t[level][0] for _, t, _ in of_each]), torch.cat([t[level][1] for _, t, _ in of_each]))
            for level in range(len(of_each[0][1]))
        ]
        skips = [torch.cat([s[level] for _, _, s in of_each]) for level in range(len(network.skip_levels))]
        return torch.stack([z for z, _, _ in of_each]), targets, skips

    def _painting_parts(self, painted: Tensor, photo: Tensor, style: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            wanted, deep_wanted = self._levels(style), self.perceptual(style)
            deep_photo = self.perceptual(photo)
        seen, deep = self._levels(painted), self.perceptual(painted)
        covariances = [covariance_distance(a, b).log1p().mean() for a, b in zip(seen, wanted, strict=True)]
        deep_covariances = [covariance_distance(a, b).log1p().mean() for a, b in zip(deep, deep_wanted, strict=True)]
        return {
            "style": _log_of_sum([style_distance(a, b) for a, b in zip(seen, wanted, strict=True)]),
            "deep_style": _log_of_sum([style_distance(a, b) for a, b in zip(deep, deep_wanted, strict=True)]),
            "covariance": _mean(covariances) + _mean(deep_covariances),
            "colour": colour_distance(painted, style),
            "structure": _mean(
                [
                    (self_similarity(a) - self_similarity(b)).abs().mean()
                    for a, b in zip(deep[-2:], deep_photo[-2:], strict=True)
                ]
            ),
        }

    def _levels(self, picture: Tensor) -> list[Tensor]:
        """The encoder's levels with the true sizes of their channels, without the colours."""
        return [
            level[:, :-3] * cast(Tensor, getattr(self, f"sizes_{number}"))
            for number, level in enumerate(self.network.look(picture))
        ]

    def _copy_error(self, copied: Tensor, photo: Tensor) -> Tensor:
        if not len(photo):
            return photo.new_zeros(())
        with torch.no_grad():
            truth = self._levels(photo)
        features = [F.mse_loss(a, b) / (b.var() + 1e-2) for a, b in zip(self._levels(copied), truth, strict=True)]
        return (copied - photo).abs().mean() / 25 + _mean(features)


def covariance_distance(features_BCHW: Tensor, style_BCHW: Tensor) -> Tensor:
    """Squared distance of the channels' covariances, as a share of the style's: (B,)."""
    ours, theirs = covariance(features_BCHW), covariance(style_BCHW)
    return (ours - theirs).square().sum((1, 2)) / (theirs.square().sum((1, 2)) + 1e-6)


def covariance(features_BCHW: Tensor) -> Tensor:
    """(B, C, C), over space."""
    flat = features_BCHW.flatten(2)
    flat = flat - flat.mean(2, keepdim=True)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def colour_distance(picture_B3HW: Tensor, style_B3HW: Tensor) -> Tensor:
    """Distance of the colours' means, deviations and covariance, in units of 40, averaged over 1, 4 and 16 pixels."""
    errors: list[Tensor] = []
    for side in (1, 4, 16):
        ours, theirs = (F.avg_pool2d(p / 40, side) for p in (picture_B3HW, style_B3HW))
        (m, d), (n, e) = channel_statistics(ours, 1e-3), channel_statistics(theirs, 1e-3)
        errors.append((m - n).square().mean((1, 2, 3)) + (d - e).square().mean((1, 2, 3)))
        errors.append(0.3 * ((covariance(ours) - covariance(theirs)).square().sum((1, 2)) + 1e-4).sqrt())
    return torch.stack(errors).sum(0).mean() / 3


def self_similarity(features_BCHW: Tensor) -> Tensor:
    """Cosines between all locations, with the channels' means removed: (B, H * W, H * W)."""
    flat = features_BCHW.flatten(2)
    unit = F.normalize(flat - flat.mean(2, keepdim=True), dim=1, eps=1e-4)
    return unit.transpose(1, 2) @ unit


def grid_unevenness(picture_B3HW: Tensor) -> Tensor:
    """Variance over the phases of 2, 4 and 8 of the mean step between neighbouring pixels, relative to its mean."""
    grey = picture_B3HW.mean(1)
    errors: list[Tensor] = []
    for along, other in ((1, 2), (2, 1)):
        steps = grey.diff(dim=along).abs().mean(other)
        for period in (2, 4, 8):
            whole = steps.shape[1] // period * period
            phases = steps[:, :whole].view(len(steps), -1, period).mean(1)
            errors.append((phases / phases.mean(1, keepdim=True).clamp_min(0.5) - 1).square().mean())
    return torch.stack(errors).sum()


def _log_of_sum(errors: Sequence[Tensor]) -> Tensor:
    """The logarithm keeps a nearly flat style, of which everything is far, from ruling the batch."""
    return torch.stack(list(errors)).sum(0).log1p().mean()


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def style_distance(features_BCHW: Tensor, style_BCHW: Tensor) -> Tensor:
    """Distance of channel statistics at one level, relative to the style's size.

    (squared difference of means + squared difference of deviations, averaged over channels)
    / (mean squared mean + mean squared deviation of the style).

    Returns:
        (B,), 0 for equal statistics, 1 for a map of zeros.
    """
    mean, deviation = channel_statistics(features_BCHW)
    style_mean, style_deviation = channel_statistics(style_BCHW)
    difference = ((mean - style_mean).square() + (deviation - style_deviation).square()).mean(dim=(1, 2, 3))
    return difference / (style_mean.square() + style_deviation.square()).mean(dim=(1, 2, 3))
