"""SlowFast trunk for action localization (Feichtenhofer et al. 2019, arXiv 1812.03982), output stride 16.

    video ─┬─ all T frames ────── fast pathway (width / fast_ratio channels, sees motion) ──┬── mean over time ─┐
           │                        │ lateral  │          │           │                     │                   ├─ map
           └─ T / alpha frames ── slow pathway (width channels, sees appearance) ───────────┴── mean over time ─┘

Two published variants differ in more than depth, and their weights do not fit each other: the R-50 model joins the
pathways by convolution, batch norm and ReLU and spreads the slow frames over the whole clip; the R-101 model joins
them by a bare convolution and takes every alpha-th frame. `SLOWFAST_R50` and `SLOWFAST_R101` name them.

Shapes: B clips, T frames, H x W pixels, h x w = ceil(H / 16) x ceil(W / 16) locations, C channels.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from muybridge.counts import counted
from muybridge.errors import OptionError
from muybridge.models.acar.slowfast_config import EXPANSION, SlowFastConfig


def slow_frame_indices(frames: int, alpha: int, rule: Literal["span", "stride"]) -> list[int]:
    """Which of `frames` frames the slow pathway sees: `frames // alpha` ascending indices.

    Raises:
        OptionError: alpha does not divide the number of frames.
    """
    if frames < alpha or frames % alpha:
        raise OptionError(
            f"A clip of {counted(frames, 'frame')} does not divide by alpha={alpha}. "
            f"Give {max(frames // alpha, 1) * alpha} or {(frames // alpha + 1) * alpha} frames."
        )
    if rule == "stride":
        return list(range(0, frames, alpha))
    # The published model floors a float32 linspace; up to 128 frames that is the same.
    gaps = max(frames // alpha - 1, 1)
    return [index * (frames - 1) // gaps for index in range(frames // alpha)]


class Pathways(NamedTuple):
    """Features of both pathways before the mean over time.

    Attributes:
        slow: (B, 32 width, T / alpha, h, w).
        fast: (B, 32 width / fast_ratio, T, h, w).
    """

    slow: Tensor
    fast: Tensor


class SlowFast(nn.Module):
    """Both pathways and the lateral connections."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: SlowFastConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SlowFastConfig()
        self.fast = _Pathway(config, width=config.width // config.fast_ratio, lateral=0, stem_frames=5, temporal=0)
        self.slow = _Pathway(config, width=config.width, lateral=config.fast_ratio, stem_frames=1, temporal=2)
        # After the stem and after each stage but the last; the fast pathway's channels are doubled on the way.
        outputs = [self.fast.width * grown for grown in (1, EXPANSION, 2 * EXPANSION, 4 * EXPANSION)]
        self.laterals = nn.ModuleList([_lateral(channels, config) for channels in outputs])
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)
        self._norms_frozen = False
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def context_channels(self) -> int:
        """Channels of the map that `forward` gives."""
        return self.config.context_channels

    def normalize(self, frames_T3HW: Tensor) -> Tensor:
        """RGB in [0, 255], uint8 or float, (..., 3, H, W), to this model's input.

        Frames are padded to a common size after this, with zeros.
        """
        return (frames_T3HW.to(self.mean.dtype) - self.mean) / self.std

    def forward(self, frames_BT3HW: Tensor) -> Tensor:
        """Clips to their context maps: each pathway's mean over time, slow first.

        Args:
            frames_BT3HW: normalized clips, T a multiple of `config.alpha`.

        Returns:
            (B, context_channels, h, w).

        Raises:
            OptionError: alpha does not divide the number of frames.
        """
        slow, fast = self.pathways(frames_BT3HW)
        return torch.cat([slow.mean(2), fast.mean(2)], dim=1)

    def pathways(self, frames_BT3HW: Tensor) -> Pathways:
        """Clips, as in `forward`, to the features of both pathways before the mean over time."""
        config = self.config
        video_B3THW = frames_BT3HW.transpose(1, 2)
        chosen = slow_frame_indices(video_B3THW.shape[2], config.alpha, config.slow_frames)
        slow = self.slow.stem(video_B3THW[:, :, chosen])
        fast = self.fast.stem(video_B3THW)
        for lateral, slow_stage, fast_stage in zip(self.laterals, self.slow.stages, self.fast.stages, strict=True):
            slow = slow_stage(torch.cat([slow, lateral(fast)], dim=1))
            fast = fast_stage(fast)
        return Pathways(slow, fast)

    def freeze_norms(self) -> "SlowFast":
        """Keep every batch norm's statistics from now on, also under `train()`; scales and shifts still learn."""
        self._norms_frozen = True
        return self.train(self.training)

    def train(self, mode: bool = True) -> "SlowFast":
        """As `nn.Module.train`, but frozen batch norms stay in evaluation."""
        super().train(mode)
        if self._norms_frozen:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm3d):
                    module.eval()
        return self


