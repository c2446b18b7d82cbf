"""What a localizer hands to the training loop: the network and its loss (ACAR-Net, arXiv 2006.07976, section 4).

A trunk is a SlowFast network, all of it trained, or a frozen image transformer with adapters for video, of which a
few per cent are trained. A head is ACAR-Net's, which relates people to their surroundings and to each other, or the
baseline, which looks at each person alone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from muybridge.data.localization import AUTHORS_RATE, KeyFrameSampling, normalize_clips
from muybridge.errors import ModelError, ModelMismatch, OptionError
from muybridge.localize.options import SLOWFAST_TRUNKS, ContextMaps, LocalizerConfig
from muybridge.models.acar.actors import Actors, BankWindow, ContextMap, Grouping
from muybridge.models.acar.head import ACARConfig, ACARHead, ACARNet, BaselineConfig, BaselineHead, TokenTrunk
from muybridge.models.acar.image_trunk import ImageTrunk
from muybridge.models.acar.loss import ExclusiveGroups, action_loss
from muybridge.models.acar.slowfast import SlowFast
from muybridge.models.acar.slowfast_config import SlowFastConfig
from muybridge.models.backbones import backbone_input
from muybridge.models.st_adapter.sets import ADAPTER_LIMITS
from muybridge.models.st_adapter.towers import tower_of
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.pretrained import BackboneIdentity, load_backbone
from muybridge.schema import Fields, Within, build

_LARGEST_WEIGHT = 20.0
# Channels of a head by those of its trunk, from so many on; the first as published.
_REDUCED = ((2048, 1024), (512, 256), (0, 128))


_CHANNELS = Within(1, 1 << 16)
_HEAD_LIMITS = Fields(
    context_channels=_CHANNELS,
    num_classes=Within(1, 1 << 20),
    reduced=_CHANNELS,
    hidden=_CHANNELS,
    depth=Within(1, 64),
    roi_size=Within(1, 64),
    dropout=Within(0, 1),
    roi_margin=Within(0, 4),
    later=("roi_margin", "bias"),
)
_SLOWFAST_LIMITS = Fields(
    blocks=Within(1, 128),
    width=Within(1, 1024),
    fast_ratio=Within(1, 1024),
    alpha=Within(1, 256),
    lateral_kernel=Within(1, 63),
    frames=Within(1, 4096),
    frame_step=Within(1, 1000),
    short_side=Within(8, 4096),
    mean=Within(-1e4, 1e4),
    std=Within(1e-3, 1e4),
)


@dataclass(frozen=True)
class _Architecture:
    head: Mapping[str, Any]
    slowfast: Annotated[SlowFastConfig, _SLOWFAST_LIMITS] | None
    adapters: Annotated[AdapterConfig, ADAPTER_LIMITS] | None
    context: ContextMaps = "last"


@dataclass(frozen=True)
class NetworkConfig:
    """The numbers that rebuild a trained network, as its file keeps them.

    Attributes:
        head: of the head; its type says which.
        slowfast: of a SlowFast trunk; None for an image model.
        adapters: of an image model; None for none.
        context: what is read of an image model, see `LocalizerConfig`.
    """

    head: ACARConfig | BaselineConfig
    slowfast: SlowFastConfig | None = None
    adapters: AdapterConfig | None = None
    context: ContextMaps = "last"

    def to_json(self) -> dict[str, Any]:
        """Numbers and lists alone."""
        return {
            "head": {"kind": "acar" if isinstance(self.head, ACARConfig) else "baseline", **asdict(self.head)},
            "slowfast": None if self.slowfast is None else asdict(self.slowfast),
            "adapters": None if self.adapters is None else asdict(self.adapters),
            "context": self.context,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, source: str = "the network") -> "NetworkConfig":
        """The inverse, of values that may be a stranger's.

        Raises:
            ModelError: a value breaks a rule; `source` is named.
        """
        about = build(_Architecture, values, source=source, at="architecture", fields=Fields(later=("context",)))
        numbers = dict(about.head)
        kind = numbers.pop("kind", None)
        if kind not in ("acar", "baseline"):
            raise ModelError(f"{source}: its architecture.head.kind is neither acar nor baseline")
        head = build(
            ACARConfig if kind == "acar" else BaselineConfig,
            numbers,
            source=source,
            at="architecture.head",
            fields=_HEAD_LIMITS,
        )
        return cls(head, about.slowfast, about.adapters, about.context)

    def build(self, backbone: nn.Module | None = None) -> ACARNet:
        """The network, its trained part at random.

        Args:
            backbone: the image model of a trunk that is not SlowFast; it is frozen.

        Raises:
            ModelMismatch: the backbone cannot take the adapters, or has no maps of two scales.
        """
        if self.slowfast is not None:
            trunk: nn.Module = SlowFast(self.slowfast)
        elif backbone is not None and self.context == "change":
            trunk = ImageTrunk(backbone)
        elif backbone is not None:
            # The classifier of the image model for clips is not used here, but belongs to the module.
            model = VideoViT(backbone, 1, adapters=self.adapters, readout="patch_mean")
            model.head.requires_grad_(False)
            trunk = TokenTrunk(model)
        else:
            raise ModelMismatch("This localizer stands on an image model. Give its backbone.")
        head = ACARHead(self.head) if isinstance(self.head, ACARConfig) else BaselineHead(self.head)
        return ACARNet(trunk, head)


_NOT_TRAINED = ("trunk.backbone.", "trunk.model.backbone.", "trunk.model.head.")


def localizer_state(network: ACARNet) -> dict[str, Tensor]:
    """Copies of all tensors that an image model's own weights do not determine."""
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
        if not name.startswith(_NOT_TRAINED)
    }


