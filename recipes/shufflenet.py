"""ShuffleNetV2 0.5x, trained on ImageNet, as a second judge of paintings beside the distilled VGG.

Its weights are not part of this repository; the recipe reads them from ../shared/data/weights/fastestdet.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Stages 2 and 3 of Ma et al. 2018 (arXiv 1807.11164), and the blocks after which features are taken.
BLOCKS = {"stage2": 4, "stage3": 8}
TAKEN_AFTER = (0, 3, 11)


class ShuffleNet(nn.Module):
    """RGB in [0, 255] to levels of 24, 48, 48 and 96 channels at strides 2, 8, 8 and 16."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        state = torch.load(file, map_location="cpu", weights_only=True)
        self.first = folded(state, "first_conv.0", "first_conv.1", stride=2)
        # The weights were made for blue, green and red in [0, 1].
        self.first.weight.data = self.first.weight.data.flip(1) / 255
        self.blocks = nn.ModuleList()
        for stage, count in BLOCKS.items():
            for number in range(count):
                main, proj = f"{stage}.{number}.branch_main", f"{stage}.{number}.branch_proj"
                first = number == 0
                layers = {
                    "expand": folded(state, f"{main}.0", f"{main}.1"),
                    "depth": folded(state, f"{main}.3", f"{main}.4", stride=2 if first else 1),
                    "project": folded(state, f"{main}.5", f"{main}.6"),
                }
                if first:
                    layers["past_depth"] = folded(state, f"{proj}.0", f"{proj}.1", stride=2)
                    layers["past"] = folded(state, f"{proj}.2", f"{proj}.3")
                self.blocks.append(nn.ModuleDict(layers))
        self.requires_grad_(False)

    def forward(self, picture: Tensor) -> list[Tensor]:
        x = F.relu(self.first(picture))
        levels = [x]
        x = F.max_pool2d(x, 3, 2, 1)
        for number, block in enumerate(self.blocks):
            if "past" in block:
                past, through = F.relu(block["past"](block["past_depth"](x))), x
            else:
                past, through = x[:, 0::2], x[:, 1::2]
            through = F.relu(block["project"](block["depth"](F.relu(block["expand"](through)))))
            x = torch.cat([past, through], 1)
            if number in TAKEN_AFTER:
                levels.append(x)
        return levels


def folded(state: dict[str, Tensor], conv: str, norm: str, stride: int = 1) -> nn.Conv2d:
    """A convolution with the batch normalisation after it folded in."""
    weight = state[f"{conv}.weight"]
    gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-5).sqrt()
    outputs, inputs, side, _ = weight.shape
    groups = outputs if inputs == 1 else 1
    layer = nn.Conv2d(inputs * groups, outputs, side, stride, side // 2, groups=groups)
    layer.weight.data = weight * gain.view(-1, 1, 1, 1)
    layer.bias.data = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
    return layer
