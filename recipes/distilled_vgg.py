"""The distilled VGG-19 of Collaborative Distillation (Wang et al. 2020), as teacher and judge.

Its weights are not part of this repository; the recipes read them from ../shared/data/weights/vgg19_distilled.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muybridge.models.avatar_net.detailed import ColourEncoder, DetailedConfig

LAYERS = (("conv11",), ("conv12", "pool", "conv21"), ("conv22", "pool", "conv31"))
LAST = ("conv32", "conv33", "conv34", "pool", "conv41")
FIFTH = ("conv42", "conv43", "conv44", "pool", "conv51")
WIDTHS = (16, 32, 64, 128)


class DistilledVGG(nn.Module):
    """Encoder e4: RGB in [0, 255] to relu1_1, relu2_1, relu3_1, relu4_1 with 16, 32, 64, 128 channels.

    With `depth=5` encoder e5, whose last level is relu5_1 with 128 channels.
    """

    def __init__(self, folder: Path, depth: int = 4) -> None:
        super().__init__()
        self.stages = (*LAYERS, LAST, FIFTH)[:depth]
        state = torch.load(folder / f"e{depth}_base.pth", map_location="cpu", weights_only=True)
        state = state.get("model", state)
        self.convs = nn.ModuleDict()
        for name in {key.split(".")[0] for key in state if "aux" not in key}:
            weight = state[f"{name}.weight"]
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2])
            conv.load_state_dict({"weight": weight, "bias": state[f"{name}.bias"]})
            self.convs[name] = conv
        self.requires_grad_(False)

    def forward(self, picture: Tensor) -> list[Tensor]:
        x = self.convs["conv0"](picture / 255)
        levels: list[Tensor] = []
        for stage in self.stages:
            for name in stage:
                if name == "pool":
                    x = F.max_pool2d(x, 2)
                else:
                    x = F.relu(self.convs[name](F.pad(x, (1, 1, 1, 1), mode="reflect")))
            levels.append(x)
        return levels


def colour_encoder(
    teacher: DistilledVGG, pictures: Tensor, config: DetailedConfig | None = None
) -> tuple[ColourEncoder, list[Tensor]]:
    """The distilled VGG as the built-in network's encoder: the same features, of equal size, without the idle ones.

    Args:
        teacher: of depth 4.
        pictures: (N, 3, H, W) RGB in [0, 255], over which channels are measured.

    Returns:
        The encoder, and for each level the true size of its channels, as shares of their root mean square.
    """
    config = config or DetailedConfig()
    encoder = ColourEncoder(config)
    names = [name for stage in teacher.stages for name in stage if name != "pool"]
    deviations = _deviations(teacher, pictures)
    before, gain_before, sizes = torch.arange(3), torch.ones(3), []
    for number, (name, count) in enumerate(zip(names, config.convolutions, strict=True)):
        deviation = deviations[name]
        # The liveliest channels first: a level shows as many as leave room for the colours.
        kept = deviation.argsort(descending=True)[:count]
        gain = 1 / deviation[kept].clamp_min(3e-3 * float(deviation.max()))
        weight, bias = teacher.convs[name].weight.data, teacher.convs[name].bias.data
        if number == 0:
            first = teacher.convs["conv0"]  # a pointwise map of the colours, which moves into what follows it
            bias = bias + (weight.sum((2, 3)) @ first.bias.data)
            weight = torch.einsum("oikl,ic->ockl", weight, first.weight.data[:, :, 0, 0] / 255)
        ours = encoder.convolutions[number]
        ours.weight.data = weight[kept][:, before] * gain.view(-1, 1, 1, 1) / gain_before.view(1, -1, 1, 1)
        ours.bias.data = bias[kept] * gain
        before, gain_before = kept, gain
        if name in ("conv11", "conv21", "conv31", "conv41"):
            size = 1 / gain[: config.widths[len(sizes)] - 3]
            sizes.append(size / size.square().mean().sqrt())
    return encoder, sizes


@torch.inference_mode()
def _deviations(teacher: DistilledVGG, pictures: Tensor) -> dict[str, Tensor]:
    """Standard deviation of every channel after every convolution."""
    features, found = teacher.convs["conv0"](pictures / 255), {}
    for stage in teacher.stages:
        for name in stage:
            if name == "pool":
                features = F.max_pool2d(features, 2)
                continue
            features = F.relu(teacher.convs[name](F.pad(features, (1, 1, 1, 1), mode="reflect")))
            found[name] = features.std((0, 2, 3)).clone()
    return found
