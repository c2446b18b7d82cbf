"""ST-Adapter: a frozen image transformer that learns what happens over time (Pan et al. 2022, arXiv 2206.13559).

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
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from muybridge.errors import OptionError
from muybridge.models.st_adapter.insertion import (
    AdapterSite,
    ClipRun,
    ClipShape,
    Place,
    RunSlot,
    SampleWeights,
    block_arguments,
    check_backbone,
    embed_images,
    patch_grid,
    place_hooks,
)
from muybridge.models.st_adapter.last_block import (
    Readout,
    class_token_after,
    reads_class_token_alone,
    resolve_readout,
)
from muybridge.models.st_adapter.module import PLACES, AdapterConfig, SpatioTemporalAdapter, in_precision_of


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
        dropout: float = 0.5,
        train_backbone: bool = False,
        trim_last_block: bool = True,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise OptionError(f"num_classes={num_classes} leaves nothing to tell apart. Choose 1 or more.")
        model: Any = backbone
        depth = len(model.blocks) if hasattr(model, "blocks") else 0
        first = _first_adapted(adapters, depth)
        check_backbone(backbone, adapted_blocks=range(first, depth))
        adapters = adapters and adapters.for_channels(int(model.embed_dim))
        self.backbone = backbone
        self.config = adapters
        self.readout = resolve_readout(backbone, readout)
        self.train_backbone = train_backbone
        self.gradient_checkpointing = False
        self.dim = int(model.embed_dim)
        self.first_adapted_block = first
        self.first_trained_block = 0 if train_backbone else first
        self.trims_last_block = (
            trim_last_block and self.readout == "class_token" and reads_class_token_alone(model.blocks[-1])
        )
        self.dropout = nn.Dropout(dropout)
        self.head = new_head(self.dim, num_classes)
        self.adapters = nn.ModuleDict()
        self._slot = RunSlot()
        self._sites: dict[tuple[int, Place], AdapterSite] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        # A model that is given up leaves a backbone that others still use as it was before.
        weakref.finalize(self, _remove, self._handles).atexit = False
        if adapters is not None:
            self._build_adapters(adapters, range(first, depth))
        self._set_trainable()

    def _build_adapters(self, config: AdapterConfig, indices: range) -> None:
        blocks = cast(nn.ModuleList, self.backbone.blocks)
        for index in indices:
            places = nn.ModuleDict()
            for place in PLACES[config.placement]:
                dead = place == "mlp" and index == len(blocks) - 1 and self.readout == "class_token"
                if dead and not config.keep_dead:
                    continue
                adapter = places[place] = SpatioTemporalAdapter(self.dim, config)
                if dead:
                    adapter.requires_grad_(False)
                    continue
                site = self._sites[index, place] = AdapterSite(f"{index}.{place}", adapter, self._slot)
                self._handles += place_hooks(blocks[index], site, place)
            if len(places):
                self.adapters[str(index)] = places
        if not self._sites:
            raise OptionError(
                f"blocks={config.blocks} with placement='mlp' adapts nothing that is read: after the last block's "
                "attention, patches no longer reach the class token. Choose 2 or more, or placement='attention+mlp'."
            )

    def _set_trainable(self) -> None:
        self.backbone.requires_grad_(self.train_backbone)
        for unused in ("head", "head_dist", "attn_pool"):
            module = getattr(self.backbone, unused, None)
            if isinstance(module, nn.Module):
                module.requires_grad_(False)
        self.train(self.training)

    @property
    def blocks(self) -> nn.ModuleList:
        """The backbone's blocks, first to last."""
        return cast(nn.ModuleList, self.backbone.blocks)

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

    def forward(self, frames: Tensor, weights: SampleWeights | None = None) -> Tensor:
        """Logits (B, classes) of clips.

        Args:
            frames: (B, T, 3, height, width), float, normalised as the backbone's data configuration says; any T.
            weights: adapters and head of each sample, from `AdapterBank.select`; this model's own by default.

        Raises:
            OptionError: the shape of `frames`.
            ModelMismatch: the backbone cannot take frames of this size.
        """
        features = self.frame_features(frames, weights=weights)
        return self.classify(features.mean(dim=1), weights)

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
        return self._read(*self._tokens(frames, weights, history))

    def patch_tokens(self, frames: Tensor) -> Tensor:
        """What is seen where: tokens of patches after the final norm, (B, T, rows, columns, D).

        Takes frames as `forward` does.

        Raises:
            OptionError: the model reads class tokens, so that its last block does not work out the patches.
        """
        if self.readout == "class_token":
            raise OptionError("readout='class_token' leaves patches unfinished. Build it with readout='patch_mean'.")
        tokens_SLD, shape = self._tokens(frames)
        patches = cast(Any, self.backbone).norm(tokens_SLD[:, shape.prefix :])
        return patches.unflatten(0, frames.shape[:2]).unflatten(2, (shape.height, shape.width))

    def _tokens(
        self, frames: Tensor, weights: SampleWeights | None = None, history: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, ClipShape]:
        shape = self._clip_shape(frames.shape[1], self.grid(frames))
        tokens = embed_images(self.backbone, frames.flatten(0, 1))
        run = ClipRun(shape, weights and weights.adapters, history)
        return self._run_blocks(tokens, range(len(self.blocks)), run), shape

    def grid(self, frames: Tensor) -> tuple[int, int]:
        """Rows and columns of patches for frames (B, T, 3, height, width)."""
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise OptionError(
                f"frames has the shape {tuple(frames.shape)}, not (clips, frames, 3, height, width). Move its axes."
            )
        return patch_grid(self.backbone, frames.shape[-2], frames.shape[-1])

    def forward_prefix(self, frames: Tensor) -> Tensor:
        """What the frozen part makes of each frame: all that training on the same frames need compute only once.

        Returns:
            (B, T, L, D): tokens that enter the first adapted block. Without adapters (B, T, 1, D): `frame_features`.

        Raises:
            OptionError: nothing is frozen.
        """
        if self.train_backbone:
            raise OptionError("train_backbone=True leaves no frozen prefix to compute ahead. Train adapters instead.")
        with torch.no_grad():
            if not self._sites:
                return self.frame_features(frames)[:, :, None]
            grid = self.grid(frames)
            tokens = embed_images(self.backbone, frames.flatten(0, 1))
            run = ClipRun(self._clip_shape(frames.shape[1], grid))
            return self._run_blocks(tokens, range(self.first_adapted_block), run).unflatten(0, frames.shape[:2])

    def forward_from_prefix(self, prefix: Tensor, grid: tuple[int, int]) -> Tensor:
        """Logits (B, classes) from the output of `forward_prefix`: those of `forward`.

        Args:
            prefix: (B, T, L, D).
            grid: rows and columns of patches, as `grid(frames)` gave.
        """
        if not self._sites:
            return self.classify(prefix[:, :, 0].mean(dim=1))
        run = ClipRun(self._clip_shape(prefix.shape[1], grid))
        tokens = self._run_blocks(prefix.flatten(0, 1), range(self.first_adapted_block, len(self.blocks)), run)
        return self.classify(self._read(tokens, run.shape).mean(dim=1))

    def classify(self, mean_BD: Tensor, weights: SampleWeights | None = None) -> Tensor:
        """Logits (B, classes) from the mean of the frames' vectors: the backbone's final norm, dropout, head."""
        model: Any = self.backbone
        features = self.dropout(model.fc_norm(model.norm(mean_BD)))
        features = in_precision_of(self.head, features)
        if weights is None:
            return self.head(features)
        return torch.baddbmm(weights.head_bias[:, None], features[:, None], weights.head_weight.mT)[:, 0]

    def _clip_shape(self, frames: int, grid: tuple[int, int]) -> ClipShape:
        return ClipShape(frames, *grid, prefix=cast(int, self.backbone.num_prefix_tokens))

    def _run_blocks(self, tokens_SLD: Tensor, indices: range, run: ClipRun) -> Tensor:
        """Tokens after the given blocks; the class token alone where the last block is trimmed."""
        arguments = block_arguments(self.backbone, (run.shape.height, run.shape.width))
        keep = self.training and self.gradient_checkpointing and torch.is_grad_enabled()
        for index in indices:
            if keep and index >= self.first_trained_block:
                tokens_SLD = checkpoint(
                    self._run_block, index, tokens_SLD, arguments[index], run, use_reentrant=False
                )
            else:
                tokens_SLD = self._run_block(index, tokens_SLD, arguments[index], run)
        return tokens_SLD

    def _run_block(self, index: int, tokens_SLD: Tensor, arguments: dict[str, Any], run: ClipRun) -> Tensor:
        # The run is set for each block, not once for all, because gradient checkpointing runs a block again later.
        self._slot.run = run
        try:
            if index == len(self.blocks) - 1 and self.trims_last_block:
                site = self._sites.get((index, "attention"))
                adapted = tokens_SLD if site is None else site.apply(tokens_SLD)
                return class_token_after(self.blocks[index], adapted, arguments.get("rope"))
            return self.blocks[index](tokens_SLD, **arguments)
        finally:
            self._slot.run = self._slot.pending = None

    def _read(self, tokens_SLD: Tensor, shape: ClipShape) -> Tensor:
        """(B, T, D)"""
        by_class_token = self.readout == "class_token"
        features = tokens_SLD[:, 0] if by_class_token else tokens_SLD[:, shape.prefix :].mean(dim=1)
        return features.unflatten(0, (-1, shape.frames))


def _remove(handles: list[torch.utils.hooks.RemovableHandle]) -> None:
    while handles:
        handles.pop().remove()


def new_head(dim: int, num_classes: int) -> nn.Linear:
    """A linear classifier, weights of deviation 0.02, bias 0."""
    head = nn.Linear(dim, num_classes)
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def _first_adapted(config: AdapterConfig | None, depth: int) -> int:
    if config is None:
        return depth
    count = depth if config.blocks is None else config.blocks
    if depth and count > depth:
        raise OptionError(f"blocks={count} is more than the backbone's {depth}. Choose at most {depth}.")
    return depth - count
