"""Weights by name: backbones built in or published by others, fetched when the user names them."""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError

import torch
from torch import nn

from muybridge.errors import MissingInput, ModelError, ModelMismatch, UnsafeModelFile
from muybridge.models.avatar_net.network import AvatarNet, AvatarNetConfig, VGGEncoder
from muybridge.models.backbones import backbone_hash, create_backbone

VGG19 = "torchvision/vgg19"


def avatar_net_with_vgg19(weights: Path | None = None) -> AvatarNet:
    """The full-width network with torchvision's VGG-19 as its encoder and a decoder yet to be trained or loaded.

    Args:
        weights: a local file of torchvision's vgg19; None takes torch's download cache, or the network.
    """
    features = vgg19_features(weights)
    network = AvatarNet(AvatarNetConfig())
    network.encoder.load_torchvision(features)
    return network


def vgg19_features(weights: Path | None = None) -> nn.Sequential:
    """torchvision's `vgg19().features` with ImageNet weights.

    Raises:
        MissingInput: `weights` is not there.
        UnsafeModelFile: `weights` would execute code when opened.
        ModelError: the download failed, or the file is not of a VGG-19.
    """
    from torchvision.models import VGG19_Weights, vgg19

    if weights is None:
        try:
            return cast(nn.Sequential, vgg19(weights=VGG19_Weights.IMAGENET1K_V1).features)
        except (URLError, OSError) as error:
            raise ModelError(
                f"cannot download torchvision's vgg19 ({error}). Connect to the network, or put its file into the "
                f"folder {Path(torch.hub.get_dir()) / 'checkpoints'}"
            ) from error
    return _features_from_file(weights)


def _features_from_file(weights: Path) -> nn.Sequential:
    import pickle

    from torchvision.models import vgg19

    if not weights.is_file():
        raise MissingInput(f"there is no weights file {weights}")
    try:
        with warnings.catch_warnings():
            # torch warns of old pickle protocols before it refuses or reads them; either way we say what matters.
            warnings.simplefilter("ignore", UserWarning)
            state = torch.load(weights, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsafeModelFile(f"{weights} would execute code when opened, or is damaged. It was refused") from error
    with torch.device("meta"):  # the classifier's 124 M numbers are not wanted
        network = vgg19(weights=None, init_weights=False)
    features = {name.removeprefix("features."): t for name, t in state.items() if name.startswith("features.")}
    try:
        network.features.load_state_dict(features, assign=True)
    except RuntimeError as error:
        raise ModelError(f"{weights} is not a torchvision vgg19: {str(error).splitlines()[0]}") from error
    return cast(nn.Sequential, network.features)


def encoder_fingerprint(encoder: VGGEncoder) -> str:
    """sha256 over names, shapes and bytes of an encoder's tensors, in float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    digest.update(encoder.mean.cpu().numpy().tobytes())
    return digest.hexdigest()


BUILT_IN_BACKBONE = "muybridge_vit"
_BUILT_IN_WEIGHTS = Path(__file__).parent / "weights" / "backbone.safetensors"


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
        name: "muybridge_vit" (built in), or a timm name as `models.backbones.create_backbone` takes it.
        weights: a safetensors or torch file to load instead of the weights that belong to the name.
        random: no weights at all. For tests; a user would have to ask for it.
        options: handed to timm.

    Raises:
        OptionError: no such model or option.
        ModelError: the weights cannot be had.
    """
    if random:
        backbone, source = create_backbone(name, pretrained=False, **options), "random"
    elif weights is not None:
        backbone, source = create_backbone(name, checkpoint_path=weights, **options), weights.name
    elif name == BUILT_IN_BACKBONE:
        backbone, source = create_backbone(name, checkpoint_path=_BUILT_IN_WEIGHTS, **options), "built in"
    else:
        backbone, source = create_backbone(name, pretrained=True, **options), "timm"
    return backbone, BackboneIdentity(name, source, backbone_hash(backbone), options)


def reload_backbone(identity: BackboneIdentity, *, weights: Path | None = None) -> nn.Module:
    """The backbone that a model file was trained on, checked by its hash.

    Args:
        identity: from the model file.
        weights: where its weights are, if they do not come by name.

    Raises:
        ModelMismatch: the weights are not those that the model was trained on.
        ModelError: the weights cannot be had.
    """
    by_file = weights is None and identity.source not in ("built in", "timm", "random")
    if by_file or (identity.source == "random" and weights is None):
        raise ModelError(
            f"the model stands on backbone {identity.name!r} with weights from {identity.source!r}, which its name "
            "does not bring. Give the file with --backbone-weights"
        )
    backbone, found = load_backbone(identity.name, weights=weights, **identity.options)
    if found.hash != identity.hash:
        raise ModelMismatch(
            f"the weights of backbone {identity.name!r} ({found.source}) have the hash {found.hash[:12]}, the model "
            f"was trained on {identity.hash[:12]} ({identity.source}). Give the right file with --backbone-weights"
        )
    return backbone
