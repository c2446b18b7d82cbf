"""An anchor-free detector of one class, NanoDet-g in its layout: a network of cross-stage parts (arXiv 1911.11929), a
pyramid that is gone down and up (1803.01534), and a head for each level.

    frame ── stem /4 ── /4 ── /8 ─┬── /16 ─┬── /32
                              P3 ◄──── P4 ◄──── P5     then up again, P3 ► P4 ► P5
                              a logit and, for each side, a distribution of its length (arXiv 2006.04388)

Letters of shapes: N frames, H and W the frame's size (multiples of 32), A cells of all levels, C channels, B bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (8, 16, 32)
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
_SLOPE = 0.1
_PRIOR = -3.9  # a logit: one cell in fifty holds a person, before anything is learned (focal loss, 1708.02002)


@dataclass(frozen=True)
class PersonDetectorConfig:
    """The network's size.

    Attributes:
        stem: channels of the first convolution; each stage doubles them.
        depths: residual blocks of the four stages.
        neck: channels of the pyramid.
        bins: lengths of a side, 0, 1, ... strides, over which a head's distribution goes.
    """

    stem: int = 32
    depths: tuple[int, int, int, int] = (1, 2, 2, 3)
    neck: int = 128
    bins: int = 11


def _convolution(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    # Batch norms are folded in: few steps on few frames would only spoil the statistics of many.
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(_SLOPE, inplace=True))


class _Residual(nn.Module):
    """(N, C, h, w) to the same shape: two convolutions of half the width, both kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels // 2)
        self.second = _convolution(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return torch.cat([self.second(x), x], dim=1)


class _Stage(nn.Module):
    """(N, C, h, w) to (N, 2 C, h / stride, w / stride): what passes the blocks beside what goes around them."""

    def __init__(self, channels: int, depth: int, *, stride: int) -> None:
        super().__init__()
        self.enter = _convolution(channels, channels, stride=stride)
        self.blocks = nn.Sequential(*(_Residual(channels) for _ in range(depth)))
        self.leave = _convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return torch.cat([self.leave(self.blocks(x)), x], dim=1)


class PersonDetector(nn.Module):
    """See the module's first lines."""

    mean: Tensor
    deviation: Tensor
    lengths: Tensor

    def __init__(self, config: PersonDetectorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PersonDetectorConfig()
        self.stem = _convolution(3, config.stem, stride=2)
        widths = [config.stem * 2**number for number in range(4)]
        self.stages = nn.ModuleList(
            _Stage(width, depth, stride=1 if number == 0 else 2)
            for number, (width, depth) in enumerate(zip(widths, config.depths, strict=True))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(2 * width, config.neck, 1) for width in widths[1:])
        self.heads = nn.ModuleList(
            nn.Sequential(_convolution(config.neck, config.neck), nn.Conv2d(config.neck, 1 + 4 * config.bins, 1))
            for _ in STRIDES
        )
        self._initialize()
        for name, values in (("mean", _MEAN), ("deviation", _DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.register_buffer("lengths", torch.arange(float(config.bins)), persistent=False)

    def _initialize(self) -> None:
        for convolution in (module for module in self.modules() if isinstance(module, nn.Conv2d)):
            nn.init.kaiming_normal_(convolution.weight, a=_SLOPE)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
        for head in self.heads:
            last = head.get_submodule("1")
            assert isinstance(last, nn.Conv2d) and last.bias is not None
            nn.init.normal_(last.weight, std=0.01)
            last.bias.data[0] = _PRIOR

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (N, 3, H, W), RGB in [0, 1], to logits (N, A) and boxes (N, A, 4), xyxy in pixels, both float32."""
        levels = [head(level).float() for head, level in zip(self.heads, self._pyramid(frames), strict=True)]
        raw = torch.cat([level.flatten(2) for level in levels], dim=2)
        centres, strides = cell_centres((frames.shape[-2], frames.shape[-1]), device=frames.device)
        shares = raw[:, 1:].unflatten(1, (4, -1)).softmax(2)
        sides = torch.einsum("nsba,b->nsa", shares, self.lengths) * strides
        boxes = torch.cat([centres.T - sides[:, :2], centres.T + sides[:, 2:]], dim=1)
        return raw[:, 0], boxes.transpose(1, 2)

    def _pyramid(self, frames: Tensor) -> list[Tensor]:
        """(N, neck, h, w) at each of `STRIDES`."""
        x = F.max_pool2d(self.stem((frames - self.mean) / self.deviation), 3, 2, 1)
        levels: list[Tensor] = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number > 0:
                levels.append(self.lateral[number - 1](x))
        for number in (1, 0):
            levels[number] = levels[number] + _resized(levels[number + 1], levels[number])
        for number in (1, 2):
            levels[number] = levels[number] + _resized(levels[number - 1], levels[number])
        return levels


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear")


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