class _TimeConv3d(nn.Conv3d):
    """A convolution that reaches over time.

    PyTorch's CPU kernels (2.14) give garbage for the gradient of its weight in bfloat16, wrong by any factor up to
    1e34 or NaN, where a clip has fewer frames than the kernel; such clips are convolved in float32.
    """

    def forward(self, input: Tensor) -> Tensor:
        short = input.shape[2] < self.kernel_size[0]
        if not (short and input.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())


class _Pathway(nn.Module):
    """A stem and four stages; run by `SlowFast`, since the pathways exchange features between stages.

    Args:
        lateral: the fast pathway's ratio where its features are concatenated before each stage, else 0.
        stem_frames: frames that the stem's convolution spans.
        temporal: the first stage whose blocks look along time.
    """

    def __init__(self, config: SlowFastConfig, *, width: int, lateral: int, stem_frames: int, temporal: int) -> None:
        super().__init__()
        self.width = width
        self.stem = nn.Sequential()
        kernel, padding = (stem_frames, 7, 7), (stem_frames // 2, 3, 3)
        self.stem.add_module("conv", _TimeConv3d(3, width, kernel, stride=(1, 2, 2), padding=padding, bias=False))
        self.stem.add_module("norm", nn.BatchNorm3d(width))
        self.stem.add_module("relu", nn.ReLU(inplace=True))
        self.stem.add_module("pool", nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)))
        stages: list[nn.Module] = []
        channels = width
        for stage, (blocks, stride, dilation) in enumerate(
            zip(config.blocks, (1, 2, 2, 1), (1, 1, 1, 2), strict=True)
        ):
            inner = width * 2**stage
            entering = channels + (2 * channels // lateral if lateral else 0)
            frames = 3 if stage >= temporal else 1
            layers = [_Bottleneck(entering, inner, frames=frames, stride=stride, dilation=dilation)]
            channels = inner * EXPANSION
            layers += [_Bottleneck(channels, inner, frames=frames, dilation=dilation) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, inner: int, *, frames: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        out = inner * EXPANSION
        self.conv1 = _TimeConv3d(channels, inner, (frames, 1, 1), padding=(frames // 2, 0, 0), bias=False)
        self.norm1 = nn.BatchNorm3d(inner)
        self.conv2 = nn.Conv3d(
            inner,
            inner,
            (1, 3, 3),
            stride=(1, stride, stride),
            padding=(0, dilation, dilation),
            dilation=(1, dilation, dilation),
            bias=False,
        )
        self.norm2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, out, 1, bias=False)
        self.norm3 = nn.BatchNorm3d(out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != out:
            self.shortcut.add_module("conv", nn.Conv3d(channels, out, 1, stride=(1, stride, stride), bias=False))
            self.shortcut.add_module("norm", nn.BatchNorm3d(out))

    def forward(self, features: Tensor) -> Tensor:
        out = self.relu(self.norm1(self.conv1(features)))
        out = self.relu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        return self.relu(out + self.shortcut(features))


def _lateral(channels: int, config: SlowFastConfig) -> nn.Module:
    span = config.lateral_kernel
    conv = _TimeConv3d(
        channels,
        2 * channels,
        (span, 1, 1),
        stride=(config.alpha, 1, 1),
        padding=(span // 2, 0, 0),
        bias=False,
    )
    layers: Sequence[nn.Module] = [conv]
    if config.lateral == "conv-norm-relu":
        layers = [conv, nn.BatchNorm3d(2 * channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