def load_localizer_state(network: ACARNet, state: Mapping[str, Tensor], *, source: str, classes: bool = True) -> None:
    """Load what `localizer_state` gave.

    Args:
        source: names it in messages.
        classes: False leaves the last layer as it is, to go on with other classes.

    Raises:
        ModelMismatch: a name is missing, unknown, or of another shape.
    """
    last = tuple(f"head.{name}.{part}" for name in ("fc2", "fc") for part in ("weight", "bias"))
    wanted = {name: tensor for name, tensor in localizer_state(network).items() if classes or name not in last}
    given = {name: tensor for name, tensor in state.items() if classes or name not in last}
    wrong = sorted(wanted.keys() ^ given.keys())
    wrong += [name for name in wanted.keys() & given.keys() if wanted[name].shape != given[name].shape]
    if wrong:
        raise ModelMismatch(
            f"{source} does not fit the network: {', '.join(wrong[:4])}{', ...' if len(wrong) > 4 else ''}. "
            "Build it with the trunk and head that the file was trained with"
        )
    network.load_state_dict({name: tensor.float() for name, tensor in given.items()}, strict=False)


@dataclass(frozen=True, eq=False)
class BuiltLocalizer:
    """A network that is ready for training.

    Attributes:
        network: trunk and head.
        config: rebuilds it.
        sampling: what it is shown.
        backbone: identity of the frozen image model; None for SlowFast.
    """

    network: ACARNet
    config: NetworkConfig
    sampling: KeyFrameSampling
    backbone: BackboneIdentity | None


