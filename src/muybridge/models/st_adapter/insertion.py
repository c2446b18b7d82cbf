"""How adapters enter a timm model whose code stays untouched.

    tokens ── [adapter] ── attention ──(+)── [adapter] ── MLP ──(+)── tokens
              before the block               before its MLP

Before attention, a pre-hook on the block changes the block's input. Before the MLP, a pre-hook on the module that
reads the residual stream there (`norm2`, or `mlp` in a post-norm block) changes that module's input only; so a hook
on the block adds the same difference once more to the block's output. Hooks are small classes, because a lambda
cannot be pickled, and do nothing outside a run of the model that placed them: a backbone may serve several models.
What a run must know lies with the thread that runs it, so that models and a backbone may be used by many at once.

One letter an axis: B clips, T frames, S = B*T images, L prefix tokens and patches of an image, D channels.
"""

import copy
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import torch
from timm.models.beit import Beit
from timm.models.beit import Block as BeitBlock
from timm.models.eva import Eva, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block, ResPostBlock, VisionTransformer
from torch import Tensor, nn

from muybridge.errors import ModelMismatch

Place = Literal["attention", "mlp"]


class Shape(Protocol):
    """What a flat batch of S images was before, so that adapters can work on clips."""

    @property
    def frames(self) -> int:
        """T"""
        ...

    def patches(self, tokens_SLD: Tensor, /) -> Tensor:
        """What an adapter works on, (B, T, H, W, D)."""
        ...

    def add_to_patches(self, tokens_SLD: Tensor, difference_BTHWD: Tensor, /) -> Tensor:
        """A new tensor with an adapter's output added."""
        ...


@dataclass(frozen=True)
class ClipShape:
    """What a flat batch of S images was before: clips of `frames` images of `height` x `width` patches.

    `prefix` counts the class and register tokens that stand before an image's patches.
    """

    frames: int
    height: int
    width: int
    prefix: int

    def patches(self, tokens_SLD: Tensor) -> Tensor:
        """The patch tokens as (B, T, H, W, D)."""
        patches = tokens_SLD[:, self.prefix :]
        return patches.reshape(-1, self.frames, self.height, self.width, tokens_SLD.shape[-1])

    def add_to_patches(self, tokens_SLD: Tensor, difference_BTHWD: Tensor) -> Tensor:
        """A new tensor of tokens: the patches with `difference` added, the prefix tokens as they were."""
        difference = difference_BTHWD.reshape(tokens_SLD.shape[0], -1, tokens_SLD.shape[-1])
        patches = tokens_SLD[:, self.prefix :] + difference
        return torch.cat([tokens_SLD[:, : self.prefix], patches], dim=1) if self.prefix else patches


@dataclass(frozen=True)
class SampleWeights:
    """Adapters and heads of the samples of one batch, each its own.

    Attributes:
        adapters: by name of adapter, by name of parameter: tensors with a leading axis B.
        head_weight: (B, classes, D), classes of the largest head.
        head_bias: (B, classes); minus infinity for classes a sample's head does not have.
    """

    adapters: Mapping[str, Mapping[str, Tensor]]
    head_weight: Tensor
    head_bias: Tensor


@dataclass
class ClipRun:
    """What the adapters must know of the clips that are running through a block just now.

    Attributes:
        shape: of the clips.
        weights: per adapter, by name: its tensors with a leading axis B, where samples use different adapters.
        history: per adapter, by name: bottleneck features of the frames before these, for streams. The run replaces
            each by those of its own last frames; an adapter that is not in it starts a stream.
    """

    shape: Shape
    weights: Mapping[str, Mapping[str, Tensor]] | None = None
    history: dict[str, Tensor] | None = None


class RunSlot(threading.local):
    """The run under way in this thread, shared by a model and its hooks; empty in between.

    Not a context variable, because torch.compile cannot set one within a graph. A block runs in one thread from its
    start to its end, also where autograd runs it again in a thread of its own.

    Attributes:
        run: what is known of the clips in the block that is running.
        pending: what the adapter before that block's MLP added, to be added to the block's output too.
    """

    run: ClipRun | None = None
    pending: Tensor | None = None

    def __reduce__(self) -> tuple[type["RunSlot"], tuple[()]]:
        return RunSlot, ()  # a copy is empty, and a thread's values cannot be pickled


