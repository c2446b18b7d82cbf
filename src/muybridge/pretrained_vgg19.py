"""torchvision's VGG-19 by name, the encoder of published style models; apart, so that nobody else waits for timm."""

import hashlib
from pathlib import Path
from typing import cast
from urllib.error import URLError

import torch
from torch import nn

from muybridge.errors import ModelError
from muybridge.models.avatar_net.network import AvatarNet, AvatarNetConfig, VGGEncoder
from muybridge.weight_files import describe_differences, read_weights

VGG19 = "torchvision/vgg19"
# What a user says in place of a file, to have the published weights fetched.
FETCH_VGG19 = "vgg19"


def avatar_net_with_vgg19(weights: Path | None = None, *, fetch: bool = True) -> AvatarNet:
    """The full-width network with torchvision's VGG-19 as its encoder and a decoder yet to be trained or loaded.

    Args, errors: as for `vgg19_features`.
    """
    features = vgg19_features(weights, fetch=fetch)
    network = AvatarNet(AvatarNetConfig())
    network.encoder.load_torchvision(features)
    return network


def vgg19_features(weights: Path | None = None, *, fetch: bool = True) -> nn.Sequential:
    """torchvision's `vgg19().features` with ImageNet weights.

    Args:
        weights: a local file of torchvision's vgg19; None takes torch's download cache, or the network.
        fetch: whether the user wishes the network to be used.

    Raises:
        MissingInput: `weights` is not there.
        UnsafeModelFile: `weights` would execute code when opened.
        ModelError: the download failed, or the file is not of a VGG-19.
    """
    from torchvision.models import VGG19_Weights, vgg19

    address = VGG19_Weights.IMAGENET1K_V1.url
    cached = Path(torch.hub.get_dir()) / "checkpoints" / address.rpartition("/")[2]
    if weights is None and not cached.is_file():
        if not fetch:
            raise ModelError(
                "the model needs torchvision's vgg19, which is not on this machine. Fetch it with --encoder-weights "
                f"{FETCH_VGG19}, or give its file there"
            )
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(address, str(cached), hash_prefix=cached.stem.rpartition("-")[2])
        except (URLError, OSError, RuntimeError) as error:
            raise ModelError(
                f"cannot download torchvision's vgg19 ({error}). Connect to the network, or put its file into the "
                f"folder {cached.parent}"
            ) from error
    state = read_weights(weights or cached)
    with torch.device("meta"):  # the classifier's 124 M numbers are not wanted
        network = vgg19(weights=None, init_weights=False)
    features = {name.removeprefix("features."): t for name, t in state.items() if name.startswith("features.")}
    problems = describe_differences(network.features.state_dict(), features)
    if problems:
        raise ModelError(f"{weights or cached} is not a torchvision vgg19: {problems}")
    network.features.load_state_dict(features, assign=True)
    return cast(nn.Sequential, network.features)


def encoder_fingerprint(encoder: VGGEncoder) -> str:
    """sha256 over names, shapes and bytes of an encoder's tensors, in float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    digest.update(encoder.mean.cpu().numpy().tobytes())
    return digest.hexdigest()