def build_localizer(config: LocalizerConfig, num_classes: int) -> BuiltLocalizer:
    """The network with a frozen image model's weights loaded, all else at random.

    Raises:
        ModelError: the weights cannot be had.
        OptionError, ModelMismatch: a number or name that does not fit.
    """
    if config.trunk in SLOWFAST_TRUNKS:
        slowfast = config.slowfast or SLOWFAST_TRUNKS[config.trunk]
        head = _head(config, slowfast.context_channels, num_classes)
        described = NetworkConfig(head, slowfast)
        network = described.build()
        if config.freeze_norms and isinstance(network.trunk, SlowFast):
            network.trunk.freeze_norms()
        return BuiltLocalizer(network, described, _as_asked(slowfast_sampling(slowfast), config), None)
    backbone, identity = load_backbone(config.trunk, weights=config.backbone_weights)
    if config.context == "change":
        return _on_image_trunk(config, num_classes, backbone, identity)
    tower = tower_of(backbone, "patch_mean", trim_last_block=False)
    channels = tower.widths[-1]
    adapters = config.adapters or AdapterConfig(width=config.adapter_width or 0)
    if len(set(tower.widths)) == 1:
        adapters = adapters.for_channels(channels)
    described = NetworkConfig(_head(config, channels, num_classes), None, adapters)
    sampling = _as_asked(_image_sampling(backbone, rate=4.0, multiple=tower.stride), config)
    return BuiltLocalizer(described.build(backbone), described, sampling, identity)


def _on_image_trunk(
    config: LocalizerConfig, num_classes: int, backbone: nn.Module, identity: BackboneIdentity
) -> BuiltLocalizer:
    trunk = ImageTrunk(backbone)
    described = NetworkConfig(_head(config, trunk.context_channels, num_classes), context="change")
    # A second and a half: longer, and a movement is over before the clip is.
    sampling = _as_asked(_image_sampling(backbone, rate=5.0, multiple=trunk.tower.stride), config)
    return BuiltLocalizer(described.build(backbone), described, sampling, identity)


def _image_sampling(backbone: nn.Module, *, rate: float, multiple: int) -> KeyFrameSampling:
    """Eight frames of the size that an image model was trained with."""
    seen = backbone_input(backbone)
    short_side = min(seen.height, seen.width)
    return KeyFrameSampling(8, rate, short_side, multiple, seen.mean, seen.std)


def slowfast_sampling(slowfast: SlowFastConfig) -> KeyFrameSampling:
    """What a SlowFast trunk is shown around a key frame."""
    return KeyFrameSampling(
        frames=slowfast.frames,
        rate=AUTHORS_RATE / slowfast.frame_step,
        short_side=slowfast.short_side,
        mean=_shares(slowfast.mean),
        std=_shares(slowfast.std),
    )


def _shares(colour: tuple[float, float, float]) -> tuple[float, float, float]:
    return colour[0] / 255, colour[1] / 255, colour[2] / 255


def _as_asked(sampling: KeyFrameSampling, config: LocalizerConfig) -> KeyFrameSampling:
    asked = {name: getattr(config, name) for name in ("frames", "rate", "short_side")}
    return replace(sampling, **{name: value for name, value in asked.items() if value})


def _head(config: LocalizerConfig, channels: int, num_classes: int) -> ACARConfig | BaselineConfig:
    if config.head == "baseline":
        return BaselineConfig(channels, num_classes, roi_margin=config.roi_margin, bias=config.head_bias)
    reduced = config.reduced or next(width for least, width in _REDUCED if channels >= least)
    return ACARConfig(
        channels,
        num_classes,
        reduced=reduced,
        hidden=config.hidden or reduced // 2,
        depth=config.depth,
        output_kernel=config.output_kernel,
        dropout=config.dropout,
        roi_margin=config.roi_margin,
        bias=config.head_bias,
    )


def describe_localizer(built: BuiltLocalizer) -> list[str]:
    """In lines for the user: each part of the network, its size, and whether it is frozen or trained."""
    network = built.network
    kind = "SlowFast" if built.backbone is None else f"{built.backbone.name} ({built.backbone.source})"
    lines = [
        f"{name}: {_count(module, trained=True):,} trained, {_count(module, trained=False):,} frozen"
        for name, module in ((f"trunk {kind}", network.trunk), (f"head {type(network.head).__name__}", network.head))
    ]
    trained, every = _count(network, trained=True), sum(p.numel() for p in network.parameters())
    return [*lines, f"trained in all: {trained:,} of {every:,} parameters, {100 * trained / every:.1f} %"]


