"""ST-Adapter: a frozen image model that learns what happens over time (Pan et al. 2022, arXiv 2206.13559).

    frames (B, T, 3, H, W)
      └─ each frame alone: patch embedding, blocks before the first adapted one     forward_prefix, frozen
           └─ adapted blocks: adapters mix the frames' patches                      forward_from_prefix
                └─ one vector a frame: class token, or mean of patches
                     └─ mean over frames, final norm, dropout, linear head ─ logits (B, classes)

An adapter is a bottleneck added to the residual stream: Linear down, depthwise convolution over time, Linear up. Its
output starts at zero, so the adapted model starts equal to the image model. How adapters enter the unmodified timm
model is told in insertion.py.

One letter an axis: B clips, T frames, S = B*T images, L prefix tokens and patches, H x W patches, D channels of the
backbone, A channels of the bottleneck.
"""

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from muybridge.errors import ModelMismatch, OptionError
from muybridge.models.st_adapter.insertion import AdapterSite, ClipRun, Place, RunSlot, SampleWeights, Shape
from muybridge.models.st_adapter.last_block import Readout
from muybridge.models.st_adapter.module import AdapterConfig, SpatioTemporalAdapter, in_precision_of
from muybridge.models.st_adapter.over_time import SUMMARIES, OverTime, Standardization, check_over_time, summarize
from muybridge.models.st_adapter.towers import TransformerTower, tower_of