class AdapterSite:
    """One adapter at its place: works out what is to be added to the patches of the run under way."""

    def __init__(self, name: str, adapter: nn.Module, slot: RunSlot) -> None:
        self.name = name
        self.adapter = adapter
        self.slot = slot

    def difference(self, tokens_SLD: Tensor, run: ClipRun) -> Tensor:
        """(B, T, H, W, D), to be added to the patches."""
        patches = run.shape.patches(tokens_SLD)
        if run.weights is not None:
            return _with_weights_per_sample(self.adapter, run.weights[self.name], patches)
        if run.history is None:
            return self.adapter(patches)
        streaming: Any = self.adapter
        difference, run.history[self.name] = streaming.forward_stream(patches, run.history.get(self.name))
        return difference

    def apply(self, tokens_SLD: Tensor) -> Tensor:
        """The adapted tokens; the same tensor where no run is under way."""
        run = self.slot.run
        if run is None:
            return tokens_SLD
        return run.shape.add_to_patches(tokens_SLD, self.difference(tokens_SLD, run))


def _with_weights_per_sample(adapter: nn.Module, weights: Mapping[str, Tensor], patches_BTHWD: Tensor) -> Tensor:
    """Each sample through the adapter with weights of its own; vmap turns the linear layers into one bmm each."""

    def one(sample_weights: dict[str, Tensor], patches_THWD: Tensor) -> Tensor:
        return _twin(adapter, sample_weights)(patches_THWD[None])[0]

    return torch.func.vmap(one)(dict(weights), patches_BTHWD)


def _twin(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str = "") -> nn.Module:
    """A module that differs in its parameters only. `torch.func.functional_call` would put them into the module
    itself for as long as it runs, and another thread would find them there."""
    twin = copy.copy(module)
    own = {name: tensors[prefix + name] for name, _ in module.named_parameters(recurse=False)}
    children = {name: _twin(child, tensors, f"{prefix}{name}.") for name, child in module.named_children()}
    vars(twin).update(_parameters=own, _modules=children)
    return twin


class BeforeAttention:
    """Forward pre-hook of a block: adapts its input."""

    def __init__(self, site: AdapterSite) -> None:
        self.site = site

    def __call__(self, block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.site.apply(inputs[0]), *inputs[1:])


