"""What Avatar-Net hands to the training loop (arXiv 1805.03857, section 3.4), and what the built-in model adds.

The paper trains the decoder alone, to reconstruct: each picture is its own style and the decorator is off. That is
`ReconstructionObjective`. A small network without ImageNet weights needs more, and `DistillationObjective` adds it:
its encoder learns to predict a teacher's features, and its decoder also sees decorated features, judged by the
teacher's channel statistics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from muybridge.models.avatar_net.network import (
    AvatarNet,
    Decoration,
    Statistics,
    channel_statistics,
    decorate,
    encode_style,
    fusion_targets,
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

    def __init__(self, network: AvatarNet, weights: ReconstructionWeights | None = None) -> None:
        super().__init__()
        self.network = network
        self.weights = weights or ReconstructionWeights()
        network.encoder.requires_grad_(False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"photo": (B, 3, S, S) RGB in [0, 255]} to the loss and its parts."""
        photo = batch["photo"]
        reconstruction, levels = self.network.reconstruct(photo)
        again = self.network.encoder(reconstruction)
        pixel = F.mse_loss(reconstruction.float(), photo)
        feature = torch.stack([F.mse_loss(a.float(), b.float()) for a, b in zip(again, levels, strict=True)]).sum()
        variation = total_variation(reconstruction.float())
        w = self.weights
        loss = w.pixel * pixel + w.feature * feature + w.total_variation * variation
        return {"loss": loss, "pixel": pixel, "feature": feature, "variation": variation}


@dataclass(frozen=True)
class DistillationWeights:
    """Weights of the built-in model's loss. Pixels are scaled to [0, 1], features by the teacher's deviations.

    Attributes:
        pixel: mean squared error of the reconstruction.
        feature: the reconstruction's error at the teacher's four levels.
        distill: how badly the encoder's four levels predict the teacher's, linearly.
        style: distance of channel statistics between a painted picture and its style.
        faithful: how far the encoder's relu4_1 of a painted picture is from the decorated features it was painted
            from, so that the pieces of style appear where the decorator put them (as Huang & Belongie 2017).
        content: what a painted picture loses of the photograph's normalised relu4_1 features.
        total_variation: of painted pictures.
    """

    pixel: float = 60.0
    feature: float = 0.3
    distill: float = 0.5
    style: float = 0.6
    faithful: float = 0.4
    content: float = 0.15
    total_variation: float = 0.1


