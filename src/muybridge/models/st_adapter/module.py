"""The adapter of ST-Adapter and its numbers (Pan et al. 2022, section 3.2): what is trained at one place of a block.

One letter an axis: B clips, T frames, H x W patches, D channels of the backbone, A channels of the bottleneck.
"""

import torch
from timm.layers import QuickGELU
from torch import Tensor, nn

from muybridge.models.st_adapter.config import AdapterConfig, Kernel
from muybridge.models.st_adapter.frequency import FrequencyBranch
from muybridge.models.st_adapter.temporal_conv import DepthwiseConv

_ACTIVATIONS: dict[str | None, type[nn.Module]] = {
    None: nn.Identity,
    "gelu": nn.GELU,
    "quick_gelu": QuickGELU,
    "relu": nn.ReLU,
}


class SpatioTemporalAdapter(nn.Module):
    """The bottleneck of one place: what it adds to the patches of a clip (section 3.2).

    It never writes into its input. Its output is zero until it is trained.

    Args:
        dim: D, channels of the backbone.
        config: width, kernel, activation, causality and frequency branch; the rest is not read here.
    """

    def __init__(self, dim: int, config: AdapterConfig) -> None:
        super().__init__()
        config = config.for_channels(dim)
        spectral = config.width // 2 if config.frequency_scales else 0
        self.down = nn.Linear(dim, config.width)
        self.conv = DepthwiseConv(config.width - spectral, config.kernel, causal=config.causal)
        self.frequency = (
            FrequencyBranch(spectral, _centred(config.kernel), scales=config.frequency_scales) if spectral else None
        )
        self.activation = _ACTIVATIONS[config.activation]()
        self.up = nn.Linear(config.width, dim)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)

    def forward(self, patches_BTHWD: Tensor, history: Tensor | None = None) -> Tensor:
        """The difference to add to the patches: same shape and dtype.

        Computed in the adapter's own precision, or in autocast's where that is on.

        Args:
            patches_BTHWD: the patch tokens of whole clips.
            history: (B, kt - 1, H, W, A), bottleneck features of the frames before; causal kernels only.
        """
        return self._up(self._mix(self._down(patches_BTHWD), history)).to(patches_BTHWD.dtype)

    def forward_stream(self, patches_BTHWD: Tensor, history: Tensor | None) -> tuple[Tensor, Tensor]:
        """`forward` for the next frames of a stream, and the history for the frames that follow them.

        Args:
            patches_BTHWD: the new frames, often a single one.
            history: what the last call returned; None at the start.
        """
        features = self._down(patches_BTHWD)
        past = self.conv.kernel[0] - 1
        if history is None:
            B, _, H, W, A = features.shape
            history = features.new_zeros(B, past, H, W, A)
        difference = self._up(self._mix(features, history)).to(patches_BTHWD.dtype)
        seen = torch.cat([history, features], dim=1)
        return difference, seen[:, seen.shape[1] - past :]

    def _down(self, patches: Tensor) -> Tensor:
        return _flat(self.down, in_precision_of(self.down, patches))

    def _mix(self, features: Tensor, history: Tensor | None) -> Tensor:
        if self.frequency is None:
            return self.conv(features, history)
        temporal, spectral = features.split([self.conv.bias.numel(), features.shape[-1] - self.conv.bias.numel()], -1)
        return torch.cat([self.conv(temporal), self.frequency(spectral)], dim=-1)

    def _up(self, features: Tensor) -> Tensor:
        return _flat(self.up, self.activation(features))


def _flat(layer: nn.Linear, x: Tensor) -> Tensor:
    """The layer over all leading axes taken as one: with weights per sample, vmap makes one bmm of that, where it
    would copy the weights for every frame and row of patches."""
    return layer(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)


def _centred(kernel: Kernel) -> Kernel:
    return (kernel[0] | 1, kernel[1], kernel[2])


def in_precision_of(layer: nn.Linear, x: Tensor) -> Tensor:
    """x in the dtype of the layer's weight, unless autocast is there to choose."""
    device = x.device.type
    # A device without autocast, such as "meta", must not be asked for it; torch 2.6 cannot compile that question.
    has_autocast = torch.compiler.is_dynamo_compiling() or torch.amp.is_autocast_available(device)
    if has_autocast and torch.is_autocast_enabled(device):
        return x
    return x.to(layer.weight.dtype)
