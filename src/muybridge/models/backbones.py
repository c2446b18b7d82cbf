"""Image backbones: made by timm, never random without being asked, and known by a hash of their weights."""

import difflib
import hashlib
import pickle
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, cast

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from muybridge.errors import ModelError, ModelMismatch, OptionError
from muybridge.schema import Fields, Within, build
from muybridge.weight_files import describe_differences, printable, read_weights


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


def _efficientnet_lite0(**options: Any) -> nn.Module:
    """EfficientNet-Lite0, 3.4 M weights, with the normalization that its ImageNet weights were trained with."""
    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False, **options)
    model.pretrained_cfg = {
        "architecture": "efficientnet_lite0",
        "input_size": (3, 224, 224),
        "mean": (127 / 255,) * 3,
        "std": (128 / 255,) * 3,
        "interpolation": "bicubic",
        "crop_pct": 0.875,
    }
    return model


# Backbones that are built in, by name: a function that builds one, without weights, from keyword arguments of timm's
# class. `muybridge.pretrained` knows where their weights are.
BUILTIN_BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "efficientnet_lite0": _efficientnet_lite0,
    "muybridge_vit": _muybridge_vit,
}

_CLASSIFIER_NAMES = ("head.", "head_dist.", "fc_norm.", "attn_pool.", "classifier.", "fc.")
_SIDE = Within(1, 8192)
# Numbers that a larger picture may add to the weights of a file, whose positions are spread to its size.
_POSITIONS = 1 << 24


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


@dataclass(frozen=True)
class BackboneOptions:
    """What of an image model's architecture may differ from its name's, and be kept in a file.

    A value that is None is as the name says. Nothing else that timm would take comes out of a file, whose keys and
    values are a stranger's.

    Attributes:
        img_size: pixels, of a square or (height, width), for which positions are laid out.
        patch_size: pixels of a patch's side.
        embed_dim: channels.
        depth: blocks.
        num_heads: of attention.
        mlp_ratio: how many times wider the MLP is inside.
        reg_tokens: registers.
        class_token: whether there is one.
        dynamic_img_size: whether other sizes of pictures are taken too.
    """

    img_size: Annotated[int, _SIDE] | tuple[Annotated[int, _SIDE], Annotated[int, _SIDE]] | None = None
    patch_size: Annotated[int, Within(1, 128)] | None = None
    embed_dim: Annotated[int, Within(1, 8192)] | None = None
    depth: Annotated[int, Within(1, 128)] | None = None
    num_heads: Annotated[int, Within(1, 256)] | None = None
    mlp_ratio: Annotated[float, Within(0.01, 64)] | None = None
    reg_tokens: Annotated[int, Within(0, 256)] | None = None
    class_token: bool | None = None
    dynamic_img_size: bool | None = None


_OPTIONS = {field.name for field in fields(BackboneOptions)}
# These change how a model is trained, not what it is.
_TRAINING_OPTIONS = {
    "drop_rate",
    "pos_drop_rate",
    "patch_drop_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "drop_path_rate",
}


