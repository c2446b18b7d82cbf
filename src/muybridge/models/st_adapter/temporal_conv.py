"""Depthwise convolution over time (and space) on channels-last features, without a special kernel.

One letter an axis: B clips, T frames, H x W patches, N = H*W, A channels. Features stay (B, T, H, W, A), the order in
which a transformer's linear layers write them, so that nothing is ever permuted in memory.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from muybridge.models.st_adapter.config import Kernel


class DepthwiseConv(nn.Module):
    """`Conv3d(A, A, kernel, groups=A)` for channels-last features, zero at the start.

    The parameters have Conv3d's names and shapes: `weight` (A, 1, kt, kh, kw) and `bias` (A,).

    Args:
        channels: A.
        kernel: (kt, kh, kw). kh and kw are odd; kt is odd unless `causal`.
        causal: the kernel reads the current and earlier frames only, instead of being centred.
    """

    def __init__(self, channels: int, kernel: Kernel, *, causal: bool = False) -> None:
        super().__init__()
        self.kernel = kernel
        self.causal = causal
        self.weight = nn.Parameter(torch.zeros(channels, 1, *kernel))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features_BTHWA: Tensor, history: Tensor | None = None) -> Tensor:
        """Same shape out as in. Beyond its ends a clip counts as zero.

        Args:
            features_BTHWA: the frames to answer for; also the dtype of the result.
            history: (B, kt - 1, H, W, A), the features just before them, in place of the zeros; causal kernels only.
        """
        frames = self.kernel[0]
        weight = self.weight.to(features_BTHWA.dtype)
        bias = self.bias.to(features_BTHWA.dtype)
        if history is not None:
            return depthwise_conv(torch.cat([history, features_BTHWA], dim=1), weight, bias, time_padding=(0, 0))
        past = frames - 1 if self.causal else frames // 2
        return depthwise_conv(features_BTHWA, weight, bias, time_padding=(past, frames - 1 - past))

    def extra_repr(self) -> str:
        return f"{self.bias.numel()}, kernel={self.kernel}, causal={self.causal}"


def depthwise_conv(x_BTHWA: Tensor, weight: Tensor, bias: Tensor, *, time_padding: tuple[int, int]) -> Tensor:
    """Depthwise correlation, zero padded: by `time_padding` before and after in time, to equal size in space.

    Args:
        x_BTHWA: features.
        weight: (A, 1, kt, kh, kw), kh and kw odd.
        bias: (A,).
        time_padding: frames of zeros (before, after).

    Returns:
        (B, T + before + after - kt + 1, H, W, A), in x's dtype.
    """
    if weight.shape[3] == 1 and weight.shape[4] == 1:
        B, T, H, W, A = x_BTHWA.shape
        out = _temporal(x_BTHWA.reshape(B, T, H * W, A), weight[:, :, :, 0, 0], bias, time_padding)
        return out.reshape(B, out.shape[1], H, W, A)
    return _spatio_temporal(x_BTHWA, weight, bias, time_padding)


# Of six ways that benchmarks/temporal_conv.py times on the CPU, forward and backward, a two-dimensional convolution
# over the (T, N) plane is the fastest: channels-last memory is what oneDNN's depthwise kernel wants, and the tokens
# have that layout already. Conv3d has no such kernel and took over ten times as long. Shifted multiply-adds come
# second there; they are what other devices get, since cuDNN has no channels-last depthwise kernel in float32.
def _temporal(x_BTNA: Tensor, weight_A1k: Tensor, bias: Tensor, time_padding: tuple[int, int]) -> Tensor:
    if x_BTNA.device.type == "cpu":
        return conv2d_over_time(x_BTNA, weight_A1k, bias, time_padding)
    return shifted_multiply_adds(x_BTNA, weight_A1k, bias, time_padding)


def conv2d_over_time(x_BTNA: Tensor, weight_A1k: Tensor, bias: Tensor, time_padding: tuple[int, int]) -> Tensor:
    """Temporal depthwise convolution as a Conv2d whose kernel spans one patch; arguments as `depthwise_conv`."""
    before, after = time_padding
    padding = max(before, after)
    x_BATN = x_BTNA.permute(0, 3, 1, 2)
    out = F.conv2d(x_BATN, weight_A1k[..., None], bias, padding=(padding, 0), groups=bias.numel()).permute(0, 2, 3, 1)
    # Conv2d pads both ends alike. The few rows too many are cut off; that is cheaper than to pad by a copy.
    return out[:, padding - before : out.shape[1] - (padding - after)]


def shifted_multiply_adds(x_BTNA: Tensor, weight_A1k: Tensor, bias: Tensor, time_padding: tuple[int, int]) -> Tensor:
    """Temporal depthwise convolution as one multiply-add a tap; arguments as `depthwise_conv`."""
    x = F.pad(x_BTNA, (0, 0, 0, 0, *time_padding))
    taps = weight_A1k.shape[-1]
    frames = x.shape[1] - taps + 1
    out = torch.addcmul(bias, x[:, :frames], weight_A1k[:, 0, 0])
    for tap in range(1, taps):
        out = torch.addcmul(out, x[:, tap : tap + frames], weight_A1k[:, 0, tap])
    return out


def _spatio_temporal(x_BTHWA: Tensor, weight: Tensor, bias: Tensor, time_padding: tuple[int, int]) -> Tensor:
    """One depthwise Conv2d a temporal tap, each shifted in time and added: three to ten times as fast as Conv3d."""
    B, T, H, W, A = x_BTHWA.shape
    taps, kernel_height, kernel_width = weight.shape[2:]
    before, after = time_padding
    frames = T + before + after - taps + 1
    x_SAHW = x_BTHWA.reshape(B * T, H, W, A).permute(0, 3, 1, 2)
    out = bias.expand(B, frames, H, W, A)
    for tap in range(taps):
        # Output frame t reads input frame t + tap - before; only the outputs for which that frame exists get it.
        first = max(0, before - tap)
        last = min(frames, T + before - tap)
        if first >= last:
            continue
        spatial = F.conv2d(x_SAHW, weight[:, :, tap], padding=(kernel_height // 2, kernel_width // 2), groups=A)
        start = first + tap - before
        part = spatial.permute(0, 2, 3, 1).reshape(B, T, H, W, A)[:, start : start + last - first]
        out = out + F.pad(part, (0, 0, 0, 0, 0, 0, first, frames - last))
    return out
