"""What Avatar-Net hands to the training loop (arXiv 1805.03857, section 3.4), and what the built-in model adds.

The paper trains the decoder alone, to reconstruct: each picture is its own style and the decorator is off. That is
`ReconstructionObjective`. A small network without ImageNet weights needs more, and `DistillationObjective` adds it:
its encoder learns to predict a teacher's features, and its decoder also sees decorated features, judged by the
teacher's channel statistics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muybridge.models.avatar_net import (
    AvatarNet,
    Decoration,
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
        reconstruction, levels = self.network.reconstruct(photo)
        painted, decorated = self._paint(levels, style)
        with torch.no_grad():
            truth = self.teacher(torch.cat([photo, style]))
        seen = self.teacher(torch.cat([reconstruction, painted]))
        photo_truth, style_truth = [t[:B].float() for t in truth], [t[B:].float() for t in truth]
        again, painted_seen = [s[:B].float() for s in seen], [s[B:].float() for s in seen]
        parts = {
            "pixel": F.mse_loss(reconstruction.float() / 255, photo / 255),
            "feature": _mean([_relative_error(a, t) for a, t in zip(again, photo_truth, strict=True)]),
            "distill": self._distillation(levels, photo_truth),
            "style": _mean([style_distance(p, s).mean() for p, s in zip(painted_seen, style_truth, strict=True)]) * 4,
            "faithful": _relative_error(self._encode_frozen(painted).float(), decorated),
            "content": F.mse_loss(F.instance_norm(painted_seen[3]), F.instance_norm(photo_truth[3])),
            "total_variation": total_variation(painted.float() / 255),
        }
        loss = torch.stack([getattr(w, name) * value for name, value in parts.items()]).sum()
        return {"loss": loss, **parts}

    def _encode_frozen(self, picture: Tensor) -> Tensor:
        """relu4_1, with a gradient to the picture alone: the encoder must not adapt to what the decoder makes."""
        encoder = self.network.encoder
        frozen = {name: p.detach() for name, p in encoder.named_parameters()}
        return torch.func.functional_call(encoder, frozen, (picture,))[3]

    def _paint(self, levels: Sequence[Tensor], style: Tensor) -> tuple[Tensor, Tensor]:
        """Decode decorated features; matches and whitening are constants to the gradient, as is the encoder."""
        with torch.no_grad():
            style_levels = self.network.encoder(style)
            features: list[Tensor] = []
            targets: list[list[tuple[Tensor, Tensor]]] = []
            for i in range(len(style)):
                how = Decoration(strength=float(torch.rand(()).clamp_min(0.3) ** 0.5), patch_size=(3, 5)[i % 2])
                code = encode_style([level[i : i + 1] for level in style_levels])
                z = levels[3][i].detach().float()
                features.append(decorate(z, code, how))
                own = [channel_statistics(level[i : i + 1].detach()) for level in levels[:3]]
                targets.append(fusion_targets(own, [(1.0, code)], how))
            stacked = [
                (torch.cat([t[level][0] for t in targets]), torch.cat([t[level][1] for t in targets]))
                for level in range(3)
            ]
        decorated = torch.stack(features)
        return self.network.decoder(decorated, stacked), decorated

    def _distillation(self, levels: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
        """Share of the teacher's variance that a linear map of the encoder's levels does not predict."""
        errors: list[Tensor] = []
        for predictor, level, teacher in zip(self.predictors, levels, truth, strict=True):
            variance, mean = torch.var_mean(teacher, dim=(0, 2, 3), correction=0, keepdim=True)
            fires = (variance > 1e-3 * variance.mean()).flatten()
            target = (teacher - mean) / (variance + 0.05 * variance.mean() + 1e-6).sqrt()
            errors.append((predictor(level).float() - target)[:, fires].square().mean())
        return _mean(errors)


@torch.no_grad()
def initialise(network: AvatarNet, photos: Tensor) -> None:
    """Scale every convolution, in order, so that its output over `photos` has mean 0 and deviation 1.

    Layer-sequential unit variance (Mishkin & Matas 2016). Eighteen layers without normalisation otherwise shrink the
    signal until whitening, whose threshold is absolute, drops nearly all of it.

    Args:
        photos: (B, 3, S, S) RGB in [0, 255].
    """
    convs = [m for part in (network.encoder, network.decoder) for m in part.modules() if isinstance(m, nn.Conv2d)]
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
    for conv in convs:
        seen: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: object, output: Tensor, seen: list[Tensor] = seen) -> None:
            seen.append(output)

        handle = conv.register_forward_hook(keep)
        network.reconstruct(photos)
        handle.remove()
        deviation, mean = torch.std_mean(seen[0], dim=(0, 2, 3))
        scale = (40.0 if conv is convs[-1] else 1.0) / deviation.clamp_min(1e-6)
        conv.weight.mul_(scale.reshape(-1, 1, 1, 1))
        if conv.bias is not None:
            conv.bias.copy_(-mean * scale)


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