def checked_options(values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Options out of a model file, as `create_backbone` takes them.

    Raises:
        ModelError: an option is none of `BackboneOptions`, or out of range.
    """
    later = tuple(_OPTIONS)  # a file keeps only those that were given
    options = build(BackboneOptions, values, source=source, at="backbone options", fields=Fields(later=later))
    return {name: getattr(options, name) for name in values}


def is_plain_name(name: str) -> bool:
    """Whether a name is one of `BUILTIN_BACKBONES` or of timm's own models, and no address of anything."""
    return name in BUILTIN_BACKBONES or (
        re.fullmatch(r"\w+(\.\w+)?", name, re.ASCII) is not None and timm.is_model(name.partition(".")[0])
    )


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
        options: see `BackboneOptions`; for training also timm's rates of dropout, such as drop_path_rate.

    Raises:
        OptionError: no such model, or an option it does not know.
        ModelError: the weights cannot be had, or leave a part of the backbone without weights.
        UnsafeModelFile: the checkpoint would need pickle to be executed.
    """
    unknown = sorted(options.keys() - _OPTIONS - _TRAINING_OPTIONS)
    if unknown:
        raise OptionError(f"{unknown[0]} is not an option of backbone '{name}'. Leave it out.")
    if not pretrained and checkpoint_path is None:
        backbone = _build(name, **options)
        drop_classifier(backbone)
        return backbone.eval()
    # What the options would need is compared with what the weights hold before memory is taken for it.
    sketch = sketch_backbone(name, **options)
    if checkpoint_path is None:
        state, source = _published_weights(sketch, name), f"the weights of {name}"
    elif not Path(checkpoint_path).is_file():
        raise ModelError(f"{checkpoint_path}: no such file. Check checkpoint_path for backbone '{name}'.")
    else:
        state, source = read_weights(Path(checkpoint_path)), str(checkpoint_path)
    needed, given = (sum(t.numel() for t in tensors.values()) for tensors in (sketch.state_dict(), state))
    if needed > 2 * given + _POSITIONS:
        raise ModelMismatch(
            f"backbone '{name}' with these options has {needed} weights, but {source} has {given}. Choose the "
            "architecture that the weights were made for."
        )
    backbone = _build(name, **options)
    drop_classifier(backbone)
    load_backbone_state(backbone, state, source=source)
    return backbone.eval()


def sketch_backbone(name: str, **options: Any) -> nn.Module:
    """The model on the device "meta": all names and shapes, no memory.

    Raises:
        OptionError, ModelError: as `create_backbone`.
    """
    with torch.device("meta"):
        sketch = _build(name, **options)
    drop_classifier(sketch)
    return sketch.eval()


def _build(name: str, **options: Any) -> nn.Module:
    """A model without weights. An option that is None is as the name says."""
    options = {option: value for option, value in options.items() if value is not None}
    if ":" not in name and not is_plain_name(name):
        close = difflib.get_close_matches(name[:100], [*BUILTIN_BACKBONES, *timm.list_models()], n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else "timm.list_models() lists all."
        raise OptionError(f"backbone={printable(name)!r} is not a model that timm knows. {hint}")
    create: Any = BUILTIN_BACKBONES.get(name) or _create_any_size
    try:
        return create(**options) if name in BUILTIN_BACKBONES else create(name, **options)
    except TypeError as error:
        # A constructor's complaint about a keyword is the caller's mistake; every other TypeError is a defect.
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise
        raise OptionError(f"{unknown[1]} is not an option of backbone '{name}'. Leave it out.") from error
    except (AssertionError, ArithmeticError, ValueError) as error:
        reason = _first_line(error)
        raise OptionError(f"backbone '{name}' cannot be built with {options}: {reason}. Leave them out.") from error
    except (OSError, RuntimeError) as error:
        raise _no_weights(name, error) from error


def _create_any_size(name: str, **options: Any) -> nn.Module:
    create: Any = timm.create_model
    try:
        return create(name, **{"dynamic_img_size": True, **options})
    except TypeError as error:
        if "'dynamic_img_size'" not in str(error) or "dynamic_img_size" in options:
            raise
        return create(name, **options)


_LOCAL_WEIGHTS = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)


def _published_weights(backbone: nn.Module, name: str) -> dict[str, Tensor]:
    """The weights that belong to a name, as plain tensors alone.

    timm's own loader is not used: where it stumbles over a file it tries again by executing it.
    """
    config: dict[str, Any] = getattr(backbone, "pretrained_cfg", None) or {}
    repository, address, folder = config.get("hf_hub_id"), config.get("url"), config.get("file")
    try:
        if config.get("source") == "local-dir":
            found = [Path(str(folder)) / file for file in _LOCAL_WEIGHTS if (Path(str(folder)) / file).is_file()]
            if found:
                return read_weights(found[0])
        elif repository:
            return cast("dict[str, Tensor]", timm.models.load_state_dict_from_hf(repository, weights_only=True))
        elif address and not config.get("custom_load"):
            return torch.hub.load_state_dict_from_url(address, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise _no_weights(name, error) from error
    raise ModelError(
        f"The weights of backbone '{name}' cannot be had: No pretrained weights exist that are plain tensors. Give a "
        "file as checkpoint_path."
    )


def _no_weights(name: str, error: Exception) -> ModelError:
    # Hub errors are OSErrors, timm's own RuntimeErrors; both can be long, and only the first line tells what.
    return ModelError(
        f"The weights of backbone '{name}' cannot be had: {_first_line(error)} Check the name and the network, or "
        "give a file as checkpoint_path."
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


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
    try:
        converted = convert(dict(state), backbone) if convert is not None else dict(state)
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ModelMismatch(
            f"{source} does not fit the backbone: its tensors cannot be converted ({_first_line(error)[:200]}). "
            "Choose the architecture it was made for."
        ) from error
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