class DistillationObjective(nn.Module):
    """Encoder and decoder together, with a perceptual network as teacher and judge.

    Args:
        network: trained whole.
        teacher: frozen; RGB in [0, 255] to four levels at strides 1, 2, 4, 8.
        teacher_widths: channels of those levels.
    """

    def __init__(
        self,
        network: AvatarNet,
        teacher: nn.Module,
        teacher_widths: Sequence[int],
        weights: DistillationWeights | None = None,
    ) -> None:
        super().__init__()
        self.network, self.teacher = network, teacher.requires_grad_(False)
        self.weights = weights or DistillationWeights()
        self.predictors = nn.ModuleList(
            nn.Conv2d(own, other, 1) for own, other in zip(network.config.widths, teacher_widths, strict=True)
        )

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"photo", "style": each (B, 3, S, S) RGB in [0, 255]} to the loss and its parts."""
        photo, style = batch["photo"], batch["style"]
        B, w = len(photo), self.weights
        # Photographs and styles, and then reconstructions and paintings, pass together: normalised alike.
        levels = self.network.encoder(torch.cat([photo, style]))
        decorated, targets = self._decorate(levels, B)
        features = torch.cat([levels[3][:B].float(), decorated])
        reconstruction, painted = self.network.decoder(features, targets).float().split(B)
        with torch.no_grad():
            truth = [level.float() for level in self.teacher(torch.cat([photo, style]))]
        seen = [level.float() for level in self.teacher(torch.cat([reconstruction, painted]))]
        style_errors = [style_distance(s[B:], t[B:]) for s, t in zip(seen, truth, strict=True)]
        parts = {
            "pixel": F.mse_loss(reconstruction / 255, photo / 255),
            "feature": _mean([_relative_error(s[:B], t[:B]) for s, t in zip(seen, truth, strict=True)]),
            "distill": self._distillation(levels, truth),
            # The logarithm keeps a nearly flat style, of which everything is far, from ruling the batch.
            "style": torch.stack(style_errors).sum(0).log1p().mean(),
            "faithful": _relative_error(self._encode_frozen(painted).float(), decorated),
            "content": F.mse_loss(F.instance_norm(seen[3][B:]), F.instance_norm(truth[3][:B])),
            "total_variation": total_variation(painted / 255),
        }
        loss = torch.stack([getattr(w, name) * value for name, value in parts.items()]).sum()
        return {"loss": loss, **parts}

    def _encode_frozen(self, picture: Tensor) -> Tensor:
        """relu4_1, with a gradient to the picture alone: the encoder must not adapt to what the decoder makes."""
        encoder = self.network.encoder
        training = encoder.training
        frozen = {name: p.detach() for name, p in encoder.named_parameters()}
        try:
            return torch.func.functional_call(encoder.eval(), frozen, (picture,))[3]
        finally:
            encoder.train(training)

    def _decorate(self, levels: Sequence[Tensor], B: int) -> tuple[Tensor, list[Statistics]]:
        """Decorated features of B photographs by B styles, and the fusion targets of reconstructions and paintings.

        Matches, whitening and the style's statistics are constants to the gradient.
        """
        own = [channel_statistics(level[:B]) for level in levels[:3]]
        features: list[Tensor] = []
        painted: list[list[Statistics]] = []
        with torch.no_grad():
            for i in range(B):
                how = Decoration(strength=float(torch.rand(()).clamp_min(0.3) ** 0.5), patch_size=(3, 5)[i % 2])
                code = encode_style([level[B + i : B + i + 1] for level in levels])
                features.append(decorate(levels[3][i].float(), code, how))
                painted.append(fusion_targets([(m[i : i + 1], d[i : i + 1]) for m, d in own], [(1.0, code)], how))
        targets: list[Statistics] = []
        for level in range(3):
            means = torch.cat([own[2 - level][0], *(of_one[level][0] for of_one in painted)])
            deviations = torch.cat([own[2 - level][1], *(of_one[level][1] for of_one in painted)])
            targets.append((means, deviations))
        return torch.stack(features), targets

    def _distillation(self, levels: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
        """Share of the teacher's variance that a linear map of the encoder's levels does not predict."""
        errors: list[Tensor] = []
        for predictor, level, teacher in zip(self.predictors, levels, truth, strict=True):
            variance, mean = torch.var_mean(teacher, dim=(0, 2, 3), correction=0, keepdim=True)
            fires = (variance > 1e-3 * variance.mean()).flatten()
            target = (teacher - mean) / (variance + 0.05 * variance.mean() + 1e-6).sqrt()
            errors.append((predictor(level).float() - target)[:, fires].square().mean())
        return _mean(errors)


def add_normalisation(network: AvatarNet) -> None:
    """Put a batch normalisation behind every convolution but the last, for the time of training.

    Eighteen layers without any train slowly, and lose many channels for good. Folded back by `fold_normalisation`.
    """
    for part in (network.encoder, network.decoder.stages, network.decoder.finish[0]):
        for parent in list(part.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Conv2d):
                    nn.init.kaiming_normal_(child.weight, nonlinearity="relu")
                    setattr(parent, name, nn.Sequential(child, nn.BatchNorm2d(child.out_channels)))
    with torch.no_grad():  # pixels span 255, normalised features a few units
        cast(nn.Conv2d, network.decoder.finish[1]).weight.mul_(80)


def fold_normalisation(network: AvatarNet) -> None:
    """Fold every batch normalisation into the convolution before it; the network in evaluation stays the same."""
    network.eval()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Sequential) and len(child) == 2 and isinstance(child[1], nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(cast(nn.Conv2d, child[0]), cast(nn.BatchNorm2d, child[1])))


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def _relative_error(estimate: Tensor, truth: Tensor) -> Tensor:
    """Squared error as a share of the truth's variance over the batch and space, averaged over channels that fire."""
    variance = truth.var(dim=(0, 2, 3), correction=0)
    error = (estimate - truth).square().mean(dim=(0, 2, 3))
    # A channel that hardly fires in this batch would otherwise dominate.
    floor = 0.05 * variance.mean() + 1e-6
    return (error / (variance + floor))[variance > 1e-3 * variance.mean()].mean()


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
