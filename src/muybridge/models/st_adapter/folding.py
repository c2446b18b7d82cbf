"""Batch norms of frozen layers worked into the convolutions before them: the same numbers in less time.

The layers themselves stay as they are, since their weights are what a model file's hash is of, and other models may
train on them.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Version = tuple[tuple[int, int], ...]


def fold_batch_norms(layers: Sequence[nn.Module]) -> tuple[nn.Module, ...]:
    """Layers that do in evaluation what these do, one after the other; hooks are left behind.

    Weights that are not changed are shared, so that the copy is of use only as long as `version_of` says the same.
    """
    return tuple(_folded([_without_hooks(layer) for layer in layers]))


def version_of(layers: Iterable[nn.Module]) -> Version:
    """Differs when a weight was changed, converted or moved, so that a copy folded before is out of date."""
    return tuple(
        (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
        for layer in layers
        for tensor in (*layer.parameters(), *layer.buffers())
    )


def _without_hooks(module: nn.Module) -> nn.Module:
    twin = copy(module)
    children = {name: _without_hooks(child) for name, child in module.named_children()}
    children = dict(zip(children, _folded(list(children.values())), strict=True))
    vars(twin).update(_modules=children, _forward_hooks=OrderedDict(), _forward_pre_hooks=OrderedDict())
    return twin


def _folded(layers: list[nn.Module]) -> list[nn.Module]:
    for place in range(1, len(layers)):
        conv, norm = layers[place - 1], layers[place]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and not norm.training:
            layers[place - 1] = fuse_conv_bn_eval(conv, norm)
            layers[place] = _after_norm(norm)
    return layers


def _after_norm(norm: Any) -> nn.Module:
    """What timm's batch norm does besides: the activation."""
    return norm.act if hasattr(norm, "act") else nn.Identity()
