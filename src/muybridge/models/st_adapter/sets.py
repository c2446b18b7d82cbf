"""What a trained recognizer consists of beside its backbone, and many such sets over one backbone.

A set is a flat dict of contiguous tensors, ready for a safetensors file: `adapters.{block}.{place}.{parameter}`,
`head.weight`, `head.bias`, and where the backbone was trained too, `backbone.{parameter}`.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from muybridge.errors import ModelMismatch, OptionError
from muybridge.models.st_adapter.config import LIMITS
from muybridge.models.st_adapter.insertion import SampleWeights
from muybridge.models.st_adapter.video_vit import VideoViT, new_head
from muybridge.schema import Fields
from muybridge.weight_files import describe_differences

HeadPolicy = Literal["load", "keep"]
# What `AdapterConfig` may hold in a file.
ADAPTER_LIMITS = Fields(**LIMITS, later=("causal", "frequency_scales", "keep_dead"))


def trained_state(model: VideoViT) -> dict[str, Tensor]:
    """Copies of all tensors that the backbone's own weights do not determine."""
    names = ("adapters.", "head.", "backbone.") if model.train_backbone else ("adapters.", "head.")
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
        if name.startswith(names)
    }


def load_trained_state(model: VideoViT, state: Mapping[str, Tensor], *, head: HeadPolicy = "load") -> None:
    """Swap in another set, all of it or, on an error, nothing. The backbone stays unless the set holds one.

    Args:
        model: built for adapters of the same numbers. Its head is replaced by one with the set's number of classes.
        state: what `trained_state` gave.
        head: "keep" leaves the model's head as it is, to go on with new classes from trained adapters.

    Raises:
        ModelMismatch: names every missing, unknown and wrongly shaped tensor.
    """
    wanted = {name: tensor for name, tensor in trained_state(model).items() if not name.startswith("head.")}
    given = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    _require_same(wanted, given, purpose="This model")
    if head == "load":
        weight = _checked_head(state, model.head.in_features)
        if weight.shape[0] != model.num_classes:
            # Built on the old head's device, so that a model already moved stays in one place.
            old = model.head.weight
            model.head = new_head(model.head.in_features, weight.shape[0]).to(device=old.device, dtype=old.dtype)
        given["head.weight"], given["head.bias"] = state["head.weight"], state["head.bias"]
    model.load_state_dict(given, strict=False)


def _require_same(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], *, purpose: str) -> None:
    problems = describe_differences(wanted, given)
    if problems:
        raise ModelMismatch(
            f"{purpose} was built for other adapters: {problems}. Build it with the width, kernel, "
            "placement and blocks that the adapters were trained with."
        )


def _checked_head(state: Mapping[str, Tensor], dim: int) -> Tensor:
    weight, bias = state.get("head.weight"), state.get("head.bias")
    if weight is None or bias is None:
        raise ModelMismatch("The adapters come without head.weight or head.bias. Choose head='keep' to do without.")
    if weight.ndim != 2 or weight.shape[1] != dim or bias.shape != weight.shape[:1]:
        raise ModelMismatch(
            f"head.weight is {tuple(weight.shape)} and head.bias {tuple(bias.shape)}, not (classes, {dim}) and "
            "(classes,). Choose adapters of this backbone."
        )
    return weight


class AdapterBank(nn.Module):
    """Several sets over one backbone, so that the samples of one batch can each use their own.

    The linear layers of all samples then run as one batched product each, over weights gathered by sample.

    Args:
        model: whose adapters have the sets' shapes.
        states: one set each, from `trained_state`; heads may differ in their number of classes.

    Raises:
        ModelMismatch: a set does not fit the model.
        OptionError: no set is given.
    """

    def __init__(self, model: VideoViT, states: Sequence[Mapping[str, Tensor]]) -> None:
        super().__init__()
        if not states:
            raise OptionError("states is empty. Give at least one set of adapters.")
        wanted = {f"adapters.{name}": tensor for name, tensor in model.adapters.state_dict().items()}
        for position, state in enumerate(states):
            given = {name: tensor for name, tensor in state.items() if name.startswith("adapters.")}
            _require_same(wanted, given, purpose=f"Set {position} of the bank: the model")
        device = model.head.weight.device
        self.num_classes = [_checked_head(state, model.head.in_features).shape[0] for state in states]
        self._places: dict[str, dict[str, str]] = {}
        for name in wanted:
            _, block, place, parameter = name.split(".", maxsplit=3)
            buffer = name.replace(".", "_")
            self._places.setdefault(f"{block}.{place}", {})[parameter] = buffer
            self.register_buffer(buffer, torch.stack([state[name] for state in states]).to(device))
        most = max(self.num_classes)
        weight = torch.zeros(len(states), most, model.head.in_features)
        bias = torch.full((len(states), most), float("-inf"))
        for position, state in enumerate(states):
            weight[position, : self.num_classes[position]] = state["head.weight"]
            bias[position, : self.num_classes[position]] = state["head.bias"]
        self.register_buffer("head_weight", weight.to(device))
        self.register_buffer("head_bias", bias.to(device))

    def select(self, choice: Tensor) -> SampleWeights:
        """The weights for a batch: pass them to `VideoViT.forward`.

        Args:
            choice: (B,), int64: which set each sample uses, counted from 0.

        Returns:
            Weights with which the logits have as many columns as the largest head; a column that a sample's own head
            does not have is minus infinity.
        """
        adapters = {
            site: {parameter: self.get_buffer(buffer)[choice] for parameter, buffer in parameters.items()}
            for site, parameters in self._places.items()
        }
        return SampleWeights(adapters, self.get_buffer("head_weight")[choice], self.get_buffer("head_bias")[choice])
