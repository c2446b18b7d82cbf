"""Checkpoints of ST-Adapter's authors: their names to ours, tensors in, tensors out.

    transformer.resblocks.{i}.adapter_pre_attn.{fc1,conv,fc2}.*   ->  adapters.{i}.attention.{down,conv,up}.*
    transformer.resblocks.{i}.adapter_pre_mlp.{fc1,conv,fc2}.*    ->  adapters.{i}.mlp.{down,conv,up}.*
    fc.*                                                          ->  head.*
    OpenAI CLIP's names of the frozen tower, where the file has it  ->  timm's names

Reading the file is the caller's part; it must not execute pickle.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from timm.layers import QuickGELU
from torch import Tensor

from muybridge.errors import ModelMismatch
from muybridge.models.backbones import is_openai_clip, openai_clip_name, openai_clip_to_timm
from muybridge.models.st_adapter.config import AdapterConfig, Placement
from muybridge.models.st_adapter.sets import load_trained_state
from muybridge.models.st_adapter.temporal_conv import Kernel
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.weight_files import describe_differences, first_few, printable, require_ranks

_ADAPTER = re.compile(
    r"transformer\.resblocks\.(0|[1-9]\d{0,2})\.adapter_pre_(attn|mlp)\.(fc1|conv|fc2)\.(weight|bias)", re.ASCII
)
_PLACES = {"attn": "attention", "mlp": "mlp"}
_LAYERS = {"fc1": "down", "conv": "conv", "fc2": "up"}
# Parts of OpenAI's CLIP model that the image tower does not need: the text tower and what joins the two.
_CLIP_REST = re.compile(
    r"proj|visual\.proj|text_projection|logit_scale|token_embedding\.weight|ln_final\.(weight|bias)"
    r"|input_resolution|context_length|vocab_size"
)


@dataclass(frozen=True)
class ImportedRecognizer:
    """A checkpoint of the authors in this project's names.

    Attributes:
        config: the adapters' numbers, read off the tensors.
        num_classes: outputs of the head.
        state: adapters and head, for `load_trained_state`.
        backbone: the frozen tower in timm's names; empty where the file holds trained tensors only.
        dead: names in the file of the last adapter, which never reaches the class token; left out of `state` unless
            asked for. The logits are the same.
        unused: names in the file of parts of CLIP that are not needed.
    """

    config: AdapterConfig
    num_classes: int
    state: dict[str, Tensor]
    backbone: dict[str, Tensor]
    dead: tuple[str, ...]
    unused: tuple[str, ...]


def import_authors_checkpoint(
    checkpoint: Mapping[str, Any], *, clip: Mapping[str, Any] | None = None, keep_dead: bool = False
) -> ImportedRecognizer:
    """Convert a checkpoint of the authors' code.

    Args:
        checkpoint: what the file holds: the names themselves, or a mapping under "model".
        clip: OpenAI CLIP's weights, for a checkpoint without the frozen tower.
        keep_dead: keep the last adapter before an MLP.

    Raises:
        ModelMismatch: names every tensor that is missing or belongs to neither adapters, head nor CLIP.
    """
    inner: Any = checkpoint.get("model", checkpoint)
    if not isinstance(inner, Mapping):
        raise ModelMismatch(f"The checkpoint's model is a {type(inner).__name__}, not names with tensors.")
    names = {str(name).removeprefix("module."): value for name, value in cast(Mapping[str, Any], inner).items()}
    adapters = {name: tensor for name, tensor in names.items() if _ADAPTER.fullmatch(name)}
    if not adapters:
        raise ModelMismatch("The checkpoint holds no adapter_pre_attn or adapter_pre_mlp. Give one of ST-Adapter's.")
    tower = {name: tensor for name, tensor in names.items() if name not in adapters and not name.startswith("fc.")}
    _reject_unknown(tower)
    for name in ("fc.weight", "fc.bias"):
        if name not in names:
            raise ModelMismatch(f"The checkpoint lacks {name}. Give the whole checkpoint.")
    require_ranks(names, {name: _rank(name) for name in (*adapters, "fc.weight", "fc.bias")})
    config = _read_config(adapters, keep_dead=keep_dead)
    last = max(int(cast(re.Match[str], _ADAPTER.fullmatch(name))[1]) for name in adapters)
    state = {_our_name(name): tensor for name, tensor in adapters.items()}
    dead = () if keep_dead else tuple(sorted(n for n in adapters if _our_name(n).startswith(f"adapters.{last}.mlp.")))
    for name in dead:
        del state[_our_name(name)]
    state |= {"head.weight": names["fc.weight"], "head.bias": names["fc.bias"]}
    given = {name: value for name, value in (clip or {}).items() if isinstance(value, Tensor)}
    source = tower if is_openai_clip(tower) else given
    converted = openai_clip_to_timm(source)
    leftover = converted.unused if source is tower else (*tower, *converted.unused)
    return ImportedRecognizer(
        config, state["head.weight"].shape[0], state, converted.tensors, dead, tuple(sorted(leftover))
    )


def load_imported(model: VideoViT, imported: ImportedRecognizer) -> None:
    """Load an imported checkpoint: into the backbone, where it holds the tower, and into adapters and head.

    Raises:
        ModelMismatch: the model was built with other numbers, or its backbone is no CLIP tower with QuickGELU.
    """
    activation: Any = getattr(getattr(cast(Any, model.tower).blocks[0], "mlp", None), "act", None)
    if not isinstance(activation, QuickGELU):
        raise ModelMismatch(
            "The authors' adapters stand on OpenAI's CLIP, whose activation is QuickGELU, but this backbone has "
            f"{type(activation).__name__}. Create a backbone with clip_quickgelu in its name."
        )
    if imported.backbone:
        problems = describe_differences(model.backbone.state_dict(), imported.backbone)
        if problems:
            raise ModelMismatch(f"The checkpoint's tower does not fit the backbone: {problems}. Choose its size.")
    load_trained_state(model, imported.state)
    if imported.backbone:
        model.backbone.load_state_dict(imported.backbone)


def _reject_unknown(names: Mapping[str, Any]) -> None:
    """Every name must be the image tower's, under its own name or CLIP's, or a known part of the rest of CLIP."""
    unknown = [
        printable(name)
        for name, value in names.items()
        if not isinstance(value, Tensor)
        or (openai_clip_name(name.removeprefix("visual.")) is None and not _CLIP_REST.fullmatch(name))
    ]
    if unknown:
        raise ModelMismatch(
            f"The checkpoint holds tensors of neither adapters, head nor CLIP: {first_few(sorted(unknown))}. "
            "Give a checkpoint of the authors' code."
        )


def _rank(name: str) -> int:
    """How many axes a trained tensor has: a bias, a convolution over time, height and width, or a linear layer."""
    return 1 if name.endswith("bias") else 5 if name.endswith("conv.weight") else 2


def _our_name(name: str) -> str:
    match = cast(re.Match[str], _ADAPTER.fullmatch(name))
    return f"adapters.{match[1]}.{_PLACES[match[2]]}.{_LAYERS[match[3]]}.{match[4]}"


def _read_config(adapters: Mapping[str, Tensor], *, keep_dead: bool) -> AdapterConfig:
    matches = [cast(re.Match[str], _ADAPTER.fullmatch(name)) for name in adapters]
    indices = sorted({int(match[1]) for match in matches})
    placement: Placement = "attention+mlp" if any(match[2] == "attn" for match in matches) else "mlp"
    places = ("attn", "mlp") if placement == "attention+mlp" else ("mlp",)
    expected = {
        f"transformer.resblocks.{index}.adapter_pre_{place}.{layer}.{parameter}"
        for index in range(indices[0], indices[-1] + 1)
        for place in places
        for layer in _LAYERS
        for parameter in ("weight", "bias")
    }
    missing = sorted(expected - adapters.keys())
    if missing:
        raise ModelMismatch(f"The checkpoint lacks {first_few(missing)}. Give the whole checkpoint.")
    kernels = {tuple(tensor.shape[2:]) for name, tensor in adapters.items() if name.endswith("conv.weight")}
    widths = {tensor.shape[0] for name, tensor in adapters.items() if name.endswith("fc1.bias")}
    if len(kernels) > 1 or len(widths) > 1:
        raise ModelMismatch(f"The adapters differ among themselves: widths {widths}, kernels {kernels}.")
    return AdapterConfig(
        width=widths.pop(),
        kernel=cast(Kernel, kernels.pop()),
        placement=placement,
        blocks=len(indices),
        keep_dead=keep_dead,
    )