class VideoViT(nn.Module):
    """An image transformer that classifies clips.

    Three uses: adapters on a frozen backbone (the default), head only (`adapters=None`), and full fine-tuning
    (`train_backbone=True`, with or without adapters). A frozen backbone stays in evaluation mode. A model may be run
    in several threads at once, and so may several models over one backbone.

    Args:
        backbone: a timm VisionTransformer, Eva or Beit. It gets hooks that do nothing outside this model's runs, and
            may serve other models too. Its own classifier is not used.
        num_classes: outputs of the head.
        adapters: their numbers, or None for none.
        readout: what of a frame is read: the class token, or the mean of its patches; "auto" takes the class token
            where there is one.
        over_time: what is read of a clip's frames: their mean, or beside it how they change.
        dropout: before the head, in training.
        train_backbone: whether the backbone's weights are trained.
        trim_last_block: work out the last block for the class token alone where nothing else is read. The result is
            the same; switch it off where the block must run as a whole, as under FSDP.

    Raises:
        ModelMismatch: the backbone cannot take the adapters, or has no class token to read.
        OptionError: a value breaks its rule.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        adapters: AdapterConfig | None = None,
        readout: Readout = "auto",
        over_time: OverTime = "mean",
        dropout: float = 0.5,
        train_backbone: bool = False,
        trim_last_block: bool = True,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise OptionError(f"num_classes={num_classes} leaves nothing to tell apart. Choose 1 or more.")
        self.backbone = backbone
        self.tower = tower_of(backbone, readout, trim_last_block=trim_last_block)
        self.depth, self.dim, self.readout = self.tower.depth, self.tower.dim, self.tower.readout
        self.patch_dim = self.tower.widths[-1]
        first = _first_adapted(adapters, self.depth, self.tower.adapted_by_default)
        self.tower.check(range(first, self.depth))
        if adapters is not None and len(set(self.tower.widths)) == 1:
            adapters = adapters.for_channels(self.tower.widths[0])
        self.config = adapters
        check_over_time(over_time)
        self.over_time: OverTime = over_time
        self.train_backbone = train_backbone
        self.gradient_checkpointing = False
        self.first_adapted_block = first
        self.first_trained_block = 0 if train_backbone else first
        self.dropout = nn.Dropout(dropout)
        self.standardization: Standardization | None = None
        self.head = new_head(self.dim * SUMMARIES[over_time], num_classes)
        self.adapters = nn.ModuleDict()
        self._slot = RunSlot()
        self._sites: dict[tuple[int, Place], AdapterSite] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        # A model that is given up leaves a backbone that others still use as it was before.
        weakref.finalize(self, _remove, self._handles).atexit = False
        if adapters is not None:
            self._build_adapters(adapters, range(first, self.depth))
        self._set_trainable()

    def _build_adapters(self, config: AdapterConfig, indices: range) -> None:
        for index in indices:
            places = nn.ModuleDict()
            for place in self.tower.places(index, config.placement):
                dead = not self.tower.reaches_readout(index, place)
                if dead and not config.keep_dead:
                    continue
                adapter = places[place] = SpatioTemporalAdapter(self.tower.widths[index], config)
                if dead:
                    adapter.requires_grad_(False)
                    continue
                site = self._sites[index, place] = AdapterSite(f"{index}.{place}", adapter, self._slot)
                self._handles += self.tower.attach(index, place, site)
            if len(places):
                self.adapters[str(index)] = places
        if not self._sites:
            raise OptionError(
                f"blocks={config.blocks} with placement='mlp' adapts nothing that is read: after the last block's "
                "attention, patches no longer reach the class token. Choose 2 or more, or placement='attention+mlp'."
            )

    def _set_trainable(self) -> None:
        self.backbone.requires_grad_(self.train_backbone)
        for unused in self.tower.unread:
            module = getattr(self.backbone, unused, None)
            if isinstance(module, nn.Module):
                module.requires_grad_(False)
        self.train(self.training)

    @property
    def num_classes(self) -> int:
        return self.head.out_features

    def train(self, mode: bool = True) -> "VideoViT":
        if self.train_backbone:
            return super().train(mode)
        # A frozen backbone is left out from the start: another model may be running it in another thread.
        self.training = mode
        for name, child in self.named_children():
            child.train(mode and name != "backbone")
        return self

    def release_backbone(self) -> nn.Module:
        """Take this model's hooks off the backbone and return it. The model cannot be used afterwards."""
        _remove(self._handles)
        return self.backbone

    def spread_blocks(self) -> list[nn.Module]:
        """The frozen blocks of an image transformer that may be spread over processes: all but the last.

        Of the last one, parts may run without its forward, in which such a block is gathered.

        Raises:
            ModelMismatch: the backbone is trained, or no transformer.
        """
        if self.train_backbone or not isinstance(self.tower, TransformerTower):
            raise ModelMismatch(
                "only the blocks of a frozen image transformer can be spread over processes. Choose one, and "
                "--method adapters or head"
            )
        return list(self.tower.blocks)[:-1]

    def forward(self, frames: Tensor, weights: SampleWeights | None = None) -> Tensor:
        """Logits (B, classes) of clips.

        Args:
            frames: (B, T, 3, height, width), float, normalised as the backbone's data configuration says; any T.
            weights: adapters and head of each sample, from `AdapterBank.select`; this model's own by default.

        Raises:
            OptionError: the shape of `frames`.
            ModelMismatch: the backbone cannot take frames of this size.
        """
        return self.classify(self.frame_features(frames, weights=weights), weights)

    def frame_features(
        self, frames: Tensor, *, weights: SampleWeights | None = None, history: dict[str, Tensor] | None = None
    ) -> Tensor:
        """One vector a frame, before the final norm: (B, T, D).

        Args:
            frames: as in `forward`.
            weights: as in `forward`.
            history: what the adapters remember of the frames before these, by name of adapter. It is brought up to
                date, so that the next call goes on where this one ended; start with an empty dict.
        """
        if weights is not None and history is not None:
            raise OptionError("weights and history were both given. A stream uses the model's own adapters.")
        return self._read(*self._stream(frames, weights, history))

    def patch_tokens(self, frames: Tensor) -> Tensor:
        """What is seen where, (B, T, rows, columns, C): a transformer's patches after its final norm, or the maps
        after a convolutional model's last block.

        Takes frames as `forward` does.

        Raises:
            OptionError: the model reads class tokens, so that its last block does not work out the patches.
        """
        if self.readout == "class_token":
            raise OptionError("readout='class_token' leaves patches unfinished. Build it with readout='patch_mean'.")
        stream, shape = self._stream(frames)
        return self.tower.patches(stream, shape).unflatten(0, frames.shape[:2])

    def _stream(
        self, frames: Tensor, weights: SampleWeights | None = None, history: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, Shape]:
        """What comes out of the last block."""
        shape = self.tower.shape(frames.shape[1], _size(frames))
        run = ClipRun(shape, weights and weights.adapters, history)
        if self.train_backbone:
            entering, first = self.tower.embed(frames.flatten(0, 1)), 0
        else:
            self._keep_backbone_in_evaluation()
            entering, first = self.tower.from_prefix(self._prefix(frames)), self.first_adapted_block
        return self._run_blocks(entering, range(first, self.depth), run), shape

    def _keep_backbone_in_evaluation(self) -> None:
        """A frozen one fresh from timm, or switched by mistake, would learn statistics of each batch."""
        if self.backbone.training:
            self.backbone.eval()

    def _prefix(self, frames: Tensor) -> Tensor:
        return self.tower.prefix(frames.flatten(0, 1), self.first_adapted_block)

    def forward_prefix(self, frames: Tensor) -> Tensor:
        """What the frozen part makes of each frame: all that training on the same frames need compute only once.

        Returns:
            What enters the first adapted block: tokens (B, T, L, D), or of a convolutional model maps
            (B, T, h, w, C). Without adapters (B, T, 1, D): `frame_features`.

        Raises:
            OptionError: nothing is frozen.
        """
        if self.train_backbone:
            raise OptionError("train_backbone=True leaves no frozen prefix to compute ahead. Train adapters instead.")
        size = _size(frames)
        with torch.no_grad():
            if not self._sites:
                return self.frame_features(frames)[:, :, None]
            self._keep_backbone_in_evaluation()
            self.tower.shape(frames.shape[1], size)  # the backbone must be able to take frames of this size
            return self._prefix(frames).unflatten(0, frames.shape[:2])

    def forward_from_prefix(self, prefix: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, classes) from the output of `forward_prefix`: those of `forward`.

        Args:
            prefix: as `forward_prefix` gave it.
            size: (height, width) of the frames in pixels.
        """
        return self.classify(self.features_from_prefix(prefix, size))

    def features_from_prefix(self, prefix: Tensor, size: tuple[int, int]) -> Tensor:
        """`frame_features` (B, T, D) from the output of `forward_prefix`."""
        prefix = prefix.to(next(self.backbone.parameters()).dtype)  # it may be kept in another precision
        if not self._sites:
            return prefix[:, :, 0]
        if not self.train_backbone:
            self._keep_backbone_in_evaluation()
        run = ClipRun(self.tower.shape(prefix.shape[1], size))
        entering = self.tower.from_prefix(prefix.flatten(0, 1))
        return self._read(self._run_blocks(entering, range(self.first_adapted_block, self.depth), run), run.shape)

    def classify(self, features_BTD: Tensor, weights: SampleWeights | None = None) -> Tensor:
        """Logits (B, classes) from the frames' vectors: what is read over time, dropout, head."""
        read = self.read_over_time(features_BTD)
        if self.standardization is not None:
            read = self.standardization(read)
        read = in_precision_of(self.head, self.dropout(read))
        if weights is None:
            return self.head(read)
        return torch.baddbmm(weights.head_bias[:, None], read[:, None], weights.head_weight.mT)[:, 0]

    def read_over_time(self, features_BTD: Tensor) -> Tensor:
        """What the head reads of clips, (B, F): see `over_time.summarize`."""
        return summarize(features_BTD, self.over_time, self.tower.normalize)

    def fold_standardization(self) -> None:
        """Make the standardization of a head's training part of the head; logits stay the same."""
        if self.standardization is not None:
            self.standardization.fold_into(self.head)
            self.standardization = None

    def _run_blocks(self, stream: Tensor, indices: range, run: ClipRun) -> Tensor:
        arguments = self.tower.arguments(run.shape)
        keep = self.training and self.gradient_checkpointing and torch.is_grad_enabled()
        for index in indices:
            if keep and index >= self.first_trained_block:
                stream = checkpoint(self._run_block, index, stream, arguments[index], run, use_reentrant=False)
            else:
                stream = self._run_block(index, stream, arguments[index], run)
        return stream

    def _run_block(self, index: int, stream: Tensor, arguments: dict[str, Any], run: ClipRun) -> Tensor:
        # The run is set for each block, not once for all, because gradient checkpointing runs a block again later.
        self._slot.run = run
        try:
            return self.tower.run(index, stream, self._sites.get((index, "attention")), arguments)
        finally:
            self._slot.run = self._slot.pending = None

    def _read(self, stream: Tensor, shape: Shape) -> Tensor:
        """(B, T, D)"""
        return self.tower.pool(stream, shape).unflatten(0, (-1, shape.frames))


def _size(frames: Tensor) -> tuple[int, int]:
    """Height and width of frames (B, T, 3, height, width)."""
    if frames.ndim != 5 or frames.shape[2] != 3:
        raise OptionError(
            f"frames has the shape {tuple(frames.shape)}, not (clips, frames, 3, height, width). Move its axes."
        )
    return frames.shape[-2], frames.shape[-1]


def _remove(handles: list[torch.utils.hooks.RemovableHandle]) -> None:
    while handles:
        handles.pop().remove()


def new_head(dim: int, num_classes: int) -> nn.Linear:
    """A linear classifier, weights of deviation 0.02, bias 0."""
    head = nn.Linear(dim, num_classes)
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def _first_adapted(config: AdapterConfig | None, depth: int, by_default: int) -> int:
    if config is None:
        return depth
    count = by_default if config.blocks is None else config.blocks
    if depth and count > depth:
        raise OptionError(f"blocks={count} is more than the backbone's {depth}. Choose at most {depth}.")
    return depth - count
