"""What strokes look like to filters that nothing was trained for: how many, strong, fine, and in which direction.

Gabor filters (Gabor 1946; for textures Portilla & Simoncelli 2000) on light, red against green and blue against
yellow, at four octaves. Statistics of such responses tell textures apart as those of a trained network's first layers
do, whose filters they resemble, and no network has a say in them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muybridge.models.avatar_net.network import channel_statistics

_SIDE, _WAVELENGTH, _SIGMA, _DIRECTIONS, _OCTAVES = 7, 4.5, 1.7, 4, 4
# Light, red against green, blue against yellow: rows of length 1, at right angles.
_OPPONENTS = ((0.577350, 0.577350, 0.577350), (0.707107, -0.707107, 0.0), (-0.408248, -0.408248, 0.816497))
_COLOUR_SCALE = 64.0
# Mean squared responses below about this, of colours over 64, are noise: a flat style does not rule the batch.
_LEAST = 2e-3
_QUANTILES = 24
_LEAST_ENERGY = 0.05


class FilterBank(nn.Module):
    """RGB in [0, 255] to responses at strides 1, 2, 4 and 8."""

    kernels: Tensor
    opponents: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", gabor_kernels(), persistent=False)
        self.register_buffer(
            "opponents", torch.tensor(_OPPONENTS)[:, :, None, None] / _COLOUR_SCALE, persistent=False
        )

    def forward(self, picture_B3HW: Tensor) -> list[Tensor]:
        """Octaves, finest first, each (B, 3, 8, H', W'): colours, and even and odd filters of four directions."""
        colours = F.conv2d(picture_B3HW, self.opponents)
        octaves: list[Tensor] = []
        for octave in range(_OCTAVES):
            if octave:
                colours = F.avg_pool2d(colours, 2)
            B, _, H, W = colours.shape
            found = F.conv2d(colours.reshape(B * 3, 1, H, W), self.kernels)
            octaves.append(found.view(B, 3, -1, *found.shape[2:]))
        return octaves


def gabor_kernels() -> Tensor:
    """(8, 1, 7, 7): for each of four directions an even and an odd filter, of mean 0 and sum of squares 1."""
    y, x = torch.meshgrid(*[torch.arange(_SIDE, dtype=torch.float64) - _SIDE // 2] * 2, indexing="ij")
    bell = torch.exp(-(x.square() + y.square()) / (2 * _SIGMA**2))
    kernels: list[Tensor] = []
    for direction in range(_DIRECTIONS):
        angle = math.pi * direction / _DIRECTIONS
        phase = 2 * math.pi / _WAVELENGTH * (x * math.cos(angle) + y * math.sin(angle))
        for wave in (phase.cos(), phase.sin()):
            kernel = bell * wave
            kernel = kernel - bell * kernel.sum() / bell.sum()
            kernels.append(kernel / kernel.square().sum().sqrt())
    return torch.stack(kernels)[:, None].float()


def response_distance(octaves: list[Tensor], style: list[Tensor]) -> Tensor:
    """Distance of means and deviations of the rectified responses, relative to the style's, averaged: (B,).

    Each octave and colour has the same say, however much stronger another is.
    """
    errors: list[Tensor] = []
    for ours, theirs in zip(octaves, style, strict=True):
        (m, d), (n, e) = (_rectified_statistics(responses) for responses in (ours, theirs))
        error = ((m - n).square() + (d - e).square()).mean(2)
        errors.append((error / ((n.square() + e.square()).mean(2) + _LEAST)).mean(1))
    return torch.stack(errors).mean(0)


def _rectified_statistics(responses_B3KHW: Tensor) -> tuple[Tensor, Tensor]:
    """Of what is positive and of what is negative: each (B, 3, 2 * K)."""
    B, colours = responses_B3KHW.shape[:2]
    both = torch.cat([F.relu(responses_B3KHW), F.relu(-responses_B3KHW)], 2)
    mean, deviation = channel_statistics(both.flatten(1, 2), 1e-4)
    return mean.view(B, colours, -1), deviation.view(B, colours, -1)


def energy_distance(octaves: list[Tensor], style: list[Tensor]) -> Tensor:
    """How differently strokes are spread: quantiles of the energy of all directions, relative to the style's: (B,).

    A drawing is bare paper and a few strong lines. Means and deviations are met by weak lines everywhere too;
    quantiles are not.
    """
    errors: list[Tensor] = []
    for ours, theirs in zip(octaves, style, strict=True):
        p, q = _quantiles(ours), _quantiles(theirs)
        errors.append(((p - q).abs().mean(2) / (q.mean(2) + _LEAST_ENERGY)).mean(1))
    return torch.stack(errors).mean(0)


def _quantiles(responses_B3KHW: Tensor) -> Tensor:
    """(B, 3, 24), of the root of the responses' summed squares, blurred over the length of a filter."""
    energy = F.avg_pool2d(responses_B3KHW.square().sum(2), 3, 2, ceil_mode=True)
    ordered = (energy + 1e-4).sqrt().flatten(2).sort(dim=2).values
    # Means between quantiles rather than the quantiles: every location has a share of the gradient.
    return F.adaptive_avg_pool1d(ordered, _QUANTILES)
