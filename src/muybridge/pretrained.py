"""Weights that others publish, fetched when the user names them, and checked by fingerprint."""

import hashlib
import warnings
from pathlib import Path
from typing import cast
from urllib.error import URLError

import torch
from torch import nn

from muybridge.errors import MissingInput, ModelError, UnsafeModelFile
from muybridge.models.avatar_net import AvatarNet, AvatarNetConfig, VGGEncoder

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
