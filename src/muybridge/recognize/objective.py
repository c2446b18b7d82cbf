"""What a recognizer hands to the training loop: the network, its loss, and weights against class imbalance.

ST-Adapter (arXiv 2206.13559, section 4) trains with plain cross-entropy; no mixing of clips, no smoothing of labels.
"""

from collections.abc import Mapping
from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muybridge.counts import counted
from muybridge.data.clips.sampling import ViewConfig, normalize
from muybridge.data.options import FrameChoice, SamplingConfig
from muybridge.models.backbones import backbone_input
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.pretrained import BackboneIdentity, load_backbone
from muybridge.recognize.options import RecognizerConfig, SamplingOptions


def sampling_for(backbone: nn.Module, options: SamplingOptions) -> SamplingConfig:
    """With the size, mean, deviation and interpolation that the backbone was trained with."""
    expected = backbone_input(backbone)
    chosen = {each.name: getattr(options, each.name) for each in fields(FrameChoice)}
    return SamplingConfig(
        **chosen,
        size=(options.size, options.size) if options.size else (expected.height, expected.width),
        interpolation=expected.interpolation,
        mean=expected.mean,
        std=expected.std,
    )


def views_for(options: SamplingOptions) -> ViewConfig:
    """In how many ways a clip is looked at, in training and afterwards."""
    both = options.dense_rate if options.mode == "segments" else 0.0
    return ViewConfig(focus=options.focus, dense_rate=both)


def build_recognizer(config: RecognizerConfig, num_classes: int) -> tuple[VideoViT, BackboneIdentity]:
    """The network with its backbone's weights loaded, and what identifies the backbone.

    Raises:
        ModelError: the weights cannot be had. There is never a random backbone instead.
        ModelMismatch: the backbone cannot take adapters.
        OptionError: no such backbone, or a value that breaks its rule.
    """
    backbone, identity = load_backbone(config.backbone, weights=config.backbone_weights)
    model = VideoViT(
        backbone,
        num_classes,
        adapters=(config.adapters or AdapterConfig()) if config.method == "adapters" else None,
        readout=config.readout,
        over_time=config.over_time,
        dropout=config.dropout,
        train_backbone=config.method == "full",
    )
    model.gradient_checkpointing = config.gradient_checkpointing
    return model, identity


def describe_training(model: VideoViT, identity: BackboneIdentity) -> list[str]:
    """In lines for the user: each part of the network, its size, and whether it is frozen or trained."""
    parts: list[tuple[str, nn.Module]] = [
        (f"backbone {identity.name} ({identity.source}, hash {identity.hash[:12]})", model.backbone)
    ]
    if model.config is not None:
        adapters = model.config
        parts.append(
            (
                f"adapters of width {adapters.width or 'half of their block'}, "
                f"kernel {'x'.join(map(str, adapters.kernel))}, {model.tower.describe(adapters.placement)}, "
                f"in {counted(len(model.adapters), 'block')}",
                model.adapters,
            )
        )
    reads = model.readout.replace("_", " ") + (" and its change over time" if model.over_time == "change" else "")
    parts.append((f"head of {counted(model.num_classes, 'class')} on the {reads}", model.head))
    lines: list[str] = []
    for name, module in parts:
        trained = _count(module, trained=True)
        frozen = _count(module, trained=False)
        how = " and ".join(f"{n:,} {word}" for n, word in ((trained, "trained"), (frozen, "frozen")) if n)
        lines.append(f"{name}: {how}")
    trained, every = _count(model, trained=True), sum(p.numel() for p in model.parameters())
    lines.append(f"trained in all: {trained:,} of {every:,} parameters, {100 * trained / every:.2f} %")
    return lines


def _count(module: nn.Module, *, trained: bool) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad == trained)


