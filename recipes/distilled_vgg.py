"""The distilled VGG-19 of Collaborative Distillation (Wang et al. 2020), as teacher and judge.

Its weights are not part of this repository; the recipes read them from ../shared/data/weights/vgg19_distilled.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