class BeforeMlp:
    """Forward pre-hook of what reads the residual stream before the MLP: adapts its input."""

    def __init__(self, site: AdapterSite) -> None:
        self.site = site

    def __call__(self, reader: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        run = self.site.slot.run
        if run is None:
            return None
        difference = self.site.slot.pending = self.site.difference(inputs[0], run)
        return (run.shape.add_to_patches(inputs[0], difference), *inputs[1:])


class AfterBlock:
    """Forward hook of a block: adds to its output what `BeforeMlp` added inside."""

    def __init__(self, slot: RunSlot) -> None:
        self.slot = slot

    def __call__(self, block: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        run, difference = self.slot.run, self.slot.pending
        if run is None or difference is None:
            return output
        return run.shape.add_to_patches(output, difference)


def place_hooks(block: nn.Module, site: AdapterSite, place: Place) -> list[torch.utils.hooks.RemovableHandle]:
    """Make `block` run the adapter of `site`. Returns the handles that undo it.

    Raises:
        ModelMismatch: the block has no such place.
    """
    if place == "attention":
        return [block.register_forward_pre_hook(BeforeAttention(site))]
    reader = _reader_before_mlp(block)
    return [
        reader.register_forward_pre_hook(BeforeMlp(site)),
        block.register_forward_hook(AfterBlock(site.slot)),
    ]


def _reader_before_mlp(block: nn.Module) -> nn.Module:
    if isinstance(block, (Block, EvaBlock, BeitBlock)):
        return cast(nn.Module, block.norm2)
    if isinstance(block, (ResPostBlock, EvaBlockPostNorm)):
        return cast(nn.Module, block.mlp)
    raise ModelMismatch(
        f"Blocks of type {type(block).__name__} have no point between attention and MLP for an adapter. "
        "Choose a model with sequential blocks."
    )


def model_name(backbone: nn.Module) -> str:
    """The timm architecture's name, or the class name where timm did not build the model."""
    config: Any = getattr(backbone, "pretrained_cfg", None) or {}
    return str(config.get("architecture") or type(backbone).__name__)


def check_backbone(backbone: nn.Module, *, adapted_blocks: range) -> None:
    """Raise ModelMismatch, naming model and reason, unless adapters can enter these blocks of the backbone."""
    name = model_name(backbone)
    if not isinstance(backbone, (VisionTransformer, Eva, Beit)):
        raise ModelMismatch(
            f"Model '{name}' cannot be adapted: {type(backbone).__name__} is not one of timm's plain vision "
            "transformers (VisionTransformer, Eva, Beit) and has no residual stages that are known. Choose a ViT, "
            "DeiT, CLIP, SigLIP, DINO, MAE or EVA model, an EfficientNet, MobileNetV3 or V4, ResNet, RegNet or "
            "ConvNeXt."
        )
    if getattr(getattr(backbone, "patch_drop", None), "prob", 0.0):
        raise ModelMismatch(
            f"Model '{name}' cannot be adapted: it drops patches in training, and adapters need all of a frame's "
            "patches. Create it with patch_drop_rate=0."
        )
    blocks = cast(nn.ModuleList, backbone.blocks)
    for index in adapted_blocks:
        try:
            _reader_before_mlp(blocks[index])
        except ModelMismatch as error:
            raise ModelMismatch(f"Model '{name}' cannot be adapted at block {index}: {error}") from None


def patch_grid(backbone: nn.Module, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of patches in a picture of height x width pixels.

    Raises:
        ModelMismatch: the backbone cannot take a picture of this size.
    """
    embed: Any = backbone.patch_embed
    if getattr(backbone, "dynamic_img_size", False):
        step_y, step_x = embed.feat_ratio(as_scalar=False)
        if not getattr(embed, "dynamic_img_pad", False) and (height % step_y or width % step_x):
            raise ModelMismatch(
                f"Model '{model_name(backbone)}' takes frames whose sides are multiples of its patch, {step_y} x "
                f"{step_x} pixels, but got {height} x {width}. Resize or crop the frames."
            )
    elif embed.img_size is not None and (height, width) != tuple(embed.img_size):
        raise ModelMismatch(
            f"Model '{model_name(backbone)}' was built for {embed.img_size[0]} x {embed.img_size[1]} pixels, but "
            f"got {height} x {width}. Create it with dynamic_img_size=True or img_size=({height}, {width})."
        )
    rows, columns = embed.dynamic_feat_size((height, width))
    return int(rows), int(columns)


def embed_images(backbone: nn.Module, images_SCHW: Tensor) -> Tensor:
    """Pictures to the tokens (S, L, D) that enter the first block."""
    model: Any = backbone
    tokens = model.patch_embed(images_SCHW)
    if isinstance(backbone, Beit):
        tokens = torch.cat([model.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        if model.pos_embed is not None:
            tokens = tokens + model.pos_embed
        return model.pos_drop(tokens)
    tokens = model._pos_embed(tokens)
    return model.norm_pre(tokens[0] if isinstance(backbone, Eva) else tokens)


def block_arguments(backbone: nn.Module, grid: tuple[int, int]) -> list[dict[str, Any]]:
    """Keyword arguments that each block takes beside the tokens: rotary or relative positions for this grid."""
    model: Any = backbone
    depth = len(model.blocks)
    if isinstance(backbone, Beit):
        shared = model.rel_pos_bias() if model.rel_pos_bias is not None else None
        return [{"shared_rel_pos_bias": shared}] * depth
    if not isinstance(backbone, Eva):
        return [{}] * depth
    if model.rope is None:
        return [{"rope": None}] * depth
    rotary = model.rope.get_embed(shape=grid)
    return [{"rope": rotary[index] if model.rope_mixed else rotary} for index in range(depth)]
