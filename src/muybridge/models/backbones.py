"""Image backbones: made by timm, never random without being asked, and known by a hash of their weights."""

import difflib
import hashlib
import pickle
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors import SafetensorError
from timm.data.config import resolve_model_data_config
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from muybridge.errors import ModelError, ModelMismatch, OptionError, UnsafeModelFile


def _muybridge_vit(**options: Any) -> VisionTransformer:
    """A small ViT: 12 x 192 x 192 weights a block make it 3.7 M, so that adapters on it train on a CPU."""
    settings: dict[str, Any] = {
        "dynamic_img_size": True,
        "img_size": 112,
        "patch_size": 16,
        "embed_dim": 192,
        "depth": 8,
        "num_heads": 3,
        "num_classes": 0,
    }
    settings |= options
    model: Any = VisionTransformer(**settings)
    model.pretrained_cfg = {
        "input_size": (3, 112, 112),
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
    }
    return model


# Backbones of this project's own, by name: a function that builds one, without weights, from keyword arguments of
# timm's VisionTransformer. Their weights come by `checkpoint_path`.
BUILTIN_BACKBONES: dict[str, Callable[..., nn.Module]] = {"muybridge_vit": _muybridge_vit}

_CLASSIFIER_NAMES = ("head.", "head_dist.", "fc_norm.")


@dataclass(frozen=True)
class BackboneInput:
    """What pictures a backbone was trained on.

    Attributes:
        height: pixels; another size makes the backbone interpolate its positions, where it can.
        width: pixels.
        mean: subtracted from RGB in [0, 1].
        std: RGB is divided by it afterwards.
        interpolation: with which pictures were resized: "bilinear", "bicubic", ...
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


def create_backbone(
    name: str, *, pretrained: bool = True, checkpoint_path: str | Path | None = None, **options: Any
) -> nn.Module:
    """A timm model without classifier, in evaluation mode, that takes any picture size where its class allows.

    Args:
        name: a timm name with or without tag ("vit_base_patch16_clip_224.openai"), "hf-hub:OWNER/NAME",
            "local-dir:FOLDER", or a name of `BUILTIN_BACKBONES`.
        pretrained: load the weights that belong to the name, from timm's cache or the network. False without
            `checkpoint_path` gives random weights.
        checkpoint_path: a safetensors or torch file to load instead; its names may be timm's, OpenAI CLIP's, or any
            that timm converts.
        options: handed to timm, such as img_size or depth.

    Raises:
        OptionError: no such model, or an option it does not know.
        ModelError: the weights cannot be had, or leave a part of the backbone without weights.
        UnsafeModelFile: the checkpoint would need pickle to be executed.
    """
    if checkpoint_path is not None:
        backbone = _build(name, pretrained=False, **options)
        drop_classifier(backbone)
        _load_checkpoint(backbone, name, Path(checkpoint_path))
    else:
        # The classifier is dropped only afterwards: with another number of classes timm no longer insists that every
        # tensor be loaded, and a backbone that is partly random would go unnoticed.
        backbone = _build(name, pretrained=pretrained, **options)
        drop_classifier(backbone)
    return backbone.eval()


def _build(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
    if name in BUILTIN_BACKBONES:
        if pretrained:
            raise ModelError(f"Backbone '{name}' has no weights to download. Give its file as checkpoint_path.")
        return BUILTIN_BACKBONES[name](**options)
    if ":" not in name and not timm.is_model(name.partition(".")[0]):
        close = difflib.get_close_matches(name, [*BUILTIN_BACKBONES, *timm.list_models()], n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else "timm.list_models() lists all."
        raise OptionError(f"backbone='{name}' is not a model that timm knows. {hint}")
    try:
        return _create_any_size(name, pretrained=pretrained, **options)
    except TypeError as error:
        # A constructor's complaint about a keyword is the caller's mistake; every other TypeError is a defect.
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise
        raise OptionError(f"{unknown[1]} is not an option of backbone '{name}'. Leave it out.") from error
    except (OSError, RuntimeError) as error:
        # Hub errors are OSErrors, timm's own RuntimeErrors; both can be long, and only the first line tells what.
        first_line = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"The weights of backbone '{name}' cannot be had: {first_line} Check the name and the network, or give "
            "a file as checkpoint_path."
        ) from error


def _create_any_size(name: str, **options: Any) -> nn.Module:
    create: Any = timm.create_model
    try:
        return create(name, **{"dynamic_img_size": True, **options})
    except TypeError as error:
        if "'dynamic_img_size'" not in str(error) or "dynamic_img_size" in options:
            raise
        return create(name, **options)


def fuse_attention(backbone: nn.Module, fused: bool) -> None:
    """Whether attention runs as torch's fused kernel or as plain products and a softmax; the result is the same.

    The plain form is the quicker one to train with in bfloat16 on a CPU, whose fused kernel is slow on the way back:
    a training step of the built-in backbone with adapters takes 0.6 of the time.
    """
    for module in backbone.modules():
        if isinstance(getattr(module, "fused_attn", None), bool):
            cast(Any, module).fused_attn = fused


def drop_classifier(backbone: nn.Module) -> None:
    """Take the image classifier off, so that neither the hash nor a file has to carry it."""
    if hasattr(backbone, "reset_classifier"):
        cast(Any, backbone).reset_classifier(0)


def _load_checkpoint(backbone: nn.Module, name: str, path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"{path}: no such file. Check checkpoint_path for backbone '{name}'.")
    try:
        state = timm.models.load_state_dict(str(path))
    except (RuntimeError, EOFError, SafetensorError) as error:
        if isinstance(error.__cause__, pickle.UnpicklingError):
            raise UnsafeModelFile(
                f"{path}: was not read, because it is no file of plain tensors: it needs pickle to be executed, or "
                "is another kind of file. Save the weights as safetensors."
            ) from error
        raise ModelError(f"{path}: cannot be read as weights. Give a safetensors or torch file.") from error
    load_backbone_state(backbone, cast(dict[str, Tensor], state), source=str(path))


def load_backbone_state(backbone: nn.Module, state: Mapping[str, Tensor], *, source: str) -> tuple[str, ...]:
    """Load weights into a backbone without classifier, strictly, after timm's own conversion of foreign names.

    Args:
        backbone: from `create_backbone`.
        state: names of timm, of OpenAI CLIP, or of any other origin that timm converts for this architecture.
        source: named in errors.

    Returns:
        Names that were not used: a classifier's.

    Raises:
        ModelMismatch: names every missing, unknown and wrongly shaped tensor.
    """
    if is_openai_clip(state):
        state = openai_clip_to_timm(state).tensors
    family = sys.modules[type(backbone).__module__]
    convert: Callable[..., dict[str, Tensor]] | None = getattr(family, "checkpoint_filter_fn", None)
    converted = convert(dict(state), backbone) if convert is not None else dict(state)
    wanted = backbone.state_dict()
    unused = tuple(sorted(n for n in converted if n not in wanted and n.startswith(_CLASSIFIER_NAMES)))
    given = {n: tensor for n, tensor in converted.items() if n not in unused}
    problems = describe_differences(wanted, given)
    if problems:
        raise ModelMismatch(
            f"{source} does not fit the backbone: {problems}. Choose the architecture it was made for."
        )
    backbone.load_state_dict(given)
    return unused


def describe_differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Every missing, unknown and wrongly shaped tensor in one line; empty where there is none."""
    problems = [f"missing {name}" for name in sorted(wanted.keys() - given.keys())]
    problems += [f"unknown {name}" for name in sorted(given.keys() - wanted.keys())]
    problems += [
        f"{name} is {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & given.keys())
        if wanted[name].shape != given[name].shape
    ]
    return "; ".join(problems)


