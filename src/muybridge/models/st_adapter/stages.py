"""Convolutional image models of residual stages: EfficientNet, MobileNetV3 and V4, ResNet, RegNet, ConvNeXt.

    pictures (S, 3, height, width)
      └─ stem ─ block 0 ─(+ adapter)─ block 1 ─(+ adapter)─ ... ─ last layers     maps (S, C, h, w)
           └─ timm's pooling and what follows it up to the classifier             one vector a picture (S, D)

The adapter of a block stands behind it, on the stream that the next block's residual connection goes on from; there
is no attention, and no other place. timm's modules are called one after the other and are not changed.

One letter an axis: B clips, T frames, S = B*T images, C channels of a block, h x w its places, D features.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.regnet import RegNet
from timm.models.resnet import ResNet
from torch import Tensor, nn

from muybridge.errors import ModelMismatch
from muybridge.models.st_adapter.folding import Version, fold_batch_norms, version_of
from muybridge.models.st_adapter.insertion import AdapterSite, Place, model_name
from muybridge.models.st_adapter.last_block import Readout, resolve_readout

STAGED = (EfficientNet, MobileNetV3, ResNet, RegNet, ConvNeXt)
_Layers = tuple[nn.Module, ...]
# Pictures that the CPU takes at a time where no gradient is kept: the first, wide maps then stay in its cache, which
# takes 0.7 of the time of sixteen at once.
_PICTURES_AT_A_TIME = 2
_MEASURED = 64  # side in pixels of the picture by which shapes are worked out


@dataclass(frozen=True)
class MapShape:
    """What a flat batch of S maps was before: clips of `frames` frames."""

    frames: int

    def patches(self, maps_SChw: Tensor) -> Tensor:
        """Maps as (B, T, h, w, C)."""
        return maps_SChw.permute(0, 2, 3, 1).unflatten(0, (-1, self.frames))

    def add_to_patches(self, maps_SChw: Tensor, difference_BThwC: Tensor) -> Tensor:
        """A new tensor of maps, the difference added."""
        return maps_SChw + difference_BThwC.flatten(0, 1).permute(0, 3, 1, 2)


class AfterBlock:
    """Forward hook of a block's last layer: adapts its output."""

    def __init__(self, site: AdapterSite) -> None:
        self.site = site

    def __call__(self, block: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return self.site.apply(output)


class StagedTower:
    """A `Tower` of a model of `STAGED`.

    Raises:
        ModelMismatch: the model is of another kind, or `readout` is a class token, which it does not have.
        OptionError: an unknown read-out.
    """

    unread: tuple[str, ...] = ("classifier", "fc")

    def __init__(self, backbone: nn.Module, readout: Readout = "auto") -> None:
        self.backbone = backbone
        self.readout: Readout = resolve_readout(backbone, readout)
        self._stem, self.blocks, self._last = _take_apart(backbone)
        self.depth = len(self.blocks)
        # The earlier blocks see edges and textures at a high resolution, and are most of the work: kept as they
        # are, they need be run once a clip in training.
        self.adapted_by_default = max(1, self.depth // 4)
        self.widths, self.dim, self.stride, self._last_fine, last_width = _measure(backbone)
        self.scale_widths = self.widths[self._last_fine], last_width
        self._folded: tuple[Version, tuple[nn.Module, ...]] | None = None

    def check(self, adapted_blocks: range) -> None:
        """Every block can take an adapter."""

    def places(self, index: int, placement: str) -> tuple[Place, ...]:
        """One place a block."""
        if placement != "mlp":
            raise ModelMismatch(
                f"Model '{model_name(self.backbone)}' has no attention to place adapters before. Choose "
                "placement='mlp', which in a convolutional model is behind each block."
            )
        return ("mlp",)

    def describe(self, placement: str) -> str:
        """The same in words."""
        return "behind each block"

    def reaches_readout(self, index: int, place: Place) -> bool:
        """Every adapter does."""
        return True

    def attach(self, index: int, place: Place, site: AdapterSite) -> list[torch.utils.hooks.RemovableHandle]:
        """Make a block run an adapter."""
        return [self.blocks[index][-1].register_forward_hook(AfterBlock(site))]

    def shape(self, frames: int, size: tuple[int, int]) -> MapShape:
        """Maps tell their size themselves."""
        return MapShape(frames)

    def embed(self, images_S3HW: Tensor) -> Tensor:
        """Pictures to the maps that enter the first block."""
        return _run(self._stem, images_S3HW.contiguous(memory_format=torch.channels_last))

    def arguments(self, shape: Any) -> list[dict[str, Any]]:
        """Blocks take maps and nothing else."""
        return [{}] * self.depth

    def run(self, index: int, maps_SChw: Tensor, site: AdapterSite | None, arguments: dict[str, Any]) -> Tensor:
        """One block and its adapter, which is attached to it."""
        return _run(self.blocks[index], maps_SChw)

    def prefix(self, images_S3HW: Tensor, blocks: int) -> Tensor:
        """(S, h, w, C) after so many blocks, in which no run is under way."""
        if torch.compiler.is_compiling() or images_S3HW.device.type != "cpu":
            maps = self._through(images_S3HW, blocks)
        else:
            layers = self._folded_before(blocks)
            parts = images_S3HW.contiguous(memory_format=torch.channels_last).split(_PICTURES_AT_A_TIME)
            maps = torch.cat([_run(layers, part) for part in parts])
        return maps.permute(0, 2, 3, 1).contiguous()

    def _folded_before(self, blocks: int) -> tuple[nn.Module, ...]:
        """The stem and so many blocks, of which nothing is trained; made anew where their weights have changed."""
        layers = [*self._stem, *(layer for block in self.blocks[:blocks] for layer in block)]
        version = version_of(layers)
        if self._folded is None or self._folded[0] != version:
            # Set in one step: another thread may be here at the same time.
            self._folded = (version, fold_batch_norms(layers))
        return self._folded[1]

    def _through(self, images_S3HW: Tensor, blocks: int) -> Tensor:
        maps = self.embed(images_S3HW)
        for layers in self.blocks[:blocks]:
            maps = _run(layers, maps)
        return maps

    def from_prefix(self, prefix_ShwC: Tensor) -> Tensor:
        """What `prefix` gave, to go on with."""
        return prefix_ShwC.permute(0, 3, 1, 2)

    def pool(self, maps_SChw: Tensor, shape: Any) -> Tensor:
        """Maps after the last block to (S, D): the last layers, and timm's pooling and what follows it."""
        model: Any = self.backbone
        return model.forward_head(_run(self._last, maps_SChw), pre_logits=True)

    def patches(self, maps_SChw: Tensor, shape: Any) -> Tensor:
        """Maps after the last block as (S, h, w, widths[-1])."""
        return maps_SChw.permute(0, 2, 3, 1)

    def two_scales(self, images_S3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures to maps (S, C, h, w) before the last halving and (S, D, h/2, w/2) after the last layers.

        `scale_widths` are their channels. Adapters are not run.
        """
        fine = maps = self.embed(images_S3HW)
        for index, layers in enumerate(self.blocks):
            maps = _run(layers, maps)
            if index == self._last_fine:
                fine = maps
        return fine, _run(self._last, maps)

    def normalize(self, mean_BD: Tensor) -> Tensor:
        """Each picture's vector was normalized already, where the model does so."""
        return mean_BD


def _run(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _take_apart(model: nn.Module) -> tuple[_Layers, tuple[_Layers, ...], _Layers]:
    m: Any = model
    if isinstance(model, EfficientNet):
        return (m.conv_stem, m.bn1), _blocks(m.blocks), (m.conv_head, m.bn2)
    if isinstance(model, MobileNetV3):
        return (m.conv_stem, m.bn1), _blocks(m.blocks), ()
    if isinstance(model, ResNet):
        return (m.conv1, m.bn1, m.act1, m.maxpool), _blocks((m.layer1, m.layer2, m.layer3, m.layer4)), ()
    if isinstance(model, RegNet):
        return (m.stem,), _blocks(tuple(stage.children()) for stage in (m.s1, m.s2, m.s3, m.s4)), (m.final_conv,)
    if isinstance(model, ConvNeXt):
        return (m.stem,), tuple(_after_downsampling(m.stages)), (m.norm_pre,)
    raise ModelMismatch(
        f"Model '{model_name(model)}' cannot be adapted: {type(model).__name__} has no residual stages that are "
        "known. Choose an EfficientNet, MobileNetV3 or V4, ResNet, RegNet or ConvNeXt, or a vision transformer."
    )


def _blocks(stages: Iterable[Iterable[nn.Module]]) -> tuple[_Layers, ...]:
    return tuple((block,) for stage in stages for block in stage)


def _after_downsampling(stages: Iterable[Any]) -> Iterable[_Layers]:
    for stage in stages:
        first, *others = stage.blocks
        yield (stage.downsample, first)
        yield from ((block,) for block in others)


def _measure(model: nn.Module) -> tuple[tuple[int, ...], int, int, int, int]:
    """Worked out on shapes alone: channels after each block, features of a picture, the last maps' stride, the last
    block before it is halved for the last time, channels of the last maps."""
    copy = _shapes_only(model)
    stem, blocks, last = _take_apart(copy)
    widths: list[int] = []
    sides: list[int] = []
    with torch.no_grad():
        maps = _run(stem, torch.zeros(1, 3, _MEASURED, _MEASURED, device="meta"))
        for block in blocks:
            maps = _run(block, maps)
            widths.append(maps.shape[1])
            sides.append(maps.shape[-1])
        last_maps = _run(last, maps)
        features = copy.forward_head(last_maps, pre_logits=True)
    last_fine = max((index for index, side in enumerate(sides) if side > sides[-1]), default=len(sides) - 1)
    return tuple(widths), features.shape[-1], _MEASURED // maps.shape[-1], last_fine, last_maps.shape[1]


def _shapes_only(model: nn.Module) -> Any:
    # In evaluation mode, so that no layer wants more than one value a channel.
    return deepcopy(model).to("meta").eval()