def _count(module: nn.Module, *, trained: bool) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad == trained)


class LocalizerObjective(nn.Module):
    """Binary cross-entropy of each person's classes, in log space, with a softmax within exclusive groups.

    Args:
        network: trained in place.
        sampling: says how frames are normalised, which happens on the network's device.
        exclusive: groups of columns of which a person has exactly one.
        focal_gamma: plays well-classified cases down; 0 is the published loss.
        class_weights: (K,) weight of each class.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        network: ACARNet,
        sampling: KeyFrameSampling,
        *,
        exclusive: ExclusiveGroups = (),
        focal_gamma: float = 0.0,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network, self.sampling = network, sampling
        self.exclusive, self.focal_gamma = exclusive, focal_gamma
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss, and the share of people whose likeliest class is one of theirs.

        Args:
            batch: as `muybridge.data.localization.collate_boxes` makes it.
        """
        logits = batch_logits(self.network, self.sampling, batch)
        targets = batch["targets"][batch["present"]]
        loss = action_loss(
            logits,
            targets,
            self.exclusive,
            focal_gamma=self.focal_gamma,
            class_weights=self.class_weights,
        )
        if not len(logits):
            return {"loss": loss, "hits": loss.detach()}
        hits = targets.gather(1, logits.argmax(1, keepdim=True)).float().mean()
        return {"loss": loss, "hits": hits.detach()}

    def num_terms(self, batch: Mapping[str, Tensor]) -> int:
        """How many people the loss of a batch is a mean over."""
        return int(batch["present"].sum())


def batch_logits(network: ACARNet, sampling: KeyFrameSampling, batch: Mapping[str, Tensor]) -> Tensor:
    """Logits (N, K) of everybody who is present in a batch, clips in order."""
    sizes = [(height, width) for height, width in batch["sizes"].tolist()]
    frames, present = batch["frames"], batch["present"]
    clips = normalize_clips(frames, sampling, sizes)
    counts = present.sum(1).tolist()
    actors = Actors(batch["boxes"][present], Grouping.from_counts(counts).to(frames.device))
    padded = any(size != tuple(frames.shape[-2:]) for size in sizes)
    context = network.context(clips, sizes if padded else None)
    bank = None
    if "bank" in batch:
        grids = batch["bank_grid"].tolist()
        entries = zip(batch["bank"], batch["in_bank"], grids, strict=True)
        maps = [each[kept][..., :rows, :columns] for each, kept, (rows, columns) in entries]
        bank = bank_window(network, context, maps)
    return network.head(context, actors, bank)


def bank_window(network: ACARNet, context: ContextMap, maps: list[Tensor]) -> BankWindow:
    """Each clip's entries of a feature bank, fitted to the head's maps.

    Args:
        maps: (m, C, h, w) for each clip, any floating type.

    Raises:
        OptionError: the head takes no bank.
    """
    head = network.head
    if not isinstance(head, ACARHead):
        raise OptionError("The baseline head does not read a feature bank. Leave the bank out, or use the ACAR head.")
    rows, columns = context.features.shape[-2:]
    extents = None
    if context.extents is not None:
        extents = [(row, column) for row, column in ((context.extents - 1) // 2).tolist()]
    entries = [each.to(context.features.device, torch.float32) for each in maps]
    window = BankWindow.from_clips(entries, head.map_grid((rows, columns)), extents=extents)
    return window.to(context.features.device)


def balance_actions(targets: Tensor) -> Tensor:
    """Weights (K,) float32 against rare classes: the square root of how much rarer than the mean a class is.

    They lie between 1 / 20 and 20, and their mean over positives is near 1.

    Args:
        targets: (N, K) of 0 and 1.
    """
    counts = targets.sum(0).clamp_min(1).float()
    return (counts.mean() / counts).sqrt().clamp(1 / _LARGEST_WEIGHT, _LARGEST_WEIGHT)