def backbone_hash(backbone: nn.Module) -> str:
    """SHA-256, in hexadecimal, of all weights: names in order, each with dtype, shape and bytes.

    The device does not matter. The precision does: hash a backbone before it is cast.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        # As bytes, because numpy does not know bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def backbone_input(backbone: nn.Module) -> BackboneInput:
    """What pictures a backbone expects, from timm's configuration of its weights."""
    config: dict[str, Any] = resolve_model_data_config(backbone)
    _, height, width = config["input_size"]
    return BackboneInput(
        height=int(height),
        width=int(width),
        mean=cast(tuple[float, float, float], tuple(float(v) for v in config["mean"])),
        std=cast(tuple[float, float, float], tuple(float(v) for v in config["std"])),
        interpolation=str(config["interpolation"]),
    )


# ---- OpenAI CLIP's names -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConvertedTower:
    """An image tower in timm's names.

    Attributes:
        tensors: by timm name.
        unused: names of the source that belong to no part of the image tower.
    """

    tensors: dict[str, Tensor]
    unused: tuple[str, ...]


_CLIP_TOP_LEVEL = {
    "class_embedding": "cls_token",
    "positional_embedding": "pos_embed",
    "conv1.weight": "patch_embed.proj.weight",
    "ln_pre.weight": "norm_pre.weight",
    "ln_pre.bias": "norm_pre.bias",
    "ln_post.weight": "norm.weight",
    "ln_post.bias": "norm.bias",
}
_CLIP_BLOCK = {
    "attn.in_proj_weight": "attn.qkv.weight",
    "attn.in_proj_bias": "attn.qkv.bias",
    "attn.out_proj.weight": "attn.proj.weight",
    "attn.out_proj.bias": "attn.proj.bias",
    "ln_1.weight": "norm1.weight",
    "ln_1.bias": "norm1.bias",
    "ln_2.weight": "norm2.weight",
    "ln_2.bias": "norm2.bias",
    "mlp.c_fc.weight": "mlp.fc1.weight",
    "mlp.c_fc.bias": "mlp.fc1.bias",
    "mlp.c_proj.weight": "mlp.fc2.weight",
    "mlp.c_proj.bias": "mlp.fc2.bias",
}
_CLIP_RESBLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")


def is_openai_clip(state: Mapping[str, Any]) -> bool:
    """Whether names are OpenAI CLIP's, of the whole model ("visual.class_embedding") or its image tower alone."""
    return "visual.class_embedding" in state or "class_embedding" in state


def openai_clip_to_timm(state: Mapping[str, Tensor]) -> ConvertedTower:
    """OpenAI CLIP's image tower in timm's names and shapes.

    Args:
        state: the whole CLIP model, with "visual." before the tower's names, or the tower alone.
    """
    whole = "visual.class_embedding" in state
    tensors: dict[str, Tensor] = {}
    unused: list[str] = []
    for name, tensor in state.items():
        inner = name.removeprefix("visual.") if whole else name
        target = openai_clip_name(inner) if not whole or name.startswith("visual.") else None
        if target is None:
            unused.append(name)
            continue
        tensors[target] = tensor[(None,) * (3 - tensor.ndim)] if target in ("cls_token", "pos_embed") else tensor
    return ConvertedTower(tensors, tuple(sorted(unused)))


def openai_clip_name(name: str) -> str | None:
    """timm's name for a tensor of OpenAI CLIP's image tower, or None where it belongs to no part of the backbone."""
    inside = _CLIP_RESBLOCK.fullmatch(name)
    if inside is None:
        return _CLIP_TOP_LEVEL.get(name)
    target = _CLIP_BLOCK.get(inside[2])
    return None if target is None else f"blocks.{inside[1]}.{target}"
