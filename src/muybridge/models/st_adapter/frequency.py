"""The frequency branch of Frame2Freq (arXiv 2602.18977): filter features by how fast they change.

The published multi-scale form, which this follows: half of an adapter's bottleneck channels keep the temporal
convolution; the other half is cut into windows of time, each window goes through a real FFT over time, real and
imaginary parts are channels of one depthwise convolution over (frequency, height, width), and an inverse FFT leads
back. Windows are the whole clip, its halves and its quarters; the scales share the filter and are averaged.

Choices that are this file's own:
- The filter starts at zero, as the temporal convolution does: the adapted model starts equal to the image model.
- Real and imaginary part of a channel are filtered each by its own kernel.
- Any clip length: a window is ceil(T / parts) frames; the clip's last frame is repeated to fill the last window.
- The transform is a product with the Fourier matrix. A clip has few frames, so it costs nothing beside the linear
  layers, and it runs in every precision and export format, which an FFT operator does not.

One letter an axis: B clips, T frames, H x W patches, A channels, F frequency bins.
"""

import math

import torch
from torch import Tensor, nn

from muybridge.models.st_adapter.temporal_conv import DepthwiseConv, Kernel


class FrequencyBranch(nn.Module):
    """Filters channels-last features in the frequency domain of time; zero at the start.

    Args:
        channels: A.
        kernel: extent of the filter over (frequency bins, height, width), odd.
        scales: into how many windows a clip is cut, at each scale.
    """

    def __init__(self, channels: int, kernel: Kernel, *, scales: tuple[int, ...]) -> None:
        super().__init__()
        self.scales = scales
        self.filter = DepthwiseConv(2 * channels, kernel)

    def forward(self, features_BTHWA: Tensor) -> Tensor:
        """Same shape and dtype out as in; every output frame depends on all frames of its window."""
        filtered = [self._filter_windows(features_BTHWA, frames) for frames in self.windows(features_BTHWA.shape[1])]
        return torch.stack(filtered).mean(dim=0)

    def windows(self, frames: int) -> list[int]:
        """Window lengths for a clip of so many frames; scales too fine for it are left out."""
        return sorted({max(math.ceil(frames / parts), min(frames, 2)) for parts in self.scales}, reverse=True)

    def _filter_windows(self, x_BTHWA: Tensor, window: int) -> Tensor:
        B, T, H, W, A = x_BTHWA.shape
        count = math.ceil(T / window)
        missing = count * window - T
        if missing:
            x_BTHWA = torch.cat([x_BTHWA, x_BTHWA[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)
        forward, inverse = fourier_matrices(window, x_BTHWA)
        bins = window // 2 + 1
        spectrum = torch.matmul(forward, x_BTHWA.reshape(B * count, window, H * W * A))
        real, imaginary = spectrum.reshape(B * count, 2, bins, H, W, A).unbind(dim=1)
        filtered = self.filter(torch.cat([real, imaginary], dim=-1))
        real, imaginary = filtered.split(A, dim=-1)
        spectrum = torch.stack([real, imaginary], dim=1).reshape(B * count, 2 * bins, H * W * A)
        out = torch.matmul(inverse, spectrum).reshape(B, count * window, H, W, A)[:, :T]
        return out.to(x_BTHWA.dtype)


def fourier_matrices(frames: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The real FFT over `frames` samples and its inverse as matrices, in the dtype and on the device of `like`.

    Returns:
        (2 * bins, frames), which maps a signal to its real parts, then its imaginary parts; and (frames, 2 * bins),
        which maps them back, bins = frames // 2 + 1.
    """
    precision = torch.promote_types(like.dtype, torch.float32)
    time = torch.arange(frames, dtype=precision, device=like.device)
    frequency = torch.arange(frames // 2 + 1, dtype=precision, device=like.device)
    # The phase is reduced to one turn before it is scaled, so that long clips lose no precision.
    angle = torch.outer(frequency, time).remainder(frames) * (2 * math.pi / frames)
    forward = torch.cat([angle.cos(), -angle.sin()])
    # Every bin stands for itself and its mirror image, save the first and, of an even length, the last.
    copies = 2 - ((2 * frequency[:, None]).remainder(frames) == 0).to(precision)
    inverse = (forward * torch.cat([copies, copies]) / frames).T
    return forward.to(like.dtype), inverse.to(like.dtype)
