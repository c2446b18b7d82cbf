"""A small anchor-free detector of one class: a ShuffleNetV2 (arXiv 1807.11164), a pyramid, a head for each level.

    frame ── stem /4 ── stage /8 ─┬─ /16 ─┬─ /32
                                  P3 ◄─── P4 ◄── P5        a logit and four sides in each cell (FCOS, 1904.01355)

Letters of shapes: N frames, H and W the frame's size (multiples of 32), A cells of all levels, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (8, 16, 32)
_PRIOR = -3.9  # a logit: one cell in fifty holds a person, before anything is learned (focal loss, 1708.02002)


@dataclass(frozen=True)
class PersonDetectorConfig:
    """The network's size.

    Attributes:
        stem: channels of the first convolution.
        widths: channels of the stages at stride 8, 16 and 32.
        depths: blocks of the stages.
        neck: channels of the pyramid.
    """

    stem: int = 24
    widths: tuple[int, int, int] = (48, 96, 192)
    depths: tuple[int, int, int] = (4, 8, 4)
    neck: int = 96


class ShuffleBlock(nn.Module):
    """ShuffleNetV2's unit: half of the channels pass, half are convolved; at stride 2 both are, and halve the map."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        branch_inputs, hidden = (inputs // 2, outputs // 2) if stride == 1 else (inputs, outputs // 2)
        self.stride = stride
        self.main = nn.Sequential(
            nn.Conv2d(branch_inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.Conv2d(hidden, outputs - branch_inputs, 1, bias=False),
            nn.BatchNorm2d(outputs - branch_inputs),
            nn.ReLU(inplace=True),
        )
        self.project = nn.Sequential()
        if stride == 2:
            self.project = nn.Sequential(
                nn.Conv2d(inputs, inputs, 3, 2, 1, groups=inputs, bias=False),
                nn.BatchNorm2d(inputs),
                nn.Conv2d(inputs, inputs, 1, bias=False),
                nn.BatchNorm2d(inputs),
                nn.ReLU(inplace=True),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, outputs, h / stride, w / stride)."""
        if self.stride == 2:
            return torch.cat([self.project(x), self.main(x)], dim=1)
        # The shuffle is in the choice of every second channel.
        return torch.cat([x[:, 0::2], self.main(x[:, 1::2])], dim=1)


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 5, padding=2, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Head(nn.Module):
    """A level's logit and sides; its own for each level, whose statistics differ."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.person = nn.Sequential(_separable(channels, channels), nn.Conv2d(channels, 1, 1))
        self.sides = nn.Sequential(_separable(channels, channels), nn.Conv2d(channels, 4, 1))
        last = self.person[1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.constant_(last.bias, _PRIOR)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.person(x), self.sides(x)], dim=1).float()


class PersonDetector(nn.Module):
    """See the module's first lines."""

    def __init__(self, config: PersonDetectorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PersonDetectorConfig()
        self.stem = nn.Sequential(
            nn.Conv2d(3, config.stem, 3, 2, 1, bias=False), nn.BatchNorm2d(config.stem), nn.ReLU(inplace=True)
        )
        inputs = config.stem
        stages: list[nn.Module] = []
        for width, depth in zip(config.widths, config.depths, strict=True):
            blocks = [ShuffleBlock(inputs, width, stride=2)]
            blocks += [ShuffleBlock(width, width, stride=1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.lateral = nn.ModuleList(nn.Conv2d(width, config.neck, 1) for width in config.widths)
        self.smooth = nn.ModuleList(_separable(config.neck, config.neck) for _ in config.widths)
        self.heads = nn.ModuleList(_Head(config.neck) for _ in config.widths)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (N, 3, H, W), RGB in [0, 1], to logits (N, A) and boxes (N, A, 4), xyxy in pixels, both float32."""
        x = F.max_pool2d(self.stem(frames), 3, 2, 1)
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        above: Tensor | None = None
        levels: list[Tensor] = []
        for number in reversed(range(len(features))):
            level = self.lateral[number](features[number])
            if above is not None:
                level = level + F.interpolate(above, level.shape[-2:], mode="nearest")
            above = self.smooth[number](level)
            levels.insert(0, self.heads[number](above))
        raw = torch.cat([level.flatten(2) for level in levels], dim=2)
        centres, strides = cell_centres((frames.shape[-2], frames.shape[-1]), device=frames.device)
        # The exponent is bounded so that an untrained network's boxes stay finite.
        sides = raw[:, 1:].clamp(max=6).exp() * strides
        boxes = torch.cat([centres.T - sides[:, :2], centres.T + sides[:, 2:]], dim=1)
        return raw[:, 0], boxes.transpose(1, 2)


def cell_centres(size: Sequence[int], *, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Centres (A, 2), x and y in pixels, and strides (A,) of all cells of a frame of (H, W), level by level."""
    centres: list[Tensor] = []
    strides: list[Tensor] = []
    for stride in STRIDES:
        rows, columns = (-(-side // stride) for side in size)
        y, x = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
        centres.append((torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((rows * columns,), float(stride), device=device))
    return torch.cat(centres), torch.cat(strides)
