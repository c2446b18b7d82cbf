"""A small stylizer with random weights, and pictures to paint."""

import numpy as np
import pytest
import torch
from torch import nn

from muybridge.artifacts import Artifact
from muybridge.models.avatar_net.network import AvatarNet, AvatarNetConfig
from muybridge.stylize.stylizer import Stylizer


def smooth_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8 with soft blobs, as photographs have."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (1, 3, 6, 7)).astype(np.float32)
    fine = nn.functional.interpolate(torch.from_numpy(coarse), (height, width), mode="bicubic")[0]
    return fine.clamp(0, 255).permute(1, 2, 0).to(torch.uint8).numpy()


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """A model file of the stylizer below."""
    torch.manual_seed(4)
    config = AvatarNetConfig(widths=(6, 8, 10, 12))
    network = AvatarNet(config)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    Artifact("stylize", {"widths": list(config.widths), "mean": list(config.mean)}, network.state_dict()).save(path)
    return path


@pytest.fixture(scope="session")
def stylizer(model_file):
    return Stylizer.from_pretrained(model_file, device="cpu")


@pytest.fixture
def photo():
    return smooth_picture(75, 102, 1)


@pytest.fixture
def painting():
    return smooth_picture(64, 80, 2)


def random_vgg19_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """What torchvision's vgg19 file holds, with random weights and without the classifier."""
    from torchvision.models import vgg19

    with torch.device("meta"):
        features = vgg19(weights=None, init_weights=False).features
    features.to_empty(device="cpu")
    torch.manual_seed(seed)
    for module in features:
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