class RecognizerObjective(nn.Module):
    """Cross-entropy of the class, or binary cross-entropy of each label where a clip may have several.

    Args:
        model: trained in place.
        sampling: says how frames are normalised, which happens on the model's device.
        class_weights: (K,) weight of each class in the loss: of its clips, or of its positives where a clip may have
            several labels; see `balance_classes`.
        multi_label: which of the two losses.
        label_smoothing: share of a label that is spread over all classes; not where a clip may have several labels.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: VideoViT,
        sampling: SamplingConfig,
        *,
        class_weights: Tensor | None = None,
        multi_label: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.model, self.sampling, self.multi_label = model, sampling, multi_label
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss and the share of right answers (at a threshold of 1/2, where a clip may have several labels).

        Args:
            batch: "labels", (B,) int64 or (B, K) float32 of 0 and 1; and "frames", (B, T, 3, H, W) uint8, or
                "prefix", (B, T, L, D), what `VideoViT.forward_prefix` made of them.
        """
        if "prefix" in batch:
            logits = self.model.forward_from_prefix(batch["prefix"], self.sampling.size)
        else:
            logits = self.model(normalize(batch["frames"], self.sampling))
        logits, labels = logits.float(), batch["labels"]
        right = (logits > 0) == (labels > 0.5) if self.multi_label else logits.argmax(dim=-1) == labels
        loss = self.loss(logits, labels, label_smoothing=self.label_smoothing)
        return {"loss": loss, "accuracy": right.float().mean().detach()}

    def loss(
        self, logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0, weights: Tensor | None = None
    ) -> Tensor:
        """See `classification_loss`."""
        return classification_loss(
            logits,
            labels,
            multi_label=self.multi_label,
            class_weights=self.class_weights,
            label_smoothing=label_smoothing,
            weights=weights,
        )


def classification_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    multi_label: bool,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """The mean over clips; arguments as of `RecognizerObjective`.

    Args:
        labels: (B,) int64, or (B, K) float32: of several labels 0 and 1, of one label the share of each class, such
            as 1 / K of each for a clip that shows none of them (outlier exposure, Hendrycks et al. 2019).
        weights: (B,) of the clips, with the mean 1, where they do not count alike.
    """
    if multi_label:
        of_clips = None if weights is None else weights[:, None]
        return F.binary_cross_entropy_with_logits(logits, labels, of_clips, pos_weight=class_weights)
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
    if class_weights is not None:
        # Divided by the number of clips, not by the sum of weights, so that a batch in parts counts the same.
        losses = losses * (class_weights[labels] if labels.dim() == 1 else labels @ class_weights)
    if weights is not None:
        losses = losses * weights
    return losses.mean()


def to_probabilities(logits: Tensor, *, multi_label: bool) -> Tensor:
    """Logits (..., K) to probabilities in float32: of all classes together, or of each label alone."""
    return logits.float().sigmoid() if multi_label else logits.float().softmax(dim=-1)


_LARGEST_POSITIVE_WEIGHT = 100.0


def balance_classes(labels: Tensor, *, multi_label: bool) -> Tensor:
    """Weights (K,) float32 with which each class counts the same in the loss.

    Args:
        labels: (N, K) of 0 and 1, with n_k clips of class k.
        multi_label: False gives N / (K n_k), whose mean over clips is 1. True gives negatives to positives,
            (N - n_k) / n_k, between 1 and 100.
    """
    clips = labels.sum(dim=0).clamp_min(1).float()
    if multi_label:
        return ((len(labels) - clips) / clips).clamp(1, _LARGEST_POSITIVE_WEIGHT)
    return len(labels) / (labels.shape[1] * clips)


def prior_log_odds(
    labels: Tensor, *, multi_label: bool, class_weights: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """What a loss knows of the classes (K,) float32 before it has seen a clip.

    Log-odds; where a clip has one label, up to a constant.

    Args:
        labels: (N, K) of 0 and 1.
        class_weights: of the loss, see `balance_classes`.
        weights: (N,) of the clips, where they do not count alike.
    """
    of_clips = torch.ones(len(labels)) if weights is None else weights
    there = (labels * of_clips[:, None]).sum(dim=0).clamp_min(1e-6)
    if class_weights is not None:
        there = there * class_weights
    if not multi_label:
        return (there / there.sum()).log()
    absent = ((1 - labels) * of_clips[:, None]).sum(dim=0).clamp_min(1e-6)
    return (there / absent).log()


def balance_draws(labels: Tensor) -> Tensor:
    """Frequencies (N,) float32 with which to draw clips so that each class is seen as often.

    Args:
        labels: (N, K) of 0 and 1. A clip with several labels is drawn as their mean says, one without as the most
            frequent class.
    """
    clips = labels.sum(dim=0).clamp_min(1).float()
    own = labels.sum(dim=1)
    return torch.where(own > 0, (labels / clips).sum(dim=1) / own.clamp_min(1), 1 / clips.max())
